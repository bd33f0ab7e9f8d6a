"""Joins the unprivileged process: makes every part from identity and folder, runs them, stops them in order."""

import fcntl
import os
import resource
import secrets
import shutil
import signal
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from cryptography.cobblestone import Cobblestone256Encryptor

from edge_agent import SOFTWARE
from edge_agent.audit.journal import Journal
from edge_agent.audit.uploader import AuditUploader
from edge_agent.capture.certificate import DicomCertificate, names_of
from edge_agent.capture.interception import Interception
from edge_agent.capture.listener import Address, DicomListener
from edge_agent.capture.pipeline import CapturePipeline
from edge_agent.capture.registrar import GroupRegistrar
from edge_agent.capture.store import CaptureStore
from edge_agent.capture.tls import DicomTls, client_context
from edge_agent.commitment.association import ReportAssociations
from edge_agent.commitment.desk import CommitmentDesk
from edge_agent.commitment.reporter import CommitmentReporter
from edge_agent.commitment.store import CommitmentStore
from edge_agent.config import AgentFolder, load_identity
from edge_agent.database import Database
from edge_agent.deliver.uploader import DeliveryUploader
from edge_agent.enrol.renewal import CertificateRenewal
from edge_agent.export_folder.ledger import Ledger
from edge_agent.export_folder.named import ExportFolder
from edge_agent.export_folder.watcher import ExportFolderWatcher
from edge_agent.files import make_folder
from edge_agent.forward.connect import connected
from edge_agent.forward.forwarder import Forwarder
from edge_agent.forward.forwards import Forwards
from edge_agent.forward.image import SpoolImages
from edge_agent.forward.key import ForwardingKey
from edge_agent.forward.queue import ForwardQueue
from edge_agent.forward.spooled import SpoolObjects
from edge_agent.health.report import NoBroker, StateReporter
from edge_agent.https import HttpsDoor, verified_context
from edge_agent.log import Log, where, why
from edge_agent.moving.uploader import MovedAuditUploader
from edge_agent.parts import Bell, Part, Supervisor
from edge_agent.policy_sync.mqtt import MqttLink
from edge_agent.policy_sync.pull import PolicyPuller
from edge_agent.policy_sync.store import PolicyStore
from edge_agent.policy_sync.updater import PolicyUpdater
from edge_agent.spool.keeper import SpoolKeeper
from shared import canonical
from shared.audit.record import Action, Event, Happening, Outcome, Participant
from shared.clock import Clock
from shared.errors import Unavailable
from shared.fleet.state import CaptureState
from shared.identity import RandomBytes
from shared.sealing.seal import EncryptorFactory


class AlreadyRunning(Unavailable):
    def __init__(self, folder: Path) -> None:
        super().__init__(f"another agent is running in {folder}")
        self.folder = folder


@dataclass(frozen=True)
class Settings:
    """`ready_file` is rewritten, whole, when the agent is up and again when it begins to listen."""

    folder: AgentFolder
    dicom: Address
    ready_file: Path | None = None
    export_folders: tuple[ExportFolder, ...] = ()


class Agent:
    """One agent, made but not started. Holding the folder's lock is the caller's."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        log: Log,
        *,
        random_bytes: RandomBytes = secrets.token_bytes,
        encryptor: EncryptorFactory = Cobblestone256Encryptor,
    ) -> None:
        folder, identity = settings.folder, load_identity(settings.folder)
        config, host_id, signer = identity.config, identity.config.host_id, identity.signer
        self._settings, self._identity, self._log, self._clock = settings, identity, log, clock
        self._contexts: list[ssl.SSLContext] = []
        self._ready_lock = threading.Lock()
        audit_bell, delivery_bell, pull_bell, report_bell, commitment_bell = (Bell() for _ in range(5))

        make_folder(folder.database.parent)
        self.database = database = Database(folder.database)
        self.store = store = PolicyStore(database, config.layer, clock, log)
        self.journal = journal = Journal(
            database, host_id, key=store.audit_key, clock=clock, random_bytes=random_bytes, on_record=audit_bell.ring
        )
        self._forward_bell = forward_bell = Bell()
        forward_key = ForwardingKey(folder.forwarding, random_bytes)
        owed = ForwardQueue(database, journal, host_id, clock, forward_bell.ring)
        self.forwards = Forwards(forward_key, owed)
        self.forwards.on_let_go(audit_bell.ring)  # a person's command records its doing in another process
        self.forwards.on_let_go(delivery_bell.ring)
        self.captures = captures = CaptureStore(
            folder.spool,
            database,
            journal,
            self.forwards.add,
            quota=store.spool_quota_bytes,
            on_ready=delivery_bell.ring,
        )
        self.spool, receipts, moved = captures.spool, captures.receipts, captures.moved
        spool = self.spool
        registrar = GroupRegistrar(captures.entries, log)
        self.updater = updater = PolicyUpdater(
            layer=config.layer,
            trust_folder=folder.trust,
            policy_root=config.policy_root,
            host_id=host_id,
            store=store,
            journal=journal,
            database=database,
            log=log,
            on_layer_missing=pull_bell.ring,
            on_refused=report_bell.ring,
        )
        pipeline = CapturePipeline(
            host_id=host_id,
            sop_hash_key=config.sop_hash_key,
            signer=signer,
            policy=store.in_force,
            spool=spool,
            claims=captures.claims,
            registrar=registrar,
            forwards=self.forwards,
            journal=journal,
            clock=clock,
            random_bytes=random_bytes,
            encryptor=encryptor,
        )
        interception = Interception(database, journal, host_id)
        commitments = CommitmentStore(database, random_bytes)
        desk = CommitmentDesk(
            commitments,
            journal,
            database,
            host_id=host_id,
            clock=clock,
            log=log,
            wake=commitment_bell.ring,
        )
        certificate = DicomCertificate(folder.dicom, names_of(settings.dicom.host), clock, log)
        self.listener = listener = DicomListener(
            settings.dicom,
            policy=store.in_force,
            pipeline=pipeline,
            interception=interception,
            log=log,
            tls=DicomTls(folder.dicom, make_certificate=certificate.ensure, policy=store.in_force),
            commitments=desk,
            on_listening=self._on_listening,
        )

        def dicom_context(trust: str) -> ssl.SSLContext:
            certificate.ensure()
            return client_context(folder.dicom, trust)

        commitment = CommitmentReporter(
            desk,
            commitments,
            database,
            sop_hash_key=config.sop_hash_key,
            captured=captures.instances,
            evidence=receipts,
            bringer=ReportAssociations(settings.dicom.ae_title, dicom_context),
            policy=store.in_force,
            clock=clock,
            log=log,
            bell=commitment_bell,
        )
        forwarder = Forwarder(
            owed,
            SpoolImages(SpoolObjects(spool), owed.box, forward_key, signer.public),
            lambda peer: connected(peer, dicom_context),
            host_id=host_id,
            policy=store.in_force,
            clock=clock,
            log=log,
            bell=forward_bell,
        )
        store.on_change(forward_bell.ring)
        ledger = Ledger(database, config.sop_hash_key)
        ledger.keep_folders(export.ae_title for export in settings.export_folders)
        watchers = [
            ExportFolderWatcher(
                export,
                host_id=host_id,
                policy=store.in_force,
                pipeline=pipeline,
                ledger=ledger,
                receipts=receipts,
                journal=journal,
                database=database,
                clock=clock,
                log=log,
            )
            for export in settings.export_folders
        ]
        for wake in (commitment_bell.ring, *(watcher.bell.ring for watcher in watchers)):
            receipts.on_receipt(wake)
        self._report_bell = report_bell
        mqtt = self._mqtt(pull_bell)
        reporter = StateReporter(
            self._door(),
            mqtt or NoBroker(),
            host_id=host_id,
            signer=signer,
            database=database,
            store=store,
            spool=spool,
            journal=journal,
            clock=clock,
            log=log,
            listening=lambda: listener.port is not None,
            policy_error=lambda: updater.error,
            capture=lambda: CaptureState(
                spool_bytes=spool.held_bytes(),
                spool_quota_bytes=store.spool_quota_bytes(),
                damaged=spool.amiss(),
                openable_here=owed.openable(),
                routes=owed.states(store.in_force()),
                senders_refused=interception.count(),
                commitments_waiting=commitments.waiting(),
                folders=tuple(watcher.state() for watcher in watchers),
            ),
            brought_records=moved.records_waiting,
            bell=report_bell,
        )
        puller = PolicyPuller(self._door(), config.layer, updater, policy=store.in_force, log=log, bell=pull_bell)
        delivery = DeliveryUploader(
            self._door(),
            host_id=host_id,
            spool=spool,
            journal=journal,
            database=database,
            receipts=receipts,
            is_owed=self.forwards.holds,
            policy=store.in_force,
            log=log,
            bell=delivery_bell,
            brought=moved,
        )
        upload = AuditUploader(self._door(), host_id=host_id, journal=journal, signer=signer, log=log, bell=audit_bell)
        moved_upload = MovedAuditUploader(self._door(), host_id=host_id, moved=moved, journal=journal, log=log)
        renewal = CertificateRenewal(
            self._door(),
            folder,
            host_id=host_id,
            present=identity.tls_certificate,
            ca=identity.ca,
            contexts=self._contexts,
            clock=clock,
            log=log,
        )
        keeper = SpoolKeeper(spool.segments, lambda: shutil.disk_usage(folder.spool).free, log)
        for wake in (listener.bell.ring, report_bell.ring, commitment_bell.ring, *(w.bell.ring for w in watchers)):
            store.on_change(wake)
        # Stopped in this order: nothing new comes in before the rest is put down.
        links = [mqtt] if mqtt else []
        self._parts: list[Part] = [
            listener, *watchers, registrar, keeper, commitment, forwarder, puller, *links, renewal, delivery, upload,
            moved_upload, reporter,
        ]  # fmt: skip

    def run(self, stop: threading.Event) -> None:
        """Run until `stop` is set. Raises DatabaseUnavailable, DatabaseDamaged."""
        self.captures.recover(self._identity.config.host_id, self._identity.signer.public, self._log)
        self._record(Event.AGENT_STARTED)
        self._log.event("agent.started", host=str(self._identity.config.host_id))
        supervisor = Supervisor(self._log)
        for part in self._parts:
            supervisor.start(part)
        self._write_ready_file()
        stop.wait()
        supervisor.stop()
        self._record(Event.AGENT_STOPPED)
        self.database.close()
        self._log.event("agent.stopped")

    def _door(self) -> HttpsDoor:
        doors = self._identity.config.doors
        return HttpsDoor(doors.host, doors.https_port, self._context())

    def _context(self) -> ssl.SSLContext:
        folder = self._settings.folder
        self._contexts.append(verified_context(folder.ca, folder.tls))
        return self._contexts[-1]

    def _mqtt(self, pull_bell: Bell) -> MqttLink | None:
        config = self._identity.config
        if config.doors.mqtt_port is None:
            return None
        return MqttLink(
            config.doors.host,
            config.doors.mqtt_port,
            self._context(),
            host_id=config.host_id,
            layer=config.layer,
            updater=self.updater,
            log=self._log,
            on_connected=pull_bell.ring,
        )

    def _on_listening(self) -> None:
        self._report_bell.ring()
        self._write_ready_file()

    def _write_ready_file(self) -> None:
        file = self._settings.ready_file
        if file is None:
            return
        # One at a time: what one thread saw before the port was open must not replace what another wrote after.
        with self._ready_lock:
            ready: dict[str, canonical.Json] = {
                "host": str(self._identity.config.host_id),
                "pid": os.getpid(),
                "dicom_host": self._settings.dicom.host,
                "dicom_port": self.listener.port,
                "dicom_tls_port": self.listener.tls_port,
            }
            draft = file.with_name(f"{file.name}.new")
            draft.write_bytes(canonical.encode(ready))
            draft.replace(file)

    def _record(self, event: Event) -> None:
        who = (Participant("host", str(self._identity.config.host_id), True), Participant("service", SOFTWARE, False))
        self.journal.record(Happening(event, Action.EXECUTE, Outcome.SUCCESS, who))


def run(settings: Settings, clock: Clock, log: Log) -> None:
    """Run one agent until SIGTERM or SIGINT. Raises NotEnrolled, IdentityUnreadable, AlreadyRunning and others."""
    os.umask(0o077)
    # A core dump would hold whatever image is passing through.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    load_identity(settings.folder)
    with locked(settings.folder):
        stop = threading.Event()

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            stop.set()

        def on_thread_failure(failure: threading.ExceptHookArgs) -> None:
            # Threads that a library started; its own report would quote what it read.
            if failure.exc_value is not None:
                log.event("thread.failed", why=why(failure.exc_value), where=where(failure.exc_value))

        threading.excepthook = on_thread_failure
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        Agent(settings, clock, log).run(stop)


@contextmanager
def locked(folder: AgentFolder) -> Iterator[None]:
    """Hold the agent's folder alone; the lock goes with the process. Raises AlreadyRunning."""
    with folder.lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise AlreadyRunning(folder.path) from exc
        yield
