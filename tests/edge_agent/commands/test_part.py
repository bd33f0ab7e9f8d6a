"""Commands and results on their way: over HTTPS, hinted at by a broker, and sent until somebody has confirmed them."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from pynetdicom.ae import ApplicationEntity

from control_plane.policy.evidence import PersonSigner
from edge_agent.agent import Agent
from edge_agent.commands.part import CommandPart
from edge_agent.commands.store import CommandStore, Taken, Waiting
from edge_agent.config import AgentFolder, load_identity
from edge_agent.database import DatabaseUnavailable
from edge_agent.enrol.enroller import enrol
from edge_agent.https import DoorUnavailable, HttpsDoor, verified_context
from edge_agent.parts import Bell
from edge_agent.policy_sync.pull import PolicyPull
from shared.audit.events import Event, EventName
from shared.audit.record import AuditRecord
from shared.clock import SystemClock
from shared.fleet.command import Argument, Command, Outcome, sign_command
from shared.identity import CommandId
from shared.policy.bundle import command_topic
from tests.edge_agent.commands.bench import HOUR, STRANGER, Bench
from tests.edge_agent.test_agent import IMAGES, mqtt_centre, publisher, running, wait_for_listener
from tests.fakes.centre import Centre
from tests.fakes.log import MemoryLog
from tests.fakes.signers import new_signer as new_policy_signer

__all__ = ["mqtt_centre"]


def command(folder: AgentFolder, action: str, **arguments: Argument) -> Command:
    now = SystemClock().now()
    return Command(CommandId.new(), load_identity(folder).config.host_id, action, arguments, now, now + HOUR, "ada")


def person(centre: Centre) -> PersonSigner:
    """Return who signs the centre's policies, as one who signs commands."""
    return PersonSigner(centre.signers.person)


def issue(centre: Centre, folder: AgentFolder, action: str, **arguments: Argument) -> str:
    ada = person(centre)
    issued = command(folder, action, **arguments)
    centre.commands.append(sign_command(issued, [ada]).encode())
    return str(issued.command_id)


@contextmanager
def told(centre: Centre, folder: AgentFolder, action: str, **arguments: Argument) -> Iterator[Agent]:
    """Run an agent for as long as it takes to answer one command."""
    centre.publish(1)
    with running(folder, MemoryLog()) as agent:
        wait_for_listener(centre, agent)
        issued = issue(centre, folder, action, **arguments)
        agent._bells.commands.ring()
        centre.wait_for(lambda: any(named == issued for named, _ in centre.results))
        yield agent


# ---- what each action proves


def test_diagnostics_are_numbers_and_names_and_nothing_else_of_a_log(centre: Centre, enrolled: AgentFolder) -> None:
    with told(centre, enrolled, "diagnostics", events=30):
        ((_, result),) = centre.results

    events = result.facts["events"]
    assert isinstance(events, list)
    assert any(line.endswith(" policy.accepted") for line in events)
    assert all(len(line.split(" ")) == 2 for line in events)
    assert (result.outcome, result.facts["listening"], result.facts["captured"]) == (Outcome.DONE, True, 0)
    assert str(enrolled.path) not in str(result)


def test_a_rotated_certificate_is_the_one_on_the_disk(centre: Centre, enrolled: AgentFolder) -> None:
    before = x509.load_pem_x509_certificate(enrolled.tls.read_bytes())
    with told(centre, enrolled, "rotate-certificate"):
        ((_, result),) = centre.results
    after = x509.load_pem_x509_certificate(enrolled.tls.read_bytes())

    assert result.outcome is Outcome.DONE
    assert (result.facts["serial_before"], result.facts["serial"]) == (
        f"{before.serial_number:x}", f"{after.serial_number:x}",
    )  # fmt: skip
    assert before.serial_number != after.serial_number


def test_a_rescan_of_no_such_folder_fails(centre: Centre, enrolled: AgentFolder) -> None:
    with told(centre, enrolled, "rescan", ae_title="US1"):
        ((_, result),) = centre.results

    assert (result.outcome, result.detail) == (Outcome.FAILED, "there is no such export folder on this host")


def test_an_isolated_host_closes_its_port_and_says_so_until_it_is_let_in_again(
    centre: Centre, enrolled: AgentFolder
) -> None:
    with told(centre, enrolled, "isolate") as agent:
        closed = agent.listener.port, agent.listener.is_serving
        centre.wait_for(lambda: any(state.isolated and not state.listening for state in centre.states))
        said = centre.states[-1]
        centre.commands.clear()
        issue(centre, enrolled, "rejoin")
        agent._bells.commands.ring()
        centre.wait_for(lambda: len(centre.results) == 2)
        centre.wait_for(lambda: centre.states[-1].listening)

    assert (closed, said.listening) == ((None, False), False)
    assert [result.outcome for _, result in centre.results] == [Outcome.DONE, Outcome.DONE]
    assert not centre.states[-1].isolated


def test_isolating_a_host_ends_what_is_under_way(centre: Centre, enrolled: AgentFolder) -> None:
    centre.publish(1)
    with running(enrolled, MemoryLog()) as agent:
        wait_for_listener(centre, agent)
        entity = ApplicationEntity("CT1")
        entity.add_requested_context(IMAGES[0].sop_class, IMAGES[0].transfer_syntax)
        port = agent.listener.port
        assert port is not None
        association = entity.associate("127.0.0.1", port)
        before = association.is_established
        issue(centre, enrolled, "isolate")
        agent._bells.commands.ring()
        centre.wait_for(lambda: len(centre.results) == 1)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)
        association.join(30)

    assert (before, association.is_alive()) == (True, False)
    assert centre.results[0][1].outcome is Outcome.DONE


def test_an_isolated_host_still_takes_policy_and_delivers_its_records(centre: Centre, enrolled: AgentFolder) -> None:
    with told(centre, enrolled, "isolate") as agent:
        centre.publish(2)
        agent._bells.pull.ring()
        centre.wait_for(lambda: any(state.policy_in_force == 2 for state in centre.states))
        centre.wait_for(lambda: Event.COMMAND_ENDED in audited(centre))


# ---- policy that is older than a command


def let_in(centre: Centre, folder: AgentFolder) -> None:
    """Have a running agent be told by a person whom the policy names since its last pull."""
    centre.publish(1)
    with running(folder, MemoryLog()) as agent:
        wait_for_listener(centre, agent)
        new = new_policy_signer()
        centre.signers.delegate(centre.signers.person, new)
        centre.publish(2)
        centre.commands.append(sign_command(command(folder, "diagnostics", events=0), [PersonSigner(new)]).encode())
        agent._bells.commands.ring()
        centre.wait_for(lambda: len(centre.results) == 1)


def test_who_was_let_in_since_the_last_pull_is_obeyed(centre: Centre, enrolled: AgentFolder) -> None:
    let_in(centre, enrolled)

    assert centre.results[0][1].outcome is Outcome.DONE


def test_who_was_let_in_since_the_last_pull_is_refused_by_an_agent_that_does_not_look(
    centre: Centre, enrolled: AgentFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PolicyPull, "refresh", lambda _pull: None)
    let_in(centre, enrolled)

    assert centre.results[0][1].detail.startswith("SignerUnknown")


def test_what_has_to_wait_for_policy_keeps_no_other_command_waiting_and_is_refused_once_that_is_there(
    centre: Centre, enrolled: AgentFolder
) -> None:
    centre.publish(1)
    with running(enrolled, MemoryLog()) as agent:
        wait_for_listener(centre, agent)
        centre.head = b"no head"
        centre.commands.append(sign_command(command(enrolled, "isolate"), [STRANGER]).encode())
        issue(centre, enrolled, "diagnostics", events=0)
        agent._bells.commands.ring()
        centre.wait_for(lambda: len(centre.results) == 1)
        meanwhile = [result.outcome for _, result in centre.results]
        centre.publish(2)
        centre.wait_for(lambda: any(result.outcome is Outcome.REFUSED for _, result in centre.results))

    assert meanwhile == [Outcome.DONE]


# ---- results


def exchange(centre: Centre, folder: AgentFolder, bench: Bench) -> None:
    host, port = centre.host_door.server_address[:2]
    door = HttpsDoor(str(host), int(port), verified_context(folder.ca, folder.tls))
    with contextlib.closing(door):
        CommandPart(
            door, bench.executor, bench.store, policy=lambda: None, log=bench.host.log, bell=Bell()
        ).exchange(threading.Event())  # fmt: skip


class Careless(CommandStore):
    """Believes that what is sent arrives."""

    def waiting(self) -> tuple[Waiting, ...]:
        waiting = super().waiting()
        for one in waiting:
            self.confirm(one)
        return waiting


def lose_a_result(centre: Centre, enrolled: AgentFolder, tmp_path: Path, store: Any) -> Bench:
    """Have the answer to the first result lost, and the agent killed before it can try again."""
    bench = Bench(tmp_path / "host", store=store)
    centre.evidence[str(load_identity(enrolled).config.host_id)] = bench.host.signer.public
    bench.offer(bench.command())
    centre.result_status = 503
    with pytest.raises(DoorUnavailable):
        exchange(centre, enrolled, bench)
    bench.restart()
    centre.result_status, centre.results = 204, []
    exchange(centre, enrolled, bench)
    return bench


def test_a_lost_result_is_sent_again(centre: Centre, enrolled: AgentFolder, tmp_path: Path) -> None:
    bench = lose_a_result(centre, enrolled, tmp_path, CommandStore)
    exchange(centre, enrolled, bench)

    assert [result.outcome for _, result in centre.results] == [Outcome.DONE]
    assert len(bench.done) == 1


def test_a_result_that_nobody_confirmed_is_lost_by_a_host_that_does_not_wait_for_it(
    centre: Centre, enrolled: AgentFolder, tmp_path: Path
) -> None:
    lose_a_result(centre, enrolled, tmp_path, Careless)

    assert centre.results == []


def test_a_result_that_the_centre_will_never_take_keeps_no_other_waiting(
    centre: Centre, enrolled: AgentFolder, tmp_path: Path
) -> None:
    bench = Bench(tmp_path / "host")
    centre.evidence[str(load_identity(enrolled).config.host_id)] = bench.host.signer.public
    bench.offer(bench.command())
    bench.offer(bench.command())
    centre.result_status = 409
    exchange(centre, enrolled, bench)

    assert len(centre.results) == 2
    assert bench.store.waiting() == ()


class FullOnce(CommandStore):
    """Cannot keep the first end that it is told of."""

    is_full = True

    def end(self, taken: Taken, signed: bytes) -> None:
        if self.is_full:
            self.is_full = False
            raise DatabaseUnavailable("disk full")
        super().end(taken, signed)


def test_a_command_whose_end_could_not_be_kept_is_unknown_and_not_done_again(
    centre: Centre, enrolled: AgentFolder, tmp_path: Path
) -> None:
    bench = Bench(tmp_path / "host", store=FullOnce)
    centre.evidence[str(load_identity(enrolled).config.host_id)] = bench.host.signer.public
    issued = bench.command()
    with pytest.raises(DatabaseUnavailable):
        bench.offer(issued)
    exchange(centre, enrolled, bench)
    bench.offer(issued)

    assert [result.outcome for _, result in centre.results] == [Outcome.UNKNOWN]
    assert len(bench.done) == 1


# ---- the broker


def audited(centre: Centre) -> list[EventName]:
    return [AuditRecord.parse(record.public).event for record in centre.audit]


def test_what_a_broker_forges_makes_a_host_ask_and_nothing_more(mqtt_centre: Centre, tmp_path: Path) -> None:
    centre, folder = mqtt_centre, AgentFolder(tmp_path / "agent")
    host = str(enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2"))
    centre.publish(1)
    forged = sign_command(command(folder, "isolate"), [STRANGER]).encode()
    with publisher(centre) as client, running(folder, MemoryLog()) as agent:
        wait_for_listener(centre, agent)
        centre.wait_for(lambda: "GET /api/v1/commands" in centre.requests)
        # Even one that is rightly signed is not taken from there.
        for payload in (forged, sign_command(command(folder, "isolate"), [person(centre)]).encode()):
            asked = centre.requests.count("GET /api/v1/commands")
            client.publish(command_topic(host), payload, qos=1, retain=True).wait_for_publish(5)
            centre.wait_for(lambda before=asked: centre.requests.count("GET /api/v1/commands") > before)
        port = agent.listener.port

    assert port is not None
    assert centre.results == []
    assert not {Event.COMMAND_BEGUN, Event.COMMAND_REFUSED} & set(audited(centre))


def test_what_a_broker_forges_is_done_by_a_host_that_takes_it_for_a_command_and_judges_nothing(
    enrolled: AgentFolder, tmp_path: Path
) -> None:
    bench = Bench(tmp_path / "host", checks=())
    forged = sign_command(command(enrolled, "isolate"), [STRANGER]).encode()
    bench.executor.take(forged, threading.Event())

    assert len(bench.done) == 1


def test_a_hint_has_a_host_ask_long_before_it_would(mqtt_centre: Centre, tmp_path: Path) -> None:
    """Without one it asks once an hour here; the one who would not come by MQTT is the control."""
    centre, folder = mqtt_centre, AgentFolder(tmp_path / "agent")
    host = str(enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2"))
    centre.publish(1)
    with publisher(centre) as client, running(folder, MemoryLog()) as agent:
        wait_for_listener(centre, agent)
        centre.wait_for(lambda: centre.requests.count("GET /api/v1/commands") >= 1)
        issue(centre, folder, "diagnostics", events=0)
        client.publish(command_topic("host-" + "0" * 32), b"", qos=1, retain=True).wait_for_publish(5)
        client.publish(command_topic(host), b"", qos=1, retain=True).wait_for_publish(5)
        centre.wait_for(lambda: len(centre.results) == 1)

    assert centre.results[0][1].outcome is Outcome.DONE


def test_what_a_lying_centre_forges_is_refused(centre: Centre, enrolled: AgentFolder) -> None:
    centre.publish(1)
    with running(enrolled, MemoryLog()) as agent:
        wait_for_listener(centre, agent)
        centre.commands.append(sign_command(command(enrolled, "isolate"), [STRANGER]).encode())
        agent._bells.commands.ring()
        centre.wait_for(lambda: len(centre.results) == 1)
        port = agent.listener.port

    assert (centre.results[0][1].outcome, port is None) == (Outcome.REFUSED, False)
    assert centre.results[0][1].detail.startswith("SignerUnknown")
