"""Data sets and requests with something wrong in them: kept as they came or refused with a status, never guessed at.

The bytes are evidence, so a data set that nobody can read is captured like any other, to the strictest grade.
"""

import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO

import pytest

from edge_agent.capture.attributes import IndexReader
from edge_agent.capture.listener import DicomListener
from shared.audit.events import Event
from shared.dicom import dimse
from shared.dicom.dimse import Status
from shared.policy.grading import Rule
from shared.sealing import object_file
from shared.sealing.hpke import SealedBox
from tests.edge_agent.capture.malformed import CORPUS, DEPARTMENT, WHOLE, Malformed
from tests.edge_agent.capture.test_attributes import DEFLATED, EXPLICIT
from tests.edge_agent.capture.test_grade import BURNED, KEYS, graded_by, in_force
from tests.edge_agent.capture.test_listener import listening
from tests.edge_agent.capture.wire import COMMAND, LAST, Peer, associate_request, command, p_data, pdv, store
from tests.fakes.centre import open_object
from tests.fakes.host import CT, Host
from tests.fuzz.target import coming_back

# pydicom warns about what it finds odd; the agent's process has warnings off, because they quote what was read.
pytestmark = pytest.mark.filterwarnings("ignore:::pydicom", "ignore::UserWarning")

# What is behind an image graded `general` was taken for one without a department.
RULES = (Rule((("department_name", ("?*",)),), "restricted"), BURNED)
_HELD_BYTES = 256 << 10


@dataclass
class Served:
    """One host, and the one listener that every test of this file sends to."""

    host: Host
    listener: DicomListener

    def peer(self, *contexts: tuple[str, str]) -> Peer:
        assert self.listener.port is not None
        peer = Peer(self.listener.port, associate=False)
        peer.send(associate_request("CT1", *contexts))
        assert peer.receive()[0] == 2
        return peer

    def captured(self) -> int:
        return self.host.journal.count(Event.IMAGE_CAPTURED)

    def refused(self) -> int:
        return self.host.journal.count(Event.IMAGE_REFUSED)

    def newest(self) -> list[tuple[bytes, str, str]]:
        """Return data set, transfer syntax and grade of the two objects captured last."""
        found = []
        for spooled in self.host.spool.everything()[-2:]:
            with self.host.spool.open(spooled) as file:
                sealed = file.read()
            key_id = SealedBox.parse(object_file.parse(BytesIO(sealed)).wrap).key_id
            (grade,) = [name for name, key in KEYS.items() if key.public.key_id == key_id]
            keys = replace(self.host.keys, data=KEYS[grade])
            dataset, _, parts = open_object(sealed, self.host.signer.public, keys)
            found.append((dataset, parts.binding.transfer_syntax, grade))
        return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    host = Host(tmp_path_factory.mktemp("host"))
    in_force(host, graded_by(*RULES))
    with listening(host) as listener:
        yield Served(host, listener)


@pytest.mark.parametrize("name", CORPUS)
def test_it_is_captured_byte_for_byte_in_its_grade_and_so_is_the_next_image(served: Served, name: str) -> None:
    case = CORPUS[name]
    dataset, captured, refused = case.dataset(), served.captured(), served.refused()
    with coming_back():
        peer = served.peer((CT, case.transfer_syntax), (CT, EXPLICIT))
        peer.send(store(dataset) + store(WHOLE, context_id=3))
        statuses = [peer.status(), peer.status()]
        peer.close()

    assert statuses == [Status.SUCCESS] * 2
    grade = "restricted" if case.is_read else "secret"
    assert served.newest() == [(dataset, case.transfer_syntax, grade), (WHOLE, EXPLICIT, "restricted")]
    assert (served.captured(), served.refused()) == (captured + 2, refused)


def test_control_an_image_that_truly_names_no_department_gets_the_default(served: Served) -> None:
    peer = served.peer((CT, EXPLICIT))
    peer.send(store(WHOLE.replace(DEPARTMENT, b"")))
    status = peer.status()
    peer.close()

    assert (status, served.newest()[-1][2]) == (Status.SUCCESS, "general")


@pytest.mark.parametrize("name", CORPUS)
def test_nothing_of_it_is_held_in_memory_while_it_is_read(name: str) -> None:
    case = CORPUS[name]
    # Of a bomb that is enough for a megabyte too.
    dataset = memoryview(case.dataset())[: 1 << 10 if case.transfer_syntax == DEFLATED else 1 << 19]
    reader = IndexReader(case.transfer_syntax, {"department_name", "burned_in_annotation"})
    tracemalloc.start()
    reader.update(dataset)
    reader.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < _HELD_BYTES


def test_however_small_the_pieces_it_is_read_as_the_same() -> None:
    for name, case in CORPUS.items():
        dataset = case.dataset()[:5000]

        assert _read(case, dataset, 7) == _read(case, dataset, len(dataset) or 1), name


def _read(case: Malformed, dataset: bytes, size: int) -> object:
    reader = IndexReader(case.transfer_syntax, {"department_name", "burned_in_annotation"})
    for start in range(0, len(dataset), size):
        reader.update(memoryview(dataset)[start : start + size])
    return reader.finish(), reader.attributes


# ---- requests

UID_OF_65 = "1." * 32 + "1"
WITHOUT = 0x0101
REFUSED = {
    "no instance": (1, command(instance=""), Status.INVALID_OBJECT_INSTANCE),
    "an instance of 65 characters": (1, command(instance=UID_OF_65), Status.INVALID_OBJECT_INSTANCE),
    "no data set": (1, command(data_set=WITHOUT), Status.CANNOT_UNDERSTAND),
    "a transfer syntax that is no UID": (5, command(), Status.CANNOT_UNDERSTAND),
    "an image in the context of C-ECHO": (3, command(), Status.SOP_CLASS_NOT_SUPPORTED),
}
CONTEXTS = ((CT, EXPLICIT), (dimse.VERIFICATION, EXPLICIT), (CT, "none at all"))
ODD = {
    "an instance that is no UID": command(instance="hello"),
    "no class": command(sop_class="", instance="1.2.9.1"),
    "a class that is no UID": command(sop_class="hello", instance="1.2.9.2"),
    "another class than its context": command(sop_class="1.2.840.10008.5.1.4.1.1.4", instance="1.2.9.3"),
    "a private class": command(sop_class="1.2.826.0.1.3680043.9.9999.1", instance="1.2.9.4"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_cannot_be_met_is_refused_recorded_and_followed_by_a_good_one(served: Served, name: str) -> None:
    context_id, request, answer = REFUSED[name]
    captured, refused = served.captured(), served.refused()
    peer = served.peer(*CONTEXTS)
    peer.send(p_data(pdv(request, COMMAND | LAST, context_id)))
    if request != command(data_set=WITHOUT):
        peer.send(p_data(pdv(WHOLE, LAST, context_id)))
    peer.send(store(WHOLE))
    statuses = [peer.status(), peer.status()]
    peer.close()

    assert statuses == [answer, Status.SUCCESS]
    assert (served.captured(), served.refused()) == (captured + 1, refused + 1)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_request_is_no_reason_to_lose_its_image(served: Served, name: str) -> None:
    captured = served.captured()
    peer = served.peer(*CONTEXTS)
    peer.send(p_data(pdv(ODD[name], COMMAND | LAST)) + p_data(pdv(WHOLE, LAST)))
    status = peer.status()
    peer.close()

    assert (status, served.captured()) == (Status.SUCCESS, captured + 1)
