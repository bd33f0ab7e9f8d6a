"""A modality that sends again is answered by what is here only where that is whole, or the vault has it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.capture.claims import Claims
from edge_agent.spool.catalogue import Row, State
from edge_agent.spool.verifier import Result, SpoolVerifier
from shared.audit.events import Event
from shared.fleet.receipt import Receipt
from shared.identity import ObjectId
from tests.fakes.host import Host

SMALL, LARGE = b"\x08\x00" * 2000, b"\x08\x00" * (1 << 20)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.put_in_force()
    host.recover()
    return host


def lost(host: Host, object_id: ObjectId) -> None:
    spooled = host.spool.find(object_id)
    assert spooled is not None
    path = host.spool.files / spooled.name
    if spooled.place is not None:
        path = host.spool.segments.path(spooled.place.segment)
    path.unlink()


def rotten(host: Host, object_id: ObjectId) -> None:
    spooled = host.spool.find(object_id)
    assert spooled is not None
    path, offset = host.spool.files / spooled.name, 0
    if spooled.place is not None:
        path, offset = host.spool.segments.path(spooled.place.segment), spooled.place.offset
    with path.open("r+b") as file:
        file.seek(offset + 1000)
        byte = file.read(1)
        file.seek(offset + 1000)
        file.write(bytes([byte[0] ^ 1]))


HARM: tuple[Callable[[Host, ObjectId], None], ...] = (lost, rotten)


@pytest.mark.parametrize("dataset", [SMALL, LARGE], ids=["in a segment", "a file of its own"])
@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("restarted", [False, True], ids=["at once", "after a start"])
def test_what_is_not_whole_here_is_kept_anew(
    host: Host, dataset: bytes, harm: Callable[[Host, ObjectId], None], restarted: bool
) -> None:
    first = host.capture(dataset)
    harm(host, first)
    if restarted:
        host.restart()
        host.recover()

    again = host.capture(dataset)
    assert again != first
    assert again in {row.spooled.object_id for row in host.spool.rows(State.WAITING)}
    assert host.capture(dataset) == again


@pytest.mark.parametrize("dataset", [SMALL, LARGE], ids=["in a segment", "a file of its own"])
def test_what_the_vault_refused_and_is_whole_here_is_kept_once(host: Host, dataset: bytes) -> None:
    first = host.capture(dataset)
    spooled = host.spool.find(first)
    assert spooled is not None
    host.spool.put_aside(spooled, "the vault refused it")

    assert host.capture(dataset) == first


def test_what_is_delivered_while_it_is_looked_at_is_not_kept_again(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    first = host.capture(SMALL)
    looked = SpoolVerifier.result

    def delivered_meanwhile(its: SpoolVerifier, row: Row) -> Result:
        host.captures.receipts.keep(Receipt(first, bytes(32), host.clock.now()), b"signed")
        with host.database.transaction() as connection:
            host.spool.forget(connection, row.spooled)
        host.spool.let_go(row.spooled)
        return looked(its, row)

    monkeypatch.setattr(SpoolVerifier, "result", delivered_meanwhile)
    assert host.capture(SMALL) == first


def test_control_claims_that_do_not_look_answer_for_what_is_lost(host: Host) -> None:
    first = host.capture(LARGE)
    lost(host, first)
    captures = host.captures
    host.pipeline.claims = Claims(captures.instances, captures.spool.holds, captures.spool.holds)

    assert host.capture(LARGE) == first


@pytest.mark.parametrize("dataset", [SMALL, LARGE], ids=["in a segment", "a file of its own"])
def test_what_the_vault_has_is_not_kept_again(host: Host, dataset: bytes) -> None:
    first = host.capture(dataset)
    host.captures.receipts.keep(Receipt(first, bytes(32), host.clock.now()), b"signed")
    lost(host, first)

    assert host.capture(dataset) == first


def test_what_the_vault_lost_just_before_its_modality_hears_that_it_is_safe_is_captured_anew(host: Host) -> None:
    first = host.capture(LARGE)
    captures = host.captures
    captures.receipts.keep(Receipt(first, bytes(32), host.clock.now()), b"signed")
    lost(host, first)

    def before_the_loss_is_heard_of(object_id: ObjectId) -> bool:
        held = captures.receipts.holds(object_id)
        captures.receipts.doubt([str(object_id)])
        return held

    vars(captures.claims)["_has_receipt"] = before_the_loss_is_heard_of

    assert host.capture(LARGE) != first
    assert host.events() == [Event.IMAGE_CAPTURED] * 2
