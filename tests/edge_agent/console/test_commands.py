"""`pin-console` as a person runs it, on a machine that is a folder."""

import io
import os
import stat
import subprocess
from pathlib import Path

import pytest

from edge_agent.console.files import CannotWrite, apply
from edge_agent.console.initramfs import InitramfsNotMade, rebuild
from edge_agent.console.pinned import load_pins
from edge_agent.console.pinning import CheckDisagrees, Machine, store, verify_accepted
from edge_agent.console.pins import Pins
from edge_agent.console.plan import HOOK, RULES, Wanted
from edge_agent.console.rule import CHECK
from edge_agent.guard_main import main
from tests.fakes.usb_tree import HUB, KEYBOARD, POINTER, STORAGE, UsbTree


class Console:
    def __init__(self, folder: Path) -> None:
        self.root, self.state, self.tree = folder / "root", folder / "state", UsbTree(folder / "sys")
        (self.root / "etc/initramfs-tools").mkdir(parents=True)
        self.machine = Machine(self.root, self.state, self.tree.root)

    def run(self, *arguments: str) -> int:
        folders = ["--root", str(self.root), "--state", str(self.state), "--sys", str(self.tree.root)]
        return main(["pin-console", *folders, *arguments])

    def files(self) -> dict[str, tuple[int, bytes, int]]:
        paths = [path for folder in (self.root, self.state) for path in folder.rglob("*") if path.is_file()]
        return {str(path): (path.stat().st_ino, path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) for path in paths}


@pytest.fixture
def console(tmp_path: Path) -> Console:
    made = Console(tmp_path)
    made.tree.attach("1-2", 0x05E3, 0x0610, [HUB], name="USB2.0 Hub")
    made.tree.attach("1-2.4", name="Keyboard K120")
    made.tree.attach("1-3", 0x046D, 0xC077, [POINTER], name="Mouse")
    made.tree.attach("1-4", 0x0781, 0x5581, [STORAGE], name="Ultra")
    return made


def test_pins_the_keyboard_and_the_pointer_with_the_hub_between(
    console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    assert console.run() == 0

    out = capsys.readouterr().out
    assert "pinned: keyboard 046d:c31c Keyboard K120 at 1-2.4" in out
    assert [pin.port for pin in load_pins(console.state).pins] == ["1-2", "1-2.4", "1-3"]
    files = console.files()
    modes = {path: mode for path, (_, _, mode) in files.items()}
    below = {str(console.root) + path: mode for path, mode in ((RULES, 0o644), (CHECK, 0o755), (HOOK, 0o755))}
    assert modes == {**below, str(console.state / "pins.json"): 0o600}


def test_a_dry_run_prints_every_file_and_writes_none(console: Console, capsys: pytest.CaptureFixture[str]) -> None:
    assert console.run("--dry-run") == 0

    out = capsys.readouterr().out
    assert all(f"==== {path}" in out for path in (RULES, CHECK, HOOK, str(console.state / "pins.json")))
    assert 'ATTR{authorized}="1"' in out
    assert console.files() == {}


def test_running_it_again_changes_nothing(console: Console, capsys: pytest.CaptureFixture[str]) -> None:
    console.run()
    before = console.files()
    assert console.run() == 0

    assert console.files() == before
    assert "every file was as it should be" in capsys.readouterr().out


def test_where_several_could_be_meant_it_refuses_and_names_them(
    console: Console, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    console.tree.attach("1-5", name="Another keyboard")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert console.run() == 1

    assert "1-2.4, 1-3, 1-5" in capsys.readouterr().err
    assert console.files() == {}


def test_a_person_at_a_terminal_is_asked(
    console: Console, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    console.tree.attach("1-5", name="Another keyboard")
    monkeypatch.setattr("sys.stdin", Terminal("1-5 1-3\n"))
    assert console.run() == 0

    assert "Which of these" in capsys.readouterr().out
    assert [pin.port for pin in load_pins(console.state).pins] == ["1-3", "1-5"]


def test_named_ports_join_what_is_pinned_and_one_can_be_taken_away(
    console: Console, capsys: pytest.CaptureFixture[str]
) -> None:
    console.run("--port", "1-2.4")
    console.run("--port", "1-3")
    assert [pin.port for pin in load_pins(console.state).consoles] == ["1-2.4", "1-3"]
    assert console.run("--remove", "1-2.4") == 0
    assert console.run("--list") == 0

    assert [pin.port for pin in load_pins(console.state).pins] == ["1-3"]
    assert "1-2.4" not in capsys.readouterr().out.splitlines()[-1]


def test_with_the_last_pin_the_rule_and_the_programs_go(console: Console) -> None:
    console.run("--port", "1-3")
    assert console.run("--remove", "1-3") == 0

    assert [Path(path).name for path in console.files()] == ["pins.json"]
    assert load_pins(console.state) == Pins()


@pytest.mark.parametrize("arguments", [("--port", "1-4"), ("--port", "1-9"), ("--remove", "1-4"), ("--port", "usb1")])
def test_what_cannot_be_done_is_refused_and_changes_nothing(console: Console, arguments: tuple[str, str]) -> None:
    console.run("--port", "1-3")
    before = console.files()

    assert console.run(*arguments) == 1
    assert console.files() == before


def test_storage_that_also_types_is_never_pinned(console: Console, capsys: pytest.CaptureFixture[str]) -> None:
    console.tree.attach("1-2.4", interfaces=[KEYBOARD, STORAGE])

    assert console.run("--port", "1-2.4") == 1
    assert "08:06:50" in capsys.readouterr().err


def test_without_initramfs_tools_there_is_no_hook(console: Console) -> None:
    (console.root / "etc/initramfs-tools").rmdir()
    console.run()

    assert not (console.root / HOOK.lstrip("/")).exists()


def test_a_name_that_a_device_chose_reaches_neither_rule_nor_programs(console: Console) -> None:
    console.tree.attach("1-3", 0x046D, 0xC077, [POINTER], name='x", RUN+="/bin/sh -c id" $(id) `id`')
    console.run()

    for path in (RULES, CHECK, HOOK):
        assert b"RUN" not in (console.root / path.lstrip("/")).read_bytes()


def test_a_damaged_list_of_pins_is_not_overwritten(console: Console, capsys: pytest.CaptureFixture[str]) -> None:
    console.state.mkdir()
    (console.state / "pins.json").write_text("{}")

    assert console.run() == 1
    assert (console.state / "pins.json").read_text() == "{}"
    assert "pinned console" in capsys.readouterr().err


def test_the_installed_check_is_tried_on_the_devices_that_are_there(console: Console) -> None:
    console.run()
    pins = load_pins(console.state).pins
    verify_accepted(console.machine, pins)
    console.tree.attach("1-2.4", interfaces=[KEYBOARD, KEYBOARD])

    with pytest.raises(CheckDisagrees, match=r"keyboard at 1-2\.4"):
        verify_accepted(console.machine, pins)


@pytest.mark.parametrize(
    "arguments", [(), ("x",), ("", "f" * 64), ("FOLDER", "f" * 64), ("FOLDER", "f" * 63), ("FOLDER", "")]
)
def test_the_check_program_accepts_nothing_but_the_pinned_digest(console: Console, arguments: tuple[str, ...]) -> None:
    console.run("--port", "1-3")
    folder = str((console.tree.root / "bus/usb/devices/1-3").resolve())
    check = console.root / CHECK.lstrip("/")
    given = [folder if one == "FOLDER" else one for one in arguments]

    assert subprocess.run([check, *given], check=False, stderr=subprocess.DEVNULL).returncode != 0
    pinned = load_pins(console.state).pins[0].descriptors
    assert subprocess.run([check, folder, pinned], check=False).returncode == 0


@pytest.mark.parametrize("path", [CHECK, HOOK])
def test_the_programs_are_whole_for_the_shells_that_run_them(console: Console, path: str) -> None:
    console.run()

    for shell in ("sh", "bash"):
        subprocess.run([shell, "-n", console.root / path.lstrip("/")], check=True)


# ---- files


def test_a_file_is_never_seen_half_and_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("kept")
    (tmp_path / "file").symlink_to(tmp_path / "other")
    apply(Wanted("/file", b"new"), tmp_path)

    assert (tmp_path / "other").read_text() == "kept"
    assert not (tmp_path / "file").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "other"]


def test_a_mode_that_was_changed_is_put_right(tmp_path: Path) -> None:
    apply(Wanted("/file", b"x", 0o755), tmp_path)
    (tmp_path / "file").chmod(0o777)

    assert apply(Wanted("/file", b"x", 0o755), tmp_path)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o755


def test_the_umask_of_whoever_runs_it_does_not_matter(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        apply(Wanted("/file", b"x", 0o755), tmp_path)
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o755


def test_what_cannot_be_written_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "folder/file").mkdir(parents=True)

    with pytest.raises(CannotWrite, match="folder/file"):
        apply(Wanted("/folder/file", b"x"), tmp_path)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["file"]


def test_the_guards_list_is_written_only_after_what_it_relies_on(console: Console) -> None:
    (console.root / "etc/udev/rules.d/60-leadglass-console.rules").mkdir(parents=True)

    assert console.run() == 3
    assert not (console.state / "pins.json").exists()


def test_storing_no_pins_on_a_bare_machine_writes_the_empty_list_alone(console: Console) -> None:
    assert store(console.machine, Pins()) == (str(console.state / "pins.json"),)


# ---- the initramfs


def test_an_initramfs_is_made_anew_for_every_kernel() -> None:
    asked: list[list[str]] = []

    def run(command: object) -> int:
        asked.append(list(command))  # type: ignore[call-overload]
        return 0

    assert rebuild(lambda _: "/usr/sbin/update-initramfs", run)
    assert asked == [["update-initramfs", "-u", "-k", "all"]]


def test_a_machine_without_the_program_is_told_apart_from_a_failure() -> None:
    assert not rebuild(lambda _: None, lambda _: 1)
    with pytest.raises(InitramfsNotMade, match="status 1"):
        rebuild(lambda _: "/usr/sbin/update-initramfs", lambda _: 1)
