"""Questions to the log, by the people's door and by command: answered, followed, archived, recorded, erased."""

import json
from pathlib import Path
from typing import Any

import pytest

from control_plane.audit_log.following import MOST_FOLLOWERS, Following
from provisioning.verify.__main__ import main as verify
from shared.clock import SystemClock
from tests.control_plane.cli.running import run
from tests.control_plane.http.conftest import Answer, Open
from tests.control_plane.http.test_hosts_life import post

PATIENT = "Q-4711-0815"


@pytest.fixture(scope="module")
def auditor(door: Open) -> str:
    answer = post(door, "/api/v1/people", {"name": "otto", "role": "auditor"})
    return str(json.loads(answer.body)["token"])


def told(answer: Answer) -> Any:
    assert answer.status < 300, answer.body
    return json.loads(answer.body)


def who(door: Open) -> tuple[str | Path, ...]:
    return "--as", door.handed_over.credential, "--url", str(door.addresses["people_url"])


def newest(door: Open) -> dict[str, Any]:
    """Return the newest record, which nobody's reading of it is."""
    (record,) = door.centre._people_services().audit.tail(1)
    return dict(record)


QUESTIONS: tuple[tuple[str, str, dict[str, Any] | None], ...] = (
    ("POST", "/api/v1/audit/find", {"question": {"patient": PATIENT}}),
    ("POST", "/api/v1/audit/who-touched", {"patient": PATIENT}),
    ("POST", "/api/v1/audit/archive", {"question": {"patient": PATIENT, "event": "vault.object-opened"}}),
    ("POST", "/api/v1/audit/follow", {}),
    ("GET", "/api/v1/audit/records", None),
    ("GET", "/api/v1/audit/export", None),
    ("POST", "/api/v1/audit/verify", {}),
    ("GET", "/api/v1/log/checkpoint", None),
)


@pytest.mark.parametrize("method, path, body", QUESTIONS, ids=[path for _, path, _ in QUESTIONS])
@pytest.mark.parametrize("role", ["administrator", "auditor"])
def test_whoever_asks_the_log_is_in_it_and_whom_they_asked_for_is_not(
    door: Open, auditor: str, role: str, method: str, path: str, body: dict[str, Any] | None
) -> None:
    token = auditor if role == "auditor" else door.credential.token
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    sent = None if body is None else json.dumps(body).encode()

    assert door.people(method, path, sent, **headers).status < 300

    record = newest(door)
    assert (record["event"], record["who"][0]["name"]) == (
        "audit.read", "otto" if role == "auditor" else door.credential.person,
    )  # fmt: skip
    assert PATIENT not in json.dumps(record)


def test_an_auditor_opens_nothing_and_erases_nobody(door: Open, auditor: str) -> None:
    body = {"question": {"person": "otto"}}
    assert post(door, "/api/v1/audit/archive/opened", body, auditor).status == 403
    assert post(door, "/api/v1/keys/erasure", {"kind": "person", "value": "otto", "reason": "x"}, auditor).status == 403


def test_a_live_tail_tells_each_record_and_few_may_follow(door: Open, auditor: str) -> None:
    door.centre._following._followers.clear()
    begun = told(post(door, "/api/v1/audit/follow", {}))
    path = f"/api/v1/audit/follow/{begun['follow']}"
    post(door, "/api/v1/audit/find", {"question": {"person": "nobody"}})

    told_now = told(door.signed_in("GET", f"{path}?after={begun['after']}"))

    assert [one["what"][0]["name"] for one in told_now["records"]] == ["find"]
    assert told_now["after"] == begun["after"] + 1
    # What was there before it began is no part of it: that is asked for, by a question that is recorded.
    assert told(door.signed_in("GET", f"{path}?after=0")) == told_now
    # It is nobody else's, and there is none without beginning, which is a record.
    assert door.people("GET", f"{path}?after=0", None, Authorization=f"Bearer {auditor}").status == 409
    assert door.signed_in("GET", f"/api/v1/audit/follow/{'0' * 32}?after=0").status == 409
    answers = [post(door, "/api/v1/audit/follow", {}).status for _ in range(MOST_FOLLOWERS)]
    assert answers == [201] * (MOST_FOLLOWERS - 1) + [409]
    door.centre._following._followers.clear()


def test_whoever_follows_holds_one_thread_however_often_they_ask(door: Open) -> None:
    waits = 0

    def wait(_: float) -> None:
        nonlocal waits
        waits += 1
        if waits == 1:
            following.more("ada", name, after)

    following = Following(door.centre._database, door.centre._journal, SystemClock(), wait)
    name, after = following.begin("ada")
    following.more("ada", name, after)
    in_two, waits = waits, 1
    following.more("ada", name, after)

    assert in_two == waits


def test_the_commands_of_an_auditors_day(door: Open, tmp_path: Path) -> None:
    kept, out, ca = tmp_path / "kept", tmp_path / "incident.zip", tmp_path / "ca.pem"
    ca.write_bytes(door.enrolment("GET", "/ca.pem").body)

    assert run("audit", "checkpoint", "--out", kept, *who(door))[0] == 0
    code, said, _ = run("audit", "find", "--person", door.credential.person, "--from", "2020-01-01", *who(door))
    assert (code, "audit.read" in said, "this question is in the log" in said) == (0, True, True)
    code, said, _ = run("audit", "who-touched", "--patient", "nobody", *who(door))
    assert "0 records about 0 images of this patient" in said
    asked = ("--event", "audit.read", "--open", "--kept", kept)
    assert run("audit", "archive", *asked, "--out", out, *who(door))[0] == 0
    assert verify(["archive", str(out), "--ca", str(ca), "--kept", str(kept)]) == 0
    assert run("audit", "find", "--from", "yesterday", *who(door))[0] != 0


def test_two_persons_erase_a_patient_and_tell_whose_key_it_is(door: Open) -> None:
    ben = str(told(post(door, "/api/v1/people", {"name": "ben", "role": "administrator"}))["token"])
    cleo = door.centre._accounts.create("cleo", "administrator")
    assert post(door, "/api/v1/people/vouch", {"name": "ben"}, cleo).status == 200
    told(post(door, "/api/v1/audit/find", {"question": {"patient": PATIENT}}))
    before = told(post(door, "/api/v1/audit/find", {"question": {"patient": PATIENT}}))["records"]
    assert {one["private"] for one in before} == {"opens"}

    code, said, _ = run("keys", "erase", "--patient", PATIENT, "--reason", "they asked for it", *who(door))
    assert code == 0
    named = told(post(door, "/api/v1/keys/subject", {"kind": "patient", "value": PATIENT}, ben))["subject"]
    assert named in said
    request = said.split("requests approve ")[1].split()[0]
    assert post(door, f"/api/v1/requests/{request}/approve", {}).status == 409
    assert post(door, f"/api/v1/requests/{request}/approve", {}, ben).status == 200

    assert told(post(door, "/api/v1/audit/find", {"question": {"patient": PATIENT}}))["records"] == []
    asked = told(post(door, "/api/v1/audit/find", {"question": {"person": door.credential.person}}))["records"]
    assert {one["private"] for one in asked if one["entry"] in {was["entry"] for was in before}} == {"erased"}
    assert named in door.folders.erased.read_text()
