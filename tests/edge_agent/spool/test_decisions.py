"""What a person decides on what was put aside: recorded, whole or not at all, and never the end of the only copy."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.spool.catalogue import Row, Spooled, State
from edge_agent.spool.decisions import Decisions, InDoubt, NobodyKnows, NotPutAside, StillOwed, StillWhole
from edge_agent.spool.named import NotInSpool
from edge_agent.spool.reader import SpoolReader
from edge_agent.spool.verifier import Finding, Judged, SpoolVerifier
from edge_agent.spool.whole import own_key
from shared.audit.events import Event
from shared.audit.record import AuditRecord, StoredRecord, open_private
from shared.errors import Refused
from shared.fleet.receipt import Receipt
from shared.identity import ObjectId
from tests.fakes.host import Host

SMALL, LARGE = b"\x08\x00" * 20_000, bytes(2 << 20)
PERSON, REASON = "engineer", "Erika Muster was examined twice"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path / "host")
    host.put_in_force()
    return host


def decisions(
    host: Host,
    *,
    judge: Callable[[Spooled], Judged] | None = None,
    is_owed: Callable[[ObjectId], bool] = lambda _: False,
    has_receipt: Callable[[ObjectId], bool] | None = None,
) -> Decisions:
    keys = own_key(host.host_id, host.signer.public)
    verifier = SpoolVerifier(host.spool.catalogue, SpoolReader(host.spool.folder), keys, lambda: None)
    return Decisions(
        host.database,
        host.journal,
        host.host_id,
        judge=judge or verifier.judge,
        has_receipt=has_receipt or host.captures.receipts.holds,
        is_owed=is_owed,
    )


def aside(host: Host, dataset: bytes = LARGE, uid: str = "1.2.3", *, rotten: bool = True) -> Row:
    """Have an image captured, go bad on the disk if it is to, and be put aside."""
    object_id = host.capture(dataset, uid=uid)
    (spooled,) = [one for one in host.spool.everything() if one.object_id == object_id]
    host.spool.put_aside(spooled, "the vault refused it")
    (row,) = [row for row in host.spool.rows(State.PUT_ASIDE) if row.spooled.object_id == object_id]
    if rotten:
        path = host.spool.files / row.spooled.name
        data = bytearray(path.read_bytes())
        data[10_000] ^= 1
        path.write_bytes(data)
    return row


def torn(host: Host) -> Row:
    """Have a power cut tear an image before it was registered, and a start find it."""
    before = {row.spooled for row in host.spool.rows(State.PUT_ASIDE)}
    object_id = host.capture(SMALL, uid="1.2.99")
    (spooled,) = [one for one in host.spool.everything() if one.object_id == object_id]
    with host.database.transaction() as connection:
        connection.execute("DELETE FROM spooled WHERE object = ?", (str(object_id),))
    with SpoolReader(host.spool.folder).path(spooled).open("r+b") as file:
        assert spooled.place is not None
        file.seek(spooled.place.offset + 20_000)
        file.write(bytes(4096))
    host.restart()
    host.recover()
    (row,) = [row for row in host.spool.rows(State.PUT_ASIDE) if row.spooled not in before]
    return row


def states(host: Host) -> dict[ObjectId, State]:
    return {row.spooled.object_id: row.state for row in host.spool.rows(*State)}


def records(host: Host, event: Event) -> list[AuditRecord]:
    return [record for record in host.records() if record.event is event]


# ---- retry


def test_what_was_put_aside_waits_again_and_it_is_recorded_who_said_so(host: Host) -> None:
    again, left = aside(host, uid="1.2.1"), aside(host, uid="1.2.2")

    assert decisions(host).retry([again.spooled.object_id], PERSON) == 1
    assert states(host) == {again.spooled.object_id: State.WAITING, left.spooled.object_id: State.PUT_ASIDE}
    assert (host.spool.oldest(), host.spool.amiss()) == (again.spooled, 1)
    (record,) = records(host, Event.DELIVERY_RETRIED)
    assert [(who.kind, who.name, who.requestor) for who in record.who] == [
        ("person", PERSON, True),
        ("host", str(host.host_id), False),
    ]
    assert [what.name for what in record.what] == [str(again.spooled.object_id)]


def test_everything_may_be_retried_at_once_and_each_object_is_named(host: Host) -> None:
    many = [Spooled(number, ObjectId.new(), 1) for number in range(1, 151)]
    with host.database.transaction() as connection:
        for spooled in many:
            host.spool.catalogue.add(connection, spooled, State.PUT_ASIDE, "the vault refused it")

    assert decisions(host).retry_all(PERSON) == 150
    assert set(states(host).values()) == {State.WAITING}
    named = [what.name for record in records(host, Event.DELIVERY_RETRIED) for what in record.what]
    assert named == [str(spooled.object_id) for spooled in many]


def test_where_nothing_was_put_aside_nothing_is_recorded(host: Host) -> None:
    assert decisions(host).retry_all(PERSON) == 0
    assert host.events() == []


@pytest.mark.parametrize("decide", ["retry", "discard"])
def test_of_several_that_are_named_all_were_put_aside_or_nothing_is_decided(host: Host, decide: str) -> None:
    row, waiting = aside(host, uid="1.2.1"), host.capture(uid="1.2.2")
    before = host.events()

    def decided(other: ObjectId | int) -> None:
        names = [row.spooled.object_id, other]
        if decide == "retry":
            decisions(host).retry(names, PERSON)
        else:
            decisions(host).discard(names, PERSON, REASON)

    with pytest.raises(NotPutAside, match="is waiting"):
        decided(waiting)
    for nobody in (ObjectId.new(), 4711):
        with pytest.raises(NotInSpool):
            decided(nobody)
    assert (states(host)[row.spooled.object_id], host.events()) == (State.PUT_ASIDE, before)


# ---- discard


@pytest.mark.parametrize("damaged", [aside, torn], ids=["rotten", "torn"])
def test_what_is_damaged_is_let_go_of_when_a_person_says_so_and_why_is_sealed(
    host: Host, damaged: Callable[[Host], Row]
) -> None:
    row = damaged(host)
    assert decisions(host).discard([row.spooled.number], PERSON, REASON) == 1

    assert not host.spool.holds(row.spooled.object_id)
    unsent = host.journal.unsent(most=100, most_bytes=1 << 20)
    assert unsent is not None
    stored = unsent.records[-1]
    record = AuditRecord.parse(stored.public)
    assert (record.event, record.who[0].name) == (Event.OBJECT_DISCARDED, PERSON)
    assert [what.name for what in record.what] == [str(row.spooled.object_id)]
    assert record.reason.startswith("damaged: ")
    assert b"Erika" not in stored.public
    assert open_private(StoredRecord(stored.public, stored.sealed), host.keys.audit) == {"reason": REASON}


def moved(host: Host) -> Row:
    return aside(host, SMALL)


@pytest.mark.parametrize(
    "damaged", [aside, torn, moved], ids=["a file of its own", "in a segment", "moved out of a segment"]
)
@pytest.mark.parametrize("restarted", [False, True], ids=["running", "started again"])
def test_the_agent_gives_up_its_room_and_no_start_finds_it_again(
    host: Host, damaged: Callable[[Host], Row], restarted: bool
) -> None:
    row = damaged(host)
    kept = host.capture(SMALL, uid="1.2.7")
    held = host.spool.held_bytes()
    decisions(host).discard([row.spooled.object_id], PERSON, REASON)
    if restarted:
        host.restart()
        host.recover()
    for left in list(host.spool.rows(State.DISCARDED)):
        host.spool.give_up(left.spooled)

    assert host.spool.held_bytes() == held - row.spooled.object_bytes
    assert host.files() == []
    host.restart()
    host.recover()
    assert [spooled.object_id for spooled in host.spool.everything()] == [kept]
    assert list(host.spool.rows(State.PUT_ASIDE, State.DISCARDED)) == []
    assert host.spool.held_bytes() == held - row.spooled.object_bytes


def test_after_a_cut_between_its_file_and_its_row_a_start_lets_go_all_the_same(host: Host) -> None:
    row = aside(host)
    decisions(host).discard([row.spooled.object_id], PERSON, REASON)
    (host.spool.files / row.spooled.name).unlink()
    host.restart()
    host.recover()
    for left in list(host.spool.rows(State.DISCARDED)):
        host.spool.give_up(left.spooled)

    assert (states(host), host.spool.held_bytes()) == ({}, 0)


def test_an_image_that_is_sent_again_after_its_object_was_discarded_is_captured_again(host: Host) -> None:
    row = aside(host)
    decisions(host).discard([row.spooled.object_id], PERSON, REASON)

    assert host.capture(LARGE) != row.spooled.object_id
    assert host.events()[-1] is Event.IMAGE_CAPTURED


def test_a_segment_of_which_the_last_object_was_discarded_is_given_back(host: Host) -> None:
    row = torn(host)
    assert row.spooled.place is not None
    decisions(host).discard([row.spooled.object_id], PERSON, REASON)
    (left,) = host.spool.rows(State.DISCARDED)
    host.spool.give_up(left.spooled)

    assert not host.spool.segments.has(row.spooled.place.segment)
    assert states(host) == {}


def test_what_is_whole_and_signed_is_never_discarded_but_when_the_vault_answered_for_it(host: Host) -> None:
    row = aside(host, rotten=False)
    with pytest.raises(StillWhole):
        decisions(host).discard([row.spooled.object_id], PERSON, REASON)
    assert states(host) == {row.spooled.object_id: State.PUT_ASIDE}
    host.captures.receipts.keep(Receipt(row.spooled.object_id, bytes(32), host.clock.now()), b"signed")

    assert decisions(host).discard([row.spooled.object_id], PERSON, REASON) == 1
    assert records(host, Event.OBJECT_DISCARDED)[0].reason == "the vault has answered for it"


def test_control_who_does_not_look_discards_the_only_copy(host: Host) -> None:
    row = aside(host, rotten=False)
    decisions(host, judge=lambda _: Judged(Finding.DAMAGED, "nobody looked")).discard([1], PERSON, REASON)

    assert not host.spool.holds(row.spooled.object_id)


@pytest.mark.parametrize("finding", [Finding.UNREADABLE, Finding.NOT_JUDGED])
def test_what_nobody_can_judge_is_not_discarded(host: Host, finding: Finding) -> None:
    row = aside(host)
    with pytest.raises(NobodyKnows):
        decisions(host, judge=lambda _: Judged(finding, "why")).discard([row.spooled.object_id], PERSON, REASON)

    assert states(host) == {row.spooled.object_id: State.PUT_ASIDE}


def test_what_an_archive_is_still_owed_is_not_discarded(host: Host) -> None:
    row = aside(host)
    with pytest.raises(StillOwed):
        decisions(host, is_owed=lambda _: True).discard([row.spooled.object_id], PERSON, REASON)

    assert states(host) == {row.spooled.object_id: State.PUT_ASIDE}


def test_what_is_not_there_any_more_may_be_discarded(host: Host) -> None:
    row = aside(host)
    (host.spool.files / row.spooled.name).unlink()

    assert decisions(host).discard([row.spooled.object_id], PERSON, REASON) == 1
    assert records(host, Event.OBJECT_DISCARDED)[0].reason.startswith("missing: ")


def test_of_several_none_is_discarded_where_one_is_whole(host: Host) -> None:
    rotten, whole = aside(host, uid="1.2.1"), aside(host, uid="1.2.2", rotten=False)
    with pytest.raises(Refused):
        decisions(host).discard([rotten.spooled.number, whole.spooled.number], PERSON, REASON)

    assert set(states(host).values()) == {State.PUT_ASIDE}
    assert records(host, Event.OBJECT_DISCARDED) == []


def test_what_is_let_wait_again_while_it_is_judged_is_not_discarded(host: Host) -> None:
    row = aside(host)

    def while_somebody_retries(spooled: Spooled) -> Judged:
        decisions(host).retry([spooled.object_id], "somebody else")
        return Judged(Finding.DAMAGED, "rotten")

    with pytest.raises(NotPutAside):
        decisions(host, judge=while_somebody_retries).discard([row.spooled.object_id], PERSON, REASON)
    assert states(host) == {row.spooled.object_id: State.WAITING}


def test_what_the_vault_lost_while_a_person_decided_is_not_discarded(host: Host) -> None:
    row = aside(host, rotten=False)
    receipts = host.captures.receipts
    receipts.keep(Receipt(row.spooled.object_id, bytes(32), host.clock.now()), b"signed")

    def before_the_agent_hears_of_it(object_id: ObjectId) -> bool:
        held = receipts.holds(object_id)
        receipts.doubt([str(object_id)])
        return held

    with pytest.raises(InDoubt):
        decisions(host, has_receipt=before_the_agent_hears_of_it).discard([row.spooled.object_id], PERSON, REASON)
    assert states(host) == {row.spooled.object_id: State.PUT_ASIDE}
