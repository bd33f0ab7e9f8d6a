"""All of DICOM: each class that stores and each transfer syntax, known or not, goes through unchanged."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom._uid_dict import UID_dictionary
from pydicom.uid import UID
from pynetdicom import sop_class

from edge_agent.capture import negotiation
from edge_agent.capture.negotiation import Requested
from shared.dicom.dimse import Status
from tests.edge_agent.capture.images import shipped
from tests.edge_agent.capture.malformed import END, INSTANCE, MODALITY, PIXEL_DATA, explicit
from tests.edge_agent.capture.test_attributes import EXPLICIT, IMPLICIT
from tests.edge_agent.capture.test_listener import listening
from tests.edge_agent.capture.wire import Peer, associate_request, store
from tests.fakes.centre import open_object
from tests.fakes.host import CT, Host

# pydicom warns about UIDs that are none; the agent's process has warnings and logging off.
pytestmark = pytest.mark.filterwarnings("ignore:::pydicom", "ignore::UserWarning")

_CONTEXTS = 128  # of one association
_UNKNOWN = (
    "1.2.840.10008.5.1.4.1.1.999.1",  # of the standard, and younger than the libraries
    "1.3.12.2.1107.5.9.1",  # of Siemens
    "1.2.840.113619.4.30",  # of GE
    "1.3.46.670589.11.0.0.12.1",  # of Philips
    "2.25.299792458299792458299792458299792458",
    "1.2.826.0.1.3680043.9.9999.1",
)
_PRIVATE_SYNTAXES = ("1.2.840.113619.5.2", "1.3.46.670589.33.1.4.1", "2.25.271828182845904523536028747135266249")


def _of_kind(kind: str) -> set[str]:
    return {uid for uid, entry in UID_dictionary.items() if entry[1] == kind}


def _named_storage() -> set[str]:
    """Return what PS3.6 calls a storage class, retired ones included, and what pynetdicom knows beside it."""
    named = {uid for uid in _of_kind("SOP Class") if "Storage" in UID(uid).name and "Commitment" not in UID(uid).name}
    of_pynetdicom = {**sop_class._STORAGE_CLASSES, **sop_class._NON_PATIENT_OBJECT_CLASSES}
    return (named | set(of_pynetdicom.values())) - {"1.2.840.10008.1.3.10"}  # a DICOMDIR is not sent


STORING = (*sorted(_named_storage()), "1.2.840.10008.5.1.4.1.1.12.77", "1.2.840.10008.5.1.4.1.1.40", *_UNKNOWN)
SYNTAXES = (*sorted(_of_kind("Transfer Syntax")), *_PRIVATE_SYNTAXES)
# Two that the agent reads and answers by itself.
OTHER_SERVICES = sorted(
    (_of_kind("SOP Class") | _of_kind("Meta SOP Class") | _of_kind("Service Class"))
    - set(STORING)
    - {"1.2.840.10008.1.1", "1.2.840.10008.1.20.1"}
)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "host")
    host.put_in_force()
    return host


@dataclass(frozen=True)
class Sent:
    stored_as: str
    transfer_syntax: str
    dataset: bytes


def send_all(host: Host, images: list[Sent]) -> list[int]:
    """Send images over as few associations as there can be, each in a context for it; return the statuses."""
    wanted = list(dict.fromkeys((image.stored_as, image.transfer_syntax) for image in images))
    statuses = []
    with listening(host) as listener:
        assert listener.port is not None
        for start in range(0, len(wanted), _CONTEXTS):
            contexts = wanted[start : start + _CONTEXTS]
            peer = Peer(listener.port, associate=False)
            peer.send(associate_request("CT1", *contexts))
            assert peer.receive()[0] == 2
            for image in images:
                context = (image.stored_as, image.transfer_syntax)
                if context in contexts:
                    context_id = 2 * contexts.index(context) + 1
                    peer.send(store(image.dataset, context_id=context_id, sop_class=image.stored_as))
                    statuses.append(peer.status())
            peer.close()
    return statuses


def made(number: int, stored_as: str) -> bytes:
    """Return a small image unlike all others."""
    uid = stored_as + "\x00" * (len(stored_as) % 2)
    pixels = explicit(PIXEL_DATA, b"OW", struct.pack("<I", number) * 200)
    return explicit(0x00080016, b"UI", uid.encode()) + explicit(*INSTANCE) + explicit(*MODALITY) + END + pixels


def kept(host: Host) -> Iterator[tuple[str, bytes, str]]:
    """Yield transfer syntax, data set and class in the index of each object, in their order."""
    for spooled in host.spool.everything():
        with host.spool.open(spooled) as file:
            dataset, entry, parts = open_object(file.read(), host.signer.public, host.keys)
        yield parts.binding.transfer_syntax, dataset, entry.sop_class_uid


def test_each_class_that_stores_is_taken_and_kept_as_it_came(host: Host) -> None:
    assert len(STORING) > 190
    images = [Sent(uid, EXPLICIT, made(number, uid)) for number, uid in enumerate(STORING)]

    assert send_all(host, images) == [Status.SUCCESS] * len(STORING)
    assert list(kept(host)) == [(EXPLICIT, image.dataset, image.stored_as) for image in images]


def test_each_transfer_syntax_is_taken_and_nothing_is_converted(host: Host) -> None:
    assert len(SYNTAXES) > 60
    images = [Sent(CT, uid, made(number, CT)) for number, uid in enumerate(SYNTAXES)]

    assert send_all(host, images) == [Status.SUCCESS] * len(SYNTAXES)
    assert [(syntax, dataset) for syntax, dataset, _ in kept(host)] == [
        (image.transfer_syntax, image.dataset) for image in images
    ]


def test_every_file_that_ships_with_pydicom_is_kept_byte_for_byte(host: Host) -> None:
    images = [Sent(image.sop_class, image.transfer_syntax, image.dataset) for image in shipped()]
    assert len(images) > 150

    assert send_all(host, images) == [Status.SUCCESS] * len(images)
    assert [(syntax, dataset) for syntax, dataset, _ in kept(host)] == [
        (image.transfer_syntax, image.dataset) for image in images
    ]


def contexts_of(*proposed: tuple[str, str]) -> dict[int, tuple[str, str]]:
    requested = negotiation.parse(associate_request("CT1", *proposed))
    assert isinstance(requested, Requested)
    contexts = negotiation.accept(requested, 4096).contexts
    return {number: (context.abstract_syntax, context.transfer_syntax) for number, context in contexts.items()}


def test_a_service_that_is_known_not_to_store_is_not_promised() -> None:
    for uid in OTHER_SERVICES:
        assert contexts_of((uid, EXPLICIT), (CT, EXPLICIT)) == {3: (CT, EXPLICIT)}, UID(uid).name


def test_one_class_in_many_transfer_syntaxes_gets_each_of_them() -> None:
    assert contexts_of((CT, IMPLICIT), (CT, EXPLICIT), (CT, SYNTAXES[-1])) == {
        1: (CT, IMPLICIT),
        3: (CT, EXPLICIT),
        5: (CT, SYNTAXES[-1]),
    }


@pytest.mark.parametrize("padding", ["\x00", " "])
def test_identifiers_that_a_sender_padded_are_read_without_it(padding: str) -> None:
    assert contexts_of((CT + padding, EXPLICIT + padding)) == {1: (CT, EXPLICIT)}
