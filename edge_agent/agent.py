"""Joins the unprivileged process: makes every part from identity and folder, runs them, stops them in order."""

import fcntl
import os
import resource
import secrets
import shutil
import signal
import ssl
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
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
from edge_agent.capture.stock import Stock
from edge_agent.capture.store import CaptureStore
from edge_agent.capture.tls import DicomTls, client_context, server_context
from edge_agent.commands.actions import HostActions
from edge_agent.commands.diagnostics import Diagnostics
from edge_agent.commands.executor import CommandExecutor
from edge_agent.commands.isolation import Isolation
from edge_agent.commands.part import CommandPart
from edge_agent.commands.store import CommandStore
from edge_agent.commitment.association import ReportAssociation
from edge_agent.commitment.desk import CommitmentDesk
from edge_agent.commitment.reporter import CommitmentReporter
from edge_agent.commitment.store import CommitmentStore
from edge_agent.config import AgentFolder, evidence_key, load_enrolment, load_identity
from edge_agent.courtesy import DELIVERY, RECORDS, REGISTRATION, STOCK, Courtesy, Pace, Yields
from edge_agent.database import Database
from edge_agent.deliver.losses import Losses
from edge_agent.deliver.restores import Restores
from edge_agent.deliver.uploader import DeliveryUploader
from edge_agent.enrol.claiming import Claiming
from edge_agent.enrol.evidence import EvidenceRenewal
from edge_agent.enrol.lapsed import Asking
from edge_agent.enrol.machine import machine_digests
from edge_agent.enrol.pinned import PinnedRoot
from edge_agent.enrol.renewal import CertificateRenewal
from edge_agent.enrol.standing import CentreSays
from edge_agent.examination import Examination
from edge_agent.export_folder.ledger import Ledger
from edge_agent.export_folder.named import ExportFolder
from edge_agent.export_folder.watcher import ExportFolderWatcher
from edge_agent.files import make_folder
from edge_agent.forward.connect import ArchiveConnection, connected
from edge_agent.forward.forwarder import Forwarder
from edge_agent.forward.forwards import Forwards
from edge_agent.forward.image import SpoolImages
from edge_agent.forward.key import ForwardingKey
from edge_agent.forward.queue import ForwardQueue
from edge_agent.forward.spooled import SpoolObjects
from edge_agent.health.budget import BudgetWatch
from edge_agent.health.cgroup import SliceFiles
from edge_agent.health.readers import CentreReads
from edge_agent.health.report import NoBroker, StateReporter
from edge_agent.host_keys.move import KeyMove
from edge_agent.host_keys.opened import OpenedKey
from edge_agent.host_keys.store import vault_of
from edge_agent.host_keys.vault import KeyName, KeyVault
from edge_agent.https import Answer, DoorUnavailable, HttpsDoor, fetch_unverified, verified_context
from edge_agent.link.bundles import KeptBundles
from edge_agent.link.client import SOCKET, GuardClient
from edge_agent.link.relay import GuardRelay
from edge_agent.log import Log, RecentLog, where, why
from edge_agent.log_witness.cosigner import Cosigner
from edge_agent.log_witness.store import CheckpointStore
from edge_agent.log_witness.witness import LogWitness
from edge_agent.memory_file import in_memory
from edge_agent.moving.uploader import MovedAuditUploader
from edge_agent.parts import Bell, Part, Supervisor
from edge_agent.policy_sync.hints import Hints
from edge_agent.policy_sync.mqtt import MqttLink
from edge_agent.policy_sync.pull import PolicyPull, PolicyPuller
from edge_agent.policy_sync.relocation import LayerMove
from edge_agent.policy_sync.self_check import SelfCheck
from edge_agent.policy_sync.store import PolicyStore
from edge_agent.policy_sync.updater import PolicyUpdater
from edge_agent.spool.keeper import SpoolKeeper, make_room
from edge_agent.state_formats import claim
from edge_agent.watchdog import ServiceManager, service_manager
from edge_agent.wipes.inbox import FOLDER as INBOX
from edge_agent.wipes.inbox import TicketInbox
from edge_agent.wipes.outbox import FOLDER as OUTBOX
from edge_agent.wipes.outbox import WIPE_FOLDER, WipeOutbox
from edge_agent.wipes.part import WipePart
from edge_agent.wipes.store import WipeStore
from shared import canonical
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.errors import IntegrityFailure, Unavailable
from shared.fleet.budget import MEMBER
from shared.fleet.keys import KeyProtection
from shared.fleet.state import CaptureState
from shared.identity import ObjectId, RandomBytes
from shared.policy.routes import Peer
from shared.sealing.binding import hash_sop_instance
from shared.sealing.seal import EncryptorFactory

_BEFORE = {
    None: "the first start",
    True: "after a clean stop",
    False: "after a stop that nobody recorded: the agent was killed, or the machine lost power",
}


class AlreadyRunning(Unavailable):
    def __init__(self, folder: Path) -> None:
        super().__init__(f"another agent is running in {folder}")
        self.folder = folder


@dataclass(frozen=True)
class Settings:
    """`ready_file` is rewritten, whole, when the agent is up and again when it begins to listen.

    `guard_user` is who may listen on `guard_socket`, for it to be the guard's. In `wipe_folder` is what
    `leadglass-wipe`, which runs as root, has to tell.
    """

    folder: AgentFolder
    dicom: Address
    ready_file: Path | None = None
    export_folders: tuple[ExportFolder, ...] = ()
    guard_socket: Path = SOCKET
    guard_user: int = 0
    wipe_folder: Path = WIPE_FOLDER


@dataclass(frozen=True)
class _Bells:
    """What wakes each part before its time."""

    audit: Bell = field(default_factory=Bell)
    delivery: Bell = field(default_factory=Bell)
    pull: Bell = field(default_factory=Bell)
    report: Bell = field(default_factory=Bell)
    commitment: Bell = field(default_factory=Bell)
    forward: Bell = field(default_factory=Bell)
    guard: Bell = field(default_factory=Bell)
    commands: Bell = field(default_factory=Bell)
    wipes: Bell = field(default_factory=Bell)


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
        vault: Callable[[KeyProtection], KeyVault] = vault_of,
        start_anew: Callable[[], None] = lambda: None,
        manager: ServiceManager | None = None,
    ) -> None:
        """`start_anew` has whoever runs this end the run, and make another agent of what is in the folder then."""
        folder, identity = settings.folder, load_identity(settings.folder, vault)
        log = self._recent = RecentLog(log, clock)
        self._settings, self._identity, self._log, self._clock = settings, identity, log, clock
        self._vault, self._start_anew = vault, start_anew
        self._manager = manager or ServiceManager()
        self._host_id, self._random, self._bells = identity.config.host_id, random_bytes, _Bells()
        self._hints = Hints(has_broker=identity.config.doors.mqtt_port is not None, on_lost=self._bells.pull.ring)
        self._examination = Examination()
        self._contexts: list[ssl.SSLContext] = []
        self._trusting: list[ssl.SSLContext] = []  # those that trust the pinned root
        self._ready_lock = threading.Lock()
        make_folder(folder.database.parent)
        make_room(folder.spool, shutil.disk_usage(folder.database.parent).free)
        self._open_database()
        self._set_up_capture()
        self._bundles = KeptBundles(self.database, self._bells.guard.ring)
        self.relay = self._make_relay()
        self.updater = self._make_updater()
        self._parts = self._make_parts(encryptor)

    def _open_database(self) -> None:
        """Open the database, and make what keeps in it how this host stands with its policy and its centre."""
        self.database = Database(self._settings.folder.database)
        self.store = PolicyStore(self.database, self._identity.config.layers, self._host_id, self._clock, self._log)
        self.journal = Journal(
            self.database,
            self._host_id,
            key=self.store.audit_key,
            clock=self._clock,
            random_bytes=self._random,
            on_record=self._bells.audit.ring,
        )
        self.isolation = Isolation(self.database)
        self._checkpoints = CheckpointStore(self.database)
        self._centre_reads = CentreReads()
        self._centre_says = CentreSays(self.database, self._clock, self._log)

    def _set_up_capture(self) -> None:
        """Make what keeps images until they have arrived where they are owed, and what modalities know us by."""
        keys = self._identity.keys
        self._forward_key = ForwardingKey(keys, self._random)
        self._owed = ForwardQueue(self.database, self.journal, self._host_id, self._clock, self._bells.forward.ring)
        self.forwards = Forwards(self._forward_key, self._owed)
        self.captures = CaptureStore(
            self._settings.folder.spool,
            self.database,
            self.journal,
            self._identity.signer.public,
            self.forwards.add,
            quota=self.store.spool_quota_bytes,
            on_ready=self._bells.delivery.ring,
        )
        self.spool = self.captures.spool
        self._certificate = DicomCertificate(keys, names_of(self._settings.dicom.host), self._clock, self._log)
        self._dicom_key = OpenedKey(keys, KeyName.DICOM)
        self._interception = Interception(self.database, self.journal, self._host_id)
        self._commitments = CommitmentStore(self.database, self._random)
        self._ledger = Ledger(self.database, self._identity.config.sop_hash_key)
        self._restores = Restores(
            self.database, self.journal.acknowledged, self._doubt_after, self._bells.delivery.ring
        )
        self._losses = Losses(
            self.database, self.captures.receipts, self._commitments.reconsider, self._bells.delivery.ring, self._log
        )

    def _make_parts(self, encryptor: EncryptorFactory) -> list[Part]:
        """Make what runs, in the order in which it is stopped: nothing new comes in before the rest is put down."""
        registrar = GroupRegistrar(self.captures.entries, self._log, self._yielding(REGISTRATION))
        stock = Stock(self._yielding(STOCK))
        pipeline = self._make_pipeline(registrar, stock, encryptor)
        desk = self._make_desk()
        self.listener = self._make_listener(pipeline, desk)
        self._watchers = self._make_watchers(pipeline)
        self._root, self._claiming = self._make_root(), self._make_claiming()
        mqtt, renewal = self._make_mqtt(), self._make_renewal()
        budget = self._make_budget()
        self._let_parts_wake_each_other()
        return [
            self.listener,
            *self._watchers,
            registrar,
            stock,
            SpoolKeeper(self.spool.segments, lambda: shutil.disk_usage(self._settings.folder.spool).free, self._log),
            self._make_commitment(desk),
            self._make_forwarder(),
            self._make_puller(),
            *([mqtt] if mqtt else []),
            self._make_commands(renewal),
            self._make_wipes(),
            renewal,
            self._claiming,
            self._make_witness(),
            self.relay,
            self._make_delivery(),
            *self._make_audit_uploads(),
            budget,
            self._make_reporter(mqtt, renewal, budget),
        ]

    def run(self, stop: threading.Event) -> None:
        """Run until `stop` is set.

        Raises DatabaseUnavailable, DatabaseDamaged, KeyVaultUnavailable, IdentityNotStored.
        """
        self._finish_key_move()
        self.journal.fail_unfinished()
        self.captures.recover(self._host_id, self._log)
        self._record(Event.AGENT_STARTED, _BEFORE[self.journal.stopped_cleanly()])
        self._log.event("agent.started", host=str(self._host_id))
        supervisor = Supervisor(self._log)
        for part in self._parts:
            supervisor.start(part)
        self._write_ready_file()
        self._manager.ready(f"host {self._host_id}")
        while not stop.wait(self._manager.interval_s or None):
            if self._is_working(supervisor):
                self._manager.alive()
        self._manager.alive()
        supervisor.stop()
        self._record(Event.AGENT_STOPPED)
        self.database.close()
        self._log.event("agent.stopped")

    def _is_working(self, supervisor: Supervisor) -> bool:
        """Return whether every part has its thread; does not return while some thread does not let go of the database.

        What a part fails at is in the log and tried again. A new start helps against what hangs.
        """
        with suppress(Unavailable, IntegrityFailure), self.database.transaction():
            pass
        return supervisor.is_whole()

    def _finish_key_move(self) -> None:
        """See to what a move of the keys left that was cut off, and to a DICOM certificate that people put there."""
        keys, who = self._identity.keys, (Participant("host", str(self._host_id), True),)
        move = KeyMove(keys.folder, self._identity.config, self._vault, self.journal, who)
        for file in move.finish():
            self._log.event("keys.left-over-erased", file=file.name)

    def _make_updater(self) -> PolicyUpdater:
        config = self._identity.config
        return PolicyUpdater(
            trust_folder=self._settings.folder.trust,
            policy_root=config.policy_root,
            host_id=self._host_id,
            store=self.store,
            journal=self.journal,
            database=self.database,
            log=self._log,
            on_layer_missing=self._bells.pull.ring,
            on_refused=self._bells.report.ring,
            on_current=self._bundles.keep,
            self_check=SelfCheck(self._try_dicom_tls),
        )

    def _try_dicom_tls(self, trust: str) -> None:
        self._certificate.ensure()
        with self._dicom_key.readable() as file:
            server_context(file, trust)

    def _make_relay(self) -> GuardRelay:
        settings = self._settings
        return GuardRelay(
            lambda: GuardClient(settings.guard_socket, guard_user=settings.guard_user),
            host_id=self._host_id,
            journal=self.journal,
            database=self.database,
            bundles=self._bundles,
            log=self._log,
            bell=self._bells.guard,
            on_change=self._bells.report.ring,
        )

    def _make_pipeline(self, registrar: GroupRegistrar, stock: Stock, encryptor: EncryptorFactory) -> CapturePipeline:
        return CapturePipeline(
            host_id=self._host_id,
            sop_hash_key=self._identity.config.sop_hash_key,
            signer=self._identity.signer,
            policy=self.store.in_force,
            spool=self.spool,
            claims=self.captures.claims,
            registrar=registrar,
            forwards=self.forwards,
            journal=self.journal,
            clock=self._clock,
            examination=self._examination,
            random_bytes=self._random,
            encryptor=encryptor,
            boxes=stock.boxes,
        )

    def _make_desk(self) -> CommitmentDesk:
        return CommitmentDesk(
            self._commitments,
            self.journal,
            self.database,
            host_id=self._host_id,
            clock=self._clock,
            log=self._log,
            wake=self._bells.commitment.ring,
        )

    def _make_listener(self, pipeline: CapturePipeline, desk: CommitmentDesk) -> DicomListener:
        return DicomListener(
            self._settings.dicom,
            policy=self.store.in_force,
            pipeline=pipeline,
            interception=self._interception,
            log=self._log,
            tls=DicomTls(
                self._identity.keys.file(KeyName.DICOM),
                make_certificate=self._certificate.ensure,
                policy=self.store.in_force,
                readable=self._dicom_key.readable,
            ),
            commitments=desk,
            on_listening=self._on_listening,
            is_open=self.isolation.is_open,
        )

    def _make_watchers(self, pipeline: CapturePipeline) -> list[ExportFolderWatcher]:
        exports = self._settings.export_folders
        self._ledger.keep_folders(export.ae_title for export in exports)
        return [
            ExportFolderWatcher(
                export,
                host_id=self._host_id,
                policy=self.store.in_force,
                pipeline=pipeline,
                ledger=self._ledger,
                receipts=self.captures.receipts,
                journal=self.journal,
                database=self.database,
                clock=self._clock,
                log=self._log,
                is_open=self.isolation.is_open,
            )
            for export in exports
        ]

    def _make_commitment(self, desk: CommitmentDesk) -> CommitmentReporter:
        return CommitmentReporter(
            desk,
            self._commitments,
            self.database,
            sop_hash_key=self._identity.config.sop_hash_key,
            captured=self.captures.instances,
            evidence=self.captures.receipts,
            is_kept=self.captures.claims.is_kept,
            associate=lambda peer: ReportAssociation(peer, self._settings.dicom.ae_title, self._connect),
            policy=self.store.in_force,
            clock=self._clock,
            log=self._log,
            bell=self._bells.commitment,
        )

    def _make_forwarder(self) -> Forwarder:
        images = SpoolImages(SpoolObjects(self.spool), self._owed.box, self._forward_key, self._identity.signer.public)
        return Forwarder(
            self._owed,
            images,
            self._connect,
            host_id=self._host_id,
            policy=self.store.in_force,
            clock=self._clock,
            log=self._log,
            bell=self._bells.forward,
        )

    def _make_puller(self) -> PolicyPuller:
        return PolicyPuller(
            self._door(),
            self._identity.config.layers,
            self.updater,
            policy=self.store.in_force,
            log=self._log,
            bell=self._bells.pull,
            hints=self._hints,
        )

    def _make_mqtt(self) -> MqttLink | None:
        config = self._identity.config
        if config.doors.mqtt_port is None:
            return None
        return MqttLink(
            config.doors.mqtt_host or config.doors.host,
            config.doors.mqtt_port,
            self._context(config.doors.mqtt_ca),
            host_id=config.host_id,
            layers=config.layers,
            updater=self.updater,
            log=self._log,
            on_subscribed=self._on_subscribed,
            on_command=self._on_hint,
            hints=self._hints,
        )

    def _on_subscribed(self) -> None:
        self._bells.pull.ring()
        self._on_hint()

    def _on_hint(self) -> None:
        self._bells.commands.ring()
        self._bells.wipes.ring()

    def _make_wipes(self) -> WipePart:
        return WipePart(
            self._door(),
            TicketInbox(self._settings.folder.path / INBOX, self._log),
            WipeOutbox(self._settings.wipe_folder / OUTBOX),
            WipeStore(self.database),
            host_id=self._host_id,
            policy=self.store.in_force,
            journal=self.journal,
            database=self.database,
            clock=self._clock,
            log=self._log,
            bell=self._bells.wipes,
        )

    def _make_commands(self, renewal: CertificateRenewal) -> CommandPart:
        store, door = CommandStore(self.database), self._door()
        refresh = PolicyPull(door, self._identity.config.layers, self.updater).refresh
        move = LayerMove(
            self._settings.folder,
            door,
            updater=self.updater,
            store=self.store,
            database=self.database,
            self_check=SelfCheck(self._try_dicom_tls),
            refresh=refresh,
            undisturbed=renewal.turn,
        )
        executor = CommandExecutor(
            self._actions(renewal, move).all(),
            host_id=self._host_id,
            delegation=self.updater.delegation,
            refresh=refresh,
            store=store,
            database=self.database,
            journal=self.journal,
            signer=self._identity.signer,
            clock=self._clock,
            log=self._log,
        )
        return CommandPart(door, executor, store, policy=self.store.in_force, log=self._log, bell=self._bells.commands)

    def _actions(self, renewal: CertificateRenewal, move: LayerMove) -> HostActions:
        diagnostics = Diagnostics(
            disk=self._settings.folder.spool,
            store=self.store,
            spool=self.spool,
            journal=self.journal,
            isolation=self.isolation,
            clock=self._clock,
            log=self._recent,
            is_listening=self._is_listening,
            policy_error=lambda: self.updater.error,
            certificate=lambda: renewal.present,
            folders=lambda: tuple(watcher.state() for watcher in self._watchers),
        )
        return HostActions(
            diagnostics=diagnostics,
            renewal=renewal,
            watchers=self._watchers,
            isolation=self.isolation,
            is_listening=self._is_listening,
            is_serving=lambda: self.listener.is_serving,
            layers=move,
            start_anew=self._start_anew,
        )

    def _is_listening(self) -> bool:
        return self.listener.port is not None

    def _make_renewal(self) -> CertificateRenewal:
        folder, identity = self._settings.folder, self._identity
        door = self._door()
        evidence = EvidenceRenewal(
            door, folder, self._host_id, key=lambda: evidence_key(identity.keys), trust=lambda: self._root.trust,
            clock=self._clock, log=self._log,
        )  # fmt: skip
        renewal = CertificateRenewal(
            door,
            folder,
            identity.keys,
            host_id=self._host_id,
            asking=Asking(folder, identity, self._clock, self._log, on_unknown=self._claiming.bell.ring),
            present=self._identity.tls_certificate,
            root=self._root,
            contexts=self._contexts,
            clock=self._clock,
            log=self._log,
            evidence=evidence.renew_if_due,
        )
        self._centre_says.on_barred(renewal.turned_away)
        return renewal

    def _make_claiming(self) -> Claiming:
        claiming = Claiming(self._settings.folder, self._identity, machine_digests, self._clock, self._log)
        self._centre_says.on_unknown(claiming.bell.ring)
        return claiming

    def _make_root(self) -> PinnedRoot:
        doors = self._identity.config.doors

        def fetch() -> bytes:
            if doors.enrol_port is None:
                raise DoorUnavailable(doors.host, "this host was not told where the enrolment door is")
            return fetch_unverified(doors.host, doors.enrol_port, "/roots.pem")

        def note(root_sha256: str) -> None:
            what = (Subject("root", root_sha256),)
            who = (Participant("host", str(self._host_id), True),)
            self.journal.record(Happening(Event.ROOT_FOLLOWED, Action.UPDATE, Outcome.SUCCESS, who, what))

        return PinnedRoot(
            self._settings.folder.ca, self._identity.trust,
            fetch=fetch, contexts=self._trusting, log=self._log, note=note,
        )  # fmt: skip

    def _make_delivery(self) -> DeliveryUploader:
        return DeliveryUploader(
            self._door(),
            host_id=self._host_id,
            spool=self.spool,
            journal=self.journal,
            database=self.database,
            receipts=self.captures.receipts,
            is_owed=self.forwards.holds,
            policy=self.store.in_force,
            log=self._log,
            bell=self._bells.delivery,
            reads=self._centre_reads.knows,
            lost=self._losses.take_without_receipt,
            forget_old=lambda: self.captures.forget_old(self._named_elsewhere),
            brought=self.captures.moved,
            yields=self._yielding(DELIVERY),
        )

    def _named_elsewhere(self, objects: Collection[ObjectId]) -> set[ObjectId]:
        """Return those of some objects by which a file of an export folder, or an open request for commitment, goes."""
        key, instances = self._identity.config.sop_hash_key, self.captures.instances
        asked_for = {hash_sop_instance(key, uid) for uid in self._commitments.asked_for()}
        named = {each for each in objects if asked_for and not asked_for.isdisjoint(instances.hashes_of(each))}
        return named | self._ledger.known(objects)

    def _make_audit_uploads(self) -> tuple[Part, Part]:
        own = AuditUploader(
            self._door(),
            host_id=self._host_id,
            journal=self.journal,
            signer=self._identity.signer,
            log=self._log,
            bell=self._bells.audit,
            on_loss=self._doubt_after,
            reads=self._centre_reads.knows,
            yields=self._yielding(RECORDS),
        )
        moved = MovedAuditUploader(
            self._door(),
            host_id=self._host_id,
            moved=self.captures.moved,
            journal=self.journal,
            log=self._log,
            yields=self._yielding(RECORDS),
        )
        return own, moved

    def _doubt_after(self, seq: int) -> None:
        """Doubt all that rests on what the centre answered behind record `seq`: it was put back to an older state."""
        with self.database.transaction():
            self.captures.doubt_after(seq)
            self._commitments.reconsider()

    def _make_witness(self) -> LogWitness:
        return LogWitness(
            self._door(),
            host_id=self._host_id,
            trust=lambda: self._root.trust,
            database=self.database,
            store=self._checkpoints,
            journal=self.journal,
            cosigner=Cosigner(self._identity.keys, self._identity.signer, self._host_id, self._clock, self._random),
            log=self._log,
            on_change=self._bells.report.ring,
        )

    def _make_budget(self) -> BudgetWatch:
        return BudgetWatch(
            SliceFiles().read,
            self._examination,
            lambda: self.spool.waiting() + self.journal.waiting() > 0,
            database=self.database,
            log=self._log,
        )

    def _make_reporter(self, mqtt: MqttLink | None, renewal: CertificateRenewal, budget: BudgetWatch) -> StateReporter:
        return StateReporter(
            self._door(),
            mqtt or NoBroker(),
            host_id=self._host_id,
            signer=self._identity.signer,
            database=self.database,
            store=self.store,
            spool=self.spool,
            journal=self.journal,
            clock=self._clock,
            log=self._log,
            listening=self._is_listening,
            policy_error=lambda: self.updater.error,
            capture=self._capture_state,
            guard=self.relay.report,
            brought_records=self.captures.moved.records_waiting,
            isolated=self.isolation.is_isolated,
            centre_log=lambda: self._checkpoints.held().said,
            renewal_error=lambda: renewal.error,
            keys=self._identity.config.keys,
            budget=lambda: budget.budget() if self._centre_reads.knows(MEMBER) else None,
            bell=self._bells.report,
            run_name=secrets.token_hex(16),
        )

    def _let_parts_wake_each_other(self) -> None:
        bells = self._bells
        # A person's command records its doing in another process.
        self.forwards.on_let_go(bells.audit.ring)
        self.forwards.on_let_go(bells.delivery.ring)
        watching = [watcher.bell.ring for watcher in self._watchers]
        for wake in (bells.commitment.ring, *watching):
            self.captures.receipts.on_receipt(wake)
        for wake in (
            self.listener.bell.ring, bells.report.ring, bells.commitment.ring, bells.forward.ring, *watching
        ):  # fmt: skip
            self.store.on_change(wake)
        for wake in (self.listener.bell.ring, bells.report.ring, *watching):
            self.isolation.on_change(wake)

    def _capture_state(self) -> CaptureState:
        return CaptureState(
            spool_bytes=self.spool.held_bytes(),
            spool_quota_bytes=self.store.spool_quota_bytes(),
            damaged=self.spool.amiss(),
            openable_here=self._owed.openable(),
            routes=self._owed.states(self.store.in_force()),
            senders_refused=self._interception.count(),
            commitments_waiting=self._commitments.waiting(),
            folders=tuple(watcher.state() for watcher in self._watchers),
        )

    def _yielding(self, pace: Pace) -> Yields:
        return Courtesy(self._examination.ends_in_s, pace).yield_to_it

    def _door(self) -> HttpsDoor:
        doors = self._identity.config.doors
        return HttpsDoor(doors.host, doors.https_port, self._context(), on_answer=self._on_answer)

    def _on_answer(self, path: str, answer: Answer) -> None:
        self._centre_reads.heard(answer)
        self._centre_says.heard(path, answer)
        self._restores.heard(answer)
        self._losses.heard(answer)

    def _context(self, ca_pem: str | None = None) -> ssl.SSLContext:
        with in_memory(self._identity.tls) as file:
            context = verified_context(self._settings.folder.ca, file, ca_pem=ca_pem)
        self._contexts.append(context)
        if ca_pem is None:
            self._trusting.append(context)
        return context

    def _dicom_context(self, trust: str) -> ssl.SSLContext:
        self._certificate.ensure()
        with self._dicom_key.readable() as file:
            return client_context(file, trust)

    def _connect(self, peer: Peer) -> AbstractContextManager[ArchiveConnection]:
        return connected(peer, self._dicom_context)

    def _on_listening(self) -> None:
        self._bells.report.ring()
        self._write_ready_file()

    def _write_ready_file(self) -> None:
        file = self._settings.ready_file
        if file is None:
            return
        # One at a time: what one thread saw before the port was open must not replace what another wrote after.
        with self._ready_lock:
            ready: dict[str, canonical.Json] = {
                "host": str(self._host_id),
                "pid": os.getpid(),
                "dicom_host": self._settings.dicom.host,
                "dicom_port": self.listener.port,
                "dicom_tls_port": self.listener.tls_port,
            }
            draft = file.with_name(f"{file.name}.new")
            try:
                draft.write_bytes(canonical.encode(ready))
                draft.replace(file)
            except OSError as exc:
                self._log.event("agent.no-ready-file", why=why(exc))  # whoever waits for it is told nothing else

    def _record(self, event: Event, reason: str = "") -> None:
        who = (Participant("host", str(self._host_id), True), Participant("service", SOFTWARE, False))
        self.journal.record(Happening(event, Action.EXECUTE, Outcome.SUCCESS, who, reason=reason))


class Runs:
    """One run of an agent after the other, until somebody ends them all. A run that is not ended so is followed."""

    def __init__(self) -> None:
        self._stop, self._is_over = threading.Event(), False

    def begin(self) -> threading.Event | None:
        """Return what ends the next run, None: there is none."""
        # Made before it is looked whether all is over: what ends them in between ends this one.
        self._stop = threading.Event()
        return None if self._is_over else self._stop

    def end(self) -> None:
        """End the run that is under way, and begin no other. A signal may call this."""
        self._is_over = True
        self._stop.set()


def run(settings: Settings, clock: Clock, log: Log) -> None:
    """Run one agent until SIGTERM or SIGINT.

    Raises NotEnrolled, IdentityUnreadable, AlreadyRunning, StateTooNew and others.
    """
    os.umask(0o077)
    # A core dump would hold whatever image is passing through.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    load_enrolment(settings.folder)
    manager = service_manager()
    with locked(settings.folder):
        claim(settings.folder.path)
        runs = Runs()

        def on_signal(_number: int, _frame: FrameType | None) -> None:
            runs.end()

        def on_thread_failure(failure: threading.ExceptHookArgs) -> None:
            # Threads that a library started; its own report would quote what it read.
            if failure.exc_value is not None:
                log.event("thread.failed", why=why(failure.exc_value), where=where(failure.exc_value))

        threading.excepthook = on_thread_failure
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        while (stop := runs.begin()) is not None:
            Agent(settings, clock, log, start_anew=stop.set, manager=manager).run(stop)
        manager.stopping()


@contextmanager
def locked(folder: AgentFolder) -> Iterator[None]:
    """Hold the agent's folder alone; the lock goes with the process. Raises AlreadyRunning."""
    with folder.lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise AlreadyRunning(folder.path) from exc
        yield
