"""kill -9 at any moment of a storm of images, with the agent as a real process."""

import random
import threading
from collections.abc import Sequence
from itertools import count

import pytest

from edge_agent.config import AgentFolder
from provisioning.demo.processes import wait_until
from shared.audit.events import Event, Outcome
from shared.dicom.dimse import Status
from tests.edge_agent.capture.wire import Peer
from tests.faults import inside
from tests.faults.agent import AGENT, AgentProcess, running
from tests.faults.evidence import (
    delivered,
    verify_all,
    verify_failures_recorded,
    verify_log,
    verify_no_plaintext,
    verify_none_lost,
    verify_none_twice,
    verify_only_sent,
)
from tests.faults.modality import Image, Modality, image, images, send_one, store
from tests.faults.vault import Vault

_ASSOCIATIONS = 4
_AT_LEAST_ONE_S = 60.0
_SIZES_BYTES = (600, 4096, 20_000, 200_000)


def storm(folder: AgentFolder, seed: int, kills: int, module: Sequence[str] = AGENT) -> Modality:
    """Send over several associations to an agent that is killed again and again; return what the modality knows."""
    print(f"seed {seed}")
    rng = random.Random(seed)
    modality = Modality(image(number, rng.choice(_SIZES_BYTES)) for number in count(1))
    for kill in range(kills):
        with running(folder, module=module) as agent:
            port = agent.port()
            killer = threading.Thread(target=kill_later, args=(agent, modality, kill, rng.uniform(0.02, 0.6)))
            killer.start()
            while agent.is_running():
                modality.send(port, _ASSOCIATIONS)
            killer.join()
    return modality


def kill_later(agent: AgentProcess, modality: Modality, kill: int, delay_s: float) -> None:
    """Kill the agent for the time `kill`: not before as many images were acknowledged, however slow the machine is."""
    wait_until(lambda: len(modality.acknowledged) > kill, _AT_LEAST_ONE_S)
    threading.Event().wait(delay_s)
    agent.kill()


def send_again(agent: AgentProcess, modality: Modality) -> None:
    """Do what a modality does with an image that nobody answered: send it again, until it is answered."""
    again = Modality(iter(modality.unacknowledged()))
    again.send(agent.port())
    modality.acknowledged.update(again.acknowledged)
    assert not modality.unacknowledged()


def settle(folder: AgentFolder, modality: Modality) -> None:
    """Run the agent until all that it holds has been delivered and recorded."""
    with running(folder) as agent:
        agent.port()
        send_again(agent, modality)
        agent.wait_until_idle()


def endure(centre: Vault, folder: AgentFolder, seed: int, kills: int) -> None:
    modality = storm(folder, seed, kills)
    settle(folder, modality)

    found = delivered(centre)
    assert len(modality.acknowledged) >= kills
    verify_none_lost(modality.acknowledged.values(), found)
    verify_none_twice(found)
    verify_only_sent(modality.sent.values(), found)
    verify_no_plaintext(folder.path.parent)
    held = verify_log(centre)
    verify_failures_recorded(held, Event.IMAGE_REFUSED, len(modality.refusals))
    started = [record for record in held if record.event is Event.AGENT_STARTED]
    assert len(started) == kills + 1


def test_a_storm_with_kills_loses_nothing_doubles_nothing_and_betrays_nothing(
    centre: Vault, enrolled: AgentFolder
) -> None:
    endure(centre, enrolled, seed=20, kills=8)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1, 2])
def test_a_storm_with_a_hundred_kills(centre: Vault, enrolled: AgentFolder, seed: int) -> None:
    endure(centre, enrolled, seed, kills=100)


def test_control_an_agent_that_answers_before_the_image_is_safe_loses_images(
    centre: Vault, enrolled: AgentFolder
) -> None:
    # As slow as can be, so that a kill meets it before it has made anything safe.
    modality = storm(enrolled, seed=20, kills=2, module=("tests.faults.standin", "eager and slow"))
    acknowledged = list(modality.acknowledged.values())
    with running(enrolled) as agent:
        agent.wait_until_idle()

    assert acknowledged
    with pytest.raises(AssertionError, match="acknowledged images are lost"):
        verify_none_lost(acknowledged, delivered(centre))


def test_an_image_that_was_on_its_way_when_the_agent_was_killed_is_recorded_as_refused(
    centre: Vault, enrolled: AgentFolder
) -> None:
    sent = image(1, 300_000)
    with running(enrolled) as agent:
        peer = Peer(agent.port())
        peer.send(store(sent)[:200_000])
        agent.wait_until(lambda: inside.are_on_their_way(enrolled))
        agent.killed()
        peer.close()
    with running(enrolled) as agent:
        assert send_one(agent.port(), sent) == Status.SUCCESS
        agent.wait_until_idle()

    held = verify_log(centre)
    refused = [record for record in held if record.event is Event.IMAGE_REFUSED]
    assert [record.outcome for record in refused] == [Outcome.MINOR_FAILURE]
    assert delivered(centre) == {sent.digest: 1}


def test_a_start_says_whether_the_stop_before_it_was_clean(centre: Vault, enrolled: AgentFolder) -> None:
    with running(enrolled) as agent:
        agent.port()
        agent.terminate()
    with running(enrolled) as agent:
        agent.port()
        agent.killed()
    with running(enrolled) as agent:
        agent.port()
        agent.wait_until_idle()

    started = [record.reason for record in verify_log(centre) if record.event is Event.AGENT_STARTED]
    assert started == [
        "the first start",
        "after a clean stop",
        "after a stop that nobody recorded: the agent was killed, or the machine lost power",
    ]


# ---- each check is itself checked: it goes red for what it is there to see


def test_control_the_checks_see_what_they_are_there_to_see(centre: Vault, enrolled: AgentFolder) -> None:
    with running(enrolled) as agent:
        modality = Modality(images(3))
        modality.send(agent.port())
        agent.wait_until_idle()
    verify_all(centre, enrolled.path, modality)
    found, whole = delivered(centre), list(centre.audit)

    with pytest.raises(AssertionError, match="lost"):
        verify_none_lost([image(4)], found)
    with pytest.raises(AssertionError, match="twice"):
        verify_none_twice(found + found)
    with pytest.raises(AssertionError, match="nobody sent"):
        verify_only_sent([image(1), image(2)], found)
    with pytest.raises(AssertionError, match=r"0 capture\.image-refused"):
        verify_failures_recorded(verify_log(centre), Event.IMAGE_REFUSED, 1)
    centre.audit = whole[:2] + whole[3:]
    with pytest.raises(AssertionError, match="gap"):
        verify_log(centre)
    centre.audit = [record for record in whole if b"image-delivered" not in record.public]
    with pytest.raises(AssertionError):
        verify_log(centre)
    (enrolled.path / "forgotten").write_bytes(bytes(100) + Image("", image(1).dataset).dataset)
    with pytest.raises(AssertionError, match="forgotten holds"):
        verify_no_plaintext(enrolled.path)
