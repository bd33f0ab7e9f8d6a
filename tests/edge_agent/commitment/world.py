"""One host that takes images and commits them, with the vault's receipts in the test's hands."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from ssl import SSLContext

from edge_agent.capture.instances import Instance, Instances
from edge_agent.capture.interception import Interception
from edge_agent.capture.listener import Address, DicomListener
from edge_agent.capture.tls import DicomTls, client_context
from edge_agent.commitment.association import ReportAssociation
from edge_agent.commitment.desk import CommitmentDesk
from edge_agent.commitment.reporter import Bringer, CommitmentReporter, Evidence, Pauses
from edge_agent.commitment.store import CommitmentStore
from edge_agent.deliver.receipts import Receipts
from edge_agent.forward.connect import ArchiveConnection, connected
from edge_agent.parts import Bell
from shared.dicom.requestor import Patience
from shared.fleet.receipt import Receipt
from shared.identity import ObjectId
from shared.policy.document import Modality
from shared.policy.routes import Peer
from shared.sealing.binding import hash_sop_instance
from tests.edge_agent.capture.images import Image
from tests.fakes.centre import open_object
from tests.fakes.host import Host
from tests.fakes.signers import document
from tests.threads import in_thread

HASH_KEY = bytes(32)
QUICK = Pauses(attended_s=0.5, look_s=0.01, open_s=0.05)


@dataclass
class World:
    host: Host
    evidence: Evidence | None = None  # None: the receipts themselves
    pauses: Pauses = QUICK
    identity: Path | None = None  # our certificate for TLS
    context: Callable[[Path, str], SSLContext] | None = None  # None: the agent's own
    patience: Patience = field(default_factory=Patience)
    associate: Callable[[Peer], Bringer] | None = None  # None: real ones
    version: int = 0
    bell: Bell = field(default_factory=Bell)

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        host = self.host
        self.instances, self.receipts = Instances(host.database), Receipts(host.database)
        self.store = CommitmentStore(host.database)
        self.desk = CommitmentDesk(
            self.store,
            host.journal,
            host.database,
            host_id=host.host_id,
            clock=host.clock,
            log=host.log,
            wake=self.bell.ring,
        )
        self.interception = Interception(host.database, host.journal, host.host_id)
        self.reporter = CommitmentReporter(
            self.desk,
            self.store,
            host.database,
            sop_hash_key=HASH_KEY,
            captured=self.instances,
            evidence=self.evidence or self.receipts,
            is_kept=host.captures.claims.is_kept,
            associate=self.associate
            or (lambda peer: ReportAssociation(peer, "LEADGLASS", self.connect, self.patience)),
            policy=host.store.in_force,
            clock=host.clock,
            log=host.log,
            bell=self.bell,
            pauses=self.pauses,
        )

    def connect(self, peer: Peer) -> AbstractContextManager[ArchiveConnection]:
        return connected(peer, lambda trust: client_context(self.identity or Path(), trust))

    def restart(self) -> None:
        self.host.restart()
        self.open()

    def enforce(self, *modalities: Modality, trust: str = "") -> None:
        self.version += 1
        policy = replace(
            document(self.version, self.host.keys, self.host.receipts.public), modalities=modalities, dicom_trust=trust
        )
        self.host.act_by(policy)

    @contextmanager
    def running(self, port: int = 0, tls_port: int | None = None) -> Iterator[DicomListener]:
        """Serve modalities and report to them."""
        tls = None
        if self.identity is not None:
            tls = DicomTls(
                self.identity, make_certificate=lambda: None, policy=self.host.store.in_force, context=self.context
            )
        ready = threading.Event()
        listener = DicomListener(
            Address("127.0.0.1", port, "LEADGLASS", tls_port),
            policy=self.host.store.in_force,
            pipeline=self.host.pipeline,
            interception=self.interception,
            log=self.host.log,
            tls=tls,
            commitments=self.desk,
            on_listening=ready.set,
            patience=self.host.patience,
        )
        with in_thread(self.reporter, self.reporter.bell.ring), in_thread(listener, listener.bell.ring):
            assert ready.wait(30)
            yield listener

    def captured(self, *images: Image) -> list[ObjectId]:
        """Note what lies in the spool as captured, as the pipeline does, and return the objects of `images`."""
        classes = {hash_sop_instance(HASH_KEY, image.sop_instance): image.sop_class for image in images}
        found: dict[bytes, ObjectId] = {}
        for spooled in self.host.spool.everything():
            with self.host.spool.open(spooled) as file:
                dataset, _, parts = open_object(file.read(), self.host.signer.public, self.host.keys)
            uid_hash = parts.binding.sop_instance_hash
            found[uid_hash] = spooled.object_id
            if uid_hash in classes and not self.instances.of(uid_hash):
                instance = Instance(spooled.object_id, sha256(dataset).digest(), classes[uid_hash])
                with self.host.database.transaction() as connection:
                    self.instances.add(connection, uid_hash, instance)
        return [found[uid_hash] for uid_hash in classes]

    def receipt(self, *objects: ObjectId) -> None:
        """Have the vault's receipt arrive."""
        for object_id in objects:
            self.receipts.keep(Receipt(object_id, bytes(32), self.host.clock.now()), b"signed")
        self.bell.ring()


def modality(ae_title: str, port: int | None = None, trust: str = "") -> Modality:
    peer = Peer(ae_title, "127.0.0.1", port, trust) if port is not None else None
    return Modality(ae_title, "a modality", commitment=peer)
