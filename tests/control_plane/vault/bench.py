"""A centre in a folder with real services and keys, and hosts that seal and sign as real ones do."""

import io
import secrets
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Engine, text
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.audit_log.finding import AuditFinding
from control_plane.audit_log.intake import AuditIntake
from control_plane.audit_log.journal import CentreJournal
from control_plane.audit_log.proof import AuditProof
from control_plane.audit_log.reading import AuditReading
from control_plane.db.engine import open_database, sqlite_url
from control_plane.db.models import Host
from control_plane.enrolment import authority
from control_plane.enrolment.authority import Authority, Kind
from control_plane.erasure.private_parts import PrivateParts
from control_plane.keys import store
from control_plane.keys.root import RootKey
from control_plane.keys.store import KeyStore
from control_plane.moving.grants import SpoolMoves
from control_plane.moving.move import Moves
from control_plane.tlog.sequencer import Sequencer
from control_plane.vault.conflicts import Conflicts
from control_plane.vault.finding import Finder
from control_plane.vault.index_service import IndexService
from control_plane.vault.local import LocalObjectStore
from control_plane.vault.losses import Losses
from control_plane.vault.object_store import Bodies, ObjectStore
from control_plane.vault.opening import VaultOpener
from control_plane.vault.receive import VaultIntake, WaysOut
from shared import canonical
from shared.audit.batch import ChainHead, sign_batch
from shared.audit.events import Action, Event, EventName, Happening, Outcome, Participant, Subject
from shared.audit.record import SALT_BYTES, AuditRecord, StoredRecord, compose
from shared.canonical import Json
from shared.identity import HostId, ObjectId
from shared.policy.document import KeyPurpose
from shared.sealing.binding import Binding
from shared.sealing.index import IndexEntry
from shared.sealing.record import CaptureRecord, record_digest
from shared.sealing.seal import ObjectSealer, Sealing, StreamSink
from shared.signing import EvidenceSigner, SoftwareSigner
from tests.control_plane.begun import close_whole, database_at, folder_of_process
from tests.fakes.clock import FakeClock

GRADE = "restricted"
TRANSFER_SYNTAX = "1.2.840.10008.1.2.1"
ROOT = RootKey(bytes(range(32)))
ENTRY = IndexEntry(
    evaluated=True,
    patient_id="4711",
    patient_name="Muster^Erika",
    issuer_of_patient_id="",
    accession_number="A-17",
    study_instance_uid="1.2.3.1",
    series_instance_uid="1.2.3.1.1",
    sop_instance_uid="1.2.3.1.1.1",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    modality="CT",
)
NOTHING_READ = IndexEntry(False, *[""] * 9)


@lru_cache(maxsize=1)
def _template() -> Path:
    """Return a database with the centre's keys and certificates, made once for all tests of a process."""
    path = folder_of_process() / "template.sqlite"
    database = database_at(path)
    _fill(database)
    close_whole(database)
    return path


def _fill(database: sessionmaker[Session]) -> None:
    keys = KeyStore(database, ROOT, FakeClock())
    for name in (store.RECEIPTS, store.JOURNAL, store.SERVER_TLS, store.BROKER_TLS, store.SERVICE_TLS):
        keys.create_p256(name)
    keys.create_secret(store.BLIND_INDEX)
    keys.create_sealing_key(KeyPurpose.DATA, GRADE)
    keys.create_sealing_key(KeyPurpose.DATA, "plain")
    keys.create_sealing_key(KeyPurpose.INDEX)
    keys.create_sealing_key(KeyPurpose.AUDIT)
    root_key = ec.generate_private_key(ec.SECP256R1())
    ca = authority.establish(database, keys, FakeClock(), root_key, ["localhost"])
    authority.issue_own(database, ca, ca, keys, "localhost")


def engine_of(database: sessionmaker[Session]) -> Engine:
    with database() as session:
        engine = session.get_bind()
    assert isinstance(engine, Engine)
    return engine


class Nowhere:
    """A vault whose objects stay there."""

    def owed(self, record: CaptureRecord) -> tuple[str, ...]:
        return ()

    def add(self, session: Session, object_id: ObjectId, routes: tuple[str, ...]) -> None:
        assert not routes

    def wake(self) -> None:
        raise AssertionError("nothing was queued")


class Bench:
    """Built over a folder; built again over the same folder, it is the centre after a restart."""

    def __init__(
        self, folder: Path, *, object_store: Callable[[Path], ObjectStore] = LocalObjectStore, url: str = ""
    ) -> None:
        """`url` is that of a database elsewhere; empty, or one that a bench was built over before."""
        self.folder, self.clock = folder, FakeClock()
        path = folder / "leadglass.sqlite"
        (folder / "incoming").mkdir(parents=True, exist_ok=True)
        if not url and not path.exists():
            shutil.copyfile(_template(), path)
        self.database = open_database(url or sqlite_url(path))
        self.engine = engine_of(self.database)
        if not self.rows("SELECT name FROM keys"):
            _fill(self.database)
        self.keys = KeyStore(self.database, ROOT, self.clock)
        self.ca: Authority = authority.load(self.database, self.keys, self.clock)
        self.private = PrivateParts(self.keys)
        self.journal = CentreJournal(
            self.database,
            self.keys.signer(store.JOURNAL),
            Sequencer(self.keys.log_signer()),
            self.private.sealing,
            self.clock,
        )
        self.evidence = EvidenceKeys(self.database, self.ca.trust)
        self.index = IndexService(self.keys, self.keys.secret(store.BLIND_INDEX))
        self.objects = object_store(folder / "objects")
        self.receipts = self.keys.signer(store.RECEIPTS)
        self.log = AuditProof(self.database, self.evidence)
        self.conflicts = Conflicts(self.database, self.evidence)
        self.finder = Finder(self.database, self.evidence, self.index, self.conflicts, self.journal)
        self.losses = Losses(self.database, self.journal, self.clock)
        self.moves = SpoolMoves(self.database, self.journal, self.log, self.clock)
        self.audit = AuditIntake(self.evidence, self.journal, self.clock, self.moves)
        self.reading = AuditReading(self.database, self.evidence, self.journal, self.private, self.clock)
        self.asking = AuditFinding(self.database, self.journal, self.private)
        self.intake = self.intake_with()
        self.opener = self.opener_with()

    def intake_with(
        self,
        *,
        store: ObjectStore | None = None,
        hosts: EvidenceKeys | None = None,
        ways_out: WaysOut | None = None,
        moves: Moves | None = None,
    ) -> VaultIntake:
        return VaultIntake(
            self.database, store or self.objects, hosts or self.evidence, self.keys, self.index, self.journal,
            self.receipts, self.clock, self.folder / "incoming", ways_out or Nowhere(), moves or self.moves,
            self.losses,
        )  # fmt: skip

    def opener_with(
        self,
        *,
        store: Bodies | None = None,
        hosts: EvidenceKeys | None = None,
        log: AuditProof | None = None,
        conflicts: Conflicts | None = None,
    ) -> VaultOpener:
        return VaultOpener(
            self.database, store or self.objects, hosts or self.evidence, self.keys, self.index, self.journal,
            log or self.log, conflicts or self.conflicts, self.losses,
        )  # fmt: skip

    def public(self, purpose: KeyPurpose, grade: str = "") -> Any:
        return next(k.key for k in self.keys.sealing_keys() if (k.purpose, k.grade) == (purpose, grade))

    def enrol(self) -> "HostBench":
        host_id, key = HostId.new(), ec.generate_private_key(ec.SECP256R1())
        signer = SoftwareSigner(key)
        with self.database.begin() as session:
            session.add(
                Host(
                    host_id=str(host_id), asset="CT 1", enrolled=self.clock.now(),
                    evidence_spki=signer.public.spki, state_number=0,
                )
            )  # fmt: skip
            self.ca.issue(session, Kind.EVIDENCE, str(host_id), key.public_key())
        return HostBench(self, host_id, signer)

    def receive(self, sealed: "SealedImage", *, intake: VaultIntake | None = None) -> bytes:
        data = io.BytesIO(sealed.file)
        return (intake or self.intake).receive(sealed.object_id, sealed.host_id, data, len(sealed.file))

    def read(self, sealed: "SealedImage", *, opener: VaultOpener | None = None) -> bytes:
        opened = (opener or self.opener).open(sealed.object_id, "A. Admin", "second opinion", "dataset")
        return b"".join(opened.pieces)

    def sql(self, statement: str, **values: object) -> None:
        """Change the database behind the centre's back."""
        with self.database.begin() as session:
            session.execute(text(statement), values)

    def rows(self, statement: str, **values: object) -> list[Any]:
        with self.database() as session:
            return list(session.execute(text(statement), values).all())

    def body(self, object_id: ObjectId) -> Path:
        return self.folder / "objects" / str(object_id)[:2] / f"{object_id}.body"

    def opened(self, row: Any) -> Json:
        """Return a record's private part, by the keys of whoever it is about."""
        with self.database() as session:
            salted = self.private.open(session, StoredRecord(row.public, row.sealed)).salted
        return None if salted is None else canonical.parse(salted[SALT_BYTES:], "private part")

    def last_record(self) -> AuditRecord:
        (row,) = self.rows("SELECT public FROM audit_records WHERE source = 'control-plane' ORDER BY seq DESC LIMIT 1")
        return AuditRecord.parse(row.public)

    def events(self, source: str = "control-plane") -> list[EventName]:
        rows = self.rows("SELECT public FROM audit_records WHERE source = :source ORDER BY seq", source=source)
        return [AuditRecord.parse(row.public).event for row in rows]


@dataclass(frozen=True)
class SealedImage:
    object_id: ObjectId
    host_id: HostId
    dataset: bytes
    file: bytes
    record: bytes


@dataclass
class HostBench:
    bench: Bench
    host_id: HostId
    signer: EvidenceSigner
    head: ChainHead = field(default_factory=ChainHead)
    journal: list[StoredRecord] = field(default_factory=list)

    def seal(
        self,
        dataset: bytes = b"image" * 5000,
        entry: IndexEntry = ENTRY,
        *,
        object_id: ObjectId | None = None,
        signer: EvidenceSigner | None = None,
        grade: str = GRADE,
        data_key: Any = None,
        index_key: Any = None,
        transfer_syntax: str = TRANSFER_SYNTAX,
        routes: tuple[str, ...] = (),
        policy_version: int = 1,
    ) -> SealedImage:
        out = io.BytesIO()
        object_id = object_id or ObjectId.new()
        sealer = ObjectSealer(
            StreamSink(out), Binding(object_id, self.host_id, secrets.token_bytes(32), transfer_syntax)
        )
        sealer.update(dataset)
        data_key = data_key or self.bench.public(KeyPurpose.DATA, grade)
        index_key = index_key or self.bench.public(KeyPurpose.INDEX)
        sealing = Sealing(grade, data_key, index_key, policy_version, self.bench.clock.now(), routes)
        sealed = sealer.finish(sealing, entry, signer or self.signer)
        return SealedImage(object_id, self.host_id, dataset, out.getvalue(), sealed.signed_record)

    def captured(self, image: SealedImage) -> None:
        """Note in the host's journal what an agent notes at capture."""
        what = (Subject("object", str(image.object_id)), Subject("record", record_digest(image.record).hex()))
        self.note(Event.IMAGE_CAPTURED, what, who=(Participant("ae", "CT1", True),))

    def note(
        self,
        event: Event = Event.AGENT_STARTED,
        what: tuple[Subject, ...] = (),
        private: dict[str, Json] | None = None,
        who: tuple[Participant, ...] = (),
    ) -> None:
        who = (*who, Participant("host", str(self.host_id), not who))
        happening = Happening(event, Action.CREATE, Outcome.SUCCESS, who, what, private=private)
        stored = compose(
            happening, source=str(self.host_id), seq=self.head.seq + 1, prev=self.head.leaf,
            time=self.bench.clock.now(), salt=secrets.token_bytes(32), key=self.bench.public(KeyPurpose.AUDIT),
        )  # fmt: skip
        self.head = ChainHead(self.head.seq + 1, stored.leaf)
        self.journal.append(stored)

    def batch(self, first: int, last: int, *, signer: EvidenceSigner | None = None) -> bytes:
        return batch_of(str(self.host_id), self.journal, first, last, signer or self.signer)

    def deliver(self, first: int, last: int) -> int:
        return self.bench.audit.take(self.host_id, self.batch(first, last))


def batch_of(source: str, journal: Sequence[StoredRecord], first: int, last: int, signer: EvidenceSigner) -> bytes:
    prev = journal[first - 2].leaf if first > 1 else ChainHead().leaf
    return sign_batch(source, prev, journal[first - 1 : last], signer).encode()


def new_signer() -> SoftwareSigner:
    return SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
