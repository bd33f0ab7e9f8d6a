"""What people decide about hosts, through the doors: seen in the status, done by two, and refused to who may not."""

import json
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config import AgentFolder
from edge_agent.enrol.enroller import CodeRefused, EnrolmentRefused, enrol
from shared.enrolment.code import EnrolmentCode
from tests.control_plane.http.conftest import Answer, Open
from tests.control_plane.http.test_doors import issue_code


def post(door: Open, path: str, body: dict[str, Any], token: str = "") -> Answer:
    headers = {"Authorization": f"Bearer {token or door.credential.token}", "Content-Type": "application/json"}
    return door.people("POST", path, json.dumps(body).encode(), **headers)


def not_proved(door: Open) -> list[str]:
    said: list[str] = json.loads(door.signed_in("GET", "/api/v1/status").body)["not_evaluated"]
    return said


def enrolled(door: Open, folder: Path, code: EnrolmentCode, asset: str) -> str:
    return str(
        enrol(AgentFolder(folder), str(door.addresses["enrol_url"]), code, asset, (bytes(31) + asset[-1:].encode(),))
    )


@pytest.fixture(scope="module")
def ben(door: Open) -> str:
    """Return the token of a second administrator, for whom a third one has vouched."""
    answer = post(door, "/api/v1/people", {"name": "ben", "role": "administrator"})
    assert any(said.startswith("ben does not count as another person yet") for said in not_proved(door))
    cleo = door.centre._accounts.create("cleo", "administrator")
    assert post(door, "/api/v1/people/vouch", {"name": "ben"}, cleo).status == 200
    return str(json.loads(answer.body)["token"])


def test_a_code_that_was_tried_twice_stands_in_the_status(door: Open, tmp_path: Path) -> None:
    code = issue_code(door, "CT A")
    thief = enrolled(door, tmp_path / "thief", code, "CT A")
    assert not any(thief in said for said in not_proved(door))

    with pytest.raises(CodeRefused):
        enrolled(door, tmp_path / "engineer", code, "CT A")
    (said,) = [said for said in not_proved(door) if thief in said and "code settle" in said]
    name = said.split("enrolment code ")[1].split()[0]
    assert post(door, f"/api/v1/enrolment/codes/{name}/settle", {"reason": "it was me, twice"}).status == 200
    assert not any("code settle" in said for said in not_proved(door))


def test_a_revoked_hosts_asset_and_machine_enrol_again_when_two_persons_have_said_so(
    door: Open, ben: str, tmp_path: Path
) -> None:
    host = enrolled(door, tmp_path / "old", issue_code(door, "CT B"), "CT B")
    waiting = issue_code(door, "CT B")
    assert post(door, f"/api/v1/hosts/{host}/revocation", {"reason": "stolen"}).status == 201

    with pytest.raises(EnrolmentRefused, match=host):
        enrolled(door, tmp_path / "new", waiting, "CT B")
    asked = json.loads(post(door, f"/api/v1/hosts/{host}/lift", {"reason": "it was found"}).body)
    assert any(asked["request"] in said for said in not_proved(door))
    approval = f"/api/v1/requests/{asked['request']}/approve"
    assert post(door, approval, {}).status == 409
    with pytest.raises(EnrolmentRefused):
        enrolled(door, tmp_path / "new", waiting, "CT B")
    assert post(door, approval, {}, ben).status == 200
    assert enrolled(door, tmp_path / "new", waiting, "CT B") != host


def test_a_host_that_two_persons_took_out_of_service_is_called_that(door: Open, ben: str, tmp_path: Path) -> None:
    host = enrolled(door, tmp_path / "old", issue_code(door, "CT C"), "CT C")
    asked = json.loads(post(door, f"/api/v1/hosts/{host}/decommission", {"reason": "sold"}).body)
    assert post(door, f"/api/v1/requests/{asked['request']}/approve", {}, ben).status == 200

    hosts = json.loads(door.signed_in("GET", "/api/v1/status").body)["hosts"]
    (shown,) = [shown for shown in hosts if shown["host"] == host]
    assert (shown["standing"], shown["state"], shown["active"]) == ("decommissioned", "decommissioned", False)
    assert not shown["tombstone"]


@pytest.mark.parametrize(
    "path",
    ["hosts/asks", "enrolment/codes", "requests"],
)
def test_what_is_known_of_hosts_is_for_people_who_are_signed_in(door: Open, path: str) -> None:
    assert door.people("GET", f"/api/v1/{path}").status == 401
    assert door.signed_in("GET", f"/api/v1/{path}").status == 200


@pytest.mark.parametrize("fingerprint", ["", "0000", "0000-0000-0000-000U", "0000-0000-0000-0000-0000"])
def test_a_fingerprint_has_one_form(door: Open, fingerprint: str) -> None:
    host = "host-" + "0" * 32

    assert post(door, f"/api/v1/hosts/{host}/approval", {"fingerprint": fingerprint}).status == 422
    assert post(door, f"/api/v1/hosts/{host}/approval", {"fingerprint": "0000-0000-0000-0000"}).status == 404


@pytest.mark.parametrize(
    "method, path, body",
    [
        ("POST", "/api/v1/people/remove", {"name": "a\0b"}),
        ("POST", "/api/v1/objects/find", {"patient_id": "\0"}),
        ("POST", "/api/v1/tokens", {"name": "x", "scope": ["status:\0read"], "days": 1}),
        ("POST", "/api/v1/requests/a%00b/approve", {}),
        ("GET", "/api/v1/devices?host=a%00b", None),
    ],
)
def test_text_that_no_database_keeps_is_bad_input(
    door: Open, method: str, path: str, body: dict[str, object] | None
) -> None:
    """PostgreSQL keeps no NUL, and said so when it was too late."""
    sent = None if body is None else json.dumps(body).encode()

    assert door.signed_in(method, path, sent).status == 422
