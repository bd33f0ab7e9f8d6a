"""`leadglass-agent spool`: opens an agent's folder, alone in it, and tells what was exported or taken in."""

import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge_agent.agent import locked
from edge_agent.audit.journal import Journal
from edge_agent.capture.spool import Spool
from edge_agent.config import AgentFolder, Identity, IdentityUnreadable, load_identity
from edge_agent.database import Database
from edge_agent.deliver.receipts import Receipts
from edge_agent.moving.exporter import SpoolExporter
from edge_agent.moving.folder import GivenExport, NewExport
from edge_agent.moving.importer import SpoolImporter
from edge_agent.moving.judge import Signers, certified
from edge_agent.moving.manifest import LeftObject
from edge_agent.moving.spools import FileSpool
from edge_agent.moving.store import MovedStore
from shared import clock as clocks
from shared.clock import Clock
from shared.errors import Refused


class LeftBehind(Refused):
    def __init__(self, left: tuple[LeftObject, ...]) -> None:
        named = "".join(f"\n  object {one.object_id}: {one.why.value}" for one in left)
        super().__init__(f"the export is complete but for these, which lie on this host only; keep its disk:{named}")
        self.left = left


@dataclass(frozen=True)
class _Host:
    """An agent's folder, opened without an agent."""

    identity: Identity
    spool: FileSpool
    receipts: Receipts
    journal: Journal
    moved: MovedStore


def export_spool(folder: AgentFolder, target: Path, clock: Clock) -> Iterator[str]:
    """Export what waits in an agent's folder; yield what to tell.

    Raises NotEnrolled, IdentityUnreadable, AlreadyRunning, ExportExists, LeftBehind, and what exporting raises.
    """
    with _opened(folder, clock) as host:
        exporter = SpoolExporter(
            host_id=host.identity.config.host_id,
            signer=host.identity.signer,
            signers=_signers(folder, host),
            spool=host.spool,
            has_receipt=host.receipts.holds,
            journal=host.journal,
            moved=host.moved,
            clock=clock,
            random_bytes=secrets.token_bytes,
        )
        exported = exporter.export(NewExport(target))
    manifest = exported.manifest
    yield f"export {manifest.export_id} of {manifest.host_id} in {target}"
    yield f"{manifest.objects} objects of {manifest.object_bytes} bytes, {exported.records} audit records"
    yield "nothing was deleted here; keep this disk until the vault has everything"
    if exported.left:
        raise LeftBehind(exported.left)


def import_spool(folder: AgentFolder, given: Path, clock: Clock) -> Iterator[str]:
    """Take an export in; yield what to tell.

    Raises NotEnrolled, IdentityUnreadable, AlreadyRunning, NotAllTakenIn, and what importing raises.
    """
    with _opened(folder, clock) as host:
        importer = SpoolImporter(
            host_id=host.identity.config.host_id,
            ca=host.identity.ca,
            spool=host.spool,
            has_receipt=host.receipts.holds,
            journal=host.journal,
            moved=host.moved,
        )
        imported = importer.take_in(GivenExport(given))
    manifest = imported.manifest
    yield f"export {manifest.export_id} of {manifest.host_id}, made {clocks.text(manifest.exported)}"
    yield (
        f"{imported.taken} of {manifest.objects} objects taken in, {imported.held} here already or delivered; "
        f"{imported.batches} batches of audit records"
    )
    yield (
        f"delivered once an administrator has said: leadglass-server spool allow --from {manifest.host_id} "
        f"--to {host.identity.config.host_id}"
    )
    imported.verify_whole()


@contextmanager
def _opened(folder: AgentFolder, clock: Clock) -> Iterator[_Host]:
    identity = load_identity(folder)
    with locked(folder):
        folder.database.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with closing(Database(folder.database)) as database:
            # Nothing that is recorded here has a private part, so no key is needed to seal one to.
            journal = Journal(database, identity.config.host_id, key=lambda: None, clock=clock)
            spool = FileSpool(Spool(folder.spool), folder.spool)
            yield _Host(identity, spool, Receipts(database), journal, MovedStore(database))


def _signers(folder: AgentFolder, host: _Host) -> Signers:
    """Return whose signatures lie in the spool: this host's, and those of hosts whose spool was brought here."""
    file = folder.identity / "evidence.crt"
    try:
        own = file.read_bytes()
    except OSError as exc:
        raise IdentityUnreadable(file, exc.strerror or "it cannot be read") from exc
    signers = certified(own + host.moved.certificates(), host.identity.ca)
    if signers.key(host.identity.config.host_id) != host.identity.signer.public:
        raise IdentityUnreadable(file, "it is not for this host's evidence key")
    return signers
