"""The capture: sealed, durable, recorded, and only then acknowledged."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from edge_agent.capture.pipeline import ImageHeader, NoPolicyInForce
from edge_agent.database import DatabaseUnavailable
from edge_agent.spool.errors import SpoolFull, SpoolUnavailable
from edge_agent.spool.slots import MOST
from shared.audit.events import Event
from shared.errors import Malformed
from shared.identity import ObjectId
from shared.sealing import object_file
from shared.sealing.binding import hash_sop_instance
from tests.edge_agent.capture.images import NAMES, load
from tests.fakes.centre import open_object
from tests.fakes.host import Host


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "host")
    host.put_in_force(version=7)
    return host


def sealed_bytes(host: Host) -> bytes:
    oldest = host.spool.oldest()
    assert oldest is not None
    with host.spool.open(oldest) as file:
        return file.read()


@pytest.mark.parametrize("size", [0, 1, 16_383, 16_384, 16_385, 256 << 10, (256 << 10) + 1, 1_000_003])
def test_what_the_centre_opens_is_byte_for_byte_what_came(host: Host, size: int) -> None:
    dataset = bytes(range(256)) * (size // 256 + 1)
    host.capture(dataset[:size])

    opened, entry, parts = open_object(sealed_bytes(host), host.signer.public, host.keys)
    assert opened == dataset[:size]
    assert not entry.evaluated
    assert parts.binding.sop_instance_hash == hash_sop_instance(bytes(32), "1.2.3")


@pytest.mark.parametrize("name", NAMES)
def test_real_images_carry_their_index(host: Host, name: str) -> None:
    sent = load(name)
    host.capture(sent.dataset, sent.transfer_syntax, sent.sop_instance)

    opened, entry, _ = open_object(sealed_bytes(host), host.signer.public, host.keys)
    assert opened == sent.dataset
    assert (entry.evaluated, entry.sop_class_uid) == (True, sent.sop_class)


def test_the_record_says_under_which_policy_and_grade(host: Host) -> None:
    host.capture()

    parts = object_file.parse(BytesIO(sealed_bytes(host)))
    assert b'"policy_version":7' in parts.record
    assert b'"grade":"restricted"' in parts.record


def test_the_audit_record_of_a_capture_names_the_object_and_of_a_refusal_seals_the_instance(host: Host) -> None:
    object_id = host.capture(uid="1.2.840.99999.4242")
    host.free_bytes = 0
    with suppress(SpoolFull):
        host.capture(uid="1.2.840.99999.4243")

    captured, refused = host.records()
    assert (captured.event, captured.what[0].name) == (Event.IMAGE_CAPTURED, str(object_id))
    # The sealed index of the object names its instance; of what is not kept there is nothing else.
    assert (captured.commitment is None, refused.commitment is None) == (True, False)
    assert not any(b"1.2.840.99999" in record.encode() for record in (captured, refused))


def test_without_a_policy_nothing_is_written_unsealed(tmp_path: Path) -> None:
    host = Host(tmp_path / "host")

    with pytest.raises(NoPolicyInForce):
        host.capture()
    assert host.left_behind() == []
    assert host.events() == [Event.IMAGE_REFUSED]


def test_a_full_disk_refuses_records_it_and_keeps_nothing(host: Host) -> None:
    host.free_bytes = 0

    with pytest.raises(SpoolFull):
        host.capture()
    assert host.left_behind() == []
    assert host.events() == [Event.IMAGE_REFUSED]


@pytest.mark.parametrize("error", [None, RuntimeError("the modality went away")])
def test_an_image_that_was_not_finished_is_refused_recorded_and_gone(host: Host, error: Exception | None) -> None:
    with suppress(RuntimeError), host.pipeline.begin(ImageHeader("CT1", "1.2.3", "1.2.840.10008.1.2.1")) as capture:
        capture.update(memoryview(bytes(300_000)))
        if error:
            raise error

    assert host.left_behind() == []
    assert host.events() == [Event.IMAGE_REFUSED]


class DiskFullAfter:
    """An encryptor whose disk is full after the first bytes."""

    def __init__(self, key: bytes, context: bytes) -> None: ...

    def update_into(self, data: Any, buf: Any, /) -> int:
        raise SpoolUnavailable("No space left on device")

    def finalize(self) -> bytes:
        return b""


def test_a_disk_that_fills_up_on_the_way_leaves_no_temporary_file(tmp_path: Path) -> None:
    host = Host(tmp_path / "host", encryptor=DiskFullAfter)
    host.put_in_force()

    with pytest.raises(SpoolUnavailable):
        host.capture()
    assert host.left_behind() == []
    assert host.events() == [Event.IMAGE_REFUSED]


def test_a_malformed_transfer_syntax_is_refused_and_recorded(host: Host) -> None:
    with pytest.raises(Malformed):
        host.capture(transfer_syntax="../../etc")
    assert host.events() == [Event.IMAGE_REFUSED]


def test_an_image_that_cannot_be_recorded_is_not_kept(host: Host) -> None:
    with host.database.transaction() as connection:
        connection.execute("CREATE TRIGGER full BEFORE INSERT ON record BEGIN SELECT RAISE(ROLLBACK, 'disk full'); END")
    try:
        with pytest.raises((DatabaseUnavailable, sqlite3.IntegrityError)):
            host.capture()
    finally:
        assert host.spool.oldest() is None
    assert host.spool.everything() == ()


def spooled_but_not_recorded(host: Host) -> ObjectId:
    """Leave the folder as a power cut leaves it after the image is durable and before it is registered."""
    object_id = host.capture()
    with host.database.transaction() as connection:
        connection.execute("DROP TRIGGER unconfirmed_stays")
        for table in ("record", "spooled", "instance"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608
    return object_id


def test_after_a_cut_before_an_image_is_registered_a_start_registers_it(host: Host) -> None:
    object_id = spooled_but_not_recorded(host)
    host.restart()
    host.recover()

    (record,) = host.records()
    assert (record.event, record.what[0].name) == (Event.IMAGE_CAPTURED, str(object_id))
    assert record.reason == "recovered after restart"


def test_after_a_cut_while_writing_the_rest_is_deleted_and_noted(host: Host) -> None:
    incoming = host.spool.begin(ObjectId.new())
    incoming.room(4)[:4] = b"half"
    incoming.took(4)
    host.restart()
    host.recover()

    (record,) = host.records()
    assert (record.event, record.what[0].name) == (Event.IMAGE_REFUSED, str(incoming.object_id))
    assert host.left_behind() == []
    incoming.discard()


@pytest.mark.parametrize("prepare", [spooled_but_not_recorded, lambda host: host.capture()])
def test_recovering_twice_records_nothing_twice(host: Host, prepare: Callable[[Host], ObjectId]) -> None:
    prepare(host)
    for _ in range(2):
        host.restart()
        host.recover()

    assert host.events() == [Event.IMAGE_CAPTURED]


def test_a_sealer_that_cannot_be_made_keeps_no_buffer_and_no_place(host: Host) -> None:
    def broken(*_arguments: Any) -> Any:
        raise MemoryError

    whole, host.pipeline._encryptor = host.pipeline._encryptor, broken
    for _ in range(MOST + 1):
        with pytest.raises(MemoryError):
            host.capture()
    host.pipeline._encryptor = whole

    host.capture()
    assert host.spool.attempts.left_over() == ()
    oldest = host.spool.oldest()
    assert oldest is not None
    assert oldest.place is not None


LARGE = bytes(2 << 20)


def test_whatever_keeps_an_image_from_being_registered_nothing_of_it_stays(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise sqlite3.IntegrityError

    with monkeypatch.context() as failing:
        failing.setattr(host.spool.catalogue, "add", broken)
        with pytest.raises(sqlite3.IntegrityError):
            host.capture(LARGE)

    assert not list(host.spool.files.iterdir())
    assert host.spool.attempts.left_over() == ()
    host.quota_bytes = len(LARGE) + (1 << 20)
    host.capture(LARGE)


def test_an_error_behind_the_commit_takes_nothing_back(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise AssertionError

    with monkeypatch.context() as failing:
        failing.setattr(host.spool.segments, "noted", broken)
        with pytest.raises(AssertionError):
            host.capture(LARGE)

    host.restart()
    host.recover()
    (spooled,) = host.spool.everything()
    assert open_object(sealed_bytes(host), host.signer.public, host.keys)[0] == LARGE
    assert host.spool.holds(spooled.object_id)
