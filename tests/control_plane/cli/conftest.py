"""A control plane in this process, and commands given to it as a person gives them."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.orm import Session, sessionmaker

from control_plane.__main__ import main
from control_plane.app import ControlPlane
from control_plane.db.engine import open_database, sqlite_url
from control_plane.settings import Settings
from shared.clock import SystemClock
from tests.control_plane.begun import begun


@dataclass
class Administrator:
    """A person with a credential, a folder of policy files, and a terminal."""

    folder: Path
    database: sessionmaker[Session]
    who: tuple[str, ...]
    terminal: pytest.CaptureFixture[str]
    keyboard: pytest.MonkeyPatch
    enrol_url: str

    def run(self, *arguments: str | Path, typed: str = "") -> tuple[int, str, str]:
        """Return exit code, what was printed and what was complained about."""
        self.terminal.readouterr()
        self.keyboard.setattr("sys.stdin", io.StringIO(typed))
        code = main(["policy", *map(str, arguments), *self.who])
        printed = self.terminal.readouterr()
        return code, printed.out, printed.err

    def file(self, text: str, name: str = "policy.yaml") -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def publish(self, text: str) -> None:
        code, _, errors = self.run("publish", self.file(text))
        assert (code, errors) == (0, "")


@pytest.fixture
def ada(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Administrator]:
    folders, made = begun(tmp_path)
    centre = ControlPlane(Settings(folders, host_port=0, enrol_port=0, people_port=0, with_broker=False), SystemClock())
    centre.start()
    addresses = centre.addresses()
    who = ("--as", str(made.credential), "--url", str(addresses["people_url"]))
    yield Administrator(
        tmp_path, open_database(sqlite_url(folders.database)), who, capsys, monkeypatch, str(addresses["enrol_url"])
    )
    centre.stop()
