"""Moves as administrators and hosts find them at the doors of a control plane."""

import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from control_plane.people.decide import Permission, decide
from shared import clock
from shared.audit.batch import sign_batch
from shared.audit.events import Action, Event, Happening, Outcome
from shared.audit.record import GENESIS, compose
from shared.identity import HostId
from shared.signing import SoftwareSigner
from tests.control_plane.http.conftest import Answer, Open
from tests.control_plane.http.test_doors import EnrolledHost, problem
from tests.shared.made import NOW

Trusting = Callable[[], ssl.SSLContext]


@pytest.fixture
def hosts(door: Open, tmp_path: Path) -> tuple[EnrolledHost, EnrolledHost]:
    """Two enrolled hosts that nobody has said anything about."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    return EnrolledHost(door, tmp_path / "old"), EnrolledHost(door, tmp_path / "new")


@pytest.fixture
def pair(hosts: tuple[EnrolledHost, EnrolledHost]) -> tuple[str, str]:
    old, new = hosts
    return str(old.answer.host_id), str(new.answer.host_id)


def allow(door: Open, source: str, bearer: str, **more: Any) -> Answer:
    body = {"from": source, "to": bearer, "reason": "box died", **more}
    return door.signed_in("POST", "/api/v1/spool-moves", json.dumps(body).encode())


def moves(answer: Answer) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(answer.body)["moves"]
    return found


def test_a_move_is_allowed_shown_and_ended(door: Open, pair: tuple[str, str]) -> None:
    allowed = allow(door, *pair)
    (move,) = moves(allowed)

    assert allowed.status == 201
    assert (move["from"], move["to"], move["from_asset"], move["state"]) == (*pair, "CT 2", "open")
    assert (move["allowed_by"], move["objects"], move["records"]) == ("ada", 0, 0)
    assert move in moves(door.signed_in("GET", "/api/v1/spool-moves"))
    status = json.loads(door.signed_in("GET", "/api/v1/status").body)
    assert move in status["moves"]
    assert any(move["move"] in gap for gap in status["not_evaluated"])
    (ended,) = moves(door.signed_in("POST", f"/api/v1/spool-moves/{move['move']}/end"))
    assert ended["state"] == "ended"
    status = json.loads(door.signed_in("GET", "/api/v1/status").body)
    assert [one for one in status["moves"] if one["move"] == move["move"]] == []
    assert door.signed_in("POST", f"/api/v1/spool-moves/{move['move']}/end").status == 409


def test_a_move_ends_after_the_days_that_were_said_or_after_fourteen(door: Open, pair: tuple[str, str]) -> None:
    (short,) = moves(allow(door, *pair, days=1))
    (long,) = moves(allow(door, pair[1], pair[0]))

    assert lasting(short) == 1
    assert lasting(long) == 14


def lasting(move: dict[str, Any]) -> float:
    return (clock.parse(move["until"]) - clock.parse(move["allowed"])).total_seconds() / 86_400


@pytest.mark.parametrize(
    "wrong", [{"days": 0}, {"days": 91}, {"days": "7"}, {"reason": "x"}, {"from": "CT 2"}, {"more": 1}, {"to": None}]
)
def test_what_is_not_in_the_form_is_bad_input(door: Open, pair: tuple[str, str], wrong: dict[str, Any]) -> None:
    source, bearer = pair

    assert allow(door, **{"source": source, "bearer": bearer, **wrong}).status == 422


def test_a_host_that_was_never_enrolled_is_named(door: Open, pair: tuple[str, str]) -> None:
    stranger = str(HostId.new())

    refused = allow(door, stranger, pair[1])
    assert refused.status == 409
    assert stranger in str(problem(refused)["detail"])
    assert door.signed_in("POST", "/api/v1/spool-moves/00000000/end").status == 404


def test_who_is_not_signed_in_allows_nothing(door: Open, pair: tuple[str, str]) -> None:
    body = json.dumps({"from": pair[0], "to": pair[1], "reason": "please"}).encode()

    assert door.people("POST", "/api/v1/spool-moves", body).status == 401
    assert door.people("GET", "/api/v1/spool-moves").status == 401
    assert not [one for one in moves(door.signed_in("GET", "/api/v1/spool-moves")) if one["from"] == pair[0]]


def test_records_of_another_host_are_let_in_by_that_word_and_kept_waiting_by_its_lack(
    door: Open, hosts: tuple[EnrolledHost, EnrolledHost], pair: tuple[str, str], trusting: Trusting
) -> None:
    old, new = hosts
    who = Happening(Event.AGENT_STARTED, Action.EXECUTE, Outcome.SUCCESS)
    record = compose(who, source=pair[0], seq=1, prev=GENESIS, time=NOW, salt=bytes(32), key=None)
    batch = sign_batch(pair[0], GENESIS, [record], SoftwareSigner(old.evidence)).encode()
    context = new.identify(trusting(), new.answer.tls_certificate, new.tls)

    refused = door.hosts(context, "POST", "/api/v1/audit/batches", batch)
    allow(door, *pair)
    taken = door.hosts(context, "POST", "/api/v1/audit/batches", batch)

    assert (refused.status, problem(refused)["error"]) == (403, "BatchOfAnotherHost")
    assert (taken.status, json.loads(taken.body)) == (200, {"held": 1})


@pytest.mark.parametrize("role", ["", "radiographer", "auditor"])
def test_only_a_role_that_holds_it_may(role: str) -> None:
    assert not decide(role, Permission.SPOOL_MOVE).allowed
    assert decide("administrator", Permission.SPOOL_MOVE).allowed
