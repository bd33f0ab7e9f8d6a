"""A vault that says success and does not have the object: nothing short of its receipt lets go of one."""

import pytest

from edge_agent.config import AgentFolder
from shared.audit.events import Event
from tests.faults.agent import running
from tests.faults.evidence import delivered, verify_all, verify_failures_recorded, verify_none_lost
from tests.faults.modality import Modality, images
from tests.faults.vault import LIES, Vault


def test_no_lie_of_the_vault_lets_go_of_an_object(centre: Vault, enrolled: AgentFolder) -> None:
    modality = Modality(images(3))
    for told, lie in enumerate(LIES.values(), 1):
        # Each run begins with a try of its own instead of a pause after the one before.
        centre.lie, before = lie, centre.lies
        with running(enrolled) as agent:
            modality.send(agent.port())
            agent.wait_until(lambda: centre.lies > before)  # noqa: B023  called at once
            agent.wait_until(lambda: agent.status().refused >= told)  # noqa: B023  called at once
            # The last may have been acknowledged a moment ago, and be registered in another.
            agent.wait_until(lambda: agent.status().captured == 3)
            assert agent.status().waiting == 3
            agent.killed()
    assert not centre.objects

    centre.lie = None
    with running(enrolled) as agent:
        agent.wait_until_idle()
        assert agent.status().put_aside == 0
    held = verify_all(centre, enrolled.path, modality)
    assert len(centre.objects) == 3
    verify_failures_recorded(held, Event.DELIVERY_REFUSED, len(LIES))


def test_control_an_agent_that_believes_the_vault_has_everything_loses_images(
    centre: Vault, enrolled: AgentFolder
) -> None:
    modality = Modality(images(3))
    with running(enrolled, module=("tests.faults.standin", "credulous")) as agent:
        modality.send(agent.port())
        agent.wait_until_idle()

    assert len(modality.acknowledged) == 3
    with pytest.raises(AssertionError, match="3 acknowledged images are lost"):
        verify_none_lost(modality.acknowledged.values(), delivered(centre))
