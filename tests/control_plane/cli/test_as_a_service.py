"""`leadglass-server` as systemd runs it: it says that its doors answer, is handed the root key, and backed up."""

import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from control_plane.http import serving
from control_plane.http.serving import Door
from control_plane.keys.root import RootKeyMissing, load_root_key
from control_plane.service_manager import ServiceManager
from control_plane.settings import ROOT_KEY_CREDENTIAL, handed_root_key
from tests.control_plane.begun import begun
from tests.control_plane.cli.running import PORTS, opened, run


def empty(_environ: object, start: Any) -> list[bytes]:
    start("204 No Content", [])
    return []


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(address)
        listening.settimeout(60)
        yield address, listening


def test_it_starts_with_a_root_key_that_systemd_hands_over_and_says_that_its_doors_answer(
    tmp_path: Path, manager: tuple[str, socket.socket]
) -> None:
    address, listening = manager
    folders, _ = begun(tmp_path, "ada")
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    folders.root_key.rename(credentials / ROOT_KEY_CREDENTIAL)
    command = [sys.executable, "-m", "control_plane", "run", "--data", str(folders.data), *PORTS]

    # The control: the key is nowhere but there.
    with pytest.raises(RootKeyMissing):
        load_root_key(folders.root_key_now)
    environment = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "900000", "CREDENTIALS_DIRECTORY": str(credentials)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert [listening.recv(64) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1"]
        process.send_signal(signal.SIGTERM)
        while (said := listening.recv(64)) == b"WATCHDOG=1":
            pass
        assert said == b"STOPPING=1"
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert not folders.root_key.exists()


@pytest.mark.parametrize("environment", [{}, {"CREDENTIALS_DIRECTORY": ""}, {"CREDENTIALS_DIRECTORY": "/nowhere"}])
def test_without_a_credential_the_key_is_where_it_was(environment: dict[str, str]) -> None:
    assert handed_root_key(environment) is None


@pytest.mark.parametrize(
    "environment, interval_s",
    [
        ({"WATCHDOG_USEC": "30000000"}, 10.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "78"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_it_knows_how_often_it_has_to_say_so(environment: dict[str, str], interval_s: float | None) -> None:
    told = ServiceManager.of({"NOTIFY_SOCKET": "/run/systemd/notify", **environment}, 77)

    assert told.interval_s == interval_s
    assert ServiceManager.of(environment, 77) == ServiceManager()


# ---- a door that answers, and doors that do not


@pytest.mark.parametrize("context", [None, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)], ids=["plain", "TLS"])
def test_a_door_answers_until_it_is_closed(context: ssl.SSLContext | None) -> None:
    door = Door("one", empty, "127.0.0.1", 0, context, max_body_bytes=1024)
    door.open()

    assert door.answers()
    door.close()
    assert not door.answers()


def test_a_door_whose_threads_hang_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_ASKED_S", 0.3)
    go_on = threading.Event()

    def hangs(environ: object, start: Any) -> list[bytes]:
        go_on.wait(30)
        return empty(environ, start)

    door = Door("one", hangs, "127.0.0.1", 0, None, max_body_bytes=1024, threads=1)
    door.open()
    try:
        assert not door.answers()
    finally:
        go_on.set()
        door.close()


# ---- the backup of every night


def test_a_timer_backs_up_with_a_token_that_is_good_for_nothing_else(tmp_path: Path) -> None:
    token = tmp_path / "token"
    with opened(tmp_path / "centre") as centre:
        for scope, code in (("status:read", 1), ("backup:make", 0)):
            made = run("token", "new", "--name", scope, "--scope", scope, "--json", *centre.who)
            token.write_text(json.loads(made[1])["token"])
            command = ("backup", tmp_path / "backups", "--data", centre.data, "--token-file", token)
            assert run(*command)[0] == code
    assert run("backups", "verify", tmp_path / "backups")[0] == 0
