"""What a modality puts on the wire, made by hand, so that tests can also put something else there."""

import socket
import struct
from itertools import count

from shared.dicom import dimse
from shared.dicom.dimse import CommandField
from tests.fakes.host import CT

EXPLICIT = "1.2.840.10008.1.2.1"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
COMMAND, LAST = 1, 2
_INSTANCES = count(1)


def pdu(number: int, body: bytes) -> bytes:
    return struct.pack(">BxI", number, len(body)) + body


def pdv(data: bytes, control: int, context_id: int = 1) -> bytes:
    return struct.pack(">IBB", len(data) + 2, context_id, control) + data


def p_data(*pdvs: bytes) -> bytes:
    return pdu(4, b"".join(pdvs))


def item(number: int, body: bytes) -> bytes:
    return struct.pack(">BxH", number, len(body)) + body


def associate_request(
    calling: str = "CT1",
    *contexts: tuple[str, str],
    version: int = 1,
    application_context: str = APPLICATION_CONTEXT,
    max_pdu_bytes: int = 16_384,
) -> bytes:
    asked = b""
    for number, (abstract, transfer) in enumerate(contexts or ((CT, EXPLICIT), (dimse.VERIFICATION, EXPLICIT))):
        syntaxes = item(0x30, abstract.encode()) + item(0x40, transfer.encode())
        asked += item(0x20, bytes((2 * number + 1, 0, 0, 0)) + syntaxes)
    user = item(0x51, struct.pack(">I", max_pdu_bytes)) + item(0x52, b"1.2.3.4")
    titles = b"LEADGLASS".ljust(16) + calling.encode().ljust(16)
    fixed = struct.pack(">H2x", version) + titles + bytes(32)
    return pdu(1, fixed + item(0x10, application_context.encode()) + asked + item(0x50, user))


def element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


def command(
    field: int = CommandField.C_STORE_RQ, sop_class: str = CT, instance: str = "1.2.3", data_set: int = 0
) -> bytes:
    body = element(0x0002, _even(sop_class)) + element(0x0100, struct.pack("<H", field))
    body += element(0x0110, struct.pack("<H", 7)) + element(0x0800, struct.pack("<H", data_set))
    if instance:
        body += element(0x1000, _even(instance))
    return element(0, struct.pack("<I", len(body))) + body


def store(
    dataset: bytes, *, context_id: int = 1, sop_class: str = CT, instance: str = "", pdu_bytes: int = 100_000
) -> bytes:
    """Return a whole C-STORE request, of an instance of its own unless it is named."""
    instance = instance or f"1.2.3.{next(_INSTANCES)}"
    pieces = [dataset[at : at + pdu_bytes] for at in range(0, len(dataset), pdu_bytes)] or [b""]
    data = [p_data(pdv(piece, 0, context_id)) for piece in pieces[:-1]] + [p_data(pdv(pieces[-1], LAST, context_id))]
    return p_data(pdv(command(sop_class=sop_class, instance=instance), COMMAND | LAST, context_id)) + b"".join(data)


def _even(uid: str) -> bytes:
    return uid.encode() + b"\x00" * (len(uid) % 2)


class Peer:
    """A modality's end of a connection, at the level of PDUs."""

    def __init__(self, port: int, calling: str = "CT1", *, associate: bool = True, source: str = "127.0.0.1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(source, 0))
        if not associate:
            return
        try:
            self.send(associate_request(calling))
            number, _ = self.receive()
            assert number == 2
        except BaseException:
            self.close()
            raise

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> tuple[int, bytes]:
        """Return type and body of the next PDU; type 0 when the connection has ended."""
        head = self._exactly(6)
        if len(head) < 6:
            return 0, b""
        number, length = struct.unpack(">BxI", head)
        return number, self._exactly(length)

    def status(self) -> int:
        """Return the status of the next response."""
        number, body = self.receive()
        assert number == 4, (number, body)
        found = body[6:].find(struct.pack("<HHI", 0, 0x0900, 2))
        return int.from_bytes(body[6 + found + 8 :][:2], "little")

    def close(self) -> None:
        self.socket.close()

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                piece = self.socket.recv(size - len(data))
            except ConnectionResetError:
                break
            if not piece:
                break
            data += piece
        return bytes(data)
