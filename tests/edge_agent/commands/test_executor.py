"""Commands at the host: done once, in time, for whom it is, by whose word it is; and each refusal is said.

Every protection is taken away once, to see that it is the one that protects.
"""

import dataclasses
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from edge_agent.commands import accept, executor
from edge_agent.commands.accept import CHECKS, Check
from edge_agent.commands.executor import Done
from edge_agent.commands.store import CommandStore, Taken
from edge_agent.policy_sync.pull import PolicyNotCurrent
from edge_agent.policy_sync.verification import TrustCacheUnavailable
from shared.audit.events import Event, Participant, Subject
from shared.envelope import Signatories
from shared.errors import Unavailable
from shared.fleet.command import Argument, Command, Outcome, SignedCommand, sign_command
from shared.identity import CommandId, HostId
from shared.signing import Label, sign_statement
from tests.edge_agent.commands.bench import ADA, BEA, HOUR, STRANGER, Bench


def without(check: Check) -> tuple[Check, ...]:
    return tuple(one for one in CHECKS if one is not check)


class Forgetful(CommandStore):
    """Takes no note of what was taken."""

    def is_taken(self, command_id: CommandId) -> bool:
        return False

    def take(self, taken: Taken) -> None:
        pass


def test_a_command_is_done_and_its_result_says_what_proves_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    command = bench.command()
    bench.offer(command)

    (result,) = bench.results()
    assert (result.command_id, result.command_sha256) == (command.command_id, command.digest)
    assert (result.outcome, result.facts) == (Outcome.DONE, {"count": 1})
    assert bench.done == [{"events": 1}]
    assert bench.recorded() == [Event.COMMAND_BEGUN, Event.COMMAND_ENDED]


# ---- replayed


def test_a_replayed_command_is_not_done_again_and_its_first_result_is_told_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    command = bench.command()
    bench.offer(command)
    first = bench.results()
    bench.confirm()
    bench.restart()
    bench.offer(command)

    assert (len(bench.done), bench.results()) == (1, first)
    assert bench.recorded()[-1] is Event.COMMAND_REFUSED


def test_a_replayed_command_is_done_twice_by_a_host_that_forgets(tmp_path: Path) -> None:
    bench = Bench(tmp_path, store=Forgetful)
    command = bench.command()
    bench.offer(command)
    bench.offer(command)

    assert len(bench.done) == 2


def test_another_command_under_a_used_name_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    command = bench.command()
    bench.offer(command)
    bench.confirm()
    bench.offer(dataclasses.replace(command, action="isolate", arguments={}))

    assert bench.outcome() == (Outcome.REFUSED, "CommandUsed")
    assert len(bench.done) == 1


# ---- expired


def test_an_expired_command_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    command = bench.command(life=HOUR)
    bench.clock.advance(HOUR)
    bench.offer(command)

    assert bench.outcome() == (Outcome.REFUSED, "CommandExpired")
    assert bench.recorded() == [Event.COMMAND_REFUSED]
    assert not bench.done


def test_an_expired_command_is_done_by_a_host_that_does_not_look_at_its_clock(tmp_path: Path) -> None:
    bench = Bench(tmp_path, checks=without(accept.is_in_time))
    command = bench.command(life=HOUR)
    bench.clock.advance(HOUR)
    bench.offer(command)

    assert len(bench.done) == 1


def test_a_clock_that_was_set_back_makes_no_expired_command_good(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    command = bench.command(life=HOUR)
    bench.signed_at = command.expires
    bench.clock.advance(-24 * HOUR)
    bench.offer(command)

    assert bench.outcome() == (Outcome.REFUSED, "CommandExpired")


def test_without_the_signed_time_a_clock_that_was_set_back_would(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    command = bench.command(life=HOUR)
    bench.signed_at = None
    bench.clock.advance(2 * HOUR)
    bench.clock.advance(-2 * HOUR)
    bench.offer(command)

    assert len(bench.done) == 1


def test_a_command_from_tomorrow_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    command = bench.command()
    bench.signed_at = None
    bench.clock.advance(timedelta(minutes=-6))
    bench.offer(command)

    assert bench.outcome() == (Outcome.REFUSED, "CommandTooEarly")


# ---- another host's, and actions


def test_another_host_s_command_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.offer(bench.command(host=HostId(bytes(16))))

    assert bench.outcome() == (Outcome.REFUSED, "CommandOfAnother")
    assert not bench.done


def test_another_host_s_command_is_done_where_nobody_reads_whose_it_is(tmp_path: Path) -> None:
    bench = Bench(tmp_path, checks=without(accept.is_for_this_host))
    bench.offer(bench.command(host=HostId(bytes(16))))

    assert len(bench.done) == 1


def test_an_unknown_action_is_refused_before_anything_is_begun(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.offer(bench.command("wipe"))

    assert bench.outcome() == (Outcome.REFUSED, "ActionUnknown")
    assert Event.COMMAND_BEGUN not in bench.recorded()


def test_an_unknown_action_is_begun_where_actions_are_not_looked_up_first(tmp_path: Path) -> None:
    bench = Bench(tmp_path, checks=without(accept.is_known))
    bench.offer(bench.command("wipe"))

    assert bench.outcome()[0] is Outcome.UNKNOWN
    assert Event.COMMAND_BEGUN in bench.recorded()


def test_an_argument_too_many_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.offer(dataclasses.replace(bench.command(), arguments={"events": 1, "quietly": True}))

    assert bench.outcome() == (Outcome.REFUSED, "Malformed")


# ---- who signed


def test_a_wrong_signer_s_command_is_refused(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.offer(bench.command(), STRANGER)

    assert bench.outcome() == (Outcome.REFUSED, "SignerUnknown")
    assert not bench.done


def test_a_wrong_signer_s_command_is_done_where_nobody_looks_who_signed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, checks=without(accept.is_signed))
    bench.offer(bench.command(), STRANGER)

    assert len(bench.done) == 1


def test_what_was_signed_as_something_else_is_no_command(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    statement = sign_statement(ADA, Label.HOST_STATE, bench.command().encode())
    bench.executor.take(SignedCommand.of([statement]).encode(), threading.Event())

    assert bench.outcome() == (Outcome.REFUSED, "SignatureInvalid")


def test_a_command_that_too_few_signed_is_refused_and_one_that_enough_signed_is_done(tmp_path: Path) -> None:
    bench = Bench(tmp_path, signatories=Signatories((ADA.public, BEA.public), 2))
    bench.offer(bench.command(), ADA)
    refused = bench.outcome()
    bench.confirm()
    bench.offer(bench.command(), ADA, BEA)

    assert refused == (Outcome.REFUSED, "TooFewSignatures")
    assert (len(bench.done), bench.outcome()[0]) == (1, Outcome.DONE)


def test_a_command_that_too_few_signed_is_done_where_one_is_enough(tmp_path: Path) -> None:
    bench = Bench(tmp_path, signatories=Signatories((ADA.public, BEA.public), 1))
    bench.offer(bench.command(), ADA)

    assert len(bench.done) == 1


def test_one_signature_twice_does_not_make_two(tmp_path: Path) -> None:
    bench = Bench(tmp_path, signatories=Signatories((ADA.public, BEA.public), 2))
    once = sign_command(bench.command(), [ADA])
    bench.executor.take(dataclasses.replace(once, statements=once.statements * 2).encode(), threading.Event())

    assert (bench.done, bench.results()) == ([], [])
    assert bench.recorded() == [Event.COMMAND_REFUSED]


def test_expired_policy_metadata_lets_nobody_command(tmp_path: Path) -> None:
    """Somebody may have been taken out since, and a host that is kept from the centre would not know."""
    bench = Bench(tmp_path)
    bench.expires = bench.clock.now()
    bench.offer(bench.command())

    assert bench.outcome() == (Outcome.REFUSED, "DelegationExpired")
    assert not bench.done


# ---- refused by metadata that is older than the command


def late(bench: Bench) -> None:
    """Have the host be off for long: its metadata expired, and a pull brings what is current."""
    fresh, bench.expires = bench.expires, bench.clock.now() - HOUR

    def pulled() -> None:
        bench.expires = fresh

    bench.pulled = pulled


def changed(bench: Bench) -> None:
    """Have the signers change from Bea to Ada, which a pull brings."""
    newest, bench.signatories = bench.signatories, Signatories((BEA.public,), 1)

    def pulled() -> None:
        bench.signatories = newest

    bench.pulled = pulled


def lowered(bench: Bench) -> None:
    """Have two signatures be asked for until a pull."""
    newest, bench.signatories = bench.signatories, Signatories((ADA.public, BEA.public), 2)

    def pulled() -> None:
        bench.signatories = newest

    bench.pulled = pulled


def behind(bench: Bench) -> None:
    """Have the clock be years behind until a pull brings a signed time."""
    signed_at, bench.signed_at = bench.clock.now(), None

    def pulled() -> None:
        bench.signed_at = signed_at

    bench.pulled = pulled


STALE = pytest.mark.parametrize(
    "stale, error",
    [
        (late, "DelegationExpired"),
        (changed, "SignerUnknown"),
        (lowered, "TooFewSignatures"),
        (behind, "CommandTooEarly"),
    ],
)


def stale_bench(folder: Path, stale: Callable[[Bench], None]) -> tuple[Bench, Command]:
    bench = Bench(folder)
    command = bench.command("isolate")
    stale(bench)
    if stale is behind:
        bench.clock.advance(-24 * 365 * HOUR)
    return bench, command


@STALE
def test_what_newer_metadata_lets_pass_is_done_and_not_refused(
    tmp_path: Path, stale: Callable[[Bench], None], error: str
) -> None:
    bench, command = stale_bench(tmp_path, stale)
    bench.offer(command)

    assert (len(bench.done), bench.outcome()[0]) == (1, Outcome.DONE)
    assert Event.COMMAND_REFUSED not in bench.recorded()


@STALE
def test_what_newer_metadata_would_let_pass_is_lost_on_a_host_that_does_not_ask_for_it(
    tmp_path: Path, stale: Callable[[Bench], None], error: str
) -> None:
    bench, command = stale_bench(tmp_path, stale)
    bench.pulled = lambda: None
    bench.offer(command)

    assert (bench.done, bench.outcome()) == ([], (Outcome.REFUSED, error))


def test_without_a_pull_nothing_is_refused_by_metadata_and_the_next_pull_has_it_done(tmp_path: Path) -> None:
    bench, command = stale_bench(tmp_path, late)
    pulled = bench.pulled

    def unreachable() -> None:
        raise PolicyNotCurrent("the centre does not answer")

    bench.pulled = unreachable
    with pytest.raises(PolicyNotCurrent):
        bench.offer(command)
    waiting, recorded = bench.results(), bench.recorded()
    bench.pulled = pulled
    bench.offer(command)

    assert (waiting, recorded) == ([], [])
    assert bench.outcome()[0] is Outcome.DONE


def test_what_no_metadata_changes_is_refused_without_a_pull(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.pulled = late  # type: ignore[assignment]  # which cannot be called so
    bench.offer(bench.command("wipe"))

    assert bench.outcome() == (Outcome.REFUSED, "ActionUnknown")


# ---- refused is final


class Lenient(CommandStore):
    """Takes what was refused, as hosts did once."""

    def is_taken(self, command_id: CommandId) -> bool:
        query = "SELECT 1 FROM command_taken WHERE command = ?"
        return bool(self._database.read(query, (str(command_id),)))


def refused_and_brought_again(folder: Path, store: Callable[..., CommandStore]) -> Bench:
    """Have a command refused for want of a signature, and brought with all of them after a restart."""
    bench = Bench(folder, signatories=Signatories((ADA.public, BEA.public), 2), store=store)
    command = bench.command()
    bench.offer(command, ADA)
    bench.confirm()
    bench.restart()
    bench.offer(command, ADA, BEA)
    return bench


def test_what_was_refused_is_never_done_whoever_kept_it(tmp_path: Path) -> None:
    bench = refused_and_brought_again(tmp_path, CommandStore)

    assert (bench.done, bench.outcome()) == ([], (Outcome.REFUSED, "TooFewSignatures"))


def test_what_was_refused_is_done_by_a_host_that_spends_no_name_on_it(tmp_path: Path) -> None:
    bench = refused_and_brought_again(tmp_path, Lenient)

    assert len(bench.done) == 1


def test_a_refusal_that_was_confirmed_is_told_again_and_recorded_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    offered = sign_command(bench.command(), [STRANGER]).encode()
    bench.executor.take(offered, threading.Event())
    first = bench.results()
    bench.confirm()
    confirmed = bench.results()
    bench.executor.take(offered, threading.Event())

    assert (confirmed, bench.results()) == ([], first)
    assert bench.recorded() == [Event.COMMAND_REFUSED]


def refused_after(folder: Path, refusals: int) -> Bench:
    bench = Bench(folder)
    for _ in range(refusals):
        bench.offer(bench.command(), STRANGER)
        bench.confirm()
    bench.offer(bench.command(), STRANGER)
    return bench


def test_a_refusal_that_is_not_recorded_any_more_has_a_result_all_the_same(tmp_path: Path) -> None:
    bench = refused_after(tmp_path, 64)

    assert bench.recorded().count(Event.COMMAND_REFUSED) == 64
    assert bench.outcome() == (Outcome.REFUSED, "SignerUnknown")


def test_who_offers_ever_new_forgeries_does_not_fill_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "_MOST_REFUSALS_KEPT", 3)
    bench = refused_after(tmp_path, 3)

    assert bench.results() == []


# ---- killed and failed


class Killed(BaseException):
    """Goes through everything, as a process that is killed does."""


def killed(_arguments: Mapping[str, Argument], _stop: threading.Event) -> Done:
    raise Killed


def test_a_command_that_was_killed_midway_is_unknown_and_not_tried_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, do=killed)
    command = bench.command()
    with pytest.raises(Killed):
        bench.offer(command)
    before = bench.results()
    bench.restart()
    bench.offer(command)

    assert before == []
    assert bench.outcome()[0] is Outcome.UNKNOWN
    assert bench.recorded().count(Event.COMMAND_BEGUN) == 1


def test_nobody_would_know_of_it_if_it_were_not_noted_first(tmp_path: Path) -> None:
    bench = Bench(tmp_path, do=killed, store=Forgetful)
    with pytest.raises(Killed):
        bench.offer(bench.command())
    bench.restart()

    assert bench.results() == []


def failing(_arguments: Mapping[str, Argument], _stop: threading.Event) -> Done:
    raise Unavailable("the centre does not answer")


def foolish(_arguments: Mapping[str, Argument], _stop: threading.Event) -> Done:
    raise ZeroDivisionError


def test_what_fails_says_why(tmp_path: Path) -> None:
    bench = Bench(tmp_path, do=failing)
    bench.offer(bench.command())

    assert [(one.outcome, one.detail) for one in bench.results()] == [
        (Outcome.FAILED, "Unavailable: the centre does not answer")
    ]


def test_what_nobody_foresaw_is_unknown_and_quotes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path, do=foolish)
    bench.offer(bench.command())

    assert bench.outcome()[0] is Outcome.UNKNOWN
    assert "ZeroDivision" not in bench.results()[0].detail


def test_who_offers_ever_new_forgeries_does_not_fill_the_journal(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for _ in range(100):
        bench.offer(bench.command(), STRANGER)
    bench.offer(bench.command())

    assert bench.recorded().count(Event.COMMAND_REFUSED) == 64
    assert len(bench.done) == 1


def test_without_metadata_to_judge_by_nothing_is_refused_for_good(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    command = bench.command()

    bench.is_unreadable = True
    with pytest.raises(TrustCacheUnavailable):
        bench.offer(command)
    bench.is_unreadable = False
    bench.offer(command)

    assert bench.outcome()[0] is Outcome.DONE


def test_the_journal_says_who_had_what_done_and_with_what(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.signatories = Signatories((ADA.public,), 1, {ADA.public.key_id: "ada"})
    command = bench.command()
    bench.offer(command)
    begun, ended = bench.records()

    assert begun.who == ended.who == (Participant("person", "ada", True),)
    assert [(what.kind, what.name) for what in begun.what] == [
        ("command", str(command.command_id)), ("action", "diagnostics"), ("digest", command.digest.hex()),
        ("fact", "claimed author: ada"), ("fact", "events: 1"), ("key", str(ADA.public.key_id)),
    ]  # fmt: skip
    assert ended.what[-1] == Subject("key", str(ADA.public.key_id))


def test_the_journal_names_who_signed_and_not_whom_the_command_names(tmp_path: Path) -> None:
    """Bea signs what says that it is Ada's; the control is the test above, in which Ada does."""
    bench = Bench(tmp_path, signatories=Signatories((ADA.public, BEA.public), 1, {BEA.public.key_id: "bea"}))
    bench.offer(bench.command(), BEA)

    for record in bench.records():
        assert record.who == (Participant("person", "bea", True),)
        assert Subject("key", str(BEA.public.key_id)) in record.what
        assert Subject("key", str(ADA.public.key_id)) not in record.what
        assert Subject("fact", "claimed author: ada") in record.what


def test_a_key_that_policy_names_nobody_for_goes_by_its_id(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.offer(bench.command())

    assert bench.records()[0].who == (Participant("person", f"unnamed {ADA.public.key_id}", True),)


def test_who_signed_is_known_of_what_a_killed_agent_had_begun(tmp_path: Path) -> None:
    signatories = Signatories(
        (ADA.public, BEA.public), 2, {ADA.public.key_id: "ada", BEA.public.key_id: "bea"}
    )  # fmt: skip
    bench = Bench(tmp_path, signatories=signatories, do=killed)
    with pytest.raises(Killed):
        bench.offer(bench.command(), ADA, BEA)
    bench.restart()
    begun, ended = bench.records()

    assert {who.name for who in ended.who} == {"ada", "bea"}
    assert begun.who == ended.who
    assert begun.what[-2:] == ended.what[-2:]
