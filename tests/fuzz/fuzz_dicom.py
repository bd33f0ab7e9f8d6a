"""The other readers of DICOM: heads and extents of files, commitment requests, and what a peer of ours answers."""

import struct
from functools import partial

from edge_agent.capture import negotiation
from edge_agent.capture.negotiation import Requested
from edge_agent.commitment import requests as commitment
from edge_agent.commitment.reports import Report
from edge_agent.commitment.requests import Reference
from edge_agent.export_folder import extent, part10
from edge_agent.export_folder.extent import Extent
from shared.dicom import dimse, pdu, requests
from shared.dicom.associate import Accepted, Proposed, Request, aborted, rejected
from shared.dicom.dimse import CommandField, Status
from shared.dicom.requestor import Requestor
from shared.errors import Malformed
from tests.edge_agent.capture import malformed
from tests.edge_agent.capture.images import load
from tests.edge_agent.capture.test_attributes import BIG, EXPLICIT, IMPLICIT
from tests.edge_agent.capture.wire import command, element
from tests.fakes.host import CT
from tests.fuzz.target import Target

_SYNTAXES = (IMPLICIT, EXPLICIT, BIG)
_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_REQUEST = Request(
    "LEADGLASS", "PACS", (Proposed(CT, (EXPLICIT, IMPLICIT)), Proposed(dimse.VERIFICATION, (IMPLICIT,)),
    Proposed(dimse.STORAGE_COMMITMENT, (IMPLICIT,), scp=True)), 16_384,
)  # fmt: skip

# ---- files


def _head(data: bytes) -> None:
    """However much of a file is there, its head is not known yet, or is the one that it has in the end."""
    try:
        head: part10.Head | None = part10.parse(data, whole=True)
    except Malformed:
        head = None
    for cut in (140, 200, 300, len(data) - 1):
        try:
            early = part10.parse(data[:cut], whole=False)
        except part10.HeadCut:
            continue
        except part10.NotDicom:
            assert head is None, "what is a head in the end was none before"
        else:
            assert early == head, "more bytes changed what the head says"
    part10.parse(data, whole=True)


def _extent(data: bytes) -> None:
    """The first byte chooses the transfer syntax."""
    syntax, dataset = _SYNTAXES[data[0] % 3 if data else 0], data[1:]
    judged = extent.judge(lambda at, size: dataset[at : at + size], 0, len(dataset), syntax)
    assert judged in Extent


# ---- requests and answers


def _commitment(data: bytes) -> None:
    request = commitment.parse(data[1:], _SYNTAXES[data[0] % 3 if data else 0])
    assert 0 < len(set(request.references)) == len(request.references) <= commitment.MAX_REFERENCES


def _report(number: int) -> bytes:
    report = Report("1", "1.2.9", tuple(Reference(CT, f"1.2.3.{instance}") for instance in range(number)), ())
    return b"".join((bytes((1,)), report.encode(EXPLICIT)))


def _answer(data: bytes) -> None:
    """An association request was answered with these bytes."""
    if len(data) >= 10:
        rejected(data)
        aborted(data)
    accepted = Accepted.parse(data, _REQUEST)
    assert all(
        accepted.contexts[number] in _REQUEST.contexts[number // 2].transfer_syntaxes for number in accepted.contexts
    )


def _accepted() -> bytes:
    requested = negotiation.parse(_REQUEST.encode())
    assert isinstance(requested, Requested)
    return negotiation.accept(requested, 16_384).answer


def _response(data: bytes) -> None:
    requests.parse_response(data, CommandField.C_STORE_RQ, 7)


class _Peer:
    """A connection whose other end says what it was made with, a piece at a time, and then is gone."""

    def __init__(self, says: bytes, step: int) -> None:
        self._left, self._step = memoryview(says), step

    def sendall(self, data: memoryview, /) -> None:
        assert len(data)

    def recv_into(self, buffer: memoryview, /) -> int:
        said, self._left = self._left[: self._step], self._left[self._step :]
        buffer[: len(said)] = said
        return len(said)

    def settimeout(self, timeout_s: float | None, /) -> None:
        assert timeout_s


def _conversation(data: bytes) -> None:
    """A peer answers an association request, an echo, an image, a query and its own end with these bytes."""
    requestor = Requestor(
        _Peer(data[1:], data[0] + 1 if data else 1),
        calling_ae_title="LEADGLASS",
        called_ae_title="PACS",
        contexts=[Proposed(uid, (EXPLICIT,)) for uid in (CT, dimse.VERIFICATION, _FIND)],
        monotonic=lambda: 0.0,
    )
    requestor.associate()
    requestor.echo()
    requestor.store(CT, "1.2.3", EXPLICIT, [malformed.WHOLE])
    assert len(list(requestor.find(_FIND, malformed.WHOLE))) <= len(data)
    requestor.release()


def _said() -> bytes:
    """Return what a good peer says in all of that."""
    contexts = [Proposed(uid, (EXPLICIT,)) for uid in (CT, dimse.VERIFICATION)]
    requested = negotiation.parse(Request("LEADGLASS", "PACS", [*contexts, Proposed("1.2.3", (EXPLICIT,))], 0).encode())
    assert isinstance(requested, Requested)
    say = partial(pdu.command_pdus, max_pdu_bytes=0)
    ended = element(0x0100, b"\x20\x80") + element(0x0120, b"\x03\x00") + element(0x0800, b"\x01\x01")
    pending = ended.replace(b"\x01\x01", b"\x00\x00")
    return b"".join((
        b"\xff",
        negotiation.accept(requested, 16_384).answer,
        say(3, dimse.response(dimse.parse(_asked(CommandField.C_ECHO_RQ, 1)), Status.SUCCESS)),
        say(1, dimse.response(dimse.parse(_asked(CommandField.C_STORE_RQ, 2)), Status.SUCCESS)),
        say(5, pending + element(0x0900, b"\x00\xff")),
        pdu.data_set_pdus(5, malformed.WHOLE, 0),
        say(5, ended + element(0x0900, b"\x00\x00")),
        pdu.release_reply(),
    ))  # fmt: skip


def _asked(field: int, message_id: int) -> bytes:
    return command(field).replace(element(0x0110, b"\x07\x00"), element(0x0110, struct.pack("<H", message_id)))


_CT = load("CT_small.dcm").path.read_bytes()[:2000]
_DIRECTORY = _CT.replace(CT.encode() + b"\x00", part10.MEDIA_STORAGE_DIRECTORY.encode().ljust(26, b"\x00"))
_STORED = dimse.response(dimse.parse(command()), Status.SUCCESS)
TARGETS = (
    Target("part10", _head, (_CT, _DIRECTORY)),
    Target("extent", _extent, tuple(bytes((1,)) + data for data in (malformed.WHOLE, malformed.nested(3)))),
    Target("commitment", _commitment, (_report(1), _report(3))),
    Target("association-answer", _answer, (_accepted(),)),
    Target("response", _response, (_STORED, dimse.response(dimse.parse(command()), Status.OUT_OF_RESOURCES))),
    Target("conversation", _conversation, (_said(), b"\x00" + _said()[1:])),
)
