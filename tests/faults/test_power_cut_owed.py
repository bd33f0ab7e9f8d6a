"""A power cut at every sync point of a host that owes an archive what it captures: what it acknowledged goes out."""

import os
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_agent.enrol import store as identity_store
from edge_agent.files import make_folder
from edge_agent.forward.forwards import Forwards
from edge_agent.forward.image import SpoolImages
from edge_agent.forward.key import ForwardingKey
from edge_agent.forward.queue import ForwardQueue
from edge_agent.forward.spooled import SpoolObjects
from edge_agent.host_keys.plain import FILES
from edge_agent.host_keys.store import HostKeyStore
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.identity import ObjectId
from shared.policy.grading import Grading
from tests.edge_agent.forward.bench import route
from tests.fakes.host import Host
from tests.fakes.signers import document
from tests.faults import inside
from tests.faults.disk import Choice, Disk, Left
from tests.faults.modality import Image, image
from tests.faults.ward import SEGMENT_BYTES, same_host, send

Spoil = Callable[[pytest.MonkeyPatch], None]
_SIZES_BYTES = (600, 20_000, 1_100_000, 9_000)
_ROUTE = route(104)


@dataclass(frozen=True)
class Cut:
    at: str
    acknowledged: Mapping[bytes, ObjectId]
    left: Left


class Owing:
    """A host that serves its route to an archive itself."""

    def __init__(self, host: Host) -> None:
        self.host = host
        make_folder(host.folder / "identity")
        key = ForwardingKey(HostKeyStore(host.folder / "identity", FILES))
        self.queue = ForwardQueue(host.database, host.journal, host.host_id, host.clock)
        inside.give_forwards(host.captures, host.pipeline, Forwards(key, self.queue))
        self._images = SpoolImages(SpoolObjects(host.spool), self.queue.box, key, host.signer.public)

    def sent_on(self, object_id: ObjectId) -> bytes:
        """Return the digest of what the archive gets."""
        described = self._images.describe(object_id, _ROUTE.name)
        pieces = self._images.open(described, _ROUTE.name, _ROUTE.peer.ae_title)
        return Image(described.sop_instance_uid, b"".join(map(bytes, pieces))).digest


def work(folder: Path, seed: int, spoil: Spoil = lambda _patched: None) -> tuple[Host, list[Cut]]:
    print(f"seed {seed}")
    rng, cuts, acknowledged = random.Random(seed), list[Cut](), dict[bytes, ObjectId]()
    folder.mkdir()
    disk = Disk(folder)

    def cut(at: str) -> None:
        choice = Choice(None if at.startswith("after") else rng.randrange(1 << 30))
        cuts.append(Cut(at, dict(acknowledged), disk.left(choice)))

    with disk.watched(), pytest.MonkeyPatch.context() as patched:
        spoil(patched)
        host = Host(folder, segment_bytes=SEGMENT_BYTES, database_at=disk.database)
        grading = Grading("restricted", routes=(_ROUTE.name,), ungraded_routes=(_ROUTE.name,))
        host.act_by(replace(document(1, host.keys, host.receipts.public), routes=(_ROUTE,), grading=grading))
        Owing(host)
        disk.on_point = cut
        for number, size_bytes in enumerate(_SIZES_BYTES):
            sent = image(number, size_bytes)
            acknowledged[sent.digest] = send(host, sent)
        cut("after all")
        host.database.close()
    return host, cuts


def verify_all_cuts(host: Host, cuts: list[Cut], folder: Path) -> None:
    for number, cut in enumerate(cuts):
        place = folder / str(number)
        cut.left.put_into(place)
        with _started(host, place) as again, _said_where(cut):
            owed = {item.object_id for item in again.queue.due(_ROUTE.name, len(_SIZES_BYTES))}
            assert owed >= set(cut.acknowledged.values()), "an image was acknowledged and is not owed any more"
            assert len(owed) <= len(cut.acknowledged) + 1, "an image is owed twice"
            for digest, object_id in cut.acknowledged.items():
                assert again.sent_on(object_id) == digest, "the archive would get another image"
        shutil.rmtree(place)


@contextmanager
def _started(host: Host, folder: Path) -> Iterator[Owing]:
    again = Owing(same_host(host, folder))
    again.host.recover()
    try:
        yield again
    finally:
        again.host.database.close()


@contextmanager
def _said_where(cut: Cut) -> Iterator[None]:
    try:
        yield
    except (AssertionError, IntegrityFailure, Refused, Unavailable) as exc:
        raise AssertionError(f"{cut.at}: {type(exc).__name__}: {exc}") from exc


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_all_that_an_archive_is_owed_can_be_sent_on_wherever_the_power_goes(
    tmp_path: Path, looked_at: Path, seed: int
) -> None:
    host, cuts = work(tmp_path / "host", seed)

    assert len(cuts) > 5 * len(_SIZES_BYTES)
    verify_all_cuts(host, cuts, looked_at)


# ---- taken out, each of these turns it red


def keys_that_are_not_synced(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(identity_store, "os", SimpleNamespace(**{**vars(os), "fsync": lambda _descriptor: None}))


def names_of_keys_that_are_not_synced(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(identity_store, "sync_folder", lambda _folder: None)


def boxes_that_are_not_owed(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(ForwardQueue, "add", lambda _queue, _connection, _forward: None)


SPOILS: dict[Spoil, str] = {
    keys_that_are_not_synced: "the forwarding key in .* cannot be used",
    names_of_keys_that_are_not_synced: "the forwarding key in .* cannot be used",
    boxes_that_are_not_owed: "acknowledged and is not owed any more",
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_control_what_is_not_kept_in_time_is_seen(tmp_path: Path, looked_at: Path, spoil: Spoil) -> None:
    host, cuts = work(tmp_path / "host", seed=7, spoil=spoil)

    with pytest.raises(AssertionError, match=SPOILS[spoil]):
        verify_all_cuts(host, cuts, looked_at)
