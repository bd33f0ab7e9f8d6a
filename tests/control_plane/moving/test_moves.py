"""What one host captured is taken from another one by a named person's word, for as long as that holds, and no more."""

import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from control_plane.audit_log.intake import AuditIntake, BatchOfAnotherHost
from control_plane.audit_log.refusals import Refusals
from control_plane.fleet.states import HostUnknown
from control_plane.moving.grants import (
    AlreadyAllowed,
    MoveOver,
    MoveToItself,
    MoveUnknown,
    NoSuchHost,
    SpoolMoves,
    gaps,
)
from control_plane.moving.move import Move
from control_plane.vault.losses import forget_telling
from control_plane.vault.receive import NotHeld, ObjectConflict, ObjectOfAnotherHost, VaultIntake
from shared.audit.batch import AuditForked, AuditGap
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.record import AuditRecord
from shared.errors import IntegrityFailure
from shared.fleet.receipt import verify_receipt
from shared.identity import HostId
from shared.sealing import object_file
from shared.sealing.record import record_digest
from shared.signing import WrongSigner
from tests.control_plane.vault.bench import Bench, HostBench, SealedImage

DAYS = timedelta(days=14)


def allow(bench: Bench, source: HostBench, bearer: HostBench, life: timedelta = DAYS) -> Move:
    return bench.moves.allow("A. Admin", source.host_id, bearer.host_id, "box died, ticket 881", life)


def bring(bench: Bench, bearer: HostBench, image: SealedImage, *, intake: VaultIntake | None = None) -> bytes:
    return (intake or bench.intake).receive(image.object_id, bearer.host_id, io.BytesIO(image.file), len(image.file))


def assert_nothing_came(bench: Bench) -> None:
    assert bench.rows("SELECT * FROM objects") == []
    assert bench.last_record().event is Event.OBJECT_REFUSED


# ---- what is taken


def test_an_object_is_taken_from_the_host_that_may_bring_it_and_opens_byte_for_byte(
    bench: Bench, old: HostBench, new: HostBench
) -> None:
    image = old.seal()
    move = allow(bench, old, new)

    receipt = bring(bench, new, image)

    verify_receipt(receipt, bench.receipts.public, image.object_id, record_digest(image.record))
    assert bench.read(image) == image.dataset
    assert [one["objects"] for one in bench.moves.status()] == [1]
    stored = next(record for record in records(bench) if record.event is Event.OBJECT_STORED)
    assert stored.who == (
        Participant("host", str(new.host_id), True), Participant("host", str(old.host_id), False),
    )  # fmt: skip
    assert stored.what[2] == Subject("move", move.move_id)


def records(bench: Bench) -> list[AuditRecord]:
    rows = bench.rows("SELECT public FROM audit_records WHERE source = 'control-plane' ORDER BY seq")
    return [AuditRecord.parse(row.public) for row in rows]


def test_a_host_that_was_revoked_meanwhile_has_signed_what_it_signed(
    bench: Bench, old: HostBench, new: HostBench
) -> None:
    image = old.seal()
    old.note()
    bench.sql("UPDATE hosts SET standing = 'revoked' WHERE host_id = :host", host=str(old.host_id))
    allow(bench, old, new)

    bring(bench, new, image)

    assert bench.read(image) == image.dataset
    assert bench.audit.take(new.host_id, old.batch(1, 1)) == 1


def test_what_both_hosts_deliver_is_held_once_with_one_receipt(bench: Bench, old: HostBench, new: HostBench) -> None:
    first, second = old.seal(), old.seal()
    allow(bench, old, new)

    assert bring(bench, new, first) == bench.receive(first)
    assert bench.receive(second) == bring(bench, new, second)
    assert bench.events().count(Event.OBJECT_STORED) == 2
    assert [one["objects"] for one in bench.moves.status()] == [1]


def test_records_continue_the_chain_of_the_host_that_wrote_them(bench: Bench, old: HostBench, new: HostBench) -> None:
    for _ in range(6):
        old.note(private={"uid": "1.2"})
    old.deliver(1, 2)
    allow(bench, old, new)

    assert bench.audit.take(new.host_id, old.batch(2, 4)) == 4
    assert bench.audit.take(new.host_id, old.batch(2, 4)) == 4
    assert bench.audit.take(new.host_id, old.batch(5, 6)) == 6

    assert bench.reading.verify("A. Admin")[str(old.host_id)].records == 6
    assert bench.reading.verify("A. Admin")[str(old.host_id)].state == "verified"
    assert [one["records"] for one in bench.moves.status()] == [4]
    assert str(new.host_id) not in bench.reading.verify("A. Admin")


def test_a_gap_and_a_fork_are_what_they_are_whoever_brings_them(bench: Bench, old: HostBench, new: HostBench) -> None:
    for _ in range(4):
        old.note()
    old.deliver(1, 2)
    liar = HostBench(bench, old.host_id, old.signer)
    liar.note(Event.AGENT_STOPPED)
    liar.note(Event.AGENT_STOPPED)
    allow(bench, old, new)

    with pytest.raises(AuditGap):
        bench.audit.take(new.host_id, old.batch(4, 4))
    with pytest.raises(AuditForked):
        bench.audit.take(new.host_id, liar.batch(1, 2))


# ---- what is refused


@pytest.fixture(params=["nobody's word", "the other way round", "for another host", "expired", "ended"])
def not_allowed(request: pytest.FixtureRequest, bench: Bench, old: HostBench, new: HostBench) -> None:
    """A centre that was told something, and not that `new` may deliver for `old` now."""
    match request.param:
        case "the other way round":
            allow(bench, new, old)
        case "for another host":
            allow(bench, old, bench.enrol())
            allow(bench, bench.enrol(), new)
        case "expired":
            allow(bench, old, new)
            bench.clock.advance(DAYS)
        case "ended":
            bench.moves.end("A. Admin", allow(bench, old, new).move_id)


@pytest.mark.usefixtures("not_allowed")
def test_without_a_word_that_holds_now_nothing_of_another_host_is_taken(
    bench: Bench, old: HostBench, new: HostBench
) -> None:
    old.note()

    with pytest.raises(ObjectOfAnotherHost):
        bring(bench, new, old.seal())
    assert_nothing_came(bench)
    with pytest.raises(BatchOfAnotherHost):
        bench.audit.take(new.host_id, old.batch(1, 1))
    assert bench.last_record().event is Event.AUDIT_REFUSED
    assert bench.rows("SELECT * FROM audit_records WHERE source = :old", old=str(old.host_id)) == []


def test_the_last_moment_before_it_ends_counts(bench: Bench, old: HostBench, new: HostBench) -> None:
    allow(bench, old, new)
    bench.clock.advance(DAYS - timedelta(microseconds=1))

    bring(bench, new, old.seal())


def test_who_may_bring_cannot_make(bench: Bench, old: HostBench, new: HostBench) -> None:
    allow(bench, old, new)
    liar = HostBench(bench, old.host_id, new.signer)
    liar.note()

    with pytest.raises(WrongSigner):
        bring(bench, new, old.seal(signer=new.signer))
    assert_nothing_came(bench)
    with pytest.raises(WrongSigner):
        bench.audit.take(new.host_id, liar.batch(1, 1))


def test_nor_replace_what_is_held(bench: Bench, old: HostBench, new: HostBench) -> None:
    image = old.seal()
    bench.receive(image)
    allow(bench, old, new)

    with pytest.raises(ObjectConflict):
        bring(bench, new, old.seal(b"another", object_id=image.object_id))
    assert bench.read(image) == image.dataset


def test_a_host_that_was_revoked_brings_nothing(bench: Bench, old: HostBench, new: HostBench) -> None:
    allow(bench, old, new)
    bench.sql("UPDATE hosts SET standing = 'revoked' WHERE host_id = :host", host=str(new.host_id))

    with pytest.raises(HostUnknown):
        bring(bench, new, old.seal())
    assert_nothing_came(bench)


@pytest.mark.parametrize("after, refusal", [(1, ObjectOfAnotherHost), (2, MoveOver)], ids=["its head", "its end"])
def test_what_ends_while_an_object_is_on_its_way_lets_it_in_no_more(
    bench: Bench, old: HostBench, new: HostBench, after: int, refusal: type[Exception]
) -> None:
    move = allow(bench, old, new)

    class EndedMeanwhile(SpoolMoves):
        asked = 0

        def permitting(self, source: HostId, bearer: HostId) -> Move | None:
            permitted = super().permitting(source, bearer)
            self.asked += 1
            if self.asked == after:
                self.end("A. Admin", move.move_id)
            return permitted

    moves = EndedMeanwhile(bench.database, bench.journal, bench.log, bench.clock)
    with pytest.raises(refusal):
        bring(bench, new, old.seal(), intake=bench.intake_with(moves=moves))
    assert_nothing_came(bench)


class AlwaysYes:
    """What must never be built in: a centre that takes from anybody what anybody signed."""

    def permitting(self, source: HostId, bearer: HostId) -> Move | None:
        return Move("00000000", source, bearer, datetime.max.replace(tzinfo=UTC))

    def count(self, session: Session, move: Move, *, objects: int = 0, records: int = 0) -> None:
        pass


def test_control_a_centre_that_always_says_yes_lets_a_strangers_object_and_record_in(
    bench: Bench, old: HostBench, new: HostBench
) -> None:
    image = old.seal()
    old.note()

    bring(bench, new, image, intake=bench.intake_with(moves=AlwaysYes()))
    audit = AuditIntake(bench.evidence, bench.journal, bench.clock, AlwaysYes())

    assert bench.read(image) == image.dataset
    assert audit.take(new.host_id, old.batch(1, 1)) == 1


# ---- what is tried again and again


def refused(bench: Bench) -> list[AuditRecord]:
    return [one for one in records(bench) if one.event in (Event.OBJECT_REFUSED, Event.AUDIT_REFUSED)]


def test_what_waits_for_somebody_s_word_is_recorded_once_and_again_after_something_came(
    bench: Bench, old: HostBench, new: HostBench
) -> None:
    images = [old.seal() for _ in range(3)]
    old.note()

    def try_everything() -> None:
        for image in images:
            with pytest.raises(ObjectOfAnotherHost):
                bring(bench, new, image)
            with pytest.raises(BatchOfAnotherHost):
                bench.audit.take(new.host_id, old.batch(1, 1))

    try_everything()
    try_everything()
    assert sorted(one.event.value for one in refused(bench)) == [Event.AUDIT_REFUSED, Event.OBJECT_REFUSED]
    move = allow(bench, old, new)
    bring(bench, new, images.pop())
    bench.audit.take(new.host_id, old.batch(1, 1))
    bench.moves.end("A. Admin", move.move_id)
    try_everything()

    assert len(refused(bench)) == 4


def test_each_host_and_each_that_it_brings_has_a_record_of_its_own(
    bench: Bench, old: HostBench, new: HostBench
) -> None:
    other = bench.enrol()
    for _ in range(2):
        for bearer, source in ((new, old), (new, other), (other, old)):
            with pytest.raises(ObjectOfAnotherHost):
                bring(bench, bearer, source.seal())

    assert len(refused(bench)) == 3


def test_one_and_the_same_fork_is_recorded_once_and_another_fault_beside_it(
    bench: Bench, old: HostBench, new: HostBench
) -> None:
    for _ in range(4):
        old.note()
    old.deliver(1, 2)
    liar = HostBench(bench, old.host_id, old.signer)
    liar.note(Event.AGENT_STOPPED)
    allow(bench, old, new)
    for _ in range(3):
        with pytest.raises(AuditForked):
            bench.audit.take(new.host_id, liar.batch(1, 1))
    with pytest.raises(AuditGap):
        bench.audit.take(new.host_id, old.batch(4, 4))
    with pytest.raises(AuditForked):
        bench.audit.take(new.host_id, liar.batch(1, 1))

    assert [one.reason.partition(":")[0] for one in refused(bench)] == ["AuditForked", "AuditGap", "AuditForked"]


def test_what_could_not_be_recorded_is_recorded_with_the_next_try(bench: Bench, old: HostBench, new: HostBench) -> None:
    bench.sql("CREATE TRIGGER full BEFORE INSERT ON audit_statements BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(Exception, match="no"):
        bring(bench, new, old.seal())
    bench.sql("DROP TRIGGER full")
    with pytest.raises(ObjectOfAnotherHost):
        bring(bench, new, old.seal())

    assert len(refused(bench)) == 1


def test_a_sender_that_names_thousands_of_hosts_does_not_fill_the_memory() -> None:
    sender, sources = HostId.new(), [HostId.new() for _ in range(1200)]
    recorded: list[Happening] = []

    class Remembering:
        def record(self, happening: Happening) -> None:
            recorded.append(happening)

    refusals = Refusals(Remembering())
    happening = Happening(Event.OBJECT_REFUSED, Action.CREATE, Outcome.MINOR_FAILURE)
    for source in (*sources, sources[-1], sources[0]):
        refusals.record(happening, sender, source, "ObjectOfAnotherHost")

    assert len(recorded) == 1201


def test_nobody_s_word_is_asked_before_more_than_the_head_is_read_and_the_sender_hears_it(
    bench: Bench, old: HostBench, new: HostBench
) -> None:
    image = old.seal(bytes(1 << 20))
    stream, asked = io.BytesIO(image.file), list[int]()

    class Nobody(AlwaysYes):
        def permitting(self, source: HostId, bearer: HostId) -> Move | None:
            asked.append(stream.tell())
            return None

    with pytest.raises(ObjectOfAnotherHost):
        bench.intake_with(moves=Nobody()).receive(image.object_id, new.host_id, stream, len(image.file))
    assert asked == [object_file.HEAD_MOST_BYTES]
    assert stream.tell() == len(image.file)


# ---- who writes rows allows nothing


def insert(bench: Bench, source: HostBench, bearer: HostBench) -> None:
    bench.sql(
        "INSERT INTO spool_moves VALUES ('0badc0de', :old, :new, 'A. Admin', '2026-03-01', '2027-03-01', NULL, 0, 0)",
        old=str(source.host_id), new=str(bearer.host_id),
    )  # fmt: skip


def make_it_last(bench: Bench, source: HostBench, bearer: HostBench) -> None:
    allow(bench, source, bearer)
    bench.clock.advance(DAYS)
    bench.sql("UPDATE spool_moves SET until = '2027-03-01'")


def turn_it_round(bench: Bench, source: HostBench, bearer: HostBench) -> None:
    allow(bench, bearer, source)
    bench.sql("UPDATE spool_moves SET source = bearer, bearer = source")


@pytest.mark.parametrize("forge", [insert, make_it_last, turn_it_round])
def test_a_row_that_no_signed_record_stands_behind_allows_nothing(
    bench: Bench, old: HostBench, new: HostBench, forge: Callable[[Bench, HostBench, HostBench], None]
) -> None:
    forge(bench, old, new)

    with pytest.raises(ObjectOfAnotherHost):
        bring(bench, new, old.seal())
    assert_nothing_came(bench)
    (shown,) = bench.moves.status()
    assert shown["state"] == "not authentic"
    assert "the log does not say that anybody allowed it" in next(gaps(bench.moves.status()))


def test_a_record_that_was_edited_allows_nothing(bench: Bench, old: HostBench, new: HostBench) -> None:
    allow(bench, old, bench.enrol())
    (row,) = bench.rows("SELECT bearer FROM spool_moves")
    bench.sql("UPDATE spool_moves SET bearer = :new", new=str(new.host_id))
    bench.sql("UPDATE audit_records SET public = CAST(replace(CAST(public AS TEXT), :one, :new) AS BLOB)",
              one=row.bearer, new=str(new.host_id))  # fmt: skip

    with pytest.raises(ObjectOfAnotherHost):
        bring(bench, new, old.seal())
    assert_nothing_came(bench)
    assert bench.moves.status()[0]["state"] == "not authentic"


@pytest.mark.parametrize(
    "spoil", ["UPDATE audit_statements SET statement = zeroblob(200)", "DELETE FROM audit_statements"]
)
def test_a_record_that_does_not_hold_is_nobody_s_word_and_no_fault_of_what_is_brought(
    bench: Bench, old: HostBench, new: HostBench, caplog: pytest.LogCaptureFixture, spoil: str
) -> None:
    """What the bearer is told to be at fault it puts aside, one healthy object after the other."""
    old.note()
    move = allow(bench, old, new)
    bench.sql(spoil)

    with pytest.raises(ObjectOfAnotherHost):
        bring(bench, new, old.seal())
    with pytest.raises(BatchOfAnotherHost):
        bench.audit.take(new.host_id, old.batch(1, 1))
    assert [record.move for record in caplog.records if record.msg == "move.not-proved"] == [move.move_id] * 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["00000000", "ffffffff"], ids=["before it", "behind it"])
def test_a_row_that_cannot_be_proved_hides_no_other_that_can(
    bench: Bench, old: HostBench, new: HostBench, name: str
) -> None:
    image = old.seal()
    allow(bench, old, new)
    bench.sql("INSERT INTO spool_moves VALUES (:name, :old, :new, 'A. Admin', '2026-03-01', '2027-03-01', NULL, 0, 0)",
              name=name, old=str(old.host_id), new=str(new.host_id))  # fmt: skip
    bench.sql("INSERT INTO audit_subjects (kind, name, event, source, seq) "
              "VALUES ('move', :name, 'vault.move-allowed', 'control-plane', 9999)", name=name)  # fmt: skip

    bring(bench, new, image)

    assert bench.read(image) == image.dataset


# ---- what people may say, and what is kept of it


def test_each_word_is_recorded_with_its_person_and_its_reason_is_sealed(
    bench: Bench, old: HostBench, new: HostBench
) -> None:
    move = allow(bench, old, new)
    bench.moves.end("B. Admin", move.move_id)

    allowed, ended = records(bench)
    assert (allowed.event, allowed.who) == (Event.MOVE_ALLOWED, (Participant("person", "A. Admin", True),))
    assert allowed.what == move.subjects()
    assert (ended.event, ended.who, ended.what) == (
        Event.MOVE_ENDED, (Participant("person", "B. Admin", True),), (move.subject,),
    )  # fmt: skip
    bench.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"ticket 881" not in (bench.folder / "leadglass.sqlite").read_bytes()
    assert allowed.commitment is not None


@pytest.mark.parametrize("which", ["itself", "source", "bearer", "revoked", "twice"])
def test_what_makes_no_sense_is_refused_and_recorded(bench: Bench, old: HostBench, new: HostBench, which: str) -> None:
    source, bearer, refusal = old.host_id, new.host_id, NoSuchHost
    match which:
        case "itself":
            bearer, refusal = source, MoveToItself  # type: ignore[assignment]
        case "source":
            source = HostId.new()
        case "bearer":
            bearer = HostId.new()
        case "revoked":
            bench.sql("UPDATE hosts SET standing = 'revoked' WHERE host_id = :host", host=str(bearer))
        case "twice":
            allow(bench, old, new)
            refusal = AlreadyAllowed  # type: ignore[assignment]
    before = len(bench.moves.status())

    with pytest.raises(refusal):
        bench.moves.allow("A. Admin", source, bearer, "because", DAYS)
    assert len(bench.moves.status()) == before
    assert (bench.last_record().event, bench.last_record().outcome) == (Event.MOVE_ALLOWED, Outcome.MINOR_FAILURE)


def test_a_refused_wish_allows_nothing_afterwards(bench: Bench, old: HostBench, new: HostBench) -> None:
    """Its record is signed like any other, and says of itself that it failed."""
    bench.sql("UPDATE hosts SET standing = 'revoked' WHERE host_id = :host", host=str(new.host_id))
    with pytest.raises(NoSuchHost):
        allow(bench, old, new)
    bench.sql("UPDATE hosts SET standing = 'active' WHERE host_id = :host", host=str(new.host_id))
    wished = {subject.kind: subject.name for subject in bench.last_record().what}
    bench.sql("INSERT INTO spool_moves VALUES (:move, :old, :new, 'A. Admin', '2026-03-01', :until, NULL, 0, 0)",
              move=wished["move"], old=wished["from"], new=wished["to"],
              until=wished["until"].replace("T", " ").rstrip("Z"))  # fmt: skip

    with pytest.raises(ObjectOfAnotherHost):
        bring(bench, new, old.seal())
    assert bench.moves.status()[0]["state"] == "not authentic"


def test_what_ended_or_expired_can_be_allowed_anew_and_is_listed_as_what_it_is(
    bench: Bench, old: HostBench, new: HostBench
) -> None:
    first = allow(bench, old, new)
    bench.clock.advance(DAYS)
    second = allow(bench, old, new)
    bench.moves.end("A. Admin", second.move_id)
    bench.clock.advance(timedelta(seconds=1))
    third = allow(bench, old, new)

    states = {one["move"]: one["state"] for one in bench.moves.status()}
    assert states == {first.move_id: "expired", second.move_id: "ended", third.move_id: "open"}
    (gap,) = gaps(bench.moves.status())
    assert "0 objects so far; whether more are to come, only the new host knows" in gap
    with pytest.raises(MoveOver):
        bench.moves.end("A. Admin", second.move_id)
    with pytest.raises(MoveUnknown):
        bench.moves.end("A. Admin", "00000000")


# ---- what the vault loses of it


def lose(bench: Bench, image: SealedImage) -> None:
    bench.body(image.object_id).unlink()
    with pytest.raises(IntegrityFailure):
        bench.read(image)


@pytest.mark.parametrize("standing", ["replaced", "revoked", "decommissioned"])
def test_of_what_it_brought_a_host_is_told_that_the_vault_lost_it_where_nobody_is_left_who_captured_it(
    bench: Bench, old: HostBench, new: HostBench, standing: str
) -> None:
    image, idle = old.seal(), bench.enrol()
    move = allow(bench, old, new)
    allow(bench, old, idle)
    bring(bench, new, image)
    bench.moves.end("A. Admin", move.move_id)
    lose(bench, image)
    assert [bench.losses.untold(one.host_id) for one in (old, new)] == [(image.object_id,), ()], "it lives"

    bench.sql("UPDATE hosts SET standing = :standing WHERE host_id = :host", standing=standing, host=str(old.host_id))

    assert [bench.losses.untold(one.host_id) for one in (new, idle)] == [(image.object_id,), ()]
    for one, left in ((idle, (image.object_id,)), (new, ())):
        with pytest.raises(NotHeld):
            bench.intake.receipt_of(image.object_id, one.host_id)
        assert bench.losses.untold(new.host_id) == left


def test_a_host_that_went_back_is_told_of_what_it_brought_again(bench: Bench, old: HostBench, new: HostBench) -> None:
    image = old.seal()
    allow(bench, old, new)
    bring(bench, new, image)
    bench.sql("UPDATE hosts SET standing = 'replaced' WHERE host_id = :host", host=str(old.host_id))
    lose(bench, image)
    with pytest.raises(NotHeld):
        bench.intake.receipt_of(image.object_id, new.host_id)

    with bench.database.begin() as session:
        forget_telling(session, new.host_id)

    assert bench.losses.untold(new.host_id) == (image.object_id,)
