"""The vault away for a week while images go on coming, and the agent is killed and started meanwhile."""

from datetime import timedelta
from pathlib import Path

import pytest

from edge_agent.config import AgentFolder
from shared.audit.events import Event
from tests.faults.agent import AgentProcess, running
from tests.faults.evidence import verify_all, verify_log
from tests.faults.modality import Modality, images
from tests.faults.standin import OFFSET_FILE
from tests.faults.vault import Vault

_DAYS = 7
_DAY_S = 86_400
# What a process of Python may grow by without holding images; 300 small images are less, 50,000 far more.
_GROWTH_BYTES = 40 << 20


def a_week_without_the_vault(centre: Vault, folder: AgentFolder, per_day: int, size_bytes: int) -> None:
    offset = folder.path.parent / "offset"
    modality = Modality(iter(()))
    centre.vault_status = 503
    resident: list[int] = []

    def day(number: int) -> AgentProcess:
        offset.write_text(str(number * _DAY_S))
        agent_of_the_day = Modality(images(per_day, size_bytes, first=number * per_day + 1))
        with running(folder, module=("tests.faults.standin", "whole"), environment={OFFSET_FILE: str(offset)}) as agent:
            agent_of_the_day.send(agent.port())
            resident.append(agent.resident_bytes())
            modality.acknowledged.update(agent_of_the_day.acknowledged)
            agent.killed()
            return agent

    for number in range(_DAYS):
        day(number)
    assert len(modality.acknowledged) == _DAYS * per_day
    assert max(resident) < min(resident) + _GROWTH_BYTES
    assert not centre.objects

    centre.vault_status = 0
    back_again(centre, folder, modality, offset, resident)


def back_again(centre: Vault, folder: AgentFolder, modality: Modality, offset: Path, resident: list[int]) -> None:
    offset.write_text(str(_DAYS * _DAY_S))
    count = len(modality.acknowledged)
    environment = {OFFSET_FILE: str(offset)}
    with running(folder, module=("tests.faults.standin", "whole"), environment=environment) as agent:
        agent.wait_until(lambda: len(centre.objects) >= count // 3, 600)
        agent.killed()
    with running(folder, module=("tests.faults.standin", "whole"), environment=environment) as agent:
        agent.wait_until_idle(3600)
        assert agent.resident_bytes() < min(resident) + _GROWTH_BYTES

    held = verify_all(centre, folder.path, modality)
    arrived = [centre.open(object_id)[0] for object_id in centre.objects]
    assert arrived == [sent.dataset for sent in modality.acknowledged.values()], "not in the order of capture"
    captured = [record.time for record in held if record.event is Event.IMAGE_CAPTURED]
    # What was acknowledged in the last moment before a kill is recorded at the next start.
    assert timedelta(days=_DAYS - 1) <= max(captured) - min(captured) < timedelta(days=_DAYS, hours=1)


def test_what_a_week_without_the_vault_has_gathered_is_delivered_once_and_in_order(
    centre: Vault, enrolled: AgentFolder
) -> None:
    a_week_without_the_vault(centre, enrolled, per_day=43, size_bytes=3000)


@pytest.mark.soak
def test_fifty_thousand_images_gathered_in_a_week_are_delivered_once_and_in_order(
    centre: Vault, enrolled: AgentFolder
) -> None:
    a_week_without_the_vault(centre, enrolled, per_day=7143, size_bytes=1500)


def test_control_an_order_that_is_not_that_of_capture_is_seen(centre: Vault, enrolled: AgentFolder) -> None:
    modality = Modality(images(3))
    with running(enrolled) as agent:
        modality.send(agent.port())
        agent.wait_until_idle()

    verify_log(centre)
    centre.objects = dict(reversed(centre.objects.items()))
    arrived = [centre.open(object_id)[0] for object_id in centre.objects]
    assert arrived != [sent.dataset for sent in modality.acknowledged.values()]
