"""Who can have a host go to other layers, and what a host says that stays where it is."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.config import AgentFolder
from shared.fleet.command import CommandResult, Outcome, SignedCommand, sign_command
from shared.identity import HostId
from tests.edge_agent.commands.bench import STRANGER, Bench
from tests.edge_agent.commands.test_part import command, person
from tests.edge_agent.test_agent import running, wait_for_listener
from tests.fakes.centre import Centre
from tests.fakes.log import MemoryLog

_NORTH = {"site": "north", "modality_type": ""}


def unsigned_by_people(_centre: Centre, folder: AgentFolder) -> SignedCommand:
    return sign_command(command(folder, "set-layers", **_NORTH), [STRANGER])


def of_another_host(centre: Centre, folder: AgentFolder) -> SignedCommand:
    other = replace(command(folder, "set-layers", **_NORTH), host_id=HostId.new())
    return sign_command(other, [person(centre)])


def rightly_signed(centre: Centre, folder: AgentFolder) -> SignedCommand:
    return sign_command(command(folder, "set-layers", **_NORTH), [person(centre)])


def offer(centre: Centre, folder: AgentFolder, offered: SignedCommand) -> CommandResult:
    """Have a running agent be offered a command; return its answer. It stays where it is, and runs on."""
    before = folder.config.read_bytes()
    centre.publish(1)
    with running(folder, MemoryLog()) as agent:
        wait_for_listener(centre, agent)
        centre.commands.append(offered.encode())
        agent._bells.commands.ring()
        centre.wait_for(lambda: len(centre.results) == 1)
        assert agent.store.layers == ("organisation",)
    assert folder.config.read_bytes() == before
    return centre.results[0][1]


@pytest.mark.parametrize("make, why", [(unsigned_by_people, "SignerUnknown"), (of_another_host, "CommandOfAnother")])
def test_what_is_not_signed_for_this_host_moves_nobody(
    centre: Centre, enrolled: AgentFolder, make: object, why: str
) -> None:
    assert callable(make)
    result = offer(centre, enrolled, make(centre, enrolled))

    assert (result.outcome, result.detail.split(":")[0]) == (Outcome.REFUSED, why)


def test_a_host_that_judges_nothing_is_moved_by_anybody(centre: Centre, enrolled: AgentFolder, tmp_path: Path) -> None:
    """The control."""
    bench = Bench(tmp_path / "host", checks=())
    for make in (unsigned_by_people, of_another_host):
        bench.executor.take(make(centre, enrolled).encode(), threading.Event())

    assert bench.done == [_NORTH, _NORTH]


def test_a_host_that_cannot_verify_a_layer_stays_where_it_is_and_says_that_it_failed(
    centre: Centre, enrolled: AgentFolder
) -> None:
    result = offer(centre, enrolled, rightly_signed(centre, enrolled))

    assert (result.outcome, result.facts) == (Outcome.FAILED, {})
    assert "LayerNotPublished" in result.detail
