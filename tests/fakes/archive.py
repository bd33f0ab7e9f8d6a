"""An archive on loopback that is not ours: pynetdicom takes what comes, remembers it, and misbehaves when told to."""

import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, evt

from shared.dicom.dimse import VERIFICATION
from tests.fakes.dicom_server import end, serve
from tests.fakes.ports import free_port

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT, IMPLICIT, JPEG = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.4.50"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
# Who forwards looks by itself 60 s after it was last woken: what should have woken it is to be missed.
_WITHIN_S = 40.0


@dataclass
class Archive:
    """`stored` is what arrived, in order, as (SOP Instance UID, encoded data set).

    What it answers, such as an image or an echo, it has counted by then. That it accepted, and how an association
    ended, it notes in a thread of its own, which nobody's answer waits for.
    """

    port: int = 0
    stored: list[tuple[str, bytes]] = field(default_factory=list)
    associations: int = 0
    echoes: int = 0
    aborts: int = 0
    releases: int = 0
    status_of: Callable[[str], int] = lambda _: 0
    matches: Sequence[Dataset] = ()
    keep: bool = True
    changed: Condition = field(default_factory=Condition)

    def wait_for(self, condition: Callable[[], Any], timeout_s: float = _WITHIN_S) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, timeout_s), "the archive did not see it in time"

    def uids(self) -> list[str]:
        return [uid for uid, _ in self.stored]


@contextmanager
def archive(
    *,
    sop_classes: Sequence[str] = (CT, MR),
    transfer_syntaxes: Sequence[str] = (EXPLICIT, IMPLICIT, JPEG),
    ae_title: str = "PACS",
    max_pdu: int = 16_382,
    tls: ssl.SSLContext | None = None,
    like: Archive | None = None,
    require_called: bool = False,
) -> Iterator[Archive]:
    """Run one; `like` is an earlier one, whose port and memory it goes on with."""
    it = like or Archive()
    entity = AE(ae_title)
    entity.require_called_aet = require_called
    entity.maximum_pdu_size = max_pdu
    for sop_class in sop_classes:
        entity.add_supported_context(sop_class, list(transfer_syntaxes))
    entity.add_supported_context(VERIFICATION)
    entity.add_supported_context(STUDY_ROOT_FIND, [IMPLICIT])
    it.port = it.port or free_port()  # it may go on there, so nobody is to be given it meanwhile
    serve(entity, it.port, handlers=_handlers(it), tls=tls)
    try:
        yield it
    finally:
        end(entity)


def _handlers(it: Archive) -> list[Any]:
    def store(event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        status = it.status_of(uid)
        with it.changed:
            if it.keep and (status == 0 or status & 0xF000 == 0xB000):
                it.stored.append((uid, event.request.DataSet.getvalue()))
            it.changed.notify_all()
        return status

    def count(name: str) -> Callable[[Any], None]:
        def counted(_: Any) -> None:
            with it.changed:
                setattr(it, name, getattr(it, name) + 1)
                it.changed.notify_all()

        return counted

    def echo(event: Any) -> int:
        count("echoes")(event)
        return 0

    def find(_: Any) -> Iterator[tuple[int, Dataset | None]]:
        for match in it.matches:
            yield 0xFF00, match
        yield 0x0000, None

    return [
        (evt.EVT_C_STORE, store),
        (evt.EVT_C_ECHO, echo),
        (evt.EVT_C_FIND, find),
        (evt.EVT_ACCEPTED, count("associations")),
        (evt.EVT_ABORTED, count("aborts")),
        (evt.EVT_RELEASED, count("releases")),
    ]
