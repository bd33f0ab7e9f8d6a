"""The PDU reader, and the reader of fragments behind it, fed with a stream cut up as the stream itself says."""

from shared.dicom.pdu import Control, PduReader
from tests.edge_agent.capture.wire import COMMAND, LAST, associate_request, command, p_data, pdu, pdv
from tests.fuzz.target import Target

_MOST_BYTES = 4096


def read(data: bytes) -> None:
    step = data[0] + 1 if data else 1
    whole = _events(data, len(data) or 1)
    assert _events(data, step) == whole, "what a stream says depends on how it is cut"


def _events(data: bytes, step: int) -> "list[tuple[object, ...]]":
    reader, said, run = PduReader(_MOST_BYTES), list[tuple[object, ...]](), b""
    for start in range(0, len(data), step):
        for event in reader.feed(memoryview(data)[start : start + step]):
            if isinstance(event, Control):
                said.append((event.type, event.data))
                continue
            assert len(event.data) <= _MOST_BYTES + 6
            run += bytes(event.data)
            if event.last:
                said.append((event.context_id, event.is_command, run))
                run = b""
    return said


TARGET = Target(
    "pdu",
    read,
    (
        associate_request(),
        p_data(pdv(command(), COMMAND | LAST)) + p_data(pdv(b"part", 0), pdv(b"", LAST)),
        p_data(pdv(bytes(4000), LAST, 255)) + pdu(5, bytes(4)),
        pdu(2, bytes(100)) + pdu(3, bytes(4)) + pdu(6, bytes(4)) + pdu(7, bytes(4)),
    ),
)
