"""The commands of a backup and a restore, from the first start to the settling, without a running control plane."""

import json
import re
from io import StringIO
from pathlib import Path

import pytest

from control_plane.__main__ import main
from tests.control_plane.policy.file.test_reading import GUIDE
from tests.fakes.postgresql import server


class Machine:
    """Runs commands on the machine of the control plane."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys

    def run(self, *command: str) -> tuple[int, str, str]:
        code = main(command)
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def succeeds(self, *command: str) -> str:
        code, out, errors = self.run(*command)
        assert code == 0, errors
        return out

    @property
    def data(self) -> tuple[str, str]:
        return "--data", str(self.folder / "data")

    @property
    def here(self) -> tuple[str, ...]:
        return *self.data, "--as", str(self.folder / "handover" / "credential-ada.json")

    @property
    def backups(self) -> str:
        return str(self.folder / "backups")

    def shares(self, handover: str = "handover") -> tuple[str, ...]:
        return tuple(
            word
            for number in (1, 3)
            for word in ("--share", str(self.folder / handover / f"recovery-share-{number}.txt"))
        )


@pytest.fixture
def machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Machine:
    machine = Machine(tmp_path, capsys)
    machine.succeeds("init", *machine.data, "--handover", str(tmp_path / "handover"), "--person", "ada")
    return machine


def test_a_centre_is_backed_up_proved_lost_and_made_again(machine: Machine, tmp_path: Path) -> None:
    said = machine.succeeds("backup", machine.backups, *machine.here, "--keep-days", "30")
    assert "read back, every byte as written" in said
    assert "two recovery shares open it" in said

    assert "NOT EVALUATED" in machine.succeeds("backups", "verify", machine.backups)
    assert "signature of this control plane" in machine.succeeds(
        "backups", "verify", machine.backups, *machine.shares()
    )
    drilled = machine.succeeds("keys", "drill", *machine.here, *machine.shares(), "--backup", machine.backups)
    assert "opened test object" in drilled
    (copy,) = json.loads(machine.succeeds("backups", "list", *machine.here, "--json"))
    assert (copy["finished"], copy["holds_destroyed"]) == (True, [])

    (tmp_path / "data").rename(tmp_path / "lost")
    said = machine.succeeds("restore", machine.backups, *machine.data, *machine.shares())

    assert f"restored from backup {copy['label']}" in said
    assert (tmp_path / "data" / "root-key" / "root.key").read_bytes() == (
        tmp_path / "lost" / "root-key" / "root.key"
    ).read_bytes()
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    machine.succeeds("settle-restore", *machine.here, "--reason", "nothing had happened since")
    code, _, errors = machine.run("settle-restore", *machine.here, "--reason", "again")
    assert (code, "settled already" in errors) == (1, True)
    (known,) = json.loads(machine.succeeds("backups", "list", *machine.here, "--json"))
    assert known["label"] == copy["label"]
    assert "by your word" in machine.succeeds("backups", "forget", copy["label"], *machine.here)
    assert json.loads(machine.succeeds("backups", "list", *machine.here, "--json")) == []


def test_the_sessions_of_the_guide_go_as_it_says(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (1, 3):
        name = f"recovery-share-{number}.txt"
        (tmp_path / name).write_text((tmp_path / "handover" / name).read_text())
    (tmp_path / "credential-NAME.json").write_text((tmp_path / "handover" / "credential-ada.json").read_text())
    (tmp_path / "credential-NAME.json").chmod(0o600)

    for command, lines in [*shown("Backing up"), *shown("When the machine is lost")]:
        if command.startswith("restore"):
            (tmp_path / "data").rename(tmp_path / "lost")
        arguments = command.replace("/mnt/backups", machine.backups).replace("DIR", str(tmp_path / "data")).split()
        said = machine.succeeds(*arguments).replace(machine.backups, "/mnt/backups")
        said = said.replace(str(tmp_path / "data"), "DIR")
        assert [as_shown(line) for line in said.splitlines()] == [as_shown(line) for line in lines]


def shown(heading: str) -> list[tuple[str, list[str]]]:
    """Return each command that the guide shows under a heading, with the lines that it prints."""
    below = GUIDE.read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]
    sessions = re.findall(r"```console\n(.*?)```", below, re.DOTALL)
    steps = (step.splitlines() for session in sessions for step in session.split("$ leadglass-server ")[1:])
    return [(step[0], step[1:]) for step in steps]


def as_shown(line: str) -> str:
    line = re.sub(r"20[0-9]{6}T[0-9]{6}Z-[0-9a-f]{4}", "LABEL", line)
    line = re.sub(r"20[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9:]{8}", "TIME", line)
    return re.sub(r"\b[0-9]+\b", "N", line)


def test_shares_of_another_centre_make_none_again(
    machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.succeeds("backup", machine.backups, *machine.here)
    other = ("--data", str(tmp_path / "other"), "--handover", str(tmp_path / "theirs"), "--person", "bob")
    machine.succeeds("init", *other)
    new = ("--data", str(tmp_path / "new"))

    code, _, errors = machine.run("restore", machine.backups, *new, *machine.shares("theirs"))

    assert (code, "does not open under this root key" in errors) == (1, True)
    assert list((tmp_path / "new").iterdir()) == []
    word = (tmp_path / "handover" / "recovery-share-1.txt").read_text().split()[3]
    assert word not in errors


def test_nobody_types_shares_for_a_folder_without_a_backup(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", typed := StringIO("a share\nanother\n"))

    code, _, errors = machine.run("restore", str(tmp_path / "mistyped"), "--data", str(tmp_path / "new"))

    assert (code, "mistyped holds no finished backup" in errors) == (1, True)
    assert typed.tell() == 0


def test_a_backup_does_not_lie_in_the_data_folder_nor_around_it(machine: Machine, tmp_path: Path) -> None:
    for folder in (tmp_path / "data" / "backups", tmp_path / "data", tmp_path):
        code, _, errors = machine.run("backup", str(folder), *machine.here)
        assert (code, "lies elsewhere" in errors) == (1, True)


def test_nobody_without_an_account_takes_a_backup(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "handover" / "credential-ada.json"
    path.write_text(path.read_text().replace("lgp_", "lgp_x"))

    code, _, _ = machine.run("backup", machine.backups, *machine.here)

    assert code == 1
    assert not Path(machine.backups).exists()


def test_a_control_plane_begins_in_postgresql_and_moves_to_sqlite_by_a_backup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(tmp_path, capsys)
    with server() as postgresql:
        url = postgresql.new_database()
        machine.succeeds("init", *machine.data, "--database", url, "--handover", str(tmp_path / "handover"),
                         "--person", "ada")  # fmt: skip
        assert not (tmp_path / "data" / "db" / "leadglass.sqlite").exists()
        machine.succeeds("keys", "drill", *machine.here, *machine.shares())
        machine.succeeds("backup", machine.backups, *machine.here)
        code, _, errors = machine.run("init", "--data", str(tmp_path / "second"), "--database", url, "--handover",
                                      str(tmp_path / "second handover"))  # fmt: skip
        assert (code, "holds tables already" in errors) == (1, True)

    new = ("--data", str(tmp_path / "new"))
    machine.succeeds("restore", machine.backups, *new, *machine.shares())

    assert (tmp_path / "new" / "db" / "leadglass.sqlite").exists()


def test_a_password_on_the_command_line_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine(tmp_path, capsys)
    url = "postgresql+psycopg://leadglass:never-shown@localhost/x"

    code, out, errors = machine.run("init", *machine.data, "--database", url, "--handover", str(tmp_path / "h"))

    assert (code, "passfile" in errors) == (1, True)
    assert "never-shown" not in out + errors
