"""Registering: all or nothing, in order, many at once, and nothing new while it cannot be done."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_agent.capture import registrar as registrar_module
from edge_agent.capture.pipeline import ImageHeader
from edge_agent.capture.registrar import DirectRegistrar, GroupRegistrar, NotRegistering, Registrar
from edge_agent.database import DatabaseUnavailable
from shared.audit.events import Event, Outcome
from shared.identity import ObjectId
from tests.fakes.host import Host
from tests.threads import in_thread

HEADER = ImageHeader("CT1", "1.2.3", "1.2.840.10008.1.2.1", "1.2.840.10008.5.1.4.1.1.2")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "host")
    host.put_in_force()
    return host


@contextmanager
def registering(host: Host, kind: str = "group") -> Iterator[Registrar]:
    """Have the pipeline use one; at the end all is registered that can be."""
    if kind == "direct":
        yield DirectRegistrar(host.captures.entries)
        return
    host.pipeline.registrar = registrar = GroupRegistrar(host.captures.entries, host.log)
    with in_thread(registrar, registrar.bell.ring):
        yield registrar


@contextmanager
def unwritable(host: Host) -> Iterator[None]:
    with host.database.transaction() as connection:
        connection.execute("ALTER TABLE instance RENAME TO hidden")
    try:
        yield
    finally:
        with host.database.transaction() as connection:
            connection.execute("ALTER TABLE hidden RENAME TO instance")


both = pytest.mark.parametrize("kind", ["direct", "group"])


@both
def test_every_image_is_recorded_waits_and_is_known_again(host: Host, kind: str) -> None:
    with registering(host, kind):
        ids = [host.capture(bytes([n]), uid=f"1.2.{n}") for n in range(5)]
        again = host.capture(b"\x02", uid="1.2.2")

    assert [spooled.object_id for spooled in host.spool.everything()] == ids
    assert again == ids[2]
    assert Counter(host.events()) == {Event.IMAGE_CAPTURED: 5, Event.IMAGE_REPEATED: 1}
    captured = [record for record in host.records() if record.event is Event.IMAGE_CAPTURED]
    assert [record.what[0].name for record in captured] == list(map(str, ids))
    assert {who.name for record in captured for who in record.who if who.kind == "ae"} == {"CT1"}


@both
def test_another_data_set_under_the_same_instance_is_kept_and_named(host: Host, kind: str) -> None:
    with registering(host, kind):
        first, second = host.capture(b"first"), host.capture(b"second")

    assert [spooled.object_id for spooled in host.spool.everything()] == [first, second]
    (conflict,) = [record for record in host.records() if record.event is Event.IMAGE_CONFLICTS]
    assert [subject.name for subject in conflict.what] == [str(second), str(first)]
    assert conflict.outcome is Outcome.MINOR_FAILURE


@both
@pytest.mark.parametrize("size", [100, 2 << 20], ids=["small", "large"])
def test_a_stop_registers_what_is_left(host: Host, kind: str, size: int) -> None:
    with registering(host, kind):
        for n in range(10):
            host.capture(bytes([n]) * size, uid=f"1.2.{n}")

    assert host.spool.waiting() == 10


def test_many_images_are_one_commit(host: Host) -> None:
    registrar = GroupRegistrar(host.captures.entries, host.log)
    host.pipeline.registrar = registrar
    for n in range(20):
        host.capture(bytes([n]), uid=f"1.2.{n}")
    commits = host.database.read("PRAGMA data_version")
    assert host.spool.waiting() == 0
    assert registrar._enter_some()

    assert host.spool.waiting() == 20
    assert host.database.read("PRAGMA data_version")[0][0] == commits[0][0] + 1


def test_who_sends_faster_than_is_registered_waits_so_that_memory_does_not_grow(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registrar_module, "_MOST_WAITING", 2)
    registrar = host.pipeline.registrar = GroupRegistrar(host.captures.entries, host.log)
    for n in range(2):
        host.capture(bytes([n]), uid=f"1.2.{n}")
    third = threading.Thread(target=host.capture, args=(b"\x02",), kwargs={"uid": "1.2.2"}, daemon=True)
    third.start()
    third.join(0.5)
    waited = third.is_alive()
    with in_thread(registrar, registrar.bell.ring):
        third.join(60)

    assert (waited, third.is_alive(), host.spool.waiting()) == (True, False, 3)


def test_while_images_cannot_be_registered_no_new_one_is_begun_and_the_old_ones_follow(host: Host) -> None:
    registrar = GroupRegistrar(host.captures.entries, host.log)
    host.pipeline.registrar = registrar
    acknowledged = host.capture(b"first", uid="1.2.1")
    with unwritable(host):
        with pytest.raises(DatabaseUnavailable):
            registrar._enter_some()
        with pytest.raises(NotRegistering), host.pipeline.begin(HEADER):
            raise AssertionError("an image was begun")
    assert host.spool.waiting() == 0
    registrar._enter_some()

    assert [spooled.object_id for spooled in host.spool.everything()] == [acknowledged]
    host.capture(b"second", uid="1.2.2")


def test_what_could_not_be_registered_before_the_stop_is_found_by_the_start(host: Host) -> None:
    host.pipeline.registrar = GroupRegistrar(host.captures.entries, host.log)
    ids: list[ObjectId] = [host.capture(bytes([n]), uid=f"1.2.{n}") for n in range(3)]
    host.restart()
    assert host.spool.waiting() == 0
    host.recover()

    assert [spooled.object_id for spooled in host.spool.everything()] == ids
    assert host.events() == [Event.IMAGE_CAPTURED] * 3
    assert {who.name for record in host.records() for who in record.who if who.kind == "ae"} == {"CT1"}
    assert len(host.captures.instances.of(host.uid_hash("1.2.1"))) == 1
