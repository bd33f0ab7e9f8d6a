"""The DICOM listener, spoken to by a real SCU over real sockets."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pynetdicom import _config
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.pdu import A_ASSOCIATE_RJ
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from edge_agent.capture.interception import Interception
from edge_agent.capture.listener import Address, DicomListener, PortUnavailable
from provisioning.demo import modality
from shared.audit.events import Event, Outcome
from shared.dicom.dimse import Status
from tests.edge_agent.capture.images import NAMES, Image, load
from tests.fakes.centre import open_object
from tests.fakes.host import Host
from tests.fakes.ports import free_port
from tests.threads import in_thread


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "host")
    host.put_in_force(ae_titles=("CT1", "MR 2"))
    return host


def listener_of(host: Host, listening: threading.Event) -> DicomListener:
    return DicomListener(
        Address("127.0.0.1", 0, "LEADGLASS"),
        policy=host.store.in_force,
        pipeline=host.pipeline,
        interception=Interception(host.database, host.journal, host.host_id),
        log=host.log,
        on_listening=listening.set,
        patience=host.patience,
    )


@contextmanager
def listening(host: Host) -> Iterator[DicomListener]:
    ready = threading.Event()
    listener = listener_of(host, ready)
    with in_thread(listener, listener.bell.ring):
        assert ready.wait(30)
        yield listener


def associate(listener: DicomListener, calling: str, *contexts: tuple[str, str]) -> Association:
    association, rejection = ask_for_one(listener, calling, *contexts)
    assert rejection is None
    return association


def rejection_of(listener: DicomListener, calling: str) -> A_ASSOCIATE_RJ | None:
    return ask_for_one(listener, calling)[1]


def ask_for_one(
    listener: DicomListener, calling: str, *contexts: tuple[str, str]
) -> tuple[Association, A_ASSOCIATE_RJ | None]:
    assert listener.port is not None
    entity = ApplicationEntity(calling)
    for sop_class, transfer_syntax in contexts or ((str(Verification), "1.2.840.10008.1.2"),):
        entity.add_requested_context(sop_class, transfer_syntax)
    return modality.associate(entity, "127.0.0.1", listener.port, "LEADGLASS")


def send(listener: DicomListener, image: Image, calling: str = "CT1") -> int:
    association = associate(listener, calling, (image.sop_class, image.transfer_syntax))
    assert association.is_established
    status = association.send_c_store(image.path)
    association.release()
    return int(status.Status)


@pytest.fixture
def as_it_lies_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the SCU send the file's own bytes; otherwise pynetdicom decodes and encodes them again."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)


def test_a_tls_record_from_a_sender_on_this_host_is_more_than_two_segments(host: Host) -> None:
    with listening(host) as listener:
        assert listener.port is not None
        with socket.create_connection(("127.0.0.1", listener.port)) as sender:
            segment_bytes = sender.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)

    assert 2 * segment_bytes < 16_384


@pytest.mark.usefixtures("as_it_lies_on_disk")
def test_each_image_is_stored_as_its_exact_encoded_dataset(host: Host) -> None:
    sent = [load(name) for name in NAMES]
    with listening(host) as listener:
        statuses = [send(listener, image) for image in sent]

    assert statuses == [Status.SUCCESS] * len(sent)
    for image, spooled in zip(sent, host.spool.everything(), strict=True):
        with host.spool.open(spooled) as file:
            dataset, entry, parts = open_object(file.read(), host.signer.public, host.keys)
        assert dataset == image.dataset
        assert parts.binding.transfer_syntax == image.transfer_syntax
        assert entry.evaluated


@pytest.mark.usefixtures("as_it_lies_on_disk")
def test_success_is_said_only_when_object_and_record_are_there(host: Host) -> None:
    with listening(host) as listener:
        association = associate(listener, "CT1", (load("CT_small.dcm").sop_class, "1.2.840.10008.1.2.1"))
        status = association.send_c_store(load("CT_small.dcm").path)
        spooled, events = host.spool.waiting(), host.events()
        association.release()

    assert (status.Status, spooled, events) == (Status.SUCCESS, 1, [Event.IMAGE_CAPTURED])


def test_a_private_sop_class_is_taken_too(host: Host) -> None:
    with listening(host) as listener:
        association = associate(listener, "CT1", ("1.2.826.0.1.3680043.9.9999.1", "1.2.840.10008.1.2.1"))
        established = association.is_established
        accepted = [context.abstract_syntax for context in association.accepted_contexts]
        association.release()

    assert established
    assert accepted == ["1.2.826.0.1.3680043.9.9999.1"]


@pytest.mark.parametrize("calling", ["CT1", "MR 2"])
def test_a_listed_modality_is_answered_on_echo(host: Host, calling: str) -> None:
    with listening(host) as listener:
        association = associate(listener, calling)
        status = association.send_c_echo()
        association.release()

    assert status.Status == Status.SUCCESS


@pytest.mark.parametrize("calling", ["STRANGER", "ct1", "CT"])
def test_an_unlisted_calling_ae_title_is_refused_and_recorded(host: Host, calling: str) -> None:
    with listening(host) as listener:
        rejection = rejection_of(listener, calling)

    assert rejection is not None
    assert (rejection.result, rejection.source, rejection.reason_diagnostic) == (1, 1, 3)
    (record,) = host.records()
    assert (record.event, record.outcome) == (Event.ASSOCIATION_REFUSED, Outcome.MINOR_FAILURE)
    assert (record.who[0].name, record.what[0].name) == (calling, "127.0.0.1")


def test_a_new_policy_counts_from_the_next_association(host: Host) -> None:
    with listening(host) as listener:
        assert rejection_of(listener, "US9") is not None
        host.put_in_force(2, ("US9",))
        second = associate(listener, "US9")
        assert second.is_established
        second.release()
        assert rejection_of(listener, "CT1") is not None


def test_refuses_whom_it_cannot_record(host: Host) -> None:
    with listening(host) as listener:
        host.database.close()
        assert rejection_of(listener, "STRANGER") is not None


def test_a_full_disk_says_out_of_resources_and_the_next_image_is_taken_again(host: Host) -> None:
    image = load("CT_small.dcm")
    with listening(host) as listener:
        host.free_bytes = 0
        refused = send(listener, image)
        host.free_bytes = 1 << 40
        taken = send(listener, image)

    assert (refused, taken) == (Status.OUT_OF_RESOURCES, Status.SUCCESS)
    assert host.events() == [Event.IMAGE_REFUSED, Event.IMAGE_CAPTURED]


def test_a_journal_that_cannot_be_written_means_not_acknowledged(host: Host) -> None:
    with listening(host) as listener:
        association = associate(listener, "CT1", (load("CT_small.dcm").sop_class, "1.2.840.10008.1.2.1"))
        host.database.close()
        status = association.send_c_store(load("CT_small.dcm").path)
        association.release()

    assert status.Status == Status.OUT_OF_RESOURCES
    host.restart()
    assert host.left_behind() == []


def test_an_error_nobody_foresaw_refuses_the_image_and_quotes_nothing(tmp_path: Path) -> None:
    def broken(*_: object) -> None:
        raise ValueError("DOE^JANE")

    host = Host(tmp_path / "broken", encryptor=broken)  # type: ignore[arg-type]
    host.put_in_force()
    with listening(host) as listener:
        status = send(listener, load("CT_small.dcm"))

    assert status == Status.OUT_OF_RESOURCES
    assert "DOE" not in str(host.log.events)
    assert host.events() == [Event.IMAGE_REFUSED]


def test_without_a_policy_the_port_stays_closed_until_there_is_one(tmp_path: Path) -> None:
    host = Host(tmp_path / "new")
    port, ready = free_port(), threading.Event()
    listener = listener_of(host, ready)
    listener._address = Address("127.0.0.1", port, "LEADGLASS")
    with in_thread(listener, listener.bell.ring):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=20)

        host.put_in_force()
        listener.bell.ring()
        assert ready.wait(30)
        socket.create_connection(("127.0.0.1", port), timeout=20).close()


@pytest.mark.parametrize(
    "noise", [b"", b"GET / HTTP/1.1\r\n\r\n", bytes(4096), b"\x01\x00\xff\xff\xff\xff" + bytes(64)]
)
def test_noise_on_the_port_harms_nobody(host: Host, noise: bytes) -> None:
    with listening(host) as listener:
        assert listener.port is not None
        with socket.create_connection(("127.0.0.1", listener.port), timeout=20) as peer:
            peer.sendall(noise)
        association = associate(listener, "CT1")
        established = association.is_established
        association.release()

    assert established


def test_a_port_that_is_taken_is_named(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listener = listener_of(host, threading.Event())
        port = int(taken.getsockname()[1])
        listener._address = Address("127.0.0.1", port, "LEADGLASS")
        with pytest.raises(PortUnavailable, match=str(port)):
            listener.run(threading.Event())
