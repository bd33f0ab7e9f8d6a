"""Every way to the log that the people's door has leaves a record, whoever goes it; no setting takes one away."""

import dataclasses
import json
from typing import Any

import pytest

from control_plane.audit_log.reading import AuditReading
from control_plane.fleet.overview import Overview
from control_plane.settings import Settings
from shared.audit.events import Action, Event, Happening, Outcome
from tests.control_plane.http.conftest import Open
from tests.control_plane.http.test_hosts_life import post

# No reading of the log: what follows are the answers to a question that was recorded; the other tells it something.
ELSEWHERE = {"/api/v1/audit/follow/{name}", "/api/v1/log/accept-loss"}
ASKED: dict[str, Any] = {
    "/api/v1/audit/find": {"question": {"person": "nobody"}},
    "/api/v1/audit/who-touched": {"patient": "nobody"},
    "/api/v1/audit/archive": {"question": {"event": "audit.read"}},
    "/api/v1/audit/archive/opened": {"question": {"event": "audit.read"}},
    "/api/v1/audit/follow": {},
    "/api/v1/audit/verify": {},
    "/api/v1/log/proof": {"source": "control-plane", "seq": 1},
}


def read_by(door: Open, person: str) -> int:
    shown = door.centre._people_services().audit.tail(100_000)
    return sum(one["event"] == "audit.read" and one["who"][0]["name"] == person for one in shown)  # type: ignore[index, call-overload]


def ways(door: Open) -> list[tuple[str, str]]:
    described = json.loads(door.signed_in("GET", "/api/v1/openapi.json").body)
    return [
        (method.upper(), path)
        for path, methods in described["paths"].items()
        if path.startswith(("/api/v1/audit/", "/api/v1/log/")) and path not in ELSEWHERE
        for method in methods
    ]


@pytest.fixture(scope="module")
def tokens(door: Open) -> dict[str, str]:
    roles = {"iris": "auditor", "mara": "administrator"}
    answers = {name: post(door, "/api/v1/people", {"name": name, "role": role}) for name, role in roles.items()}
    return {name: json.loads(answer.body)["token"] for name, answer in answers.items()}


def unrecorded(door: Open, tokens: dict[str, str]) -> list[tuple[str, str, str]]:
    """Go each way, and return those that left no record, although they were not forbidden."""
    found = []
    door.centre._following._followers.clear()
    for method, path in ways(door):
        body = ASKED.get(path)
        sent = None if body is None else json.dumps(body).encode()
        for person, token in tokens.items():
            before, headers = (
                read_by(door, person),
                {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            )
            answer = door.people(method, path.replace("{name}", "0/000.p/1"), sent, **headers)
            if answer.status not in (403, 409) and read_by(door, person) == before:
                found.append((person, method, path))
    return found


def test_each_way_to_the_log_is_a_record_for_whoever_goes_it(door: Open, tokens: dict[str, str]) -> None:
    assert ASKED.keys() < {path for _, path in ways(door)}
    assert unrecorded(door, tokens) == []


def test_a_way_that_leaves_no_record_is_found(
    door: Open, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AuditReading, "_note", lambda *_: None)

    assert {path for _, _, path in unrecorded(door, tokens)} == {
        f"/api/v1/audit/{way}" for way in ("records", "verify", "export")
    }


def told_of(door: Open, marker: str, token: str) -> list[str]:
    """Return which answers and pages that leave no record tell of the record with `marker`."""
    paths = json.loads(door.signed_in("GET", "/api/v1/openapi.json").body)["paths"]
    anywhere = [path for path, methods in paths.items() if "get" in methods and "{" not in path]
    elsewhere = [path for path in anywhere if not path.startswith(("/api/v1/audit/", "/api/v1/log/"))]
    headers = {"Authorization": f"Bearer {token}"}
    return [path for path in elsewhere if marker.encode() in door.people("GET", path, None, **headers).body]


def test_nothing_that_leaves_no_record_tells_what_stands_in_the_log(
    door: Open, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = Happening(Event.SERVER_STARTED, Action.EXECUTE, Outcome.SUCCESS, reason="not to be read unseen")
    door.centre._journal.record(marker)
    bearer = {"Authorization": f"Bearer {tokens['iris']}"}

    assert marker.reason.encode() in door.people("GET", "/api/v1/audit/records", None, **bearer).body
    assert told_of(door, marker.reason, tokens["mara"]) == []

    # The control: it is found where the status, which technicians read too, tells of records.
    status, tail = Overview.status, door.centre._people_services().audit.tail(20)
    reasons = [one["reason"] for one in tail]
    monkeypatch.setattr(Overview, "status", lambda self: {**status(self), "not_evaluated": reasons})
    assert told_of(door, marker.reason, tokens["mara"]) == ["/", "/api/v1/status"]


def test_whoever_may_not_do_what_they_try_is_in_the_log_with_what_it_was(door: Open, tokens: dict[str, str]) -> None:
    bearer, image = {"Authorization": f"Bearer {tokens['iris']}", "Content-Type": "application/json"}, "f" * 32
    body = json.dumps({"reason": "curious", "as": "dataset"}).encode()

    opened = door.people("POST", f"/api/v1/objects/{image}/open", body, **bearer)
    archived = door.people("POST", "/api/v1/audit/archive/opened", b'{"question": {"event": "audit.read"}}', **bearer)

    assert (opened.status, archived.status) == (403, 403)
    newest = door.centre._people_services().audit.tail(2)
    assert {one["event"] for one in newest} == {"people.not-permitted"}
    assert {one["who"][0]["name"] for one in newest} == {"iris"}  # type: ignore[index, call-overload]
    what = [{"kind": kind, "name": name} for kind, name in (("permission", "object:open"), ("object", image))]
    assert [one["what"] for one in newest] == [[{"kind": "permission", "name": "audit:open"}], what]
    assert {one["outcome"] for one in newest} == {4}


def test_what_is_typed_for_an_image_and_is_none_stays_out_of_the_log(door: Open, tokens: dict[str, str]) -> None:
    bearer = {"Authorization": f"Bearer {tokens['iris']}", "Content-Type": "application/json"}
    body = json.dumps({"reason": "a slip", "as": "dataset"}).encode()

    assert door.people("POST", "/api/v1/objects/DOE%5EJANE/open", body, **bearer).status == 403
    (newest,) = door.centre._people_services().audit.tail(1)
    assert newest["event"] == "people.not-permitted"
    assert newest["what"] == [{"kind": "permission", "name": "object:open"}]


def test_whoever_goes_on_trying_is_told_to_wait_and_fills_no_log(door: Open) -> None:
    token = json.loads(post(door, "/api/v1/people", {"name": "otto", "role": "technician"}).body)["token"]
    bearer = {"Authorization": f"Bearer {token}"}

    tried = [door.people("GET", "/api/v1/audit/export", None, **bearer).status for _ in range(15)]

    assert tried == [403] * 10 + [429] * 5
    shown = door.centre._people_services().audit.tail(100_000)
    assert sum(one["event"] == "people.not-permitted" and one["who"][0]["name"] == "otto" for one in shown) == 10  # type: ignore[index, call-overload]
    assert door.people("GET", "/api/v1/status", None, **bearer).status == 200, "what they may, they still may"


def test_no_setting_is_a_switch_that_could_turn_recording_off() -> None:
    """One that is added has to be looked at here."""
    assert {field.name for field in dataclasses.fields(Settings) if field.type in (bool, "bool")} == {"with_broker"}
