"""A whole wipe on a loop device: what refuses it, what is left of it however it ends, and that it goes on."""

import dataclasses
import os
import random
import resource
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from edge_agent.sanitize.accept import TicketExpired, TicketOfAnotherEnrolment, TicketOfAnotherHost, TicketTooEarly
from edge_agent.sanitize.attempt import AlreadyAtWork, Attempts, NotKept, Standing, TicketUsed, alone_on
from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.drives import DriveGone, DriveSwapped
from edge_agent.sanitize.engine.device import Device
from edge_agent.sanitize.refuse import RefusalKind
from edge_agent.sanitize.session import (
    Confirmed,
    Done,
    NothingKnown,
    NothingReaches,
    NothingToDo,
    NotThisDrive,
    Session,
    SpokenAgainst,
    Unfinished,
)
from shared.envelope import TooFewSignatures
from shared.errors import Malformed, Refused
from shared.identity import HostId, KeyId
from shared.policy.wipe import LeastClass, ReadBack
from shared.sanitization.envelope import NoWipes, sign_ticket
from shared.sanitization.judged import Result
from shared.sanitization.method import Method
from shared.sanitization.report import Ending, HiddenArea, HiddenKind, HiddenState, Step, StepOutcome
from shared.sanitization.technique import Sequence, Technique
from shared.sanitization.ticket import Ticket
from shared.signing import SignatureInvalid
from tests.edge_agent.sanitize.wiping import PATIENT, SIZE_BYTES, Bench, OnlyThese, Watching, content, loop_drive
from tests.fakes.clock import FakeClock
from tests.fakes.drive import MemoryDrive
from tests.shared.sanitization.tickets import BEA, METHOD

DAN = Confirmed("Dan")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench.new(tmp_path)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Path]:
    with loop_drive(tmp_path) as node:
        yield node


def wiped(session: Session, envelope: bytes, watching: Watching | None = None) -> Done:
    return session.wipe(session.look(session.accept(envelope)), DAN, watching or Watching())


def left(session: Session) -> Unfinished:
    (one,) = session.unfinished()
    return one


def assert_untouched(node: Path) -> None:
    assert content(node).count(PATIENT) > 300_000


# ---- to the end


def test_a_ticket_becomes_a_signed_report_of_a_drive_that_holds_nothing_any_more(bench: Bench, node: Path) -> None:
    allowed = bench.ticket(node)

    done = wiped(bench.session(node), bench.bring(allowed))

    assert done.judged.result is Result.CLEARED_VERIFIED
    assert PATIENT not in content(node)
    report = bench.signed(allowed)
    assert report == done.report
    assert report.ending is Ending.COMPLETED
    assert report.medium_after == dataclasses.replace(report.medium, partitions=())
    assert report.steps[0].bytes_written == SIZE_BYTES
    assert bench.events(allowed) == ["accepted", "started", "ended"]
    # What the agent may read is the group's, and everything else root's alone.
    out = bench.state / "out" / f"{allowed.ticket_id}.report"
    assert out.stat().st_mode & 0o777 == 0o640
    assert (bench.state / "attempts" / str(allowed.ticket_id)).stat().st_mode & 0o777 == 0o700


def test_every_pass_of_a_sequence_is_written_and_the_last_is_read_back(bench: Bench, node: Path) -> None:
    method = dataclasses.replace(METHOD, sequence=Sequence.CUSTOM, passes=("random", "5a"), read_back=ReadBack.SAMPLES)
    allowed = bench.ticket(node, method=method)
    watching = Watching()

    done = wiped(bench.session(node), bench.bring(allowed), watching)

    assert done.judged.result is Result.CLEARED_VERIFIED
    assert content(node) == b"\x5a" * SIZE_BYTES
    assert [step.part for step in done.report.steps] == ["pass 1 of 2", "pass 2 of 2"]
    assert [task.pattern for task in watching.tasks] == ["random", "5a", "5a"]


def test_a_technique_that_the_drive_will_not_take_is_followed_by_the_next_of_the_ticket(
    bench: Bench, node: Path
) -> None:
    class Refusing(OnlyThese):
        """Says that the drive takes discards, and then does not take one."""

        def run(self, noted: Step, *_: object) -> Step:
            return dataclasses.replace(noted, outcome=StepOutcome.REFUSED, ended=noted.started, detail="not today")

    method = dataclasses.replace(METHOD, techniques=(Technique.DISCARD, Technique.OVERWRITE))
    allowed = bench.ticket(node, method=method)
    session = bench.session(node, hands=Refusing)

    done = wiped(session, bench.bring(allowed))

    assert [(step.technique, step.outcome) for step in done.report.steps] == [
        (Technique.DISCARD, StepOutcome.REFUSED), (Technique.OVERWRITE, StepOutcome.DONE),
    ]  # fmt: skip
    assert "not today" in next(one.why for one in done.report.considered if one.technique is Technique.DISCARD)
    assert done.judged.result is Result.CLEARED_VERIFIED
    assert PATIENT not in content(node)


def test_what_was_opened_and_is_not_seen_is_not_left_out_of_a_wipe_that_is_called_whole(
    bench: Bench, node: Path
) -> None:
    """Some drives show what was hidden, and some kernels see it, only after the drive's power was cut."""

    class Opening(OnlyThese):
        def hidden(self, drive: Drive) -> tuple[HiddenArea, ...]:
            return (HiddenArea(HiddenKind.HPA, HiddenState.PRESENT, 100, ""),)

        def remove_hidden(self, drive: Drive) -> tuple[HiddenArea, ...]:
            return (HiddenArea(HiddenKind.HPA, HiddenState.REMOVED, 100, ""),)

    done = wiped(bench.session(node, hands=Opening), bench.bring(bench.ticket(node)))

    assert (done.report.ending, done.report.steps, done.judged.may_be_certified) == (Ending.FAILED, (), False)
    assert "cut the drive's power" in done.report.detail
    assert_untouched(node)


# ---- refused before the first write


@pytest.mark.parametrize(
    "changes, refused",
    [
        ({"host_id": HostId(bytes(16))}, TicketOfAnotherHost),
        ({"evidence_key": KeyId(bytes(16))}, TicketOfAnotherEnrolment),
        ({"after": -timedelta(hours=21)}, TicketExpired),
        ({"after": timedelta(minutes=30)}, TicketTooEarly),
    ],
)
def test_a_ticket_that_is_not_for_here_and_now_is_refused(
    bench: Bench, node: Path, changes: dict[str, object], refused: type[Refused]
) -> None:
    allowed = bench.ticket(node)
    if isinstance(after := changes.pop("after", None), timedelta):
        changes |= {"issued": allowed.issued + after, "expires": allowed.expires + after}
    allowed = dataclasses.replace(allowed, **changes)  # type: ignore[arg-type]

    with pytest.raises(refused):
        bench.session(node).accept(bench.bring(allowed))

    assert_untouched(node)


def test_a_ticket_that_was_edited_or_too_few_signed_is_refused(bench: Bench, node: Path) -> None:
    allowed = bench.ticket(node)
    session, envelope = bench.session(node), sign_ticket(allowed, [BEA])
    other = dataclasses.replace(allowed, person="Eve").encode()
    edited = [one.replace(allowed.encode(), other) for one in envelope.statements]
    session.accept(envelope.encode())  # it is what was changed that is refused

    with pytest.raises(SignatureInvalid):
        session.accept(dataclasses.replace(envelope, payload=other, statements=tuple(edited)).encode())
    with pytest.raises(TooFewSignatures):
        bench.session(node, approvals=2).accept(envelope.encode())
    with pytest.raises(Malformed):
        session.accept(b"\x00" * 500)


def test_a_ticket_is_begun_once(bench: Bench, node: Path) -> None:
    allowed = bench.ticket(node)
    envelope, session = bench.bring(allowed), bench.session(node)
    looked = session.look(session.accept(envelope))
    session.wipe(looked, DAN, Watching())
    node.write_bytes(PATIENT * 1000)
    before = bench.signed(allowed)

    again = session.look(session.accept(envelope))
    with pytest.raises(SpokenAgainst):
        session.wipe(looked, DAN, Watching())

    assert [one.kind for one in again.refusals] == [RefusalKind.TICKET_USED]
    assert PATIENT in content(node)
    assert bench.signed(allowed) == before
    # And not where whatever looked before missed it.
    with pytest.raises(TicketUsed):
        Attempts(bench.state).begin(allowed.ticket_id, envelope, before)


def test_what_speaks_against_it_is_said_noted_and_reported_and_the_ticket_stays_good(bench: Bench, node: Path) -> None:
    allowed = bench.ticket(node)
    session = bench.session(node)
    bench.hold(held=True)
    accepted = session.accept(bench.bring(allowed))

    looked = session.look(accepted)
    refused = session.refuse(looked, str(looked.refusals[0]))

    assert [one.kind for one in looked.refusals] == [RefusalKind.INCIDENT_HOLD]
    assert looked.plan is None
    assert refused is not None
    assert refused.judged.result is Result.REFUSED
    assert bench.signed(allowed).ending is Ending.REFUSED
    assert_untouched(node)

    bench.hold(held=False)
    session.wipe(session.look(accepted), DAN, Watching())

    assert bench.signed(allowed).ending is Ending.COMPLETED
    assert bench.events(allowed) == ["refused", "accepted", "started", "ended"]


def test_a_drive_that_is_in_use_is_refused_and_one_that_came_into_use_since(bench: Bench, node: Path) -> None:
    allowed = bench.ticket(node)
    session, envelope = bench.session(node), bench.bring(allowed)
    looked = session.look(session.accept(envelope))
    descriptor = os.open(node, os.O_RDONLY | os.O_EXCL)
    try:
        with pytest.raises(SpokenAgainst) as refused:
            session.wipe(looked, DAN, Watching())
        assert [one.kind for one in session.look(session.accept(envelope)).refusals] == [RefusalKind.IN_USE]
    finally:
        os.close(descriptor)

    assert [one.kind for one in refused.value.found] == [RefusalKind.IN_USE]
    assert_untouched(node)
    assert bench.signed(allowed).ending is Ending.REFUSED
    assert bench.events(allowed) == ["refused"]


def test_a_drive_that_was_swapped_since_it_was_approved_is_not_the_one(
    bench: Bench, node: Path, tmp_path: Path
) -> None:
    allowed = bench.ticket(node)
    with loop_drive(tmp_path) as other:
        session = bench.session(other)

        looked = session.look(session.accept(bench.bring(allowed)))

        assert looked.drive is None
        assert [one.differences for one in looked.candidates] == [("other-serial",)]
        assert session.refuse(looked, "it is not here") is None
        assert bench.events(allowed) == ["refused"]
        assert_untouched(other)


def test_a_drive_that_was_swapped_since_it_was_looked_at_is_not_written(
    bench: Bench, node: Path, tmp_path: Path
) -> None:
    allowed = bench.ticket(node)
    session = bench.session(node)
    looked = session.look(session.accept(bench.bring(allowed)))
    assert looked.drive is not None
    file = tmp_path / "other"
    file.write_bytes(PATIENT * 400_000)
    subprocess.run(["losetup", "--detach", str(node)], check=True)
    subprocess.run(["losetup", str(node), str(file)], check=True)

    with pytest.raises(DriveSwapped):
        session.wipe(looked, DAN, Watching())

    assert_untouched(node)
    assert bench.signed(allowed).ending is Ending.REFUSED


def test_a_drive_that_is_swapped_between_two_passes_is_not_written(bench: Bench, node: Path) -> None:
    method = dataclasses.replace(METHOD, sequence=Sequence.CUSTOM, passes=("00", "5a"), read_back=ReadBack.SAMPLES)
    watching = Watching()

    class Swapping(OnlyThese):
        """Has another drive in the place of the one that was chosen, once the second pass is to begin."""

        def again(self, drive: Drive) -> Drive:
            serial = "CHOSEN" if len(watching.tasks) == 2 else drive.medium.serial
            return super().again(dataclasses.replace(drive, medium=dataclasses.replace(drive.medium, serial=serial)))

    session = bench.session(node, hands=Swapping)
    done = wiped(session, bench.bring(bench.ticket(node, method=method)), watching)

    assert (done.report.ending, done.judged.may_be_certified) == (Ending.FAILED, False)
    assert "is not the drive that was chosen" in done.report.detail
    assert [step.part for step in done.report.steps] == ["pass 1 of 2"]
    assert content(node) == bytes(SIZE_BYTES)


def test_a_drive_that_nothing_of_the_ticket_reaches_uses_no_ticket_up(bench: Bench, node: Path) -> None:
    purge = dataclasses.replace(METHOD, least=LeastClass.PURGE)
    allowed = bench.ticket(node, method=purge)
    session = bench.session(node)
    looked = session.look(session.accept(bench.bring(allowed)))

    assert looked.plan is not None
    assert looked.plan.is_refused
    with pytest.raises(NothingReaches, match="purge is asked for"):
        session.wipe(looked, DAN, Watching())
    assert not session.is_begun(allowed.ticket_id)
    assert_untouched(node)


def test_a_ticket_that_expired_while_a_person_read_the_screens_is_refused_and_says_so(bench: Bench, node: Path) -> None:
    allowed, envelope = (ticket := bench.ticket(node)), bench.bring(ticket)
    bench.clock = FakeClock(allowed.expires - timedelta(seconds=1))
    session = bench.session(node)
    looked = session.look(session.accept(envelope))
    bench.clock.advance(timedelta(seconds=1))

    with pytest.raises(TicketExpired):
        session.wipe(looked, DAN, Watching())

    assert_untouched(node)
    assert not session.is_begun(allowed.ticket_id)
    assert bench.events(allowed) == ["refused"]
    assert (bench.signed(allowed).ending, "expired at" in bench.signed(allowed).detail) == (Ending.REFUSED, True)


def test_a_ticket_that_expires_while_its_wipe_goes_on_ends_like_any_other(bench: Bench, node: Path) -> None:
    allowed, envelope = (ticket := bench.ticket(node)), bench.bring(ticket)
    bench.clock = clock = FakeClock(allowed.expires - timedelta(seconds=1))

    class Late(OnlyThese):
        """Is opened when the ticket has ended."""

        def open(self, drive: Drive) -> AbstractContextManager[Device]:
            clock.advance(timedelta(hours=5))
            return super().open(drive)

    done = wiped(bench.session(node, hands=Late), envelope)

    assert done.report.ended > allowed.expires
    assert done.judged.result is Result.CLEARED_VERIFIED


def test_a_drive_that_is_pulled_while_it_is_written_fails_by_evidence_and_uses_the_ticket_up(
    bench: Bench, node: Path
) -> None:
    drive = MemoryDrive(SIZE_BYTES, takes_bytes=SIZE_BYTES // 2)

    class Pulled(OnlyThese):
        """Has a drive that goes half way; then none is here."""

        @contextmanager
        def open(self, _: Drive) -> Iterator[Device]:
            self.nodes = []
            yield drive

        def again(self, drive: Drive) -> Drive:
            if not self.nodes:
                raise DriveGone(drive)
            return super().again(drive)

    allowed = bench.ticket(node)
    session = bench.session(node, hands=Pulled)
    done = wiped(session, bench.bring(allowed))

    assert (done.report.ending, done.judged.result) == (Ending.FAILED, Result.FAILED)
    assert "ENODEV" in done.report.detail
    assert done.report.medium_after is None
    assert bench.events(allowed) == ["accepted", "started", "ended"]
    assert bench.signed(allowed) == done.report
    assert session.is_begun(allowed.ticket_id)


def test_a_full_disk_is_seen_before_the_first_write(bench: Bench, node: Path) -> None:
    allowed = bench.ticket(node)
    session = bench.session(node)
    looked = session.look(session.accept(bench.bring(allowed)))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, before[1]))
    try:
        with pytest.raises(NotKept):
            session.wipe(looked, DAN, Watching())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)

    assert_untouched(node)
    assert not Attempts(bench.state).is_used(allowed.ticket_id)
    assert bench.events(allowed) == ["accepted", "refused"]


def test_one_run_at_a_time_has_a_ticket_and_a_drive(bench: Bench, node: Path) -> None:
    allowed = bench.ticket(node)
    session = bench.session(node)
    looked = session.look(session.accept(bench.bring(allowed)))

    with alone_on(node, "the drive"), pytest.raises(AlreadyAtWork):
        session.wipe(looked, DAN, Watching())
    with alone_on(Attempts(bench.state).lock(allowed.ticket_id), "the ticket"), pytest.raises(AlreadyAtWork):
        session.wipe(looked, DAN, Watching())

    assert_untouched(node)
    assert bench.events(allowed) == []


def test_a_drive_is_not_wiped_again_by_what_was_ordered_before_it_was_wiped(bench: Bench, node: Path) -> None:
    """It may hold somebody else's data by then."""
    first, second = (
        bench.ticket(node, method=dataclasses.replace(METHOD, read_back=ReadBack.SAMPLES)) for _ in range(2)
    )
    session, envelopes = bench.session(node), [bench.bring(first), bench.bring(second)]
    assert wiped(session, envelopes[0]).judged.result is Result.CLEARED_VERIFIED
    looked = session.look(session.accept(envelopes[1]))

    assert [one.kind for one in looked.refusals] == [RefusalKind.WIPED_SINCE]
    assert str(first.ticket_id) in str(looked.refusals[0])
    with pytest.raises(NotThisDrive):
        session.wipe(looked, DAN, Watching())
    assert not session.is_begun(second.ticket_id)
    # The control: what was ordered since is done.
    now = bench.clock.now()
    assert wiped(session, bench.bring(bench.ticket(node, issued=now))).judged.result is Result.CLEARED_VERIFIED


def test_what_failed_leaves_the_other_ticket_for_its_drive_as_good_as_it_was(bench: Bench, node: Path) -> None:
    first, second = bench.ticket(node), bench.ticket(node)
    session, envelopes = bench.session(node), [bench.bring(first), bench.bring(second)]
    wiped(session, envelopes[0], Watching(stop_at=1 << 20))
    session.give_up(left(session))

    assert wiped(session, envelopes[1]).judged.result is Result.CLEARED_VERIFIED


def test_what_policy_says_is_asked_anew_before_anything_is_begun(bench: Bench, node: Path) -> None:
    """Whoever leaves the program open keeps no policy of yesterday."""
    allowed, now = bench.ticket(node), bench.host()
    later = dataclasses.replace(now, enrolled=dataclasses.replace(now.enrolled, policy=None))
    hosts = iter([now, later])
    hands = bench.hands(node)
    session = Session(bench.state, bench.tickets, lambda: next(hosts), hands, bench.clock, secrets.token_bytes)

    with pytest.raises(NoWipes):
        wiped(session, bench.bring(allowed))

    assert_untouched(node)
    assert bench.events(allowed) == ["refused"]


# ---- cut short


def test_a_person_stops_it_and_it_goes_on_to_its_end(bench: Bench, node: Path) -> None:
    allowed = bench.ticket(node)
    session = bench.session(node)

    stopped = wiped(session, bench.bring(allowed), Watching(stop_at=2 << 20))

    assert stopped.is_open
    assert stopped.report_file is None
    assert stopped.judged.result is not Result.CLEARED_VERIFIED
    assert PATIENT in content(node)
    assert left(session).standing is Standing.RESUMABLE

    done = session.resume(left(session), Watching())

    assert done.judged.result is Result.CLEARED_VERIFIED
    assert PATIENT not in content(node)
    assert done.report.interruptions == 1
    assert [step.resumed for step in done.report.steps] == [1]
    assert bench.events(allowed) == ["accepted", "started", "resumed", "ended"]
    assert session.unfinished() == ()


@pytest.mark.parametrize("stop_at", [2 << 20, SIZE_BYTES])
def test_what_was_interrupted_in_or_after_its_pass_is_read_back_whole_whatever_the_ticket_asks(
    bench: Bench, node: Path, stop_at: int
) -> None:
    allowed = bench.ticket(node, method=dataclasses.replace(METHOD, read_back=ReadBack.SAMPLES))
    session = bench.session(node)
    wiped(session, bench.bring(allowed), Watching(stop_at=stop_at))

    done = session.resume(left(session), Watching())

    assert [checked.amount for checked in done.report.checks] == [ReadBack.WHOLE]
    assert done.judged.result is Result.CLEARED_VERIFIED


def test_what_a_person_gives_up_is_reported_and_never_certified(bench: Bench, node: Path) -> None:
    allowed = bench.ticket(node)
    session = bench.session(node)
    wiped(session, bench.bring(allowed), Watching(stop_at=1 << 20))

    done = session.give_up(left(session))

    assert done.judged.result is Result.ABORTED
    assert bench.signed(allowed).ending is Ending.ABORTED
    assert session.unfinished() == ()
    assert bench.events(allowed)[-1] == "ended"


def test_what_another_run_brought_to_its_end_meanwhile_is_not_given_up(bench: Bench, node: Path) -> None:
    allowed = bench.ticket(node)
    session = bench.session(node)
    wiped(session, bench.bring(allowed), Watching(stop_at=1 << 20))
    seen = left(session)
    done = bench.session(node).resume(left(session), Watching())

    with pytest.raises(NothingToDo):
        session.give_up(seen)

    assert bench.signed(allowed) == done.report
    assert done.judged.result is Result.CLEARED_VERIFIED
    assert bench.session(node).unfinished() == ()


def test_what_was_begun_on_a_drive_that_is_gone_is_incomplete(bench: Bench, node: Path, tmp_path: Path) -> None:
    allowed = bench.ticket(node)
    wiped(bench.session(node), bench.bring(allowed), Watching(stop_at=1 << 20))
    with loop_drive(tmp_path) as other:
        session = bench.session(other)

        assert left(session).standing is Standing.INCOMPLETE
        with pytest.raises(Refused):
            session.resume(left(session), Watching())
        done = session.give_up(left(session))

        assert_untouched(other)
    assert done.judged.result is Result.ABORTED
    assert done.report.medium_after is None


def test_what_cannot_be_read_of_an_attempt_is_unknown_and_the_ticket_stays_used(bench: Bench, node: Path) -> None:
    allowed = bench.ticket(node)
    session, envelope = bench.session(node), bench.bring(allowed)
    wiped(session, envelope, Watching(stop_at=1 << 20))
    (bench.state / "attempts" / str(allowed.ticket_id) / "draft").write_bytes(b"{")

    assert left(session).standing is Standing.UNKNOWN
    assert [one.kind for one in session.look(session.accept(envelope)).refusals] == [RefusalKind.TICKET_USED]
    with pytest.raises(Refused):
        session.resume(left(session), Watching())
    for _ in range(2):
        with pytest.raises(NothingKnown):
            session.give_up(left(session))
    assert bench.events(allowed) == ["accepted", "started", "ended"]


def test_a_pass_whose_place_is_lost_is_not_gone_on_with(bench: Bench, node: Path) -> None:
    allowed = bench.ticket(node)
    session = bench.session(node)
    wiped(session, bench.bring(allowed), Watching(stop_at=1 << 20))
    (bench.state / "attempts" / str(allowed.ticket_id) / "pass").unlink()

    done = session.resume(left(session), Watching())

    assert done.judged.result is Result.FAILED
    assert "begin anew" in done.report.detail


def test_what_ended_and_was_not_told_any_more_is_told_by_the_next_start(bench: Bench, node: Path) -> None:
    allowed = bench.ticket(node)
    session = bench.session(node)
    done = wiped(session, bench.bring(allowed))
    (bench.state / "out" / f"{allowed.ticket_id}.report").unlink()
    (bench.state / "out" / f"{allowed.ticket_id}.3.note").unlink()

    assert session.unfinished() == ()

    assert bench.signed(allowed) == done.report
    assert bench.events(allowed) == ["accepted", "started", "ended"]


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.edge_agent.sanitize.wiping import Bench, Watching
from edge_agent.sanitize.session import Confirmed

bench, node, envelope, most = Bench(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
points = 0

def point():
    global points
    points += 1
    if points == most:
        os.kill(os.getpid(), signal.SIGKILL)

def saw(event, arguments):
    # Whenever something of ours is opened or put in its place, and at each piece that the drive has taken.
    if event in ("os.rename", "open") and str(arguments[0]).startswith((str(bench.state), str(node))):
        point()

class Killed(Watching):
    def at(self, done, total):
        point()

session = bench.session(node)
looked = session.look(session.accept(envelope.read_bytes()))
sys.addaudithook(saw)
session.wipe(looked, Confirmed("Dan"), Killed())
print(points)
"""


def run_killed(bench: Bench, node: Path, envelope: Path, most: int) -> tuple[int, str]:
    command = [sys.executable, "-c", KILLED, str(bench.folder), str(node), str(envelope), str(most)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout


def brought_to_an_end(bench: Bench, node: Path, allowed: Ticket, envelope: bytes) -> Done | None:
    """Return what the next start makes of it; None: nothing had been begun, and then nothing was written."""
    session = bench.session(node)
    found = session.unfinished()
    if found:
        assert [one.standing for one in found] == [Standing.RESUMABLE]
        return session.resume(found[0], Watching())
    looked = session.look(session.accept(envelope))
    if looked.refusals:
        assert [one.kind for one in looked.refusals] == [RefusalKind.TICKET_USED]
        return next((Done(t, r, j, None) for t, r, j in session.ended() if t == allowed), None)
    assert_untouched(node)
    return None


def killed_at(bench: Bench, tmp_path: Path, most: int) -> Result | None:
    with loop_drive(tmp_path) as node:
        allowed = bench.ticket(node, method=Method(METHOD.least, METHOD.techniques, Sequence.ZERO, (), ReadBack.WHOLE))
        envelope = bench.tickets / f"{allowed.ticket_id}.ticket"
        bench.bring(allowed)
        code, _ = run_killed(bench, node, envelope, most)
        assert code == -signal.SIGKILL

        done = brought_to_an_end(bench, node, allowed, envelope.read_bytes())

        if done is None:
            return None
        assert content(node) == bytes(SIZE_BYTES)
        assert bench.signed(allowed) == done.report
        assert bench.events(allowed)[-1] == "ended"
        return done.judged.result


# Before it was begun; a third written; ended and not told. `make soak` kills at fifty.
@pytest.mark.parametrize("most", [18, 38, 76])
def test_killed_at_any_point_it_is_begun_or_not_and_never_falsely_done(bench: Bench, tmp_path: Path, most: int) -> None:
    assert killed_at(bench, tmp_path, most) is (None if most == 18 else Result.CLEARED_VERIFIED)


@pytest.mark.soak
def test_killed_at_fifty_points_it_is_begun_or_not_and_never_falsely_done(tmp_path: Path) -> None:
    came = list[Result | None]()
    for most in random.Random(9).sample(range(1, 83), 50):
        folder = tmp_path / str(most)
        folder.mkdir()
        came.append(killed_at(Bench.new(folder), folder, most))

    assert set(came) == {None, Result.CLEARED_VERIFIED}
