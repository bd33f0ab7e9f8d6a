"""Commands at the host: done once, in time, for whom it is, by whose word it is; and each refusal is said.

Every protection is taken away once, to see that it is the one that protects.
"""

import dataclasses
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from edge_agent.commands import accept
from edge_agent.commands.accept import CHECKS, Check
from edge_agent.commands.executor import Done
from edge_agent.commands.store import CommandStore, Taken
from edge_agent.policy_sync.verification import TrustCacheUnavailable
from shared.audit.record import AuditRecord, Event
from shared.errors import Unavailable
from shared.fleet.command import Argument, Outcome, Signatories, SignedCommand, sign_command
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


def test_a_command_that_too_few_signed_is_refused_and_with_enough_it_is_done(tmp_path: Path) -> None:
    bench = Bench(tmp_path, signatories=Signatories((ADA.public, BEA.public), 2))
    command = bench.command()
    bench.offer(command, ADA)
    refused = bench.outcome()
    bench.offer(command, ADA, BEA)

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
    command = bench.command()
    bench.offer(command)
    unsent = bench.host.journal.after(0, most=10, most_bytes=1 << 20)
    assert unsent is not None
    begun = AuditRecord.parse(unsent.records[0].public)

    assert [(who.kind, who.name) for who in begun.who] == [("person", "ada")]
    assert [(what.kind, what.name) for what in begun.what] == [
        ("command", str(command.command_id)), ("action", "diagnostics"), ("digest", command.digest.hex()),
        ("fact", "events: 1"),
    ]  # fmt: skip
