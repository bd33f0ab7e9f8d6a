"""`leadglass-server log`, on a control plane whose database says that it was restored."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from control_plane.checkpoints.guard import STOPPED
from control_plane.cli import client, log
from control_plane.db.engine import open_database, sqlite_url
from control_plane.db.models import Fact
from control_plane.settings import Folders
from tests.control_plane.cli.running import Running, run, running


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("centre")) as centre:
        yield centre


def restored(data: Path) -> None:
    database = open_database(sqlite_url(Folders(data).database))
    with database.begin() as session:
        session.add(Fact(name=STOPPED, value="from a copy of 2026-11-28"))
    database.kw["bind"].dispose()


def test_a_loss_is_accepted_by_a_person_who_says_that_every_host_was_looked_at(centre: Running) -> None:
    _, before, _ = run("status", *centre.who)
    too_early, _, told_so = run("log", "accept-loss", "--reason", "disk broke", *centre.who)
    restored(centre.data)
    _, stopped, _ = run("status", *centre.who)
    refused, hosts, why = run("log", "accept-loss", "--reason", "disk broke", *centre.who)
    accepted, told, _ = run("log", "accept-loss", "--reason", "disk broke", "--yes", *centre.who)
    _, after, _ = run("status", *centre.who)
    again, _, nothing = run("log", "accept-loss", "--reason", "disk broke", "--yes", *centre.who)

    said = "not proved centre's log: the database was restored (from a copy of 2026-11-28)"
    assert [said in out for out in (before, stopped, after)] == [False, True, False]
    assert (too_early, refused, accepted, again) == (1, 1, 0, 1)
    assert "nothing to accept" in told_so
    assert "the database was restored" in hosts
    assert "revoke again whoever was revoked" in why
    assert "given up for lost, in your name" in told
    assert "nothing to accept" in nothing


def test_audit_verify_holds_the_certificates_against_the_log(centre: Running) -> None:
    code, out, _ = run("audit", "verify", *centre.who)

    assert code == 0
    assert "certificates: 8 held against the log, verified\n" in out


def test_audit_verify_waits_for_as_long_as_there_is_something_to_look_at(
    centre: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as door, ThreadPoolExecutor(1) as pool:
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        verifying = pool.submit(run, "audit", "verify", *centre.who[:2], "--url", url)
        asked, _ = door.accept()
        with asked:
            assert asked.recv(1 << 16)
            for _ in range(2):
                with pytest.raises(client.DoorUnavailable):
                    client.PeopleDoor(url, "impatient").get("/api/v1/status")
            asked.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}")
            assert verifying.result(30)[0] == 0


@pytest.mark.parametrize("standing", ["active", "quarantined", "replaced", "decommissioned"])
def test_whoever_looks_at_every_host_sees_how_it_stands(standing: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Not one that was sold called revoked, nor one that is quarantined called good."""
    host = {"asset": "CT 1", "host": "host-1", "active": standing == "active", "standing": standing, "last_seen": None}

    log.show({"not_evaluated": [], "hosts": [host]})

    assert capsys.readouterr().out == f"host       CT 1 (host-1): {standing}, last heard never\n"
