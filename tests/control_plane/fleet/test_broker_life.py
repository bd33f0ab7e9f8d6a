"""The broker as a child process: it comes back, it leaves no key behind, and it is never left behind."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from control_plane.fleet.broker import BrokerTooOld, BrokerUnavailable, ManagedBroker
from control_plane.fleet.broker_config import DATABASE_FILE, REVOKED_FILE, STATE_FOLDER
from tests.control_plane.fleet.conftest import StartBroker
from tests.control_plane.fleet.host_client import HostClient
from tests.control_plane.fleet.pki import TestCa
from tests.control_plane.fleet.processes import eventually, processes_of


def test_comes_back_after_it_was_killed(broker: ManagedBroker, tmp_path: Path, ca: TestCa) -> None:
    (first,) = processes_of(tmp_path / "broker")

    os.kill(first, signal.SIGKILL)

    assert eventually(lambda: broker.status.restarts == 1 and broker.is_running)
    assert processes_of(tmp_path / "broker") != [first]
    assert "killed by signal 9" in broker.status.reason
    with HostClient(broker.port, ca.pem, ca.host()):
        pass


def test_stops_when_it_is_told(start_broker: StartBroker, tmp_path: Path) -> None:
    broker = start_broker()

    broker.stop()

    assert not broker.is_running
    assert processes_of(tmp_path / "broker") == []
    broker.start()
    assert broker.is_running


def test_never_runs_as_root(broker: ManagedBroker, tmp_path: Path) -> None:
    (pid,) = processes_of(tmp_path / "broker")

    assert broker.is_running
    owner = Path(f"/proc/{pid}").stat().st_uid
    assert owner == (tmp_path / "broker" / STATE_FOLDER).stat().st_uid
    assert owner != 0


# ---- the key


def holding(folder: Path, secrets: tuple[bytes, ...]) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if any(secret in path.read_bytes() for secret in secrets)]


def test_the_private_key_lies_in_no_file(
    start_broker: StartBroker, ca: TestCa, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = ca.server()
    monkeypatch.setattr(ca, "server", lambda: identity)
    number = load_pem_private_key(identity.key, None).private_numbers().private_value  # type: ignore[union-attr]
    secrets = (b"PRIVATE KEY", identity.key.splitlines()[1], number.to_bytes(32))

    broker = start_broker()

    assert broker.is_running
    assert holding(tmp_path, secrets) == []
    broker.stop()
    assert (tmp_path / "broker" / STATE_FOLDER / DATABASE_FILE).exists()
    assert holding(tmp_path, secrets) == []
    (tmp_path / "control").write_bytes(identity.key)
    assert holding(tmp_path, secrets) == [tmp_path / "control"]


# ---- the parent

PARENT = """
import sys
from pathlib import Path
from control_plane.fleet.broker import ManagedBroker
from tests.control_plane.fleet.pki import TestCa
from tests.control_plane.fleet.processes import eventually, processes_of
ca = TestCa()
server = ca.server()
broker = ManagedBroker(Path(sys.argv[1]), Path(sys.argv[2]), 0, ca.pem, server.certificate, server.key)
broker.start()
print("ready", flush=True)
sys.stdin.read()
"""


def test_a_killed_control_plane_leaves_no_broker_behind(tmp_path: Path, mosquitto: Path) -> None:
    folder = tmp_path / "broker"
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", PARENT, str(folder), str(mosquitto)]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        assert len(processes_of(folder)) == 1

        parent.kill()

    assert eventually(lambda: processes_of(folder) == [])


# ---- the rules

# A shell may trap no signal that was ignored where it began, as under nohup.
SLOW = f"""#!/usr/bin/env -S --default-signal=HUP sh
if [ "$1" = -h ]; then echo mosquitto version 2.0.18; exit 3; fi
asked=
trap 'asked=yes' HUP
echo mosquitto version 2.0.18 running >&2
while :; do
    if [ -z "$asked" ]; then sleep 0.02; continue; fi
    asked=
    sleep 0.3
    cat {REVOKED_FILE} >> {STATE_FOLDER}/read
    sleep 0.4
    echo Reloading config. >&2
done
"""


def test_what_a_slow_broker_says_of_an_earlier_list_is_not_taken_for_an_answer_to_the_next(
    tmp_path: Path, mosquitto: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a host would count as kept out while the broker goes by a list that does not have it."""
    monkeypatch.setattr("control_plane.fleet.broker._STOP_S", 60.0)
    monkeypatch.setattr("control_plane.fleet.broker._ASK_AGAIN_S", 0.5)
    read = tmp_path / "broker" / STATE_FOLDER / "read"
    # Where the account that a broker runs as finds it.
    with TemporaryDirectory(prefix="slow-") as folder:
        Path(folder).chmod(0o755)
        program = Path(folder) / "mosquitto"
        program.write_text(SLOW)
        program.chmod(0o755)
        broker = ManagedBroker(tmp_path / "broker", program, 0, b"", b"", b"")
        broker.start()
        try:
            broker.tell_revoked(b"first\n", "")
            # It was slow, so it was asked once more: that it has read, and says so only now.
            assert eventually(lambda: read.read_text().count("first") > 1)
            broker.tell_revoked(b"second\n", "")

            assert "second" in read.read_text()
        finally:
            broker.stop()


ONCE = """#!/usr/bin/env -S --default-signal=HUP sh
if [ "$1" = -h ]; then echo mosquitto version 2.0.18; exit 3; fi
trap 'echo Reloading config. >&2; trap "" HUP' HUP
echo mosquitto version 2.0.18 running >&2
while :; do sleep 0.02; done
"""


def test_what_a_broker_says_to_somebody_else_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control_plane.fleet.broker._STOP_S", 1.0)
    with TemporaryDirectory(prefix="once-") as folder:
        Path(folder).chmod(0o755)
        program = Path(folder) / "mosquitto"
        program.write_text(ONCE)
        program.chmod(0o755)
        broker = ManagedBroker(tmp_path / "broker", program, 0, b"", b"", b"")
        broker.start()
        try:
            assert broker._process is not None
            broker._process.send_signal(signal.SIGHUP)
            assert eventually(lambda: broker._said == 1)

            with pytest.raises(BrokerUnavailable, match="did not read its rules again"):
                broker.tell_revoked(b"list\n", "")
        finally:
            broker.stop()


# ---- what does not start


def test_refuses_a_version_that_lets_strangers_in(tmp_path: Path) -> None:
    old = tmp_path / "mosquitto"
    old.write_text("#!/bin/sh\necho mosquitto version 1.6.15\nexit 3\n")
    old.chmod(0o755)
    broker = ManagedBroker(tmp_path / "broker", old, 0, b"", b"", b"")

    with pytest.raises(BrokerTooOld, match=r"mosquitto 1\.6\.15 is too old"):
        broker.start()


def test_says_why_it_does_not_start(tmp_path: Path, mosquitto: Path, ca: TestCa) -> None:
    broker = ManagedBroker(tmp_path / "broker", mosquitto, 0, ca.pem, ca.server().certificate, ca.server().key)

    with pytest.raises(BrokerUnavailable, match="key"):
        broker.start()
    assert not broker.is_running
    assert processes_of(tmp_path / "broker") == []


def test_a_port_that_is_taken_is_named_as_the_reason(start_broker: StartBroker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(BrokerUnavailable, match="in use"):
        start_broker(port=other.getsockname()[1])


def test_a_damaged_memory_is_set_aside(start_broker: StartBroker, tmp_path: Path) -> None:
    start_broker().stop()
    memory = tmp_path / "broker" / STATE_FOLDER / DATABASE_FILE
    memory.write_bytes(os.urandom(300))

    broker = start_broker()

    assert eventually(lambda: broker.is_running)
    assert memory.with_suffix(".damaged").exists()
