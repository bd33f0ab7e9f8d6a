"""A host in one process at full work, every part on a thread of its own, and what others know of it meanwhile.

Modalities send small and large images, some twice, some under one instance, one broken off; a registrar enters them in
groups; delivery brings them to a vault that refuses one for good.
"""

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from edge_agent.capture.pipeline import ImageHeader
from edge_agent.capture.registrar import GroupRegistrar
from edge_agent.database import Database
from edge_agent.deliver.uploader import Delivery, DeliveryUploader
from edge_agent.https import Answer, DoorUnavailable, HttpsDoor
from edge_agent.moving.store import MovedStore
from edge_agent.parts import Bell
from edge_agent.spool.catalogue import State
from edge_agent.spool.keeper import SpoolKeeper
from edge_agent.spool.spool import RESERVE_BYTES
from shared.audit.events import Event
from shared.audit.record import GENESIS, AuditRecord
from shared.fleet.receipt import Receipt, sign_receipt
from shared.identity import ObjectId
from shared.sealing import object_file
from shared.sealing.record import record_digest
from shared.signing import SoftwareSigner
from tests.edge_agent.capture.wire import EXPLICIT
from tests.fakes.centre import open_object
from tests.fakes.host import CT, Host
from tests.fakes.signers import CentreKeys
from tests.faults.disk import Left
from tests.faults.evidence import verify_none_lost, verify_none_twice
from tests.faults.modality import Image, image

SEGMENT_BYTES = 40 << 10
_SMALL_BYTES, _LARGE_BYTES = (600, 4096, 9_000, 20_000), 1_100_000
_PIECE_BYTES = 60_000
_WITHIN_S = 120.0
# As much as makes the keeper want two segments in advance.
_FREE_BYTES = RESERVE_BYTES + (2 * 50 << 25)


class BrokenOff(Exception):
    """The modality ended in the middle of an image."""


@dataclass(frozen=True)
class Known:
    """What others hold for certain: as which object the modality was told that a data set is safe, and the vault."""

    acknowledged: Mapping[bytes, ObjectId]
    vault: Mapping[str, bytes]


class VaultDoor:
    """The hosts' door of a vault in the same process; it will never take the data sets in `unwanted`."""

    name = "the vault"

    def __init__(self, host: Host, objects: dict[str, bytes], unwanted: frozenset[bytes] = frozenset()) -> None:
        self._host, self.objects, self._unwanted = host, objects, unwanted
        self._answers = 0

    def put_file(self, path: str, source: Any, size_bytes: int) -> Answer:
        object_id, sealed = path.rpartition("/")[2], source.read(size_bytes)
        self._answers += 1
        if self._unwanted and self._answers % 5 == 0:
            raise DoorUnavailable(self.name, "away for a moment")
        if self._unwanted and opened(self._host, sealed) in self._unwanted:
            return Answer(422, b'{"title": "Object altered"}')
        assert self.objects.setdefault(object_id, sealed) == sealed, "one object, two contents"
        record = record_digest(object_file.parse(BytesIO(sealed)).record)
        receipt = Receipt(ObjectId.parse(object_id), record, self._host.clock.now())
        return Answer(200, sign_receipt(receipt, self._host.receipts))

    def close(self) -> None:
        return


def opened(host: Host, sealed: bytes) -> bytes:
    """Return the digest of the data set in a sealed object, everything verified."""
    return _opened(sealed, host.signer, host.keys)


# The same objects are looked at after every cut, and what holds of their bytes holds. Those of one cut alone age out.
@lru_cache(64)
def _opened(sealed: bytes, signer: SoftwareSigner, keys: CentreKeys) -> bytes:
    dataset, entry, _ = open_object(sealed, signer.public, keys)
    return Image(entry.sop_instance_uid, dataset).digest


@dataclass
class Ward:
    folder: Path
    seed: int
    database_at: Callable[[Path], Database] = Database
    acknowledged: dict[bytes, ObjectId] = field(default_factory=dict)
    vault: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.host = Host(self.folder, segment_bytes=SEGMENT_BYTES, database_at=self.database_at)
        self.host.put_in_force()

    def known(self) -> Known:
        return Known(dict(self.acknowledged), dict(self.vault))

    def images(self, count: int, large: int) -> list[Image]:
        """Return so many images; of one instance there is a second data set."""
        sizes = [self._random.choice(_SMALL_BYTES) for _ in range(count - large)] + [_LARGE_BYTES] * large
        self._random.shuffle(sizes)
        first = self._random.randrange(1 << 30)
        made = [image(first + number, size) for number, size in enumerate(sizes)]
        return [*made, replace(made[0], dataset=made[0].dataset[:-8] + b"another!")]

    def work(self, images: Sequence[Image], threads: int = 3, unwanted: Sequence[Image] = ()) -> None:
        """Have `images` sent over several associations, one of them twice, and delivered meanwhile."""
        again = [*images, *images[:1]]
        shares = [again[number::threads] for number in range(threads)]

        def sender(share: Sequence[Image]) -> None:
            for sent in share:
                self.send(sent)
            if share and share is shares[0]:
                self.break_off(share[-1])

        with self._parts(frozenset(sent.digest for sent in unwanted)), ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(sender, share) for share in shares]:
                done.result(_WITHIN_S)

    def write_in_advance(self) -> None:
        """Have the keeper write its segments, as it does while nobody sends."""
        keeper = SpoolKeeper(self.host.spool.segments, lambda: _FREE_BYTES, self.host.log)
        while keeper.step():
            pass

    def stop_short(self, images: Sequence[Image]) -> None:
        """Have `images` sent, and the agent killed before it has registered any that lies in a segment."""
        self.host.pipeline.registrar = GroupRegistrar(self.host.captures.entries, self.host.log)
        for sent in images:
            self.send(sent)
        self.host.restart()

    def send(self, sent: Image) -> None:
        self.acknowledged[sent.digest] = send(self.host, sent)

    def break_off(self, begun: Image) -> None:
        with contextlib.suppress(BrokenOff), self.host.pipeline.begin(header(begun)) as capture:
            capture.update(memoryview(begun.dataset[: len(begun.dataset) // 2]))
            raise BrokenOff

    @contextmanager
    def _parts(self, unwanted: frozenset[bytes]) -> Iterator[None]:
        """Run registrar and delivery; at the end all that is left is registered and delivered."""
        host = self.host
        registrar = GroupRegistrar(host.captures.entries, host.log)
        uploader = delivery(host, self.vault, unwanted)
        host.pipeline.registrar = registrar
        stop, ended = threading.Event(), threading.Event()

        def deliver() -> None:
            while not ended.is_set() or host.spool.waiting():
                with contextlib.suppress(DoorUnavailable):
                    if uploader.deliver_oldest() is Delivery.NOTHING:
                        ended.wait(0.005)

        with ThreadPoolExecutor(2) as pool:
            registering, delivering = pool.submit(registrar.run, stop), pool.submit(deliver)
            try:
                yield
            finally:
                stop.set()
                registrar.bell.ring()
                registering.result(_WITHIN_S)
                ended.set()
                delivering.result(_WITHIN_S)


def header(sent: Image) -> ImageHeader:
    return ImageHeader("CT1", sent.instance, EXPLICIT, CT)


def send(host: Host, sent: Image) -> ObjectId:
    """Have one image arrive; when this has returned the modality is told success."""
    with host.pipeline.begin(header(sent)) as capture:
        for at in range(0, len(sent.dataset), _PIECE_BYTES):
            capture.update(memoryview(sent.dataset[at : at + _PIECE_BYTES]))
        return capture.finish()


def delivery(host: Host, vault: dict[str, bytes], unwanted: frozenset[bytes] = frozenset()) -> DeliveryUploader:
    return DeliveryUploader(
        cast("HttpsDoor", VaultDoor(host, vault, unwanted)),
        host_id=host.host_id,
        spool=host.spool,
        journal=host.journal,
        database=host.database,
        receipts=host.captures.receipts,
        policy=host.store.in_force,
        log=host.log,
        bell=Bell(),
        brought=MovedStore(host.database),
    )


def same_host(host: Host, folder: Path) -> Host:
    """Return the same host on another folder, as it starts there; its modality and its vault see no difference."""
    return Host(
        folder, host_id=host.host_id, signer=host.signer, receipts=host.receipts, keys=host.keys,
        segment_bytes=host.segment_bytes, database_at=UnsyncedDatabase,
    )  # fmt: skip


class UnsyncedDatabase(Database):
    """For what only has to be looked at: a disk makes nobody wait for it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._connection.execute("PRAGMA synchronous=OFF")


def verify_nothing_lost_by(
    left: Left, known: Known, sent: Sequence[Image], host: Host, folder: Path, *, is_clean: bool
) -> None:
    """Give what a power cut left to a host that starts, and check everything that was promised to anybody.

    `is_clean`: what was not synced is absent as a whole, so that nothing can be torn.
    """
    left.put_into(folder)
    again = same_host(host, folder)
    again.recover()
    verify_journal(again, known)
    verify_delivered_stays_away(again)
    if is_clean:
        damaged = [row.why for row in again.spool.rows(State.PUT_ASIDE) if "status 422" not in row.why]
        assert not damaged, f"nothing was torn, and a start calls an object damaged: {damaged[0]}"

    # The modality sends again what it was not told success for, and one image more, whose answer it lost.
    for one in sent:
        if one.digest not in known.acknowledged or one is sent[0]:
            send(again, one)
    vault = dict(known.vault)
    while delivery(again, vault).deliver_oldest() is not Delivery.NOTHING:
        pass
    found = Counter(opened(again, sealed) for sealed in [*vault.values(), *put_aside_by_the_vault(again)])
    verify_none_lost(sent, found)
    verify_none_twice(found)

    again.restart()
    again.recover()
    assert again.spool.waiting() == 0, "the next start finds again what has left"
    verify_journal(again, known)
    again.database.close()


def verify_journal(host: Host, known: Known) -> None:
    """Check the chain, and that each object has one outcome, which for one that was acknowledged is success."""
    unsent = host.journal.unsent(most=100_000, most_bytes=1 << 30)
    captured, refused, before = Counter[str](), Counter[str](), GENESIS
    for number, stored in enumerate(unsent.records if unsent is not None else (), 1):
        record = AuditRecord.parse(stored.public)
        assert (record.seq, record.prev) == (number, before), "the journal's chain is broken"
        before = stored.leaf
        if record.event is Event.IMAGE_CAPTURED:
            captured[record.what[0].name] += 1
        elif record.event is Event.IMAGE_REFUSED:
            refused[record.what[0].name] += 1
    for name, count in (captured + refused).items():
        assert count == 1, f"object {name} has {count} outcomes in the journal"
    for object_id in known.acknowledged.values():
        assert captured[str(object_id)], f"object {object_id} was acknowledged and is not recorded as captured"


def verify_delivered_stays_away(host: Host) -> None:
    back = [
        row
        for row in host.spool.rows(State.WAITING, State.PUT_ASIDE)
        if host.captures.receipts.holds(row.spooled.object_id)
    ]
    assert not back, f"{len(back)} objects that the vault has answered for are back"


def put_aside_by_the_vault(host: Host) -> Iterator[bytes]:
    for row in host.spool.rows(State.PUT_ASIDE):
        if "status 422" in row.why:
            with host.spool.open(row.spooled) as file:
                yield file.read()
