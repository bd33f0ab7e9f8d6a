"""Which layers a host has besides the organisation's, wherever a person looks, and where it says otherwise."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import update

from control_plane.cli.client import PeopleDoor
from control_plane.db.models import Host
from control_plane.enrolment.codes import parts_of
from control_plane.policy.authoring import load_credential
from control_plane.policy.exchange import PolicyParts, Publication
from control_plane.policy.roles import build_layer, sign_role
from shared.fleet.devices import GuardLayer
from shared.fleet.state import LayerState
from shared.policy.part import PartContent, PartDocument
from tests.control_plane.fleet.reporting import Fleet
from tests.control_plane.fleet.test_device_tree import REPORT

POLICY = """\
layer: organisation
modalities: []
grading: {default: restricted}
timings: {state_every_s: 5, pull_every_s: 30}
"""
NORTH, CT = "site-north", "modality-ct"


FACTS = {"layer": NORTH, "enrolled": True, "newest": 1, "published": 1, "guard_in_force": None}


@pytest.fixture
def layered(fleet: Fleet) -> Fleet:
    """Return the fleet with a published policy and two layers, one of which has a policy that makes hosts slow."""
    file = fleet.credential.parent / "policy.yaml"
    file.write_text(POLICY)
    assert fleet.command("policy", "publish", str(file))[0] == 0
    assert fleet.command("policy", "layer", "add", NORTH, CT)[0] == 0
    publish(fleet, PartDocument(NORTH, 1, PartContent(state_every_s=600)))
    return fleet


def publish(fleet: Fleet, part: PartDocument) -> None:
    credential, policy = load_credential(fleet.credential), part.encode()
    role = build_layer(part.layer, policy, version=part.version, now=fleet.clock.now())
    offered = Publication(part.layer, sign_role(role, [credential.signer]), policy)
    PeopleDoor(fleet.people_url, credential.token).post("/api/v1/policy/publish", offered.json())


def test_layers_are_listed_with_what_is_published_of_each(layered: Fleet) -> None:
    code, said = layered.command("policy", "layer", "list", "--json")

    assert (code, json.loads(said)["layers"]) == (0, {CT: 0, "organisation": 1, NORTH: 1})
    assert "nothing published yet" in layered.command("policy", "layer", "list")[1]
    parts = PolicyParts.parse(layered.answer("/api/v1/policy/parts"))
    assert [layer.layer for layer in parts.layers] == ["organisation", NORTH]


def test_one_version_of_a_layer_and_its_history_are_asked_for_by_its_name(layered: Fleet) -> None:
    publish(layered, PartDocument(NORTH, 2, PartContent()))

    history = layered.answer(f"/api/v1/policy/versions?layer={NORTH}")["versions"]
    assert [(one["version"], one["state"]) for one in history] == [(2, "signed"), (1, "signed")]
    assert layered.answer(f"/api/v1/policy/versions/2?layer={NORTH}")["layer"] == NORTH
    assert layered.answer("/api/v1/policy/versions/1")["layer"] == "organisation"
    assert layered.get("/api/v1/policy/versions/1?layer=../x")[0] == 422


def test_a_host_s_layers_go_from_its_report_to_the_api_the_page_and_the_terminal(layered: Fleet) -> None:
    layered.enrolled_with(NORTH)
    assert layered.answer()["hosts"][0]["layers"] == [
        {
            "layer": NORTH,
            "enrolled": True,
            "newest": 1,
            "published": 1,
            "accepted": None,
            "in_force": None,
            "guard_in_force": None,
        }
    ]

    layered.report(policy=1, layers=(LayerState(NORTH, 1, 1),))

    answer = layered.answer()
    assert answer["hosts"][0]["layers"] == [
        {
            "layer": NORTH,
            "enrolled": True,
            "newest": 1,
            "published": 1,
            "accepted": 1,
            "in_force": 1,
            "guard_in_force": None,
        }
    ]
    assert answer["drift"] == []
    assert not [gap for gap in answer["not_evaluated"] if "layer" in gap]
    assert "Layer site-north" in layered.get("/")[1]
    assert "layer site-north: in force 1, newest 1" in layered.command("status")[1]


def test_a_host_that_is_behind_in_its_site_is_said_to_be(layered: Fleet) -> None:
    layered.enrolled_with(NORTH)
    publish(layered, PartDocument(NORTH, 2, PartContent()))
    layered.report(policy=1, layers=(LayerState(NORTH, 1, 1),))

    answer = layered.answer()
    assert "CT 2: policy 2 of layer site-north not in force (it reports 1)" in answer["not_evaluated"]
    assert [(one["layer"], one["in_force"], one["newest"]) for one in answer["drift"]] == [(NORTH, 1, 2)]
    assert "agent at site-north 1 and not at 2" in layered.command("status")[1]


def test_a_guard_that_is_behind_in_its_site_alone_is_said_to_be(layered: Fleet) -> None:
    layered.enrolled_with(NORTH)
    publish(layered, PartDocument(NORTH, 2, PartContent()))
    guard = replace(REPORT, policy=1)

    def report(*of_guard: GuardLayer) -> list[tuple[str, str, int]]:
        layered.report(policy=1, layers=(LayerState(NORTH, 2, 2),), guard=replace(guard, layers=of_guard))
        return [(one["part"], one["layer"], one["in_force"]) for one in layered.answer()["drift"]]

    assert report(GuardLayer(NORTH, 1)) == [("guard", NORTH, 1)]
    assert "device guard differs" in layered.get("/")[1]
    said = layered.command("status")[1]
    assert "guard at site-north 1 and not at 2" in said
    assert "layer site-north: in force 2, device guard 1, newest 2" in said
    assert report(GuardLayer(NORTH, 2)) == []
    assert "device guard differs" not in layered.get("/")[1]
    # The control: a guard of an earlier version says nothing of its layers, and is not taken to be behind.
    assert report() == []
    assert layered.answer()["hosts"][0]["layers"][0]["guard_in_force"] is None


@pytest.mark.parametrize(
    "enrolled, reported, said",
    [
        ((NORTH,), (), "the policy layers none besides the organisation's, and has been given site-north"),
        ((), (CT,), "the policy layers modality-ct besides the organisation's, and has been given none"),
        ((NORTH,), (CT,), "the policy layers modality-ct besides the organisation's, and has been given site-north"),
    ],
)
def test_a_host_that_reports_other_layers_than_it_was_enrolled_with_is_said_to(
    layered: Fleet, enrolled: tuple[str, ...], reported: tuple[str, ...], said: str
) -> None:
    layered.enrolled_with(*enrolled)
    layered.report(policy=1, layers=tuple(LayerState(layer, 0, 0) for layer in reported))

    assert any(said in gap for gap in layered.answer()["not_evaluated"])
    # The control: the same report of a host that has these layers says nothing of the kind.
    layered.enrolled_with(*reported)
    assert "has been given" not in layered.status()[1]


def test_a_layer_of_which_nothing_is_published_is_said(layered: Fleet) -> None:
    layered.enrolled_with(CT)
    layered.report(policy=1, layers=(LayerState(CT, 0, 0),))

    assert "CT 2: nothing is published of its policy layer modality-ct" in layered.status()[1]


@pytest.mark.parametrize("is_revoked", [False, True])
def test_a_layer_that_is_not_the_host_s_is_not_said_to_be_unpublished(layered: Fleet, is_revoked: bool) -> None:
    layered.enrolled_with(*((NORTH,) if is_revoked else ()))
    layered.report(policy=1, layers=(LayerState(NORTH, 1, 1), LayerState(CT, 0, 0))[: 1 if is_revoked else 2])
    with layered.database.begin() as session:
        session.execute(update(Host).values(standing="revoked" if is_revoked else "active"))

    north = layered.answer()["hosts"][0]["layers"][0]
    assert (north["layer"], north["newest"], north["published"]) == (NORTH, 0, 1)
    assert "site-north: " in layered.command("status")[1]
    assert "newest 1" in layered.command("status")[1]
    # Control: of the one that nobody has published it is said, and of no other.
    assert layered.get("/")[1].count("nothing is published of it") == (0 if is_revoked else 1)


def test_one_host_whose_layers_cannot_be_read_is_said_and_hides_no_other(layered: Fleet) -> None:
    layered.enrolled_with(NORTH)
    layered.report(policy=1, layers=(LayerState(NORTH, 1, 1),))
    with layered.database.begin() as session:
        session.execute(update(Host).values(parts="x"))

    answer = layered.answer()
    (said,) = (gap for gap in answer["not_evaluated"] if "layers" in gap)
    assert said.startswith(
        "CT 2: somebody changed its policy layers in the database, so which it should have is unknown"
    )
    assert answer["hosts"][0]["policy_in_force"] == 1
    assert layered.get("/api/v1/devices")[0] == 200
    layered.enrolled_with(NORTH)
    assert "somebody changed" not in layered.status()[1]


def test_a_host_is_silent_by_how_often_its_own_layers_have_it_report(layered: Fleet) -> None:
    layered.enrolled_with(NORTH)
    layered.report(policy=1, layers=(LayerState(NORTH, 1, 1),))

    layered.clock.advance(timedelta(minutes=25))
    assert layered.status()[0] == "capturing"
    assert layered.answer("/api/v1/devices")["hosts"][0]["state"] != "silent"
    layered.clock.advance(timedelta(minutes=10))
    assert layered.status()[0] == "silent"
    # The control: by the organisation's five seconds it would have been long before.
    layered.report(policy=1)
    layered.enrolled_with()
    layered.clock.advance(timedelta(minutes=5))
    assert layered.status()[0] == "silent"


def test_a_code_is_issued_for_a_site_and_a_type_of_modality(layered: Fleet) -> None:
    code, said = layered.command("code", "--asset", "MR 1", "--site", "north", "--type", "ct")
    assert (code, "with the policy of site-north and modality-ct beside" in said) == (0, True)
    code, said = layered.command("code", "--asset", "MR 1", "--json")
    assert (code, json.loads(said)["layers"]) == (0, ["organisation"])

    for wrong in ("North", "site north", "", "-", "n" * 24):
        assert layered.command("code", "--asset", "MR 1", f"--site={wrong}")[0] != 0
    assert parts_of('["site-north","modality-ct"]') == (NORTH, CT)
