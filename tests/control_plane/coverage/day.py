"""One day at a hospital: a real centre, hosts that capture, an archive that knows, and a comparison of the two."""

import secrets
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from io import BytesIO
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from control_plane.coverage import sql
from control_plane.coverage.archive import Archive, Archives, ArchiveUnavailable, OpenArchive
from control_plane.coverage.compare import Comparison, Held
from control_plane.coverage.runs import CoverageRuns
from control_plane.coverage.showing import CoverageShowing
from control_plane.coverage.sweep import Limits
from control_plane.coverage.tally import Result
from control_plane.http.tls import TlsIdentity
from control_plane.routes.connect import connected
from shared.audit.batch import ChainHead
from shared.audit.events import Action, Event, EventName, Happening, Outcome, Participant, Subject
from shared.audit.record import AuditRecord, compose
from shared.dicom.requestor import Patience
from shared.policy.document import Coverage, KeyPurpose, Modality, PolicyDocument, Station
from shared.policy.routes import Peer
from shared.sealing.record import record_digest
from tests.control_plane.vault.bench import ENTRY, Bench, HostBench, SealedImage
from tests.fakes.signers import CentreKeys, document

CT = "1.2.840.10008.5.1.4.1.1.2"
STATION = "CTROOM114"
CT1 = Modality("CT1", "CT, room 1.14", station=Station("CT", STATION))
NOBODY = TlsIdentity(b"", b"")  # shown to no archive that is asked without TLS
ANSWERING = Patience(associate_s=20, answer_s=20)


@dataclass(frozen=True)
class Image:
    """An instance as its modality made it."""

    study: str
    series: str
    uid: str
    day: date
    modality: str = "CT"
    station: str = STATION

    def part10(self) -> bytes:
        made = Dataset()
        made.SOPClassUID, made.SOPInstanceUID = UID(CT), UID(self.uid)
        made.StudyInstanceUID, made.SeriesInstanceUID = UID(self.study), UID(self.series)
        made.StudyDate, made.Modality = f"{self.day:%Y%m%d}", self.modality
        made.PatientID, made.PatientName = "PID-4711", "Muster^Erika"
        if self.station:
            made.StationName = self.station
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.file_meta.MediaStorageSOPClassUID, made.file_meta.MediaStorageSOPInstanceUID = UID(CT), UID(self.uid)
        out = BytesIO()
        made.save_as(out, enforce_file_format=True)
        return out.getvalue()


def series_of(day: date, count: int, **changes: str) -> list[Image]:
    study, series = str(generate_uid()), str(generate_uid())
    return [Image(study, series, str(generate_uid()), day, **changes) for _ in range(count)]


class CoverageDay:
    """`open_archive` may be given later; the day is the one that the centre's clock shows."""

    def __init__(self, bench: Bench, host: HostBench) -> None:
        self.bench, self.host = bench, host
        self.day = bench.clock.now().date()
        self.modalities: tuple[Modality, ...] = (CT1,)
        self.peer = Peer("PACS", "127.0.0.1", 104)
        self.open_archive: OpenArchive = nobody_there

    def policy(self) -> PolicyDocument:
        keys = CentreKeys.new(secrets.token_bytes)
        made = document(1, keys, self.bench.receipts.public)
        return replace(made, modalities=self.modalities, coverage=Coverage("LEADGLASS", self.peer))

    def ask(self, port: int, ae_title: str = "PACS", patience: Patience = ANSWERING) -> Archives:
        """Have the archive on `port` asked, over a real association."""
        self.peer = Peer(ae_title, "127.0.0.1", port)
        archives = Archives(partial(connected, identity=NOBODY), patience)
        self.open_archive = archives.open
        return archives

    def runs(self, *, held: Held = sql.held, limits: Limits | None = None, **options: Any) -> CoverageRuns:
        bench = self.bench
        comparison = Comparison(
            bench.database, bench.index, bench.evidence, self.open_archive, bench.clock,
            held=held, limits=limits,
        )  # fmt: skip
        options.setdefault("break_off", lambda: None)
        policy = options.pop("policy", self.policy)
        return CoverageRuns(bench.database, bench.journal, comparison, policy, bench.clock, **options)

    def compare(self, **options: Any) -> Result:
        """Return what a run says of CT1."""
        return next(result for result in self.runs(**options).run(self.day) if result.ae_title == "CT1")

    def showing(self, **options: Any) -> CoverageShowing:
        bench, policy = self.bench, options.pop("policy", self.policy)
        return CoverageShowing(bench.database, bench.keys, bench.journal, bench.log, self.runs(), policy, bench.clock)

    def capture(self, image: Image, ae_title: str | None = "CT1") -> SealedImage:
        """Have an image come through us: into the vault, with the record that its host makes of it."""
        entry = replace(
            ENTRY, study_instance_uid=image.study, series_instance_uid=image.series, sop_instance_uid=image.uid,
            modality=image.modality,
        )  # fmt: skip
        sealed = self.host.seal(image.part10(), entry)
        self.bench.receive(sealed)
        if ae_title is not None:
            self._record(sealed, ae_title)
        return sealed

    def _record(self, sealed: SealedImage, ae_title: str) -> None:
        host = self.host
        who = (Participant("ae", ae_title, True), Participant("host", str(host.host_id), False))
        what = (Subject("object", str(sealed.object_id)), Subject("record", record_digest(sealed.record).hex()))
        happening = Happening(Event.IMAGE_CAPTURED, Action.CREATE, Outcome.SUCCESS, who, what)
        stored = compose(
            happening, source=str(host.host_id), seq=host.head.seq + 1, prev=host.head.leaf,
            time=self.bench.clock.now(), salt=secrets.token_bytes(32), key=self.bench.public(KeyPurpose.AUDIT),
        )  # fmt: skip
        host.head = ChainHead(host.head.seq + 1, stored.leaf)
        host.journal.append(stored)
        host.deliver(host.head.seq, host.head.seq)

    def records(self) -> list[AuditRecord]:
        rows = self.bench.rows("SELECT public FROM audit_records WHERE source = 'control-plane' ORDER BY seq")
        records = [AuditRecord.parse(row.public) for row in rows]
        return [record for record in records if record.event.value.startswith("coverage.")]

    def events(self) -> list[EventName]:
        return [record.event for record in self.records()]


def nobody_there(coverage: Coverage) -> AbstractContextManager[Archive]:
    raise ArchiveUnavailable("nobody is there")
