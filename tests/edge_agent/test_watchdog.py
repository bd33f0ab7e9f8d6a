"""What systemd hears of the guard, over a real socket, with a name in the file system and without one."""

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.watchdog import ServiceManager, service_manager


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@leadglass-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + address[1:] if address[0] == "@" else address)
        listening.settimeout(5)
        yield address, listening


def test_says_that_it_is_ready_and_what_it_does(manager: tuple[str, socket.socket]) -> None:
    address, listening = manager
    ServiceManager(address).ready("policy 4, 12 devices")

    assert listening.recv(4096) == b"READY=1\nSTATUS=policy 4, 12 devices"


def test_says_that_it_lives_and_that_it_ends(manager: tuple[str, socket.socket]) -> None:
    address, listening = manager
    told = ServiceManager(address)
    told.alive()
    told.status("gap in the events")
    told.stopping()

    assert [listening.recv(4096) for _ in range(3)] == [b"WATCHDOG=1", b"STATUS=gap in the events", b"STOPPING=1"]


def test_asks_for_more_time_while_it_starts(manager: tuple[str, socket.socket]) -> None:
    address, listening = manager
    ServiceManager(address).starting()

    assert listening.recv(4096) == b"EXTEND_TIMEOUT_USEC=60000000"


def test_a_status_that_quotes_a_device_says_nothing_else(manager: tuple[str, socket.socket]) -> None:
    address, listening = manager
    ServiceManager(address).status("blocked X\nMAINPID=1\nWATCHDOG=trigger" + "x" * 500)

    said = listening.recv(4096).decode()
    assert said.count("\n") == 0
    assert len(said) <= 207


def test_nobody_is_told_where_systemd_started_nothing() -> None:
    told = ServiceManager.of({}, 1)
    told.ready("")
    told.alive()

    assert told == ServiceManager("", 0.0)


def test_a_manager_that_is_gone_or_does_not_read_stops_nothing(tmp_path: Path) -> None:
    ServiceManager(str(tmp_path / "gone")).alive()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "full"))
        for _ in range(2000):
            ServiceManager(str(tmp_path / "full")).alive()


@pytest.mark.parametrize(
    "environment, expected_s",
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "77"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "78"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
        ({"WATCHDOG_USEC": "٣"}, 0.0),
        ({}, 0.0),
    ],
)
def test_knows_how_often_it_has_to_say_that_it_lives(environment: dict[str, str], expected_s: float) -> None:
    told = ServiceManager.of({"NOTIFY_SOCKET": "/run/systemd/notify", **environment}, 77)

    assert told.expected_s == expected_s
    assert told.interval_s == expected_s / 3


@pytest.mark.parametrize("address", ["", "notify", "vsock:2:1234", "tcp"])
def test_an_address_of_another_kind_is_left_alone(address: str) -> None:
    assert ServiceManager.of({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1"}, 1).address == ""


def test_no_child_can_speak_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    told = service_manager()

    assert told == ServiceManager("/run/systemd/notify", 3.0)
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()
