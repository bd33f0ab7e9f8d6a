"""A modality that sends images nobody else has, and remembers for which of them it was told success."""

import random
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from provisioning.demo.needles import Identity, Needle, needles, probes
from shared.dicom import dimse
from shared.dicom.dimse import CommandField, Status
from tests.edge_agent.capture.wire import COMMAND, EXPLICIT, LAST, Peer, associate_request, command, p_data, pdu, pdv
from tests.fakes.host import CT

# Nobody has this name; it is in every image, so that one search finds any of them.
PATIENT = "Kwartelstaart^Theodorine"
PATIENT_ID = "KW-5518-TH-0092"
UID_ROOT = "1.2.826.0.1.3680043.9.7719.5518"
_PIXELS = random.Random(5518).randbytes(512)
_PDU_BYTES = 60_000
_CUT_OFF = (OSError, AssertionError)

ECHO = p_data(pdv(command(CommandField.C_ECHO_RQ, dimse.VERIFICATION, "", 0x0101), COMMAND | LAST, 3))
RELEASE = pdu(5, bytes(4))


@dataclass(frozen=True)
class Image:
    """One data set in explicit VR little endian, unlike every other."""

    instance: str
    dataset: bytes

    @cached_property
    def digest(self) -> bytes:
        return sha256(self.dataset).digest()


def image(number: int, size_bytes: int = 4096) -> Image:
    """Return image `number`: the same bytes whenever it is asked for, and nearly `size_bytes` of them."""
    instance = f"{UID_ROOT}.{number}"
    head = b"".join((
        _element(0x0008, 0x0016, b"UI", CT.encode()),
        _element(0x0008, 0x0018, b"UI", instance.encode()),
        _element(0x0008, 0x0060, b"CS", b"CT"),
        _element(0x0010, 0x0010, b"PN", PATIENT.encode()),
        _element(0x0010, 0x0020, b"LO", PATIENT_ID.encode()),
        _element(0x0020, 0x000D, b"UI", f"{UID_ROOT}.0.1".encode()),
        _element(0x0020, 0x000E, b"UI", f"{UID_ROOT}.0.2".encode()),
    ))  # fmt: skip
    pixels = struct.pack("<Q", number) + (_PIXELS * (size_bytes // len(_PIXELS) + 1))[: max(size_bytes - len(head), 64)]
    return Image(instance, head + struct.pack("<HH2s2xI", 0x7FE0, 0x0010, b"OW", len(pixels)) + pixels)


def betrayals() -> tuple[Needle, ...]:
    """Return the forms in which any of the images would show in raw bytes."""
    identities = (
        Identity(0x00100010, "PN", "PatientName", PATIENT.encode(), PATIENT),
        Identity(0x00100020, "LO", "PatientID", PATIENT_ID.encode(), PATIENT_ID),
        Identity(0x00080018, "UI", "SOPInstanceUID", UID_ROOT.encode(), UID_ROOT),
    )
    return needles(identities) + probes(_PIXELS, "a sent image")


def store(sent: Image) -> bytes:
    """Return the C-STORE request of `sent` as it goes over the wire."""
    pieces = [sent.dataset[at : at + _PDU_BYTES] for at in range(0, len(sent.dataset), _PDU_BYTES)]
    data = b"".join(p_data(pdv(piece, LAST if piece is pieces[-1] else 0)) for piece in pieces)
    return p_data(pdv(command(instance=sent.instance), COMMAND | LAST)) + data


class Modality:
    """Sends from a queue over any number of associations; what is not answered with success is queued again, first."""

    def __init__(self, images: Iterator[Image], calling: str = "CT1") -> None:
        self._calling, self._lock = calling, threading.Lock()
        self._new, self._again = images, deque[Image]()
        self.sent: dict[bytes, Image] = {}
        self.acknowledged: dict[bytes, Image] = {}
        self.unanswered: set[bytes] = set()  # sent once at least without an answer, so perhaps captured
        self.refusals: list[int] = []  # each status that was not success

    def unacknowledged(self) -> list[Image]:
        return [sent for digest, sent in self.sent.items() if digest not in self.acknowledged]

    def send(self, port: int, associations: int = 1) -> None:
        """Send until nothing is left, the connections have ended, or an image was refused on each of them."""
        threads = [threading.Thread(target=self._associate, args=(port,)) for _ in range(associations)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive(), "an association hangs"

    def _associate(self, port: int) -> None:
        try:
            peer = Peer(port, self._calling)
        except _CUT_OFF:
            return
        try:
            while (taken := self._take()) is not None:
                if not self._store(peer, taken):
                    return
            peer.send(RELEASE)
        except OSError:
            return
        finally:
            peer.close()

    def _store(self, peer: Peer, sent: Image) -> bool:
        try:
            peer.send(store(sent))
            status = peer.status()
        except _CUT_OFF:
            self._give_back(sent, unanswered=True)
            return False
        if status != Status.SUCCESS:
            self.refusals.append(status)
            self._give_back(sent, unanswered=False)
            return False
        with self._lock:
            self.acknowledged[sent.digest] = sent
        return True

    def _take(self) -> Image | None:
        with self._lock:
            taken = self._again.popleft() if self._again else next(self._new, None)
            if taken is not None:
                self.sent[taken.digest] = taken
            return taken

    def _give_back(self, sent: Image, *, unanswered: bool) -> None:
        with self._lock:
            self._again.appendleft(sent)
            if unanswered:
                self.unanswered.add(sent.digest)


def images(count: int, size_bytes: int = 4096, first: int = 1) -> Iterator[Image]:
    return (image(number, size_bytes) for number in range(first, first + count))


def half_open(port: int, calling: str = "CT1") -> Peer:
    """Return a connection that has asked for an association and has not read the answer."""
    peer = Peer(port, calling, associate=False)
    peer.send(associate_request(calling, (CT, EXPLICIT)))
    return peer


def send_one(port: int, sent: Image) -> int:
    """Return the status of one image on an association of its own."""
    peer = Peer(port)
    try:
        peer.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.send(store(sent))
        return peer.status()
    finally:
        peer.close()


def echo(port: int) -> int:
    """Return the status of a C-ECHO on an association of its own."""
    peer = Peer(port)
    try:
        peer.send(ECHO)
        return peer.status()
    finally:
        peer.close()


def _element(group: int, element: int, vr: bytes, value: bytes) -> bytes:
    padded = value + (b"\x00" if vr == b"UI" else b" ") * (len(value) % 2)
    return struct.pack("<HH2sH", group, element, vr, len(padded)) + padded
