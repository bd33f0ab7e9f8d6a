"""API tokens: their scope, their end, and what they can never be for."""

from datetime import timedelta

import pytest

from control_plane.people.accounts import NotSignedIn
from control_plane.people.decide import NEVER_IN_A_SCOPE, Permission
from control_plane.people.permissions import NotPermitted, verify_permitted
from control_plane.people.tokens import RENEWED_ENDS, ScopeRefused, TokenUnknown
from tests.control_plane.people.bench import HERE, PASSWORD, Bench

A_DAY = timedelta(days=1)


def test_a_token_opens_what_its_scope_says_and_nothing_else(bench: Bench) -> None:
    ada = bench.person("ada")
    tool = bench.accounts.by_token(bench.tokens.make(ada, "monitoring", ["status:read"], A_DAY).secret)

    verify_permitted(tool, Permission.STATUS_READ)
    for permission in set(Permission) - {Permission.STATUS_READ}:
        verify_permitted(ada, permission)  # control: the person may
        with pytest.raises(NotPermitted):
            verify_permitted(tool, permission)


def test_a_token_for_everything_is_for_what_its_person_may_do(bench: Bench) -> None:
    bob = bench.person("bob", role="auditor")
    tool = bench.accounts.by_token(bench.tokens.make(bob, "export", None, A_DAY).secret)

    verify_permitted(tool, Permission.AUDIT_READ)
    with pytest.raises(NotPermitted):
        verify_permitted(tool, Permission.OBJECT_OPEN)


@pytest.mark.parametrize(
    "scope", [["object:open"], ["status:read", "no:such"], [], *([p.value] for p in NEVER_IN_A_SCOPE)]
)
def test_a_scope_is_no_more_than_its_person_may_and_never_a_way_to_more(bench: Bench, scope: list[str]) -> None:
    bob = bench.person("bob", role="auditor")

    with pytest.raises(ScopeRefused):
        bench.tokens.make(bob, "tool", scope, A_DAY)
    bench.tokens.make(bob, "tool", ["status:read", "audit:read"], A_DAY)


def test_an_expired_token_and_an_ended_one_open_nothing(bench: Bench) -> None:
    ada = bench.person("ada")
    made = [bench.tokens.make(ada, "tool", None, A_DAY) for _ in range(2)]
    bench.tokens.end(ada, made[0].token_id, of_anybody=False)
    bench.clock.advance(A_DAY - timedelta(seconds=1))
    with pytest.raises(NotSignedIn):
        bench.accounts.by_token(made[0].secret)
    bench.accounts.by_token(made[1].secret)
    bench.clock.advance(timedelta(seconds=1))

    with pytest.raises(NotSignedIn):
        bench.accounts.by_token(made[1].secret)


def test_only_whoever_may_change_people_ends_somebody_elses_token(bench: Bench) -> None:
    ada, bob = bench.person("ada"), bench.person("bob", role="auditor")
    made = bench.tokens.make(ada, "tool", None, A_DAY)

    with pytest.raises(TokenUnknown):
        bench.tokens.end(bob, made.token_id, of_anybody=False)
    bench.accounts.by_token(made.secret)
    bench.tokens.end(ada, bob.token_id, of_anybody=True)


def test_a_renewed_token_takes_the_place_of_the_one_in_hand(bench: Bench) -> None:
    first = bench.accounts.create("ada", "administrator")
    second = bench.tokens.renew(bench.accounts.by_token(first)).secret
    assert bench.accounts.by_token(first).name == "ada"  # the answer may have been lost on its way
    bench.clock.advance(RENEWED_ENDS)

    with pytest.raises(NotSignedIn):
        bench.accounts.by_token(first)
    assert bench.accounts.by_token(second).name == "ada"


def test_what_runs_out_within_thirty_days_is_named(bench: Bench) -> None:
    ada = bench.person("ada")
    bench.tokens.make(ada, "monitoring", None, timedelta(days=31))
    assert bench.tokens.running_out() == ()
    bench.clock.advance(timedelta(days=2))

    assert [(one["person"], one["name"]) for one in bench.tokens.running_out()] == [("ada", "monitoring")]


def test_who_was_reset_while_asking_for_a_token_has_none(bench: Bench) -> None:
    """The door had let them in by then. The control is that the same makes one before."""
    ada = bench.person("ada")
    bench.tokens.make(ada, "tool", None, A_DAY)
    bench.people.reset("ada", by="ben")

    with pytest.raises(NotSignedIn):
        bench.tokens.make(ada, "tool", None, A_DAY)
    with pytest.raises(NotSignedIn):
        bench.factors.set_password(ada, "", PASSWORD, HERE)
    assert [token["name"] for token in bench.tokens.listed("ada")] == ["credential"]
