"""`leadglass-agent spool`: opens an agent's folder, alone in it, and tells what was exported or taken in.

What an agent was doing when it stopped is put in order first, as at a start: an image that it had acknowledged and not
entered anywhere yet is then in the catalogue, and of what lies half in the spool nothing is left.
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_agent.agent import locked
from edge_agent.audit.journal import Journal
from edge_agent.capture.store import CaptureStore
from edge_agent.config import EVIDENCE_CERTIFICATE, AgentFolder, Identity, load_enrolment, load_identity
from edge_agent.database import Database
from edge_agent.enrol.store import IdentityUnreadable
from edge_agent.forward.queue import ForwardQueue
from edge_agent.host_keys.vault import KeyNotOfThisTpm, KeyVaultUnavailable
from edge_agent.log import JsonLog
from edge_agent.moving.exporter import SpoolExporter
from edge_agent.moving.folder import GivenExport, NewExport
from edge_agent.moving.importer import SpoolImporter
from edge_agent.moving.judge import Signers, certified
from edge_agent.moving.manifest import LeftObject
from edge_agent.moving.spools import HostSpool
from edge_agent.policy_sync.store import StoredPolicy
from edge_agent.spool.catalogue import State
from edge_agent.spool.errors import SpoolUnavailable
from shared import clock as clocks
from shared.clock import Clock
from shared.enrolment.chain import Trust
from shared.errors import Refused
from shared.identity import HostId


class LeftBehind(Refused):
    """`unsettled` says why the spool could not be put in order; what is in no catalogue is then not in the export."""

    def __init__(self, left: tuple[LeftObject, ...], unsettled: str) -> None:
        named = [f"object {one.object_id}: {one.why.value}" for one in left]
        if unsettled:
            named.append(f"what this host took last before it stopped, if there is any: {unsettled}")
        told = "".join(f"\n  {one}" for one in named)
        super().__init__(f"the export is complete but for these, which lie on this host only; keep its disk:{told}")
        self.left, self.unsettled = left, unsettled


class KeysOpen(Refused):
    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"the keys in {folder} open on this machine: use `spool export` and `spool import`, which take its audit "
            "records along too"
        )
        self.folder = folder


class SameHost(Refused):
    def __init__(self, host_id: HostId) -> None:
        super().__init__(f"both folders are those of {host_id}; a spool is rescued into another host's")
        self.host_id = host_id


@dataclass(frozen=True)
class _Host:
    """An agent's folder, opened without an agent."""

    identity: Identity
    captures: CaptureStore
    journal: Journal
    forwards: ForwardQueue
    log: JsonLog

    @property
    def spool(self) -> HostSpool:
        return HostSpool(self.captures.spool, self.captures.database)

    def stay(self) -> int:
        """Return how many objects the vault has and this host still owes to an archive."""
        owed = (row.spooled.object_id for row in self.captures.spool.rows(State.OWED))
        return sum(self.forwards.holds(each) and self.captures.receipts.holds(each) for each in owed)

    def put_in_order(self) -> Mapping[int, int]:
        """Do what an agent does at its start. Returns and raises like `Recovery.run`."""
        return self.captures.recover(self.identity.config.host_id, self.log)


def export_spool(folder: AgentFolder, target: Path, clock: Clock) -> Iterator[str]:
    """Export what waits in an agent's folder; yield what to tell.

    Raises NotEnrolled, IdentityUnreadable, AlreadyRunning, ExportExists, LeftBehind, and what exporting raises.
    """
    with _opened(folder, clock) as host:
        try:
            unread = host.put_in_order()
            unsettled = ", ".join(
                f"segment {n} has blocks that cannot be read: {blocks}" for n, blocks in unread.items()
            )
        except SpoolUnavailable as exc:
            unsettled = str(exc)  # a disk that is dying; whatever it still gives is wanted
        exporter = SpoolExporter(
            host_id=host.identity.config.host_id,
            signer=host.identity.signer,
            signers=_signers(folder, host),
            spool=host.spool,
            has_receipt=host.captures.receipts.holds,
            journal=host.journal,
            moved=host.captures.moved,
            clock=clock,
            random_bytes=secrets.token_bytes,
        )
        exported = exporter.export(NewExport(target))
        owed, stay = host.forwards.openable(), host.stay()
    manifest = exported.manifest
    yield f"export {manifest.export_id} of {manifest.host_id} in {target}"
    yield f"{manifest.objects} objects of {manifest.object_bytes} bytes, {exported.records} audit records"
    if owed:
        yield (
            f"{owed} images wait here for an archive that this host was to send them to, and no other host does; "
            f"{stay} of them, which the vault has, are not in the export"
        )
    yield "nothing was deleted here; keep this disk until the vault has everything"
    if exported.left or unsettled:
        raise LeftBehind(exported.left, unsettled)


def import_spool(folder: AgentFolder, given: Path, clock: Clock) -> Iterator[str]:
    """Take an export in; yield what to tell.

    Raises NotEnrolled, IdentityUnreadable, AlreadyRunning, NoSuchExport, NotAllTakenIn, and what importing raises.
    """
    with _opened(folder, clock) as host:
        host.put_in_order()
        importer = SpoolImporter(
            host_id=host.identity.config.host_id,
            trust=host.identity.trust,
            spool=host.spool,
            answered_for=host.captures.receipts.record_of,
            doubt=host.captures.receipts.doubt,
            journal=host.journal,
            moved=host.captures.moved,
        )
        imported = importer.take_in(GivenExport(given))
    manifest = imported.manifest
    yield f"export {manifest.export_id} of {manifest.host_id}, made {clocks.text(manifest.exported)}"
    yield (
        f"{imported.taken} of {manifest.objects} objects taken in, {imported.held} here already or delivered; "
        f"{imported.batches} batches of audit records"
    )
    if imported.answered_for:
        yield (
            f"{len(imported.answered_for)} of them the vault has answered for; the agent asks whether it has them "
            "still; what it lost, another import after that takes in"
        )
    if imported.mended:
        yield f"{imported.mended} of them in place of what was damaged or put aside here; they wait for delivery again"
    yield (
        f"delivered once an administrator has said: leadglass-server spool allow --from {manifest.host_id} "
        f"--to {host.identity.config.host_id}"
    )
    imported.verify_whole()


def rescue_spool(folder: AgentFolder, old: AgentFolder, clock: Clock) -> Iterator[str]:
    """Take in what lies in the folder of a host whose keys do not open any more; yield what to tell.

    Raises NotEnrolled, IdentityUnreadable, AlreadyRunning, KeysOpen, SameHost, NotAllTakenIn, and what importing
    raises.
    """
    _verify_lost(old)
    with _opened(folder, clock) as host, _opened_without_keys(old, host.identity.trust, clock) as dead:
        if dead.host_id == host.identity.config.host_id:
            raise SameHost(dead.host_id)
        dead.captures.recover(dead.host_id, host.log)
        importer = SpoolImporter(
            host_id=host.identity.config.host_id,
            trust=host.identity.trust,
            spool=host.spool,
            answered_for=host.captures.receipts.record_of,
            doubt=host.captures.receipts.doubt,
            journal=host.journal,
            moved=host.captures.moved,
        )
        lying = (
            one
            for one in HostSpool(dead.captures.spool, dead.captures.database).undelivered()
            if not dead.captures.receipts.holds(one.object_id)
        )
        rescued = importer.rescue(dead.host_id, lying, dead.signers)
        left = dead.journal.waiting() + dead.captures.moved.records_waiting()
    yield f"{rescued.taken} objects of {dead.host_id} taken in, {rescued.held} here already or delivered"
    yield "nobody signed for how many there were; nothing was deleted there, so keep that disk"
    yield f"{left} audit records of it stay behind: its own key alone could have sent them"
    yield (
        f"delivered once an administrator has said: leadglass-server spool allow --from {dead.host_id} "
        f"--to {host.identity.config.host_id}"
    )
    rescued.verify_whole()


def _verify_lost(old: AgentFolder) -> None:
    """Raises KeysOpen: an export is then possible, and more than a rescue."""
    try:
        load_identity(old)
    except (KeyNotOfThisTpm, KeyVaultUnavailable):
        return
    raise KeysOpen(old.path)


@dataclass(frozen=True)
class _DeadHost:
    """The folder of a host whose keys are gone, and whose signatures lie in it."""

    host_id: HostId
    signers: Signers
    captures: CaptureStore
    journal: Journal


@contextmanager
def _opened_without_keys(folder: AgentFolder, trust: Trust, clock: Clock) -> Iterator[_DeadHost]:
    config = load_enrolment(folder).config
    with locked(folder), closing(Database(folder.database)) as database:
        policy = StoredPolicy(database, config.layers, config.host_id, JsonLog(clock))
        journal = Journal(database, config.host_id, key=policy.audit_key, clock=clock)
        own = certified(_evidence_certificate(folder), trust)
        key, quota = own.key(config.host_id), policy.spool_quota_bytes
        captures = CaptureStore(folder.spool, database, journal, key, quota=quota)
        signers = certified(own.pem() + captures.moved.certificates(), trust)
        yield _DeadHost(config.host_id, signers, captures, journal)


@contextmanager
def _opened(folder: AgentFolder, clock: Clock) -> Iterator[_Host]:
    identity = load_identity(folder)
    with locked(folder):
        folder.database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with closing(Database(folder.database)) as database:
            config, log = identity.config, JsonLog(clock)
            policy = StoredPolicy(database, config.layers, config.host_id, log)
            journal = Journal(database, config.host_id, key=policy.audit_key, clock=clock)
            journal.fail_unfinished()
            captures = CaptureStore(
                folder.spool, database, journal, identity.signer.public, quota=policy.spool_quota_bytes
            )
            forwards = ForwardQueue(database, journal, config.host_id, clock)
            yield _Host(identity, captures, journal, forwards, log)


def _signers(folder: AgentFolder, host: _Host) -> Signers:
    """Return whose signatures lie in the spool: this host's, and those of hosts whose spool was brought here."""
    signers = certified(_evidence_certificate(folder) + host.captures.moved.certificates(), host.identity.trust)
    if signers.key(host.identity.config.host_id) != host.identity.signer.public:
        raise IdentityUnreadable(folder.identity / EVIDENCE_CERTIFICATE, "it is not for this host's evidence key")
    return signers


def _evidence_certificate(folder: AgentFolder) -> bytes:
    file = folder.identity / EVIDENCE_CERTIFICATE
    try:
        return file.read_bytes()
    except OSError as exc:
        raise IdentityUnreadable(file, exc.strerror or "it cannot be read") from exc
