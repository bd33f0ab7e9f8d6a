"""A host whose identity is taken away: every request is refused, and what it has open at the broker ends for good."""

import json
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from http.client import HTTPSConnection
from pathlib import Path
from threading import Event
from time import monotonic
from urllib.parse import urlsplit

import pytest
from sqlalchemy import update

from control_plane.app import ControlPlane
from control_plane.db.models import Host
from control_plane.enrolment.revocation import SESSION_ENDED, Revocation, RevokedHosts
from control_plane.first_start import first_start
from control_plane.fleet.broker import BrokerUnavailable, ManagedBroker
from control_plane.fleet.broker_config import ACCESS_FILE, REVOKED_FILE, access_rules
from control_plane.fleet.takeover import take_over
from control_plane.policy.authoring import load_credential
from control_plane.settings import Folders, Settings
from edge_agent.config import AgentFolder, load_identity
from edge_agent.enrol.enroller import enrol
from edge_agent.https import verified_context
from shared.clock import SystemClock
from shared.identity import HostId
from shared.policy.bundle import HEAD_TOPIC, state_topic
from tests.control_plane.fleet.host_client import WAIT_S, HostClient
from tests.control_plane.fleet.pki import Identity
from tests.control_plane.fleet.processes import eventually, processes_of
from tests.control_plane.http.conftest import Answer, Open
from tests.control_plane.http.test_doors import issue_code

_PROMISED_S = 60.0
CONNECT = bytes.fromhex("100d 0004 4d515454 04 02 003c 0001 78")
CONNACK = bytes.fromhex("20020000")


@dataclass
class Enrolled:
    """A host with the files of its identity, one HTTPS connection that it keeps, and its MQTT client."""

    folder: AgentFolder
    door: Open
    host_id: HostId = field(init=False)

    def __post_init__(self) -> None:
        self.folder.path.mkdir()
        asset = f"CT {self.folder.path}"[-100:]  # a revoked host's asset enrols no other
        enrol(self.folder, str(self.door.addresses["enrol_url"]), issue_code(self.door, asset), asset)
        self.host_id = load_identity(self.folder).config.host_id
        self.context = verified_context(self.folder.ca, self.folder.tls)
        url = urlsplit(str(self.door.addresses["hosts_url"]))
        self.https = HTTPSConnection(url.hostname or "", url.port, timeout=20, context=self.context)

    def asks(self) -> int:
        """Return the status of a request on the connection that was opened with the first one."""
        self.https.request("POST", "/api/v1/renewal", b"{}")
        answer = self.https.getresponse()
        answer.read()
        return answer.status

    def mqtt(self) -> HostClient:
        identity = Identity(str(self.host_id), self.folder.tls.read_bytes(), b"")
        return HostClient(int(self.door.addresses["mqtt_port"]), self.folder.ca.read_bytes(), identity)


def revoke(door: Open, host_id: HostId | str, reason: str = "stolen") -> Answer:
    return door.signed_in("POST", f"/api/v1/hosts/{host_id}/revocation", json.dumps({"reason": reason}).encode())


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, mosquitto: Path) -> Iterator[Open]:
    folder = tmp_path_factory.mktemp("centre")
    clock, folders = SystemClock(), Folders(folder / "data")
    made = first_start(
        folders, folder / "handover", "ada", host="127.0.0.1", people_url="http://127.0.0.1:1", clock=clock
    )
    centre = ControlPlane(Settings(folders, host_port=0, enrol_port=0, people_port=0, mqtt_port=0), clock)
    centre.start()
    try:
        yield Open(centre, folders, made, load_credential(made.credential), centre.addresses())
    finally:
        centre.stop()


@pytest.fixture
def host(door: Open, tmp_path: Path) -> Iterator[Enrolled]:
    host = Enrolled(AgentFolder(tmp_path / "host"), door)
    yield host
    host.https.close()


@pytest.fixture
def other(door: Open, tmp_path: Path) -> Iterator[Enrolled]:
    other = Enrolled(AgentFolder(tmp_path / "other"), door)
    yield other
    other.https.close()


@pytest.fixture
def staying(door: Open, tmp_path: Path) -> Iterator[Enrolled]:
    staying = Enrolled(AgentFolder(tmp_path / "staying"), door)
    yield staying
    staying.https.close()


@pytest.fixture
def broker(door: Open) -> ManagedBroker:
    broker = door.centre._push._broker
    assert broker is not None
    return broker


@pytest.fixture
def revoked(door: Open) -> RevokedHosts:
    return door.centre._push._revoked


def test_session_after_revocation_ends_at_the_broker_within_60_s_and_for_good(
    door: Open, host: Enrolled, other: Enrolled
) -> None:
    with host.mqtt() as session, other.mqtt() as staying:
        began = monotonic()
        answer = revoke(door, host.host_id)
        assert eventually(lambda: not session.lost.empty())
        took_s = monotonic() - began

        assert (answer.status, json.loads(answer.body)["session"]) == (201, SESSION_ENDED)
        assert took_s < _PROMISED_S
        assert eventually(lambda: session.lost.qsize() > 1), "it came again, and was turned away"
        assert session.connected.empty()
        assert staying.paho.is_connected()
        assert staying.lost.empty()


def test_a_session_that_is_only_taken_over_comes_back(
    broker: ManagedBroker, revoked: RevokedHosts, host: Enrolled
) -> None:
    """Keep this as the control: what keeps a revoked host out is the list."""
    with host.mqtt() as session:
        take_over(broker.port, host.folder.ca.read_bytes(), revoked.stand_in(host.host_id), host.host_id)
        assert eventually(lambda: not session.lost.empty())

        assert session.connected.get(timeout=WAIT_S)


def test_a_list_that_is_read_again_leaves_an_open_session_open_with_nothing_to_hear_or_say(
    broker: ManagedBroker, revoked: RevokedHosts, host: Enrolled
) -> None:
    """Keep this as the control: what ends the session is the take-over."""
    topic = state_topic(str(host.host_id))
    with host.mqtt() as session:
        session.subscribe(topic)
        session.publish(topic, b"before")
        before = session.next()
        broker.tell_revoked(revoked.revocation_list(), access_rules([*revoked.hosts(), host.host_id]))
        session.publish(topic, b"after")
        session.subscribe(HEAD_TOPIC)  # what the broker had for it would have come before this is answered

        assert before == (topic, b"before")
        assert session.paho.is_connected()
        assert session.received.empty()
    broker.tell_revoked(revoked.revocation_list(), access_rules(revoked.hosts()))


def test_session_after_revocation_is_refused_at_the_next_request_over_https(
    door: Open, host: Enrolled, other: Enrolled
) -> None:
    before = (host.asks(), other.asks())
    revoke(door, host.host_id)

    assert before == (422, 422)  # let in, and told that this is no renewal
    assert (host.asks(), other.asks()) == (403, 422)


def test_a_revoked_host_stays_out_over_a_restart_of_the_broker(
    door: Open, broker: ManagedBroker, host: Enrolled, other: Enrolled
) -> None:
    revoke(door, host.host_id)
    for process in processes_of(broker._folder):
        os.kill(process, signal.SIGKILL)
    assert eventually(lambda: lets_in(broker, other.context))

    assert not lets_in(broker, host.context)


def test_a_session_that_cannot_be_ended_now_is_ended_when_the_broker_is_back(
    door: Open, broker: ManagedBroker, host: Enrolled
) -> None:
    revocation = door.centre._revocation
    for process in processes_of(broker._folder):
        os.kill(process, signal.SIGKILL)
    assert eventually(lambda: not broker.is_running or broker.status.restarts > 0)
    broker.stop()
    try:
        said = json.loads(revoke(door, host.host_id).body)["session"]
        waiting = set(revocation._open)  # once the broker is back the control plane may end it by itself
    finally:
        broker.start()
    revocation.end_open_sessions()

    assert said.startswith("not proved ended")
    assert (waiting, revocation._open) == ({host.host_id}, set())
    assert not lets_in(broker, host.context)


@pytest.mark.parametrize("held_together", [True, False])
def test_two_revocations_at_once_do_not_undo_each_other(
    door: Open,
    broker: ManagedBroker,
    host: Enrolled,
    other: Enrolled,
    staying: Enrolled,
    monkeypatch: pytest.MonkeyPatch,
    *,
    held_together: bool,
) -> None:
    """The control is the same without the lock: the list that was made first is then the one that stays."""
    push = door.centre._push
    # Not the centre's own, whose job may be about to tell the broker once more of the one that is held up.
    revocation = Revocation(door.centre._database, door.centre._journal, push.end_session)
    lock = AskedFor(push._telling if held_together else nullcontext())
    monkeypatch.setattr(push, "_telling", lock)
    made, go_on = held_up(monkeypatch, broker, "tell_revoked")
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(revocation.revoke, "ada", host.host_id, "stolen")
        assert made.wait(WAIT_S)
        lock.asked.clear()
        second = pool.submit(revocation.revoke, "ada", other.host_id, "stolen")
        assert lock.asked.wait(WAIT_S)
        if not held_together:
            second.result(WAIT_S)
        go_on.set()
        said = [first.result(WAIT_S).session, second.result(WAIT_S).session]
    for process in processes_of(broker._folder):
        os.kill(process, signal.SIGKILL)  # what it goes by after a start is what was written last
    assert eventually(lambda: lets_in(broker, staying.context))
    in_the_rules = [f"user {one.host_id}" in (broker._folder / ACCESS_FILE).read_text() for one in (host, other)]
    let_in = [lets_in(broker, one.context) for one in (host, other)]
    broker.tell_revoked(push._revoked.revocation_list(), access_rules(push._revoked.hosts()))

    assert said == [SESSION_ENDED, SESSION_ENDED]
    assert in_the_rules == [True, held_together]
    assert let_in == [False, not held_together]


@pytest.mark.parametrize("held_together", [True, False])
def test_two_tellings_at_once_are_both_written(
    broker: ManagedBroker, revoked: RevokedHosts, monkeypatch: pytest.MonkeyPatch, *, held_together: bool
) -> None:
    """The control is the same without the lock: one finds its draft taken by the other."""
    lock = AskedFor(broker._files if held_together else nullcontext())
    monkeypatch.setattr(broker, "_files", lock)
    # The centre's own jobs replace files too.
    drafted, go_on = held_up(monkeypatch, Path, "replace", lambda draft, _: draft.parent == broker._folder)
    told = (revoked.revocation_list(), access_rules(revoked.hosts()))
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(broker.tell_revoked, *told)
        assert drafted.wait(WAIT_S)
        lock.asked.clear()
        second = pool.submit(broker.tell_revoked, *told)
        assert lock.asked.wait(WAIT_S)
        if not held_together:
            second.result(WAIT_S)
        go_on.set()
        failed = [type(one.exception(WAIT_S)) for one in (first, second)]

    assert failed == [type(None) if held_together else BrokerUnavailable, type(None)]


def test_rules_that_cannot_be_written_are_told_again_later(door: Open, broker: ManagedBroker, host: Enrolled) -> None:
    in_the_way = broker._folder / f"{REVOKED_FILE}.new"
    in_the_way.mkdir()
    try:
        said = json.loads(revoke(door, host.host_id).body)["session"]
        before = lets_in(broker, host.context)
    finally:
        in_the_way.rmdir()
    door.centre._revocation.end_open_sessions()

    assert said.startswith("not proved ended")
    assert "cannot be written" in said
    assert (before, lets_in(broker, host.context)) == (True, False)


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_resumed_tls_session_is_no_way_round_the_list(
    door: Open, broker: ManagedBroker, host: Enrolled, newest: ssl.TLSVersion
) -> None:
    host.context.maximum_version = newest
    with secured(broker, host.context) as first:
        first.sendall(CONNECT)
        before, kept = first.recv(16), first.session
    revoke(door, host.host_id)

    assert before == CONNACK
    assert not lets_in(broker, host.context, kept)


def test_session_after_revocation_ends_too_where_a_row_was_edited_and_the_log_puts_it_right(
    door: Open, broker: ManagedBroker, revoked: RevokedHosts, host: Enrolled
) -> None:
    """The control is the moment before: the edited row let the host in again, with a session at the broker."""
    revoke(door, host.host_id)
    with door.centre._database.begin() as session:
        session.execute(update(Host).where(Host.host_id == str(host.host_id)).values(standing="active"))
    # In turn with the centre's own job, which may be about to tell once more that the host was revoked.
    with door.centre._push._telling:
        broker.tell_revoked(revoked.revocation_list(), access_rules(revoked.hosts()))
    revived = (host.asks(), eventually(lambda: lets_in(broker, host.context)))
    with host.mqtt() as session_there:
        door.centre._standings.rebuild()
        door.centre._revocation.end_open_sessions()

        assert revived == (422, True)
        assert eventually(lambda: not session_there.lost.empty())
    assert host.asks() == 403
    assert not lets_in(broker, host.context)


def test_a_reason_is_needed_and_kept_sealed_with_the_persons_name(door: Open, host: Enrolled) -> None:
    without = revoke(door, host.host_id, "")
    revoke(door, host.host_id, "stolen from room 1.14")
    tail = door.signed_in("GET", "/api/v1/audit/records").body.decode()

    assert without.status == 422
    assert "enrolment.host-revoked" in tail
    assert "stolen from room 1.14" not in tail


def test_a_host_is_revoked_once_and_only_one_that_there_is(door: Open, host: Enrolled) -> None:
    statuses = [revoke(door, name).status for name in (host.host_id, host.host_id, HostId.new(), "CT2")]

    assert statuses == [201, 409, 404, 400]


def test_a_revoked_host_is_called_that_and_no_gap(door: Open, host: Enrolled) -> None:
    revoke(door, host.host_id)
    status = json.loads(door.signed_in("GET", "/api/v1/status").body)
    (shown,) = [one for one in status["hosts"] if one["host"] == str(host.host_id)]

    assert (shown["state"], shown["active"]) == ("revoked", False)


class AskedFor:
    """A lock that says when somebody asks for it."""

    def __init__(self, lock: AbstractContextManager[object]) -> None:
        self._lock, self.asked = lock, Event()

    def __enter__(self) -> None:
        self.asked.set()
        self._lock.__enter__()

    def __exit__(self, *ended: object) -> None:
        self._lock.__exit__(None, None, None)


def held_up(
    monkeypatch: pytest.MonkeyPatch, of: object, name: str, meant: Callable[..., bool] = lambda *_: True
) -> tuple[Event, Event]:
    """Return what is set when `name` is first called as `meant`, and what lets it go on; others are not held up."""
    began, go_on, is_first, call = Event(), Event(), iter([True]), getattr(of, name)

    def held(*arguments: object) -> object:
        if meant(*arguments) and next(is_first, False):
            began.set()
            assert go_on.wait(WAIT_S)
        return call(*arguments)

    monkeypatch.setattr(of, name, held)
    return began, go_on


def secured(broker: ManagedBroker, context: ssl.SSLContext, kept: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", broker.port), timeout=WAIT_S)
    try:
        return context.wrap_socket(plain, server_hostname="127.0.0.1", session=kept)
    except OSError:
        plain.close()
        raise


def lets_in(broker: ManagedBroker, context: ssl.SSLContext, kept: ssl.SSLSession | None = None) -> bool:
    try:
        with secured(broker, context, kept) as connection:
            connection.sendall(CONNECT)
            return connection.recv(16) == CONNACK
    except OSError:
        return False
