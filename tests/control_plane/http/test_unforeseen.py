"""An error that nobody foresaw, within what a person does: a record of who and what, and nothing of its text."""

import json
import logging
from typing import Any

import pytest

from control_plane.audit_log.journal import CentreJournal
from control_plane.enrolment.lapsed import LapsedHosts
from control_plane.erasure.erasing import Erasing
from control_plane.fleet.commands import FleetCommands
from control_plane.fleet.overview import Overview
from control_plane.people.two_persons import TwoPersons
from control_plane.rollout.service import Rollouts
from control_plane.vault.opening import VaultOpener
from tests.control_plane.http.conftest import Open
from tests.control_plane.http.test_hosts_life import post

IMAGE, HOST = "f" * 32, "host-" + "0" * 32
TEXT = "DOE^JANE 1970-01-01"
ACTIONS: dict[str, tuple[type, str, dict[str, Any]]] = {
    f"/api/v1/objects/{IMAGE}/open": (VaultOpener, "open", {"reason": "second opinion", "as": "dataset"}),
    "/api/v1/requests/1/approve": (TwoPersons, "approve", {}),
    f"/api/v1/hosts/{HOST}/approval": (LapsedHosts, "approve", {"fingerprint": "0000-0000-0000-0000"}),
    "/api/v1/policy/publish": (Rollouts, "publish", {"layer": "organisation", "metadata": "", "policy": ""}),
    "/api/v1/commands": (FleetCommands, "issue", {"signed": "AAAA"}),
    "/api/v1/keys/erasure": (Erasing, "erasable", {"kind": "patient", "value": "4711", "reason": "asked to"}),
}


def fails(*_: object, **__: object) -> None:
    raise ValueError(TEXT)


def newest(door: Open) -> dict[str, Any]:
    (one,) = door.centre._people_services().audit.tail(1)
    return one


@pytest.mark.parametrize("path", ACTIONS)
def test_it_is_recorded_as_failed_with_who_and_what_and_without_its_text(
    door: Open, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, name, body = ACTIONS[path]
    monkeypatch.setattr(kind, name, fails)

    answer = post(door, path, body)

    assert answer.status == 500
    record = newest(door)
    assert (record["event"], record["outcome"], record["reason"]) == ("people.action-failed", 8, "ValueError")
    assert record["who"] == [{"kind": "person", "name": "ada", "requestor": True}]
    what = {one["kind"]: one["name"] for one in record["what"]}
    assert what.keys() - {"object"} == {"permission", "request"}
    assert what.get("object") == (IMAGE if "objects" in path else None)
    assert what["request"].startswith("POST /api/v1/")
    assert TEXT not in json.dumps(record)
    assert TEXT.encode() not in answer.body


def test_a_page_that_fails_is_recorded_too(door: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Overview, "status", fails)

    assert door.signed_in("GET", "/").status == 500
    assert newest(door)["what"][-1] == {"kind": "request", "name": "GET /"}


def test_a_stranger_fills_no_log(door: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    before = newest(door)
    monkeypatch.setattr("control_plane.http.people_services._signed_in", fails)

    assert door.people("GET", "/api/v1/status").status == 500
    assert newest(door) == before


def test_a_log_that_fails_itself_makes_no_second_error(
    door: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = newest(door)
    monkeypatch.setattr(CentreJournal, "record", fails)
    monkeypatch.setattr(TwoPersons, "approve", lambda self, *_: self._journal.record(None))

    with caplog.at_level(logging.ERROR):
        answer = post(door, "/api/v1/requests/1/approve", {})

    assert json.loads(answer.body)["title"] == "Internal error"
    assert [one.message for one in caplog.records] == ["request failed", "and could not be recorded"]
    assert newest(door) == before


def test_what_was_foreseen_is_no_such_record(door: Open) -> None:
    before = newest(door)

    assert post(door, "/api/v1/requests/1/approve", {}).status == 404
    assert newest(door) == before
