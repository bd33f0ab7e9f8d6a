"""The requesting side against archives that are not ours, and against peers that misbehave on purpose."""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pynetdicom import AE, evt

from provisioning.demo.images import shipped_images
from shared.dicom import dimse, requests
from shared.dicom.associate import Aborted, Proposed, Rejected
from shared.dicom.pdu import command_pdus, release_reply, user_abort
from shared.dicom.requestor import (
    ConnectionLost,
    NotAccepted,
    Patience,
    PeerBrokeProtocol,
    PeerTooSlow,
    Requestor,
)
from shared.dicom.requests import FindRefused, StoreRefused, store_outcome
from shared.errors import Malformed, Refused, Unavailable
from tests.control_plane.fleet.processes import eventually
from tests.edge_agent.capture.wire import p_data, pdu, pdv
from tests.fakes.archive import CT, EXPLICIT, IMPLICIT, MR, STUDY_ROOT_FIND, archive
from tests.fakes.dicom_server import serve
from tests.fakes.ports import free_port
from tests.shared.dicom.test_associate import answer, context

CONTEXTS = (
    Proposed(CT, (EXPLICIT,)),
    Proposed(MR, (EXPLICIT,)),
    Proposed(dimse.VERIFICATION, (IMPLICIT,)),
    Proposed(STUDY_ROOT_FIND, (IMPLICIT,)),
)
PATIENT = Patience()
IMPATIENT = Patience(answer_s=0.2, send_s=0.2)


@contextmanager
def requesting(port: int, *contexts: Proposed, patience: Patience = PATIENT) -> Iterator[Requestor]:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield Requestor(
            connection, calling_ae_title="LEADGLASS", called_ae_title="PACS", contexts=contexts or CONTEXTS,
            patience=patience,
        )  # fmt: skip


def encoded(dataset: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    write_dataset(buffer, dataset)
    return buffer.getvalue()


# ---- what it does


@pytest.mark.parametrize("max_pdu", [0, 200, 4097, 16_382, 1 << 20])
@pytest.mark.parametrize("size", [2, 186, 188, 190, 70_000, 262_144])
def test_a_data_set_arrives_as_it_was_sent_however_it_is_cut(max_pdu: int, size: int) -> None:
    data = os.urandom(size)
    with archive(max_pdu=max_pdu) as pacs, requesting(pacs.port) as requestor:
        requestor.associate()
        pieces = [data[:1], data[1:100], b"", data[100:70_001], data[70_001:]]

        stored = requestor.store(CT, "1.2.3", EXPLICIT, pieces)
        requestor.release()
    assert stored.warning == ""
    assert pacs.stored == [("1.2.3", data)]


def test_one_association_carries_many_and_an_echo_between_them() -> None:
    with archive() as pacs, requesting(pacs.port) as requestor:
        requestor.associate()
        for number in range(50):
            requestor.store(CT if number % 2 else MR, f"1.2.{number}", EXPLICIT, [b"\x08\x00" * 40])
        requestor.echo()
        requestor.release()

    assert pacs.uids() == [f"1.2.{number}" for number in range(50)]
    assert (pacs.associations, pacs.echoes, pacs.aborts) == (1, 1, 0)


def test_a_class_or_syntax_that_is_not_accepted_is_named_and_the_association_goes_on() -> None:
    with archive(sop_classes=[CT]) as pacs, requesting(pacs.port) as requestor:
        requestor.associate()

        assert requestor.proposes(MR, EXPLICIT)
        assert not requestor.accepts(MR, EXPLICIT)
        with pytest.raises(NotAccepted, match=MR):
            requestor.store(MR, "1.2.3", EXPLICIT, [b"\x00\x00"])
        with pytest.raises(NotAccepted):
            requestor.store(CT, "1.2.3", IMPLICIT, [b"\x00\x00"])
        requestor.store(CT, "1.2.4", EXPLICIT, [b"\x00\x00"])
    assert pacs.uids() == ["1.2.4"]


@pytest.mark.parametrize(
    "status, words",
    [
        (0xA700, "out of resources"),
        (0xA701, "out of resources"),
        (0xA900, "does not match"),
        (0xC123, "cannot understand"),
        (0x0124, "not authorised"),
    ],
)
def test_a_refused_image_is_told_in_the_standards_words_and_the_next_one_goes(status: int, words: str) -> None:
    with archive() as pacs, requesting(pacs.port) as requestor:
        pacs.status_of = lambda uid: status if uid == "1.2.3" else 0
        requestor.associate()

        with pytest.raises(StoreRefused, match=words) as refused:
            requestor.store(CT, "1.2.3", EXPLICIT, [b"\x00\x00"])
        requestor.store(CT, "1.2.4", EXPLICIT, [b"\x00\x00"])
    assert refused.value.status == status
    assert refused.value.out_of_resources == (status & 0xFF00 == 0xA700)


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
def test_a_warning_is_a_success_with_something_to_say(status: int) -> None:
    with archive() as pacs, requesting(pacs.port) as requestor:
        pacs.status_of = lambda _: status
        requestor.associate()

        stored = requestor.store(CT, "1.2.3", EXPLICIT, [b"\x00\x00"])
    assert stored.warning.startswith(f"{status:04X}: ")


@given(st.integers(0, 0xFFFF))
def test_no_status_but_success_and_warnings_is_taken_for_a_store(status: int) -> None:
    outcome = store_outcome(status)

    assert (outcome is requests.Outcome.SUCCESS) == (status == 0)
    assert (outcome is requests.Outcome.WARNING) == (0xB000 <= status <= 0xBFFF or status in (1, 0x107, 0x116))
    assert requests.store_words(status)


def test_what_breaks_while_it_is_read_never_arrives() -> None:
    def pieces() -> Iterator[bytes]:
        yield bytes(100_000)
        raise ValueError("altered")

    with archive() as pacs, requesting(pacs.port) as requestor:
        requestor.associate()
        with pytest.raises(ValueError, match="altered"):
            requestor.store(CT, "1.2.3", EXPLICIT, pieces())
        pacs.wait_for(lambda: pacs.aborts)
    assert pacs.stored == []


def test_finds_every_match_as_it_is_encoded() -> None:
    matches = []
    for number in range(3):
        match = Dataset()
        match.QueryRetrieveLevel, match.StudyInstanceUID = "STUDY", f"1.2.{number}"
        matches.append(match)
    asked = Dataset()
    asked.QueryRetrieveLevel, asked.StudyInstanceUID = "STUDY", ""
    with archive() as pacs, requesting(pacs.port) as requestor:
        pacs.matches = matches
        requestor.associate()

        found = list(requestor.find(STUDY_ROOT_FIND, encoded(asked)))
        again = list(requestor.find(STUDY_ROOT_FIND, encoded(asked)))
        requestor.release()
    assert found == again == [encoded(match) for match in matches]


def test_who_stops_looking_ends_the_association() -> None:
    asked, match = Dataset(), Dataset()
    asked.QueryRetrieveLevel = match.QueryRetrieveLevel = "STUDY"
    with archive() as pacs, requesting(pacs.port) as requestor:
        pacs.matches = [match] * 5
        requestor.associate()
        found = requestor.find(STUDY_ROOT_FIND, encoded(asked))
        next(found)

        found.close()  # type: ignore[attr-defined]
        pacs.wait_for(lambda: pacs.aborts)


COMMITMENT = Proposed(dimse.STORAGE_COMMITMENT, (IMPLICIT, EXPLICIT), scp=True)


@pytest.mark.parametrize("status", [0x0000, 0x0107, 0x0110])
def test_an_event_is_reported_by_who_asked_to_be_the_provider(status: int) -> None:
    heard, event_information = [], Dataset()
    event_information.TransactionUID = "1.2.9"

    def report(event: Any) -> tuple[int, None]:
        heard.append((event.event_type, event.request.AffectedSOPInstanceUID, event.event_information))
        return status, None

    entity = AE("CT1")
    entity.maximum_pdu_size = 128
    entity.add_supported_context(dimse.STORAGE_COMMITMENT, [IMPLICIT], scu_role=False, scp_role=True)
    server = serve(entity, handlers=[(evt.EVT_N_EVENT_REPORT, report)])
    with requesting(server.server_address[1], COMMITMENT) as requestor:
        accepted = requestor.associate()
        data = encoded(event_information)
        instance = dimse.STORAGE_COMMITMENT_INSTANCE
        said = [requestor.report_event(dimse.STORAGE_COMMITMENT, instance, kind, data) for kind in (1, 2)]
        requestor.release()
    server.shutdown()

    assert accepted.roles == {dimse.STORAGE_COMMITMENT: (False, True)}
    assert said == [status, status]
    assert heard == [(1, instance, event_information), (2, instance, event_information)]


def test_memory_stays_the_same_however_large_the_data_set_is() -> None:
    """64 MiB to a peer that only counts: what the requestor holds is its one buffer."""
    import tracemalloc

    piece = bytes(1 << 18)
    peer = scripted([ACCEPT, Swallow(64 << 20, stored_response(1))])
    with peer as port, requesting(port, Proposed(CT, (EXPLICIT,))) as requestor:
        requestor.associate()
        tracemalloc.start()
        requestor.store(CT, "1.2.3", EXPLICIT, (piece for _ in range(256)))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 1 << 20


# ---- DCMTK


@pytest.mark.skipif(shutil.which("storescp") is None, reason="storescp (Debian package dcmtk) is not installed")
def test_storescp_keeps_what_it_is_sent(tmp_path: Path) -> None:
    images = [image for image in shipped_images() if image.sop_class_uid == CT]
    contexts = [Proposed(CT, (syntax,)) for syntax in dict.fromkeys(image.transfer_syntax_uid for image in images)]
    port = free_port()
    with subprocess.Popen(["storescp", "-od", str(tmp_path), "+xa", "-aet", "PACS", str(port)]) as storescp:
        try:
            assert eventually(lambda: answers(port))
            with requesting(port, *contexts) as requestor:
                requestor.associate()
                taken = [image for image in images if requestor.accepts(CT, image.transfer_syntax_uid)]
                for image in taken:
                    requestor.store(CT, image.sop_instance_uid, image.transfer_syntax_uid, [image.dataset()])
                requestor.release()
        finally:
            storescp.terminate()

    kept = {str(pydicom.dcmread(path).SOPInstanceUID) for path in tmp_path.iterdir()}
    assert kept == {image.sop_instance_uid for image in taken}
    assert taken


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# ---- peers that misbehave


@dataclass(frozen=True)
class Swallow:
    """A step of a peer: read this many bytes, and then say something."""

    size: int
    then: bytes


Step = bytes | Swallow | None  # None: say nothing and wait


def patience_for(step: Step) -> Patience:
    """Return little patience only for silence: what a busy machine lets a peer say late is an answer all the same."""
    return IMPATIENT if step is None else PATIENT


@contextmanager
def scripted(steps: list[Step]) -> Iterator[int]:
    """Run a peer that reads a little, says one step, and so on, and then hangs up; at `None` it is silent."""
    done = threading.Event()

    def serve(server: socket.socket) -> None:
        with suppress(OSError):
            connection, _ = server.accept()
            with connection:
                for step in steps:
                    if isinstance(step, Swallow):
                        read = 0
                        while read < step.size:
                            read += len(connection.recv(1 << 18))
                        connection.sendall(step.then)
                    elif step is None:
                        done.wait(20)
                    else:
                        connection.recv(1 << 16)
                        connection.sendall(step)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            done.set()
            thread.join(20)


def stored_response(message_id: int, status: int = 0, field: int = 1) -> bytes:
    command = dimse.Command(field, message_id, True, CT, "1.2.3")
    return command_pdus(1, dimse.response(command, dimse.Status.SUCCESS), 0).replace(
        b"\x00\x00\x00\x09\x02\x00\x00\x00\x00\x00", b"\x00\x00\x00\x09\x02\x00\x00\x00" + status.to_bytes(2, "little")
    )


ACCEPT = answer(context(1, 0, EXPLICIT))


@pytest.mark.parametrize(
    "step, error",
    [
        (pdu(3, bytes((0, 1, 1, 3))), Rejected),
        (user_abort(), Aborted),
        (release_reply(), PeerBrokeProtocol),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", PeerBrokeProtocol),
        (answer(context(9, 0, EXPLICIT)), PeerBrokeProtocol),
        (p_data(pdv(b"\x00\x00", 3)), PeerBrokeProtocol),
        (ACCEPT[:20], ConnectionLost),
        (None, PeerTooSlow),
    ],
)
def test_an_association_that_does_not_come_about_says_why(step: Step, error: type[Exception]) -> None:
    asking, patience = Proposed(CT, (EXPLICIT,)), PATIENT if step is not None else Patience(associate_s=0.2)
    with scripted([step]) as port, requesting(port, asking, patience=patience) as requestor, pytest.raises(error):
        requestor.associate()


@pytest.mark.parametrize(
    "step, error",
    [
        (user_abort(), Aborted),
        (stored_response(2, field=0x100), PeerBrokeProtocol),
        (stored_response(1), PeerBrokeProtocol),
        (b"\x04\x00\xff\xff\xff\xff", PeerBrokeProtocol),
        (b"\x04\x00", ConnectionLost),
        (None, PeerTooSlow),
    ],
)
def test_an_answer_to_a_report_that_is_none_is_no_answer(step: Step, error: type[Exception]) -> None:
    accept = answer(context(1, 0, IMPLICIT))
    with scripted([accept, step]) as port, requesting(port, COMMITMENT, patience=patience_for(step)) as requestor:
        requestor.associate()
        with pytest.raises(error):
            requestor.report_event(dimse.STORAGE_COMMITMENT, dimse.STORAGE_COMMITMENT_INSTANCE, 1, bytes(8))


@pytest.mark.parametrize(
    "step, error",
    [
        (user_abort(), Aborted),
        (pdu(5, bytes(4)), PeerBrokeProtocol),
        (stored_response(2), PeerBrokeProtocol),
        (stored_response(1, field=0x30), PeerBrokeProtocol),
        (p_data(pdv(b"\x00\x00", 2)), PeerBrokeProtocol),
        (p_data(pdv(b"\x00\x00", 3, 3)), PeerBrokeProtocol),
        (p_data(pdv(bytes(17 << 10), 1)), PeerBrokeProtocol),
        (stored_response(1, 0xA900), StoreRefused),
        (stored_response(1)[:30], ConnectionLost),
        (None, PeerTooSlow),
    ],
)
def test_an_answer_to_a_store_that_is_none_is_no_evidence(step: Step, error: type[Exception]) -> None:
    asking = Proposed(CT, (EXPLICIT,))
    with scripted([ACCEPT, step]) as port, requesting(port, asking, patience=patience_for(step)) as requestor:
        requestor.associate()
        with pytest.raises(error):
            requestor.store(CT, "1.2.3", EXPLICIT, [bytes(100)])


def test_a_peer_that_dribbles_its_answer_is_too_slow() -> None:
    """The patience is for the whole answer, however often a byte of it comes."""
    now = iter(range(1000))
    peer = scripted([ACCEPT, stored_response(1)[:20], b"\x00", b"\x00"])
    with peer as port, socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        requestor = Requestor(
            connection, calling_ae_title="A", called_ae_title="B", contexts=[Proposed(CT, (EXPLICIT,))],
            patience=Patience(answer_s=1.5), monotonic=lambda: next(now),
        )  # fmt: skip
        requestor.associate()
        with pytest.raises(PeerTooSlow):
            requestor.store(CT, "1.2.3", EXPLICIT, [bytes(10)])


def test_a_peer_that_takes_nothing_is_too_slow() -> None:
    with scripted([ACCEPT, None]) as port, requesting(port, Proposed(CT, (EXPLICIT,)), patience=IMPATIENT) as requestor:
        requestor.associate()
        with pytest.raises(PeerTooSlow):
            requestor.store(CT, "1.2.3", EXPLICIT, (bytes(1 << 20) for _ in range(64)))


class Canned:
    """A connection that says what it was made with, and takes everything."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def sendall(self, data: memoryview, /) -> None:
        pass

    def settimeout(self, timeout_s: float | None, /) -> None:
        pass

    def recv_into(self, buffer: memoryview, /) -> int:
        size = min(len(buffer), len(self._data))
        buffer[:size], self._data = self._data[:size], self._data[size:]
        return size


def act(data: bytes) -> None:
    requestor = Requestor(Canned(data), calling_ae_title="A", called_ae_title="B", contexts=CONTEXTS)
    requestor.associate()
    requestor.store(CT, "1.2.3", EXPLICIT, [bytes(10)])
    list(requestor.find(STUDY_ROOT_FIND, bytes(10)))


CONVERSATION = (
    answer(*(context(2 * n + 1, 0, proposed.transfer_syntaxes[0]) for n, proposed in enumerate(CONTEXTS)))
    + stored_response(1)
    + p_data(pdv(b"\x00\x00", 3, 7))
)


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_no_damage_to_a_conversation_brings_anything_but_our_errors(data: st.DataObject) -> None:
    damaged = bytearray(CONVERSATION)
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Unavailable, Refused):
        act(bytes(damaged))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_no_response_brings_anything_but_malformed(data: bytes) -> None:
    with suppress(Malformed):
        requests.parse_response(data, 1, 1)


@pytest.mark.parametrize("status, error", [(0xC001, FindRefused), (0xFE00, FindRefused), (0xA700, FindRefused)])
def test_a_query_that_ends_badly_is_no_list(status: int, error: type[Exception]) -> None:
    peer = scripted([answer(context(1, 0, IMPLICIT)), stored_response(1, status, requests.C_FIND_RQ)])
    with peer as port, requesting(port, Proposed(STUDY_ROOT_FIND, (IMPLICIT,))) as requestor:
        requestor.associate()
        with pytest.raises(error):
            list(requestor.find(STUDY_ROOT_FIND, bytes(10)))
