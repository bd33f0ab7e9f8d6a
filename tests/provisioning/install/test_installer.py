"""Installing below a folder with systemd's own tools: whole, undone, cut off with SIGKILL, and never over an image."""

import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.config import AgentFolder, load_config
from edge_agent.console.pinning import Machine
from edge_agent.console.pinning import store as store_pins
from edge_agent.console.pins import Pins
from edge_agent.console.plan import RULES
from edge_agent.enrol.enroller import enrol
from edge_agent.health.local import read_status
from edge_agent.settings_file.document import FILE, AgentSettings, NamedFolder
from provisioning import __main__ as program
from provisioning.command import UNAVAILABLE
from provisioning.demo.processes import wait_until
from provisioning.install.addresses import DROP_IN, NameNotResolved, StrangeDoor
from provisioning.install.installer import Choice, ConsoleNotProved, Installer, InTheWay, OtherDataFolder
from provisioning.install.item import Part
from provisioning.install.local import LocalFiles
from provisioning.install.remover import Erasing, ImagesWait, Remover
from provisioning.install.system import ProgramFailed, SystemBelow
from provisioning.install.wanted import FOLDERS_DROP_IN, SIDECAR_DROP_IN, NoWayToDeny
from shared.audit.events import Event
from tests.edge_agent.test_agent import IMAGES, events, running, send, wait_for_listener
from tests.fakes.centre import Centre
from tests.fakes.log import MemoryLog
from tests.provisioning.install.conftest import accounts, installer, tree

SETTINGS = AgentSettings(dicom_host="10.1.2.3", modalities=("10.1.2.0/24",))
AGENT = Choice(settings=SETTINGS)
EVERYTHING = Choice(frozenset({Part.AGENT, Part.GUARD, Part.SIDECAR, Part.DENIAL}), SETTINGS, no_usb_console=True)
DATA = "var/lib/leadglass"
UNITS = "etc/systemd/system"
PINS = (
    b'{"pins":[{"controller":"/devices/pci0000:00/0000:00:14.0","descriptors":"' + b"0" * 64 + b'","name":"",'
    b'"port":"1-2","ports":"2","product":"0001","role":"keyboard","vendor":"0001"}],"v":1}\n'
)

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not installed (Debian package systemd)"
)


def install(root: Path, choice: Choice = AGENT, *programs: str) -> Installer:
    host = installer(root, *programs)
    host.apply(host.plan(choice))
    return host


def slices_named(root: Path) -> set[str]:
    units = [path.read_text() for path in (root / UNITS).iterdir() if path.is_file()]
    return {name for text in units for name in re.findall(r"(?m)^Slice=(.+)$", text)}


def test_everything_is_there_once_and_nothing_of_it_after_it_is_taken_away(root: Path) -> None:
    (root / "etc/default/grub.d").mkdir()
    (root / "etc/udev/rules.d/70-other.rules").write_text("# of somebody else\n")
    before = tree(root)
    host = install(root, EVERYTHING, "update-grub", "update-initramfs")
    there = tree(root)

    assert host.plan(AGENT).is_nothing
    assert slices_named(root) <= {path.name for path in (root / UNITS).iterdir()}
    assert (root / FILE.lstrip("/")).read_bytes() == SETTINGS.text().encode()
    assert there[DATA][0].startswith("drwx------")
    assert there["var/lib/leadglass-wipe/out"][0].startswith("drwxr-x---")
    assert (root / f"{UNITS}/multi-user.target.wants/leadglass-agent.service").is_symlink()
    assert (root / f"{UNITS}/sysinit.target.wants/leadglass-guard.service").is_symlink()
    assert "etc/udev/rules.d/58-leadglass-default-deny.rules" in there
    assert "etc/default/grub.d/leadglass.cfg" in there
    assert "etc/modprobe.d/leadglass.conf" not in there
    assert " --sidecar" in (root / SIDECAR_DROP_IN.lstrip("/")).read_text()
    assert "leadglass" in accounts(root)

    left = Remover(root).apply(Erasing())
    assert left == ["the kernel that runs now still authorises nothing on the USB; the next start ends that"]
    assert tree(root) == before
    assert "leadglass" not in accounts(root)


def test_which_tickets_were_used_stays_whatever_else_is_erased(root: Path) -> None:
    install(root, Choice(frozenset({Part.AGENT, Part.GUARD}), SETTINGS))
    used = root / "var/lib/leadglass-wipe/attempts/1625f13d370e9e1785aa7e1aad3cb1da"
    used.mkdir(parents=True)

    left = Remover(root).apply(Erasing(identity=True, guard_records=True, changed=True))

    assert any(line.startswith("/var/lib/leadglass-wipe: which wipe tickets were used here") for line in left)
    assert used.is_dir()


def test_blank_lines_and_those_of_nis_are_no_accounts(root: Path) -> None:
    for name in ("etc/passwd", "etc/group"):
        with (root / name).open("a") as file:
            file.write("\n+::::::\n")
    assert LocalFiles(root).is_account("root")
    assert not LocalFiles(root).is_account("leadglass")


def test_a_folder_that_no_unit_knows_is_refused_before_anything_is_changed(root: Path) -> None:
    (root / "etc/leadglass").mkdir()
    (root / FILE.lstrip("/")).write_text(replace(SETTINGS, data="/srv/leadglass").text())
    before = tree(root)

    with pytest.raises(OtherDataFolder, match="mount the disk that is to hold it there"):
        install(root)
    assert tree(root) == before


def test_a_full_disk_is_named_and_nothing_was_changed(root: Path) -> None:
    before = tree(root)
    command = f'ulimit -f 0; exec "{sys.executable}" -P -m provisioning install --root "$0"'
    done = subprocess.run(["sh", "-c", command, str(root)], capture_output=True, text=True, check=False)

    assert done.returncode == UNAVAILABLE
    assert "/var/lib/leadglass-provision/installed.json cannot be changed: File too large" in done.stderr
    assert {name for name in tree(root).keys() - before.keys() if "leadglass-provision" not in name} == set()


def test_a_dry_run_says_every_change_and_makes_none(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = tree(root)
    command = ["install", "--guard", "--modalities", "10.1.2.0/24", "--root", str(root)]

    assert program.main([*command, "--dry-run"]) == 0
    assert tree(root) == before
    said = capsys.readouterr().out
    assert program.main(command) == 0
    made = {f"/{path}" for path in tree(root).keys() - before.keys() if "leadglass-provision" not in path}
    assert made <= {word for line in said.splitlines() for word in line.split()}
    assert program.main([*command, "--dry-run"]) == 0
    assert "everything is as it has to be" in capsys.readouterr().out


def test_after_an_upgrade_what_is_placed_already_is_refreshed_and_nothing_else_comes(root: Path) -> None:
    empty = tree(root)
    assert program.main(["install", "--refresh", "--root", str(root)]) == 0
    assert tree(root) == empty
    install(root, Choice(frozenset({Part.AGENT, Part.GUARD}), SETTINGS))
    there = tree(root)
    (root / UNITS / "leadglass-guard.service").unlink()

    assert program.main(["install", "--refresh", "--root", str(root)]) == 0

    assert tree(root) == there


def killed(root: Path, after: int, work: Callable[[Path], object]) -> bool:
    """Do the work in a process that kills itself before the change after so many; return whether it came to that."""
    child = os.fork()
    if child == 0:
        left = itertools.count(after, -1)
        for name in ("replace", "mkdir", "unlink", "symlink_to", "chmod", "rmdir"):
            setattr(Path, name, _counted(getattr(Path, name), left))
        work(root)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _counted(change: Callable[..., object], left: Iterator[int]) -> Callable[..., object]:
    """Every name that comes into being or goes is one call of these."""

    def one(*given: object, **named: object) -> object:
        if next(left) <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return change(*given, **named)

    return one


@pytest.mark.parametrize("after", [0, 1, 2, 6, 12, 17, 22, 25])
def test_what_was_killed_is_completed_by_the_next_and_taken_back(root: Path, tmp_path: Path, after: int) -> None:
    before, whole = tree(root), shutil.copytree(root, tmp_path / "whole")
    install(whole, EVERYTHING, "update-grub")
    assert killed(root, after, lambda root: install(root, EVERYTHING, "update-grub"))
    taken_back = shutil.copytree(root, tmp_path / "taken-back", symlinks=True)

    install(root, EVERYTHING, "update-grub")
    assert tree(root) == tree(whole)
    Remover(taken_back).apply(Erasing())
    assert tree(taken_back) == before
    # And so is a removal.
    assert killed(root, after, lambda root: Remover(root).apply(Erasing()))
    Remover(root).apply(Erasing())
    assert tree(root) == before


def test_what_somebody_put_there_stays_until_a_person_says_otherwise_and_then_comes_back(root: Path) -> None:
    unit = root / UNITS / "leadglass-agent.service"
    unit.write_text("# a unit of somebody else\n")
    unit.chmod(0o600)
    before = tree(root)

    with pytest.raises(InTheWay, match=r"leadglass-agent.service: something else is there already"):
        install(root)
    assert tree(root) == before
    install(root, replace(AGENT, replacing=True))
    assert "Leadglass agent" in unit.read_text()
    assert Remover(root).apply(Erasing()) == []
    assert tree(root) == before


def test_a_unit_that_was_changed_by_hand_is_named_and_survives(root: Path) -> None:
    install(root)
    unit = root / UNITS / "leadglass-agent.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=60", "WatchdogSec=600"))

    with pytest.raises(InTheWay, match="somebody changed it"):
        install(root)
    left = Remover(root).apply(Erasing())
    assert left == [f"/{UNITS}/leadglass-agent.service: somebody changed it"]
    assert "WatchdogSec=600" in unit.read_text()
    assert Remover(root).apply(Erasing(changed=True)) == []
    assert not unit.exists()


# ---- nothing is denied before the console is proved


def test_nothing_is_denied_before_the_console_is_proved(root: Path) -> None:
    with pytest.raises(ConsoleNotProved, match="leadglass-guard pin-console"):
        install(root, replace(EVERYTHING, no_usb_console=False), "update-grub")
    assert not list((root / "etc").rglob("*leadglass*"))

    # A list of pins is no proof: the installed check has to accept each device as it is attached now.
    install(root, replace(AGENT, parts=frozenset({Part.AGENT, Part.GUARD})))
    (root / "var/lib/leadglass-guard/pins.json").write_bytes(PINS)
    with pytest.raises(ConsoleNotProved, match=r"60-leadglass-console.rules is not there"):
        install(root, EVERYTHING, "update-grub")
    assert not (root / "etc/udev/rules.d/58-leadglass-default-deny.rules").exists()


def test_a_boot_loader_that_is_not_known_is_a_person_s_to_set(root: Path) -> None:
    with pytest.raises(NoWayToDeny, match=r"usbcore.authorized_default=0 on the kernel's command line"):
        install(root, EVERYTHING)
    (root / "proc").mkdir()
    (root / "proc/cmdline").write_text("root=/dev/sda1 usbcore.authorized_default=0 quiet\n")
    told = install(root, EVERYTHING, "update-initramfs")
    assert told.plan(AGENT).is_nothing
    assert not (root / "etc/modprobe.d/leadglass.conf").exists()
    Remover(root).apply(Erasing())

    # Where it is we who tell the kernel, we go on doing so after it started that way.
    (root / "proc/cmdline").write_text("root=/dev/sda1\n")
    ours = install(root, EVERYTHING, "update-initramfs")
    (root / "proc/cmdline").write_text("root=/dev/sda1 usbcore.authorized_default=0\n")
    assert ours.plan(AGENT).is_nothing
    assert (root / "etc/modprobe.d/leadglass.conf").is_file()


# ---- a pinned keyboard works for as long as anything denies


@pytest.fixture
def denied(root: Path) -> Path:
    """A machine that denies by default, its keyboard pinned; returns the rule of udev by which that works."""
    install(root, EVERYTHING, "update-grub")
    store_pins(Machine(root, root / "var/lib/leadglass-guard"), Pins.parse(PINS))
    return root / RULES.lstrip("/")


class NoGrub(SystemBelow):
    def act(self, action: str) -> None:
        if action == "update-grub":
            raise ProgramFailed([action], "no space left")


def test_a_removal_that_breaks_before_the_kernel_is_told_leaves_the_keyboard_pinned(root: Path, denied: Path) -> None:
    with pytest.raises(ProgramFailed, match="no space left"):
        Remover(root, NoGrub(root)).apply(Erasing(guard_records=True))
    assert denied.is_file()
    # The control: once the kernel is told, nothing of it is left.
    assert Remover(root).apply(Erasing(guard_records=True))[-1].endswith("the next start ends that")
    assert not denied.exists()
    assert not (root / "var/lib/leadglass-guard").exists()


def test_the_keyboard_stays_pinned_where_something_of_somebody_else_goes_on_denying(root: Path, denied: Path) -> None:
    grub = root / "etc/default/grub.d/leadglass.cfg"
    grub.write_text(f"{grub.read_text()}# and more of ours\n")
    left = Remover(root).apply(Erasing(guard_records=True))
    assert left[-1].startswith("/etc/default/grub.d/leadglass.cfg goes on denying what is on the USB")
    assert denied.is_file()

    Remover(root).apply(Erasing(guard_records=True, changed=True))
    assert not denied.exists()
    assert not (root / "var/lib/leadglass-guard").exists()


def test_the_keyboard_stays_pinned_where_the_command_line_was_set_by_hand(root: Path) -> None:
    (root / "proc").mkdir()
    (root / "proc/cmdline").write_text("usbcore.authorized_default=0\n")
    install(root, EVERYTHING)
    store_pins(Machine(root, root / "var/lib/leadglass-guard"), Pins.parse(PINS))

    left = Remover(root).apply(Erasing())
    assert left[-1].startswith("the kernel's command line goes on denying")
    assert (root / RULES.lstrip("/")).is_file()
    (root / "proc/cmdline").write_text("quiet\n")
    assert Remover(root).apply(Erasing(guard_records=True)) == []
    assert not (root / RULES.lstrip("/")).exists()


# ---- following enrolment, and never over an image


@pytest.fixture
def enrolled(root: Path, centre: Centre) -> AgentFolder:
    install(root, Choice(settings=replace(SETTINGS, archives=("pacs.hospital",))))
    folder = AgentFolder(root / DATA)
    enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2")
    return folder


def test_after_enrolment_the_agent_may_talk_to_those_and_nobody_else(root: Path, enrolled: AgentFolder) -> None:
    host = installer(root)
    assert not (root / DROP_IN.lstrip("/")).exists()
    host.apply(host.plan_addresses())
    lines = (root / DROP_IN.lstrip("/")).read_text().splitlines()

    allowed = {word for line in lines if line.startswith("IPAddressAllow=") for word in line.split("=")[1].split()}
    assert allowed == {"127.0.0.1", "10.1.2.0/24", "10.3.0.7", "10.3.0.9", "10.0.0.53", "127.0.0.53"}
    assert "# an archive, pacs.hospital" in lines
    assert host.plan_addresses().is_nothing
    assert host.plan(AGENT).is_nothing
    assert host.to_start() == []

    # The control: one that does not resolve changes nothing, rather than locking the agent out.
    def unresolved(_: object) -> dict[str, tuple[str, ...]]:
        raise NameNotResolved("pacs.hospital", "an archive", "unknown")

    lost = Installer(host._data, root, resolve=unresolved)
    with pytest.raises(NameNotResolved, match="does not resolve"):
        lost.plan_addresses()
    assert (root / DROP_IN.lstrip("/")).read_text().splitlines() == lines
    moved = Installer(host._data, root, resolve=lambda _: {"pacs.hospital": ("10.3.0.8",)})
    moved.apply(moved.plan_addresses())
    assert "10.3.0.8" in (root / DROP_IN.lstrip("/")).read_text()


def test_the_timer_s_service_follows_although_it_may_write_in_one_folder_alone(
    root: Path, enrolled: AgentFolder
) -> None:
    (root / FILE.lstrip("/")).write_text(replace(SETTINGS, archives=("10.3.0.8",)).text())
    closed = 'mount --bind "$1/$0" "$1/$0" && mount -o remount,ro,bind "$1/$0"; touch "$1/$0/x" 2>/dev/null && exit 9'
    follow = 'exec "$2" -P -m provisioning addresses --follow --root "$1"'
    script = f"{closed}; {follow}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "etc/leadglass", str(root), sys.executable],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert "IPAddressAllow=10.3.0.8" in (root / DROP_IN.lstrip("/")).read_text()


def test_who_has_the_agent_s_account_cannot_name_whom_it_may_talk_to(root: Path, enrolled: AgentFolder) -> None:
    host = installer(root)
    host.apply(host.plan_addresses(following=True))
    assert host.plan_addresses(following=True).is_nothing
    config = load_config(enrolled)
    for name in ("thief.example", "203.0.113.9"):
        enrolled.config.write_bytes(replace(config, doors=replace(config.doors, host=name)).encode())

        with pytest.raises(StrangeDoor, match=f"names {name} "):
            host.plan_addresses(following=True)
        with pytest.raises(StrangeDoor):  # as an upgrade does
            host.plan(Choice(frozenset(), following=True))
        # A person who is root may.
        assert not host.plan_addresses().is_nothing


def test_an_image_that_nobody_else_has_is_never_erased(root: Path, enrolled: AgentFolder, centre: Centre) -> None:
    centre.publish(1)
    centre.vault_status = 503
    with running(enrolled, MemoryLog()) as agent:
        wait_for_listener(centre, agent)
        assert send(agent, IMAGES[0]) == 0
    before = tree(root)

    with pytest.raises(ImagesWait, match="1 images wait for the vault"):
        Remover(root).apply(Erasing(identity=True))
    assert tree(root) == before
    left = Remover(root).apply(Erasing())
    assert left == [
        f"/{DATA}: identity, spool and journal; --erase-identity erases them once everything is delivered",
        f"account leadglass: /{DATA} is its",
    ]
    assert {name: what for name, what in tree(root).items() if name.startswith(f"{DATA}/")} == {
        name: what for name, what in before.items() if name.startswith(f"{DATA}/")
    }

    # The control: once it is delivered, it goes.
    install(root)
    centre.vault_status = 0
    with running(enrolled, MemoryLog()):
        # That it is delivered is a record too, which comes after the receipt.
        centre.wait_for(lambda: Event.IMAGE_DELIVERED in events(centre))
        assert wait_until(lambda: read_status(enrolled).audit_waiting == 0, 60) is not None
    assert Remover(root).apply(Erasing(identity=True)) == []
    assert not (root / DATA).exists()


def test_audit_records_that_nobody_else_has_are_never_erased(root: Path, enrolled: AgentFolder, centre: Centre) -> None:
    """The control is the test before: one that only a stop left is erased with the rest."""
    centre.stop()
    with running(enrolled, MemoryLog()):
        assert wait_until(lambda: read_status(enrolled).audit_waiting > 0, 60) is not None
    centre.start()
    before = tree(root)

    for attempt in (Remover(root).foreseen, Remover(root).apply):
        with pytest.raises(ImagesWait, match="audit records wait for the centre"):
            attempt(Erasing(identity=True))
    assert tree(root) == before


def test_a_dry_run_says_what_stays_and_which_console_it_gives_up(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install(root, Choice(frozenset({Part.AGENT, Part.GUARD}), SETTINGS))
    state = root / "var/lib/leadglass-guard"
    (state / "pins.json").write_bytes(PINS)
    (root / DATA / "identity").mkdir(parents=True)
    (root / DATA / "identity/host.json").touch()
    before, command = tree(root), ["uninstall", "--root", str(root)]

    assert program.main([*command, "--dry-run"]) == 0
    assert tree(root) == before
    said = capsys.readouterr().out.splitlines()
    assert "unpin     the keyboard in port 1-2: once nothing denies any more" in said
    assert program.main(command) == 0
    stays = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left: /")]
    assert stays == [line for line in said if line.startswith("left: /")]


def test_of_a_folder_that_was_there_before_what_is_the_agent_s_is_told_of_and_goes(root: Path) -> None:
    disk = root / DATA
    (disk / "lost+found").mkdir(parents=True)
    install(root)
    for name in ("identity", "journal"):
        (disk / name).mkdir()
        (disk / name / "file").touch()

    told = f"/{DATA}: identity, spool and journal; --erase-identity erases them once everything is delivered"
    assert told in Remover(root).apply(Erasing())
    install(root)
    assert told not in Remover(root).apply(Erasing(identity=True))
    assert [path.name for path in disk.iterdir()] == ["lost+found"]


def test_a_spool_that_cannot_be_read_is_not_erased(root: Path, enrolled: AgentFolder) -> None:
    (enrolled.spool / "files").mkdir(parents=True)
    enrolled.database.parent.mkdir()
    enrolled.database.write_bytes(b"no database")

    with pytest.raises(ImagesWait, match="cannot be told"):
        Remover(root).apply(Erasing(identity=True))
    assert enrolled.config.is_file()


def test_what_a_restored_vault_was_not_asked_about_yet_is_not_erased(
    root: Path, enrolled: AgentFolder, centre: Centre
) -> None:
    centre.publish(1)
    with running(enrolled, MemoryLog()) as agent:
        wait_for_listener(centre, agent)
        assert send(agent, IMAGES[0]) == 0
        centre.wait_for(lambda: Event.IMAGE_DELIVERED in events(centre))
        assert wait_until(lambda: read_status(enrolled).audit_waiting == 0, 60) is not None
        agent.captures.receipts.doubt_all()

    with pytest.raises(ImagesWait, match="1 images may be gone from the vault"):
        Remover(root).apply(Erasing(identity=True))
    assert enrolled.config.is_file()


def test_a_spool_whose_database_is_gone_is_not_erased(root: Path, enrolled: AgentFolder) -> None:
    (enrolled.spool / "segments").mkdir(parents=True)

    with pytest.raises(ImagesWait, match="cannot be told"):
        Remover(root).apply(Erasing(identity=True))
    assert enrolled.config.is_file()


def test_export_folders_may_be_written_to_also_where_homes_are_hidden(root: Path) -> None:
    folders = (NamedFolder("CT1", "/srv/100% ct"), NamedFolder("MR1", "/home/mr/export"))
    install(root, Choice(settings=replace(SETTINGS, export_folders=folders)))

    lines = (root / FOLDERS_DROP_IN.lstrip("/")).read_text().splitlines()
    assert 'ReadWritePaths=-"/srv/100%% ct"' in lines
    assert 'BindPaths=-"/home/mr/export"' in lines
    assert "ProtectHome=tmpfs" in lines


def test_the_centre_s_service_is_put_into_place_and_its_data_are_never_taken(root: Path) -> None:
    before = tree(root)
    install(root, Choice(frozenset({Part.CENTRE})))
    assert "leadglass-server" in accounts(root)
    assert slices_named(root) <= {path.name for path in (root / UNITS).iterdir()}
    assert not (root / FILE.lstrip("/")).exists()
    data = root / "var/lib/leadglass-server"
    (data / "objects").mkdir()

    left = Remover(root).apply(Erasing(identity=True, guard_records=True, changed=True))
    assert any("the centre itself" in line for line in left)
    assert data.is_dir()
    (data / "objects").rmdir()
    assert Remover(root).apply(Erasing()) == []
    assert tree(root) == before
