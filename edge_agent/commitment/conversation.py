"""Storage commitment on one association with a modality: its requests, and our reports while it is silent.

Sans-I/O: the association's own thread reads, asks here what to send, and sends it. One report is outstanding at a time
(no asynchronous operations are negotiated).
"""

from collections.abc import Callable

from edge_agent.commitment.desk import CommitmentDesk
from edge_agent.commitment.reports import Report
from shared.dicom import dimse, pdu
from shared.dicom.dimse import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, Command, CommandField, Status
from shared.errors import Malformed

ANSWER_S = 30.0
_MAX_MESSAGE_ID = 0xFFFF


class Conversation:
    """`monotonic` gives seconds. Made when an association is established, closed when it ends."""

    def __init__(
        self,
        desk: CommitmentDesk,
        ae_title: str,
        context_id: int,
        transfer_syntax: str,
        max_pdu_bytes: int,
        monotonic: Callable[[], float],
    ) -> None:
        self._desk, self._ae_title = desk, ae_title
        self._context_id, self._transfer_syntax, self._max_pdu_bytes = context_id, transfer_syntax, max_pdu_bytes
        self._monotonic = monotonic
        self._message_id = 0
        self._asked: Report | None = None
        self._refused = set[str]()  # ids of requests whose reports it refused: not brought to it again, here
        self._asked_s, self._overdue = 0.0, False
        desk.attend(ae_title)

    def request(self, data_set: bytes, transfer_syntax: str) -> Status:
        return self._desk.request(self._ae_title, data_set, transfer_syntax)

    def say(self) -> bytes | None:
        """Return the PDUs of a report that is due, if any; called while the modality is silent.

        Raises DatabaseUnavailable, DatabaseDamaged.
        """
        if self._asked is not None:
            self._give_up_when_overdue(self._asked)
            return None
        report = self._desk.take(self._ae_title, self._refused)
        if report is None:
            return None
        self._message_id = self._message_id % _MAX_MESSAGE_ID + 1
        self._asked, self._asked_s, self._overdue = report, self._monotonic(), False
        command = dimse.event_report(
            self._message_id, report.event_type, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
        )
        return pdu.command_pdus(self._context_id, command, self._max_pdu_bytes) + pdu.data_set_pdus(
            self._context_id, report.encode(self._transfer_syntax), self._max_pdu_bytes
        )

    def hear(self, response: Command) -> None:
        """Take the answer to our report. Raises Malformed: nobody asked; DatabaseUnavailable, DatabaseDamaged."""
        if (
            self._asked is None
            or response.field != CommandField.N_EVENT_REPORT_RSP
            or response.message_id != self._message_id
            or response.status is None
        ):
            raise Malformed("message", "a response to what nobody asked")
        report, self._asked = self._asked, None
        if not self._desk.answered(self._ae_title, report, response.status):
            self._refused.add(report.request_id)

    def close(self) -> None:
        if self._asked is not None and not self._overdue:
            self._desk.put_back(self._asked.request_id)
        self._desk.depart(self._ae_title)

    def _give_up_when_overdue(self, report: Report) -> None:
        """Leave a report that is not answered to a new association; an answer that comes yet still counts."""
        if not self._overdue and self._monotonic() - self._asked_s > ANSWER_S:
            self._overdue = True
            self._desk.put_back(report.request_id)
