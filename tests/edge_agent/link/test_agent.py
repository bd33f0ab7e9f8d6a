"""The whole agent beside a guard: policy goes there, records and device tree go to the centre."""

import os
import threading
from contextlib import AbstractContextManager
from pathlib import Path

from edge_agent.agent import Agent, Settings
from edge_agent.capture.listener import Address
from edge_agent.config import AgentFolder
from shared.audit.events import Event, EventName
from shared.audit.record import AuditRecord
from shared.clock import SystemClock
from tests.fakes.centre import Centre
from tests.fakes.guard import STICK, MemoryDesk, chain, guard
from tests.fakes.log import MemoryLog
from tests.threads import in_thread


def running(folder: AgentFolder, path: Path) -> AbstractContextManager[Agent]:
    settings = Settings(folder, Address("127.0.0.1", 0, "LEADGLASS"), guard_socket=path, guard_user=os.getuid())
    return in_thread(Agent(settings, SystemClock(), MemoryLog()))


def test_policy_reaches_the_guard_and_its_records_and_tree_reach_the_centre(
    centre: Centre, enrolled: AgentFolder, tmp_path: Path
) -> None:
    bundles, desk, path = centre.publish(1), MemoryDesk(chain(3)), tmp_path / "guard.sock"
    with guard(path, desk), running(enrolled, path):
        centre.wait_for(lambda: any(state.guard and state.policy_in_force for state in centre.states))
        centre.wait_for(lambda: audited(centre).count(Event.DEVICE_ATTACHED) == 3)
        centre.wait_for(lambda: desk.offers == [bundles])

    report = centre.states[-1].guard or next(state.guard for state in reversed(centre.states) if state.guard)
    assert STICK in report.devices
    assert desk.confirmed == 3


def test_without_a_guard_the_state_has_none_and_capture_goes_on(
    centre: Centre, enrolled: AgentFolder, tmp_path: Path
) -> None:
    centre.publish(1)
    with running(enrolled, tmp_path / "no guard here"):
        centre.wait_for(lambda: any(state.listening for state in centre.states))

    assert [state.guard for state in centre.states] == [None] * len(centre.states)


def test_an_agent_that_starts_without_its_centre_offers_what_it_was_given_last(
    centre: Centre, enrolled: AgentFolder, tmp_path: Path
) -> None:
    bundles, path = centre.publish(1), tmp_path / "guard.sock"
    with running(enrolled, tmp_path / "no guard here"):
        centre.wait_for(lambda: any(state.policy_in_force for state in centre.states))
    port = centre.host_door.server_address[1]
    centre.stop()
    desk = MemoryDesk()
    with guard(path, desk), running(enrolled, path) as agent:
        while agent.relay.report() is None:
            threading.Event().wait(0.01)
    centre.start(port)

    assert desk.offers == [bundles]


def audited(centre: Centre) -> list[EventName]:
    return [AuditRecord.parse(record.public).event for record in centre.audit]
