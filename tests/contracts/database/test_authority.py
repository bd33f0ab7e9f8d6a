"""`leadglass-server authority` finds the database wherever it is, as every other command does."""

from pathlib import Path

from control_plane.first_start import first_start
from control_plane.settings import Folders
from shared.clock import SystemClock
from tests.contracts.database.originals import Place
from tests.control_plane.cli.running import run


def test_the_next_issuing_authority_is_asked_for_and_installed(empty: Place, tmp_path: Path) -> None:
    data, request, signed = tmp_path / "data", tmp_path / "request.pem", tmp_path / "signed.pem"
    url = empty.url if empty.engine == "postgresql" else None
    made = first_start(
        Folders(data, url), tmp_path / "handover", "ada", host="127.0.0.1", people_url="http://127.0.0.1:1",
        clock=SystemClock(),
    )  # fmt: skip
    here = "--data", data, "--as", made.credential
    assert made.root_key is not None

    assert run("authority", "request", "--out", request, *here)[0] == 0
    assert run("authority", "sign", request, "--key", made.root_key, "--out", signed, "--yes")[0] == 0
    assert run("authority", "install", signed, *here)[0] == 0
    shown = run("authority", "show", "--data", data)[1]
    assert shown.count("issuing  Leadglass issuing") == 2
