"""A modality: a DICOM storage SCU that sends files as they lie on disk, without decoding or encoding a dataset."""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RJ

from provisioning.demo.images import Image
from provisioning.demo.reactor import hold
from shared.errors import Refused, Unavailable

_SUCCESS = 0x0000
_TIMEOUT_S = 30
# PS3.8 section 9.3.4: source 1 is the service user, reason 3 an unrecognised calling AE title.
_WHY = {
    (1, 1): "no reason given",
    (1, 3): "calling AE title not recognised",
    (1, 7): "called AE title not recognised",
    (3, 2): "local limit exceeded",
}


class AssociationRefused(Refused):
    def __init__(self, ae_title: str, why: str) -> None:
        super().__init__(f"the association of {ae_title} was rejected: {why}")
        self.ae_title, self.why = ae_title, why


class AssociationFailed(Unavailable):
    def __init__(self, ae_title: str) -> None:
        super().__init__(f"no association came about for {ae_title}, and it was not rejected either")
        self.ae_title = ae_title


@dataclass(frozen=True)
class Sent:
    image: Image
    status: int | None  # DICOM PS3.4 annex B.2.3; None: no answer

    @property
    def acknowledged(self) -> bool:
        return self.status == _SUCCESS


class Modality:
    def __init__(self, ae_title: str, host: str, port: int, called_ae_title: str) -> None:
        self._ae_title, self._host, self._port, self._called = ae_title, host, port, called_ae_title

    def send(self, images: Sequence[Image]) -> Iterator[Sent]:
        """Yield each image once the other side answered its C-STORE, all in one association.

        Raises AssociationRefused, AssociationFailed.
        """
        _config.STORE_SEND_CHUNKED_DATASET = True  # the file's own bytes, from behind group 0002 to its end
        association = self._associate(images)
        try:
            for number, image in enumerate(images, start=1):
                answer = association.send_c_store(image.path, msg_id=number)
                yield Sent(image, int(answer.Status) if "Status" in answer else None)
        finally:
            if association.is_established:
                association.release()

    def is_answered(self) -> bool:
        """Return whether anything listens where this modality sends to."""
        try:
            with socket.create_connection((self._host, self._port), timeout=_TIMEOUT_S):
                return True
        except ConnectionRefusedError:
            return False

    def _associate(self, images: Sequence[Image]) -> Association:
        ae = AE(ae_title=self._ae_title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = _TIMEOUT_S
        # One context for each pair, so that the other side cannot choose to have an image converted.
        pairs = sorted({(image.sop_class_uid, image.transfer_syntax_uid) for image in images})
        ae.requested_contexts = [build_context(sop_class, syntax) for sop_class, syntax in pairs]
        association, rejection = associate(ae, self._host, self._port, self._called)
        if rejection is not None:
            given = (rejection.source, rejection.reason_diagnostic)
            why = next((words for codes, words in _WHY.items() if codes == given), "no reason given")
            raise AssociationRefused(self._ae_title, why)
        if not association.is_established:
            raise AssociationFailed(self._ae_title)
        return association


def associate(ae: AE, host: str, port: int, called_ae_title: str) -> tuple[Association, A_ASSOCIATE_RJ | None]:
    """Ask for an association; return it, and the rejection that came instead.

    Whether it `is_rejected` cannot be asked: where the rejection is there before pynetdicom's negotiating thread looks
    at its connection, that thread finds it closed, and calls the association aborted.
    """
    rejections: list[A_ASSOCIATE_RJ] = []

    def received(event: evt.Event) -> None:
        if isinstance(event.pdu, A_ASSOCIATE_RJ):
            rejections.append(event.pdu)

    def established(event: evt.Event) -> None:
        hold(event.assoc)

    heard: list[evt.EventHandlerType] = [(evt.EVT_PDU_RECV, received), (evt.EVT_ESTABLISHED, established)]
    association = ae.associate(host, port, ae_title=called_ae_title, evt_handlers=heard)
    return association, rejections[0] if rejections else None
