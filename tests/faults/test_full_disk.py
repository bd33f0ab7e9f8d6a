"""A disk that fills up at every stage of an image: an honest refusal, and nothing acknowledged is lost."""

import bisect
import errno
import itertools
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.config import AgentFolder
from edge_agent.enrol.enroller import enrol
from edge_agent.spool.spool import RESERVE_BYTES
from shared.audit.events import Event
from shared.dicom.dimse import Status
from tests.edge_agent.capture.wire import Peer
from tests.faults import inside
from tests.faults.agent import AGENT, AgentProcess, running
from tests.faults.evidence import (
    delivered,
    verify_log,
    verify_no_plaintext,
    verify_none_lost,
    verify_none_twice,
    verify_only_sent,
)
from tests.faults.modality import Image, echo, image, send_one, store
from tests.faults.vault import Vault

_UNAVAILABLE = 3  # the exit code of what needs something that does not answer
_ROOM_BYTES = 24 << 20  # beside what the agent keeps in reserve
_SIZE_BYTES = 3 << 20
_SMALL_BYTES, _SMALL_AT_A_TIME = 20_000, 5
_PAGES_LEFT = (0, 1, 4, 16, 64)
_PAGE_BYTES = 4096
_CHUNK_BYTES = 900_000  # what is written of an image at a time, about
_MOST_PAGES = 1024  # more than an image of that size needs
_REFUSED = 60  # what is free of the database's log takes some of their records
_AROUND = range(-4, 13)  # pages beside those that an image's body needs: its end, and the database's log


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, small enough to fill."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = RESERVE_BYTES + _ROOM_BYTES
    if os.geteuid() != 0:
        pytest.skip("a small file system to fill is mounted by root only")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system to fill cannot be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def on_disk(centre: Vault, disk: Path) -> AgentFolder:
    folder = AgentFolder(disk / "agent")
    enrol(folder, centre.enrol_url, centre.issue_code(), "CT 2")
    return folder


@contextmanager
def filled(disk: Path, left_pages: int) -> Iterator[None]:
    """Have no more than so many pages left on the disk."""
    file = disk / "somebody-else-s"
    with file.open("wb") as out:
        while not _takes_all_but(out.fileno(), left_pages):
            pass  # the agent wrote between the look and the taking
    try:
        yield
    finally:
        file.unlink()


def _takes_all_but(descriptor: int, left_pages: int) -> bool:
    free = os.fstatvfs(descriptor)
    size_bytes = free.f_bavail * free.f_frsize - left_pages * _PAGE_BYTES
    try:
        os.posix_fallocate(descriptor, 0, max(size_bytes, 1))
    except OSError as exc:
        if exc.errno != errno.ENOSPC or size_bytes <= 0:
            raise
        return False
    return True


def status_of_an_image_that_meets_a_full_disk(agent: AgentProcess, disk: Path, sent: Image, left_pages: int) -> int:
    """Send the first half, fill the disk but for so many pages, send the rest."""
    stream = store(sent)
    peer = Peer(agent.port())
    try:
        peer.send(stream[: len(stream) // 2])
        agent.wait_until(lambda: inside.on_its_way_bytes(agent.folder) >= _CHUNK_BYTES)
        with filled(disk, left_pages):
            peer.send(stream[len(stream) // 2 :])
            return peer.status()
    finally:
        peer.close()


class Filling:
    """Sends images that meet a full disk, each followed by one that does not, and remembers what was answered."""

    def __init__(self, agent: AgentProcess, disk: Path) -> None:
        self._agent, self._disk, self._numbers = agent, disk, itertools.count(1)
        self.acknowledged: list[Image] = []
        self.statuses: set[int] = set()

    def fits(self, left_pages: int) -> bool:
        sent, after = image(next(self._numbers), _SIZE_BYTES), image(next(self._numbers))
        status = status_of_an_image_that_meets_a_full_disk(self._agent, self._disk, sent, left_pages)
        self.statuses.add(status)
        assert send_one(self._agent.port(), after) == Status.SUCCESS, f"not taken after {left_pages} pages were left"
        self.acknowledged += [sent, after] if status == Status.SUCCESS else [after]
        self._agent.wait_until(lambda: self._agent.status().waiting == 0)
        return status == Status.SUCCESS


def test_wherever_an_image_meets_a_full_disk_it_is_refused_and_the_next_is_taken(
    centre: Vault, on_disk: AgentFolder, disk: Path, tmp_path: Path
) -> None:
    # With its reserve it would refuse long before: here that is gone from one moment to the next.
    with running(on_disk, beside=tmp_path, module=("tests.faults.standin", "unreserved")) as agent:
        filling = Filling(agent, disk)
        # From where the body has no room to where all has; then page by page past the point where it begins to fit.
        needed = bisect.bisect_left(range(_MOST_PAGES), True, key=filling.fits)
        for beside in _AROUND:
            filling.fits(needed + beside)
        agent.wait_until_idle()

    assert filling.statuses == {Status.SUCCESS, Status.OUT_OF_RESOURCES}
    found = delivered(centre)
    verify_none_lost(filling.acknowledged, found)
    verify_none_twice(found)
    verify_only_sent(filling.acknowledged, found)
    verify_no_plaintext(disk)
    verify_log(centre)


def test_wherever_small_images_meet_a_full_disk_none_that_was_acknowledged_is_lost(
    centre: Vault, on_disk: AgentFolder, disk: Path, tmp_path: Path
) -> None:
    """A segment written in advance has room for them when the catalogue that should name them has none."""
    numbers, acknowledged, statuses = itertools.count(1), list[Image](), list[int]()

    def send(agent: AgentProcess) -> None:
        sent = image(next(numbers), _SMALL_BYTES)
        statuses.append(send_one(agent.port(), sent))
        if statuses[-1] == Status.SUCCESS:
            acknowledged.append(sent)

    with running(on_disk, beside=tmp_path, module=("tests.faults.standin", "unreserved")) as agent:
        for left_pages in _PAGES_LEFT:
            send(agent)
            agent.wait_until_idle()
            with filled(disk, left_pages):
                for _ in range(_SMALL_AT_A_TIME):
                    send(agent)
        with filled(disk, 0):
            for _ in range(_SMALL_AT_A_TIME):
                send(agent)
            agent.killed()
    with running(on_disk, beside=tmp_path) as agent:
        send(agent)
        agent.wait_until_idle()

    assert set(statuses) == {Status.SUCCESS, Status.OUT_OF_RESOURCES}
    found = delivered(centre)
    verify_none_lost(acknowledged, found)
    verify_none_twice(found)
    verify_no_plaintext(disk)
    verify_log(centre)


def test_below_the_reserve_images_are_refused_and_every_refusal_is_recorded(
    centre: Vault, on_disk: AgentFolder, disk: Path, tmp_path: Path
) -> None:
    with running(on_disk, beside=tmp_path) as agent:
        port = agent.port()
        with filled(disk, RESERVE_BYTES // _PAGE_BYTES - 100):
            statuses = [send_one(port, image(number)) for number in range(1, 6)]
            assert echo(port) == Status.SUCCESS
        assert send_one(port, image(9)) == Status.SUCCESS
        agent.wait_until_idle()

    assert statuses == [Status.OUT_OF_RESOURCES] * 5
    refused = [record for record in verify_log(centre) if record.event is Event.IMAGE_REFUSED]
    assert len(refused) == 5
    assert delivered(centre) == {image(9).digest: 1}


def test_refusals_that_a_full_disk_has_no_room_for_are_counted_once_it_has(
    centre: Vault, on_disk: AgentFolder, disk: Path, tmp_path: Path
) -> None:
    with running(on_disk, beside=tmp_path) as agent:
        port = agent.port()
        assert send_one(port, image(_REFUSED + 1)) == Status.SUCCESS
        agent.wait_until_idle()
        with filled(disk, 1):
            statuses = [send_one(port, image(number)) for number in range(1, _REFUSED + 1)]
        assert send_one(port, image(_REFUSED + 2)) == Status.SUCCESS
        # Nothing that is idle waits for it: it is made up once everything else has been sent.
        centre.wait_for(lambda: any(b"records-unwritten" in record.public for record in centre.audit))
        agent.wait_until_idle()

    assert statuses == [Status.OUT_OF_RESOURCES] * _REFUSED
    held = verify_log(centre)
    recorded = sum(record.event is Event.IMAGE_REFUSED for record in held)
    (told,) = (record for record in held if record.event is Event.RECORDS_UNWRITTEN)
    assert recorded < _REFUSED, "the disk had room for every record"
    assert f"capture.image-refused: {_REFUSED - recorded}" in [what.name for what in told.what]


def test_an_agent_that_cannot_record_its_start_does_not_take_images_and_starts_when_it_can(
    centre: Vault, on_disk: AgentFolder, disk: Path, tmp_path: Path
) -> None:
    centre.vault_status = 503
    with running(on_disk, beside=tmp_path) as agent:
        assert send_one(agent.port(), image(1)) == Status.SUCCESS
        agent.killed()
    with filled(disk, 0), running(on_disk, beside=tmp_path, module=AGENT) as agent:
        # Its start could not be recorded, so it does not open its port: the modality takes its fallback route.
        assert agent.ended() == _UNAVAILABLE
    centre.vault_status = 0
    with running(on_disk, beside=tmp_path) as agent:
        assert send_one(agent.port(), image(2)) == Status.SUCCESS
        agent.wait_until_idle()

    assert delivered(centre) == {image(1).digest: 1, image(2).digest: 1}
    verify_log(centre)


def test_control_an_agent_that_answers_before_it_knows_that_there_is_room_loses_images(
    centre: Vault, on_disk: AgentFolder, disk: Path, tmp_path: Path
) -> None:
    with running(on_disk, beside=tmp_path, module=("tests.faults.standin", "eager")) as agent:
        port = agent.port()
        with filled(disk, RESERVE_BYTES // _PAGE_BYTES - 100):
            assert send_one(port, image(1)) == Status.SUCCESS
            agent.wait_until(lambda: agent.status().refused == 1)
        agent.wait_until_idle()

    with pytest.raises(AssertionError, match="1 acknowledged images are lost"):
        verify_none_lost([image(1)], delivered(centre))
