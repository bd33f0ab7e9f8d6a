"""The host's clock a year ahead and back in 1970, while images come: for the whole process, by libfaketime."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from edge_agent.config import AgentFolder
from shared.audit.record import Event
from shared.dicom.dimse import Status
from tests.faults.agent import AgentProcess, running
from tests.faults.evidence import verify_all
from tests.faults.modality import Modality, echo, images
from tests.faults.vault import Vault

_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
_JUMPS = ("+0d", "+365d", "@1970-01-02 00:00:00", "-3d")

pytestmark = pytest.mark.skipif(not _LIBRARIES, reason="libfaketime is not installed (Debian package faketime)")


def faked(file: Path) -> Mapping[str, str]:
    """Return an environment in which the time of day is what `file` says, read anew each time it is asked for."""
    return {
        "LD_PRELOAD": str(_LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def jump(file: Path, to: str) -> None:
    draft = file.with_name("time.new")
    draft.write_text(f"{to}\n")
    os.replace(draft, file)  # noqa: PTH105  as short as a step of the clock


def test_images_are_taken_whatever_the_clock_says(centre: Vault, enrolled: AgentFolder, tmp_path: Path) -> None:
    file = tmp_path / "time"
    jump(file, _JUMPS[0])
    modality = Modality(iter(()))
    with running(enrolled, environment=faked(file)) as agent:
        port = agent.port()
        for number, to in enumerate(_JUMPS):
            jump(file, to)
            taken_now(port, modality, number)
            # What is acknowledged is recorded a moment later, which must not be one of another time.
            wait_until_recorded(agent, 5 * (number + 1))
        agent.killed()

    # It also starts, listens and captures at such a time, with a policy whose metadata has long expired.
    for number, to in enumerate(_JUMPS[1:3], 100):
        jump(file, to)
        with running(enrolled, environment=faked(file)) as agent:
            taken_now(agent.port(), modality, number)
            agent.killed()

    deliver(centre, enrolled, modality)


def taken_now(port: int, modality: Modality, number: int) -> None:
    now = Modality(images(5, first=10 * number + 1))
    now.send(port, associations=2)
    modality.acknowledged.update(now.acknowledged)
    assert len(now.acknowledged) == 5
    assert echo(port) == Status.SUCCESS


def wait_until_recorded(agent: AgentProcess, images: int) -> None:
    agent.wait_until(lambda: agent.status().captured >= images)


def deliver(centre: Vault, folder: AgentFolder, modality: Modality) -> None:
    with running(folder) as agent:
        assert_listens(agent)
        agent.wait_until_idle()
    held = verify_all(centre, folder.path, modality)
    assert len(modality.acknowledged) == 5 * (len(_JUMPS) + 2) == len(centre.objects)
    years = {record.time.year for record in held if record.event is Event.IMAGE_CAPTURED}
    assert 1970 in years, "the clock did not jump"
    assert max(years) - 1970 > 1


def assert_listens(agent: AgentProcess) -> None:
    assert echo(agent.port()) == Status.SUCCESS
