"""The inside of one agent on a folder of its own: real parts, a policy put in force, no centre and no threads."""

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from cryptography.cobblestone import Cobblestone256Encryptor
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.audit.journal import Journal
from edge_agent.capture.association import Patience
from edge_agent.capture.pipeline import CapturePipeline, ImageHeader
from edge_agent.capture.registrar import DirectRegistrar
from edge_agent.capture.store import CaptureStore
from edge_agent.config import AgentFolder, load_identity
from edge_agent.database import Database, DatabaseUnavailable
from edge_agent.policy_sync.choice import Choice
from edge_agent.policy_sync.store import PolicyStore
from shared.audit.events import EventName, Happening
from shared.audit.record import AuditRecord
from shared.identity import HostId, ObjectId, RandomBytes
from shared.policy.accept import AcceptedPolicy
from shared.policy.document import ORGANISATION, PolicyDocument
from shared.sealing.binding import hash_sop_instance
from shared.sealing.seal import EncryptorFactory
from shared.signing import SoftwareSigner
from tests.fakes.clock import FakeClock
from tests.fakes.log import MemoryLog
from tests.fakes.signers import CentreKeys, document

CT = "1.2.840.10008.5.1.4.1.1.2"


@dataclass
class Host:
    folder: Path
    spool_folder: Path | None = None  # by default within `folder`
    random_bytes: RandomBytes = secrets.token_bytes
    encryptor: EncryptorFactory = Cobblestone256Encryptor
    free_bytes: int = 1 << 40
    quota_bytes: int = 0
    segment_bytes: int = 4 << 20
    patience: Patience = field(default_factory=Patience)
    host_id: HostId = field(default_factory=HostId.new)
    signer: SoftwareSigner = field(default_factory=lambda: SoftwareSigner(ec.generate_private_key(ec.SECP256R1())))
    receipts: SoftwareSigner = field(default_factory=lambda: SoftwareSigner(ec.generate_private_key(ec.SECP256R1())))
    keys: CentreKeys = field(default_factory=lambda: CentreKeys.new(secrets.token_bytes))
    database_at: Callable[[Path], Database] = Database
    layers: tuple[str, ...] = (ORGANISATION,)

    @classmethod
    def enrolled(cls, folder: AgentFolder, keys: CentreKeys) -> "Host":
        """Return who enrolled, with spool and database where the commands look for them."""
        identity = load_identity(folder)
        host = cls(
            folder.database.parent,
            spool_folder=folder.spool,
            host_id=identity.config.host_id,
            signer=identity.signer,
            keys=keys,
        )
        host.put_in_force()
        return host

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        is_new = not (self.folder / "agent.sqlite").exists()
        self.clock, self.log = FakeClock(), MemoryLog()
        self.open()
        if is_new:
            self.spool.attempts.forget()

    def open(self) -> None:
        """Start from what is on the disk, as after a restart."""
        self.database = self.database_at(self.folder / "agent.sqlite")
        self.store = PolicyStore(self.database, self.layers, self.host_id, self.clock, self.log)
        self.journal = Journal(self.database, self.host_id, key=self.store.audit_key, clock=self.clock)
        self.captures = CaptureStore(
            self.spool_folder or self.folder / "spool",
            self.database,
            self.journal,
            self.signer.public,
            free_bytes=lambda _: self.free_bytes,
            quota=lambda: self.quota_bytes,
            segment_bytes=self.segment_bytes,
        )
        self.spool = self.captures.spool
        self.pipeline = CapturePipeline(
            host_id=self.host_id,
            sop_hash_key=bytes(32),
            signer=self.signer,
            policy=self.store.in_force,
            spool=self.spool,
            claims=self.captures.claims,
            registrar=DirectRegistrar(self.captures.entries),
            journal=self.journal,
            clock=self.clock,
            random_bytes=self.random_bytes,
            encryptor=self.encryptor,
        )

    def restart(self) -> None:
        self.database.close()
        self.open()

    def recover(self) -> None:
        """Do what an agent does at its start."""
        self.journal.fail_unfinished()
        self.captures.recover(self.host_id, self.log)

    def fill(self, happening: Happening) -> None:
        """Give the database no page more than it has, and record `happening` until that fails for want of room."""
        self._allow_pages(1)  # SQLite takes no less than there are
        with suppress(DatabaseUnavailable):
            while True:
                self.journal.record(happening)

    def make_room(self) -> None:
        self._allow_pages(1 << 30)

    def _allow_pages(self, most: int) -> None:
        with self.database.transaction() as connection:
            connection.execute(f"PRAGMA max_page_count = {most}")

    def put_in_force(self, version: int = 1, ae_titles: tuple[str, ...] = ("CT1",), quota_bytes: int = 0) -> None:
        policy = document(version, self.keys, self.receipts.public, ae_titles)
        self.act_by(replace(policy, spool_quota_bytes=quota_bytes))

    def act_by(self, policy: PolicyDocument) -> None:
        """Accept a policy of the organisation's and have it in force, as an updater does whose self-check passed."""
        data, versions = policy.encode(), {ORGANISATION: policy.version}
        with self.database.transaction():
            self.store.keep(AcceptedPolicy(ORGANISATION, policy.version, sha256(data).digest()), data)
            self.store.passed(self.store.begin_trial(versions, Choice("0" * 64, 1, policy.version), "it is tried"))
        self.store.switch(policy, versions)

    def uid_hash(self, uid: str) -> bytes:
        return hash_sop_instance(bytes(32), uid)

    def files(self) -> list[Path]:
        """Return the objects of the spool that are files of their own."""
        return [path for path in self.spool.files.iterdir() if path.suffix != ".note"]

    def left_behind(self) -> list[str]:
        """Return the ids of all that lies in the spool, whole or not, or was begun and has not ended."""
        files = (path.name for folder in (self.spool.incoming, self.spool.files) for path in folder.iterdir())
        waiting = (str(spooled.object_id) for spooled in self.spool.everything())
        return [*files, *waiting, *map(str, self.spool.attempts.left_over())]

    def records(self) -> list[AuditRecord]:
        unsent = self.journal.unsent(most=10_000, most_bytes=1 << 30)
        return [AuditRecord.parse(record.public) for record in unsent.records] if unsent else []

    def events(self) -> list[EventName]:
        return [record.event for record in self.records()]

    def capture(
        self, dataset: bytes = b"\x08\x00", transfer_syntax: str = "1.2.840.10008.1.2.1", uid: str = "1.2.3"
    ) -> ObjectId:
        """Have one image arrive in one piece."""
        with self.pipeline.begin(ImageHeader("CT1", uid, transfer_syntax)) as capture:
            capture.update(memoryview(dataset))
            return capture.finish()
