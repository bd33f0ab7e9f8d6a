"""Hosts of a centre and what they captured, put there as enrolment, reports and deliveries leave them."""

from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.objects import number_of
from control_plane.db.models import AuditObject, AuditRow, AuditSubject, Host, Object
from control_plane.enrolment import codes
from edge_agent.link.happening import happening
from edge_agent.usb_policy import notes
from shared.audit.events import Action, Event, Outcome, Participant, Subject
from shared.audit.record import AuditRecord
from shared.clock import SystemClock
from shared.devices.device import UsbDevice
from shared.devices.record import GuardRecord
from shared.fleet.devices import Authorized, GuardReport, Seen
from shared.fleet.state import HostState, sign_state
from shared.identity import HostId, ObjectId
from shared.sealing.record import CaptureRecord, sign_record
from shared.signing import SoftwareSigner

_BEHIND_THE_LOG = 1 << 20  # where the centre itself enters nothing meanwhile


class Ward:
    """Hosts of a centre, put there as enrolment, reports and deliveries leave them."""

    def __init__(self, database: sessionmaker[Session]) -> None:
        self._database, self._now = database, SystemClock().now()
        self._count = self._hosts = 0

    def host(
        self,
        asset: str,
        report: GuardReport | None,
        *,
        reported: bool = True,
        ago: timedelta = timedelta(),
        parts: tuple[str, ...] = (),
    ) -> HostId:
        self._hosts += 1
        host_id, signer = HostId.new(), SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
        state = HostState(host_id, 1, self._now, "test", 1, 1, "", True, 0, 0, 0, 0, 0, guard=report)
        row = Host(
            host_id=str(host_id), asset=asset, evidence_spki=signer.public.spki,
            enrolled=self._now + timedelta(microseconds=self._hosts),
            state=sign_state(state, signer) if reported else None, state_number=int(reported),
            state_received=self._now - ago if reported else None, parts=codes.parts_text(parts),
        )  # fmt: skip
        with self._database.begin() as session:
            session.add(row)
        return host_id

    def attached(self, host_id: HostId, device: UsbDevice, *, ago: timedelta = timedelta()) -> None:
        """Have a guard record an attachment, and its agent relay it."""
        self._count += 1
        note = notes.attached(device, Seen.NOW, Authorized.NO)
        record = GuardRecord(1, bytes(32), self._now - ago, note.event, note.outcome, note.subject, dict(note.fields))
        happened = happening(host_id, record)
        audit = AuditRecord(
            str(host_id), self._count, bytes(32), self._now, happened.event, happened.action, happened.outcome,
            happened.who, happened.what, happened.reason, None,
        )  # fmt: skip
        with self._database.begin() as session:
            session.add(AuditRow(source=str(host_id), seq=self._count, public=audit.encode(), sealed=None, leaf=b"",
                                 received=self._now - ago))  # fmt: skip
            for subject in set(happened.what):
                session.add(AuditSubject(kind=subject.kind, name=subject.name, event=happened.event.value,
                                         source=str(host_id), seq=self._count))  # fmt: skip

    def captured(
        self, host_id: HostId, ae_title: str, *, grade: str = "restricted", ago: timedelta = timedelta()
    ) -> None:
        self._count += 1
        object_id, signer = ObjectId.new(), SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
        record = sign_record(
            CaptureRecord(object_id, host_id, self._now, bytes(32), bytes(32), 1, bytes(32), 1, bytes(32), grade, 1),
            signer,
        )
        who = (Participant("ae", ae_title, True),)
        what = (Subject("object", str(object_id)),)
        audit = AuditRecord(
            str(host_id), self._count, bytes(32), self._now, Event.IMAGE_CAPTURED, Action.CREATE, Outcome.SUCCESS, who,
            what, "", None,
        )  # fmt: skip
        with self._database.begin() as session:
            session.add(Object(object_id=str(object_id), host_id=str(host_id), binding=b"", record=record,
                               record_sha256=b"", sealed_index=b"", index_state="indexed", body_bytes=1,
                               received=self._now - ago, receipt=b""))  # fmt: skip
            entry = _BEHIND_THE_LOG + self._count
            session.add(AuditRow(source=str(host_id), seq=self._count, public=audit.encode(), sealed=None, leaf=b"",
                                 received=self._now, entry=entry, event=audit.event))  # fmt: skip
            session.add(AuditObject(number=number_of(str(object_id), entry)))
