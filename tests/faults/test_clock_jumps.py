"""The host's clock a year ahead and back in 1970, while images come: for the whole process, by libfaketime."""

import os
import select
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from edge_agent.config import AgentFolder
from shared.audit.events import Event
from shared.dicom.dimse import Status
from shared.dicom.pdu import PduType
from tests.edge_agent.capture.wire import Peer
from tests.faults import inside
from tests.faults.agent import ON_A_SMALL_DISK, AgentProcess, running
from tests.faults.evidence import verify_all
from tests.faults.modality import Modality, echo, image, images, store
from tests.faults.vault import Vault

_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
_JUMPS = ("+0d", "+365d", "@1970-01-02 00:00:00", "-3d")
_PIECE_S = 0.05  # so that the agent reads piece after piece

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


@pytest.mark.parametrize("to", _JUMPS[1:3])
def test_an_image_that_is_on_its_way_while_the_clock_jumps_is_taken(
    centre: Vault, enrolled: AgentFolder, tmp_path: Path, to: str
) -> None:
    assert taken_over_a_jump(enrolled, tmp_path / "time", to, ON_A_SMALL_DISK)


def test_control_an_agent_that_waits_by_the_time_of_day_gives_it_up(
    centre: Vault, enrolled: AgentFolder, tmp_path: Path
) -> None:
    assert not taken_over_a_jump(enrolled, tmp_path / "time", _JUMPS[1], ("tests.faults.standin", "by-the-clock"))


def taken_over_a_jump(folder: AgentFolder, file: Path, to: str, module: Sequence[str]) -> bool:
    """Send an image that is too small for the pace of its sender to be judged anew before it ends."""
    jump(file, _JUMPS[0])
    request = store(image(1, 40_000))
    with running(folder, module=module, environment=faked(file)) as agent:
        peer = Peer(agent.port())
        peer.send(request[:10_000])
        agent.wait_until(lambda: inside.are_on_their_way(folder))
        jump(file, to)
        for at in range(10_000, len(request), 2000):
            peer.send(request[at : at + 2000])
            if select.select([peer.socket], [], [], _PIECE_S)[0]:
                break
        number, _ = peer.receive()
        peer.close()
    return number == PduType.P_DATA


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
