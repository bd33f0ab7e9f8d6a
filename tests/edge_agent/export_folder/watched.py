"""An export folder on a real disk and the watcher of it: real inotify, real pipeline, time that stands still."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from edge_agent.deliver.receipts import Receipts
from edge_agent.export_folder.classify import Timing
from edge_agent.export_folder.ledger import Ledger
from edge_agent.export_folder.named import ExportFolder
from edge_agent.export_folder.watcher import ExportFolderWatcher
from shared.audit.events import Event
from shared.audit.record import AuditRecord, open_private
from shared.canonical import Json
from shared.fleet.receipt import Receipt
from shared.identity import ObjectId
from shared.policy.document import AfterReceipt, Modality
from shared.sealing import object_file
from shared.sealing.record import verify_record
from tests.edge_agent.capture.images import load
from tests.fakes.centre import open_object
from tests.fakes.host import Host
from tests.fakes.signers import document

CT, MR = load("CT_small.dcm"), load("MR_small.dcm")
TIMING = Timing(settle_s=3, patience_s=60, rescan_s=60, missing_s=10)


@dataclass
class Watched:
    tmp: Path
    after: AfterReceipt | None = AfterReceipt.KEEP
    options: dict[str, Any] = field(default_factory=dict)
    now_s: float = 1000.0

    def __post_init__(self) -> None:
        self.folder = self.tmp / "export"
        self.folder.mkdir(exist_ok=True)
        self.host = Host(self.tmp / "host")
        # Files are made by the real clock; the fake one has to be near it for their age to mean anything.
        self.host.clock.advance(timedelta(seconds=self.folder.stat().st_mtime - self.host.clock.now().timestamp()))
        self.allow(self.after)
        self.open()

    def open(self) -> None:
        host = self.host
        self.receipts = Receipts(host.database)
        options: dict[str, Any] = {"receipts": self.receipts, "pipeline": host.pipeline, **self.options}
        self.ledger = Ledger(host.database, bytes(32))
        self.watcher = ExportFolderWatcher(
            ExportFolder("CT1", bytes(self.folder)),
            host_id=host.host_id,
            policy=host.store.in_force,
            ledger=self.ledger,
            journal=host.journal,
            database=host.database,
            clock=host.clock,
            log=host.log,
            timing=TIMING,
            monotonic=lambda: self.now_s,
            spread=lambda: 0.0,
            **options,
        )
        self.receipts.on_receipt(self.watcher.bell.ring)

    def restart(self) -> None:
        """Start again from what is on the disk."""
        self.watcher._let_go()
        self.host.restart()
        self.open()

    def allow(self, after: AfterReceipt | None, version: int = 1) -> None:
        policy = replace(
            document(version, self.host.keys, self.host.receipts.public),
            modalities=(Modality("CT1", "a modality", export_folder=after),),
        )
        self.host.act_by(policy)

    def look(self) -> float:
        """Have the watcher do all it has to do now; return after how long it wants to be asked again."""
        for _ in range(10_000):
            wait_s = self.watcher.step()
            if wait_s > 0:
                return wait_s
        raise AssertionError("the watcher does not come to rest")

    def after_s(self, seconds: float) -> None:
        self.now_s += seconds
        self.host.clock.advance(timedelta(seconds=seconds))
        self.look()

    def settled(self) -> None:
        """Let pass what a file takes that nobody told us is complete."""
        self.look()
        self.after_s(TIMING.settle_s)

    def hear_nothing(self) -> None:
        """Lose what inotify has to tell."""
        assert self.watcher._inotify is not None
        list(self.watcher._inotify.changes())

    def receipt(self, object_id: ObjectId) -> None:
        self.receipts.keep(Receipt(object_id, bytes(32), self.host.clock.now()), b"signed")
        self.receipts.announce()

    def receipt_for_all(self) -> None:
        for spooled in self.host.spool.everything():
            self.receipt(spooled.object_id)

    def captured(self) -> list[bytes]:
        """Return the data sets that were captured, opened as the centre would."""
        return [
            open_object(self._sealed(spooled), self.host.signer.public, self.host.keys)[0]
            for spooled in self.host.spool.everything()
        ]

    def file_digests(self) -> list[bytes | None]:
        return [
            verify_record(object_file.parse(BytesIO(self._sealed(spooled))).record, self.host.signer.public).file_sha256
            for spooled in self.host.spool.everything()
        ]

    def _sealed(self, spooled: Any) -> bytes:
        with self.host.spool.open(spooled) as file:
            return file.read()

    def of(self, event: Event) -> list[AuditRecord]:
        return [record for record in self.host.records() if record.event is event]

    def private_of(self, event: Event) -> list[dict[str, Json] | None]:
        unsent = self.host.journal.unsent(most=10_000, most_bytes=1 << 30)
        assert unsent is not None
        return [
            open_private(stored, self.host.keys.audit)
            for stored in unsent.records
            if AuditRecord.parse(stored.public).event is event
        ]

    def names(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*") if not path.is_dir()}


def another(image: bytes, value: int) -> bytes:
    """Return a data set of the same length that differs in its last byte."""
    return image[:-1] + bytes([value])
