"""What a modality is told of its storage commitment on an association that it opened itself.

pynetdicom answers in a thread of the association, and a release that another thread asks for overtakes that answer: the
answer then comes out of place, and ends the association's thread with an error. So who releases does it here.
"""

import threading
from collections.abc import Callable
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.pdu import P_DATA_TF

from shared.dicom import dimse
from shared.dicom.dimse import CommandField, Status

_WHOLE_COMMAND = 0b11  # PS3.8 annex E.2: the message control header of a command's only fragment
_PATIENCE_S = 60.0


class Told:
    """The reports of one association, each answered with `status`."""

    def __init__(self, status: int = Status.SUCCESS) -> None:
        self.status, self.reports = status, list[tuple[int, Any]]()
        self._answers = 0
        self._changed = threading.Condition()

    def handlers(self) -> list[Any]:
        return [(evt.EVT_N_EVENT_REPORT, self.handle), (evt.EVT_PDU_SENT, self._note)]

    def handle(self, event: Any) -> tuple[int, None]:
        with self._changed:
            self.reports.append((event.event_type, event.event_information))
            self._changed.notify_all()
        return self.status, None

    def wait(self, count: int = 1) -> None:
        """Wait until so many reports have come."""
        self._wait_for(lambda: len(self.reports) >= count)

    def release(self, association: Association) -> None:
        """Release an association that still stands, once every report that came on it was answered."""
        if association.is_established:
            self._wait_for(lambda: self._answers == len(self.reports))
            association.release()

    def _wait_for(self, holds: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, timeout=_PATIENCE_S)

    def _note(self, event: Any) -> None:
        if isinstance(event.pdu, P_DATA_TF) and any(map(_is_answer, event.pdu.presentation_data_value_items)):
            with self._changed:
                self._answers += 1
                self._changed.notify_all()


def _is_answer(item: Any) -> bool:
    value = item.presentation_data_value
    return value[0] == _WHOLE_COMMAND and dimse.parse(value[1:]).field == CommandField.N_EVENT_REPORT_RSP
