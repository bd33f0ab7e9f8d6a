"""Sites, types of modality and exceptions for hosts, as an administrator writes, publishes and looks back at them."""

import json
from pathlib import Path

import pytest

from control_plane.__main__ import main
from control_plane.db.models import PolicyMetadata
from control_plane.policy.file.reading import parse_policy_file
from tests.control_plane.cli.conftest import Administrator
from tests.control_plane.cli.test_policy_past import FIRST
from tests.control_plane.cli.test_policy_simulate import DEVICES, report
from tests.control_plane.policy.simulation.ward import Ward

NORTH = """\
layer: site-north
modalities: [{ae_title: CT7, description: "CT, north"}]
timings: {state_every_s: 30}
"""
WITHOUT_CT7 = NORTH.replace('modalities: [{ae_title: CT7, description: "CT, north"}]\n', "")
SLOWER = NORTH.replace("30", "60")


@pytest.fixture
def layered(ada: Administrator) -> Administrator:
    """Return the administrator of a centre with a policy and two layers of which nothing is published."""
    ada.publish(FIRST)
    code, _, errors = ada.run("layer", "add", "site-north", "modality-ct")
    assert (code, errors) == (0, "")
    return ada


def test_a_file_of_a_site_is_checked_without_a_centre(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "site-north.yaml"
    file.write_text(NORTH)

    assert main(["policy", "check", str(file)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("layer site-north; what it leaves out is as the organisation's policy says\n")
    assert "is this meant? CT7: neither addresses nor certificates are listed" in out
    assert out.endswith(f"{file}: layer site-north, 1 modalities; nothing is wrong with it\n")
    file.write_text(NORTH + "routes: []\n")
    assert main(["policy", "check", str(file)]) == 2
    assert f"{file}:4: 'routes': is the organisation's alone to say" in capsys.readouterr().err


def test_a_site_is_published_as_its_own_versions_and_what_it_changes_is_shown_before(layered: Administrator) -> None:
    assert layered.run("diff", layered.file(NORTH))[:2] == (0, (
        "nothing is published of layer site-north: 2 changes, 0 dangerous\n"
        "+ modalities CT7: CT7: CT, north\n"
        "~ timings.state_every_s: 5 s -> 30 s\n"
    ))  # fmt: skip
    layered.publish(FIRST)
    code, out, _ = layered.run("publish", layered.file(NORTH))
    assert (code, out) == (
        0, "policy 1 of layer site-north is published; `leadglass-server status` shows where it is in force\n"
    )  # fmt: skip

    assert layered.run("diff", layered.file(NORTH))[:2] == (
        0, "against version 1 of layer site-north: nothing changes\n"
    )  # fmt: skip
    assert layered.run("diff", layered.file(WITHOUT_CT7))[:2] == (1, (
        "against version 1 of layer site-north: 1 changes, 1 dangerous\n"
        "- modalities CT7: CT7: CT, north\n"
        "    DANGER: it may no longer send\n"
    ))  # fmt: skip


def test_what_hosts_would_refuse_beside_the_organisation_is_not_published(layered: Administrator) -> None:
    for command in ("diff", "publish"):
        code, _, errors = layered.run(command, layered.file(NORTH.replace("CT7", "US1")))
        assert code == 1
        assert "organisation version 1 and site-north version 1 cannot be together" in errors
    assert layered.run("history", "--layer", "site-north")[1] == "nothing is published yet\n"


def test_a_site_that_speaks_instead_of_a_type_of_modality_is_shown_as_what_it_does_there(
    layered: Administrator,
) -> None:
    graded = "grading: {default: %s, grades: [restricted, secret]}\n"
    layered.publish("layer: modality-ct\n" + graded % "secret")

    code, out, _ = layered.run("diff", layered.file("layer: site-north\n" + graded % "restricted"))
    assert code == 1
    assert "~ beside modality-ct: grading.default: secret -> restricted\n    DANGER: restricted is less strict" in out
    layered.publish("layer: site-north\n" + graded % "restricted")
    assert "1 dangerous" in layered.run("history", "--layer", "site-north")[1]


def test_history_show_and_revert_are_of_the_layer_that_is_named(layered: Administrator) -> None:
    for written in (NORTH, WITHOUT_CT7):
        layered.publish(written)

    code, out, _ = layered.run("history", "--layer", "site-north")
    second, first = out.splitlines()
    assert code == 0
    assert second.endswith("  ada  -modalities CT7; 1 dangerous")
    assert first.endswith("  ada  +modalities CT7, ~timings.state_every_s")
    assert "     1  " in layered.run("history")[1]

    code, shown, _ = layered.run("show", "1", "--layer", "site-north")
    assert code == 0
    assert shown.startswith("# policy version 1 of layer site-north, as `leadglass-server policy show` wrote it\n")
    assert parse_policy_file(shown.encode(), "shown") == parse_policy_file(NORTH.encode(), "written")
    assert layered.run("diff", layered.file(shown), "--against", "1")[0] == 0
    assert json.loads(layered.run("show", "1", "--layer", "site-north", "--json")[1])["layer"] == "site-north"

    code, out, _ = layered.run("revert", "1", "--layer", "site-north", typed="3\n")
    assert code == 0
    assert "publishing what version 1 of layer site-north said, as version 3: 1 changes, 0 dangerous" in out
    assert "policy 3 of layer site-north is published" in out
    code, _, errors = layered.run("revert", "1", "--layer", "site-north", "--yes")
    assert code == 1
    assert "nothing was published: version 3, which hosts have, says what version 1 said" in errors


def test_a_revert_of_what_comes_to_the_same_today_is_published_all_the_same(layered: Administrator) -> None:
    layered.publish("layer: site-north\n")
    layered.publish("layer: site-north\ntimings: {state_every_s: 5}\n")

    code, out, _ = layered.run("revert", "1", "--layer", "site-north", typed="3\n")
    assert code == 0
    assert "as version 3: nothing changes\n" in out


def test_a_part_that_was_altered_in_the_database_is_shown_and_published_no_more(layered: Administrator) -> None:
    layered.publish(NORTH)
    layered.publish(SLOWER)
    with layered.database.begin() as session:
        row = session.get_one(PolicyMetadata, ("site-north", 1))
        assert row.policy is not None
        row.policy = row.policy.replace(b"CT7", b"XX7")

    for command in (("show", "1"), ("revert", "1", "--yes")):
        code, _, errors = layered.run(*command, "--layer", "site-north")
        assert code == 1
        assert "policy of layer site-north is not the file" in errors
    code, out, _ = layered.run("history", "--layer", "site-north")
    assert code == 1
    assert "NOT AUTHENTIC: policy of layer site-north is not the file" in out.splitlines()[1]


def test_a_draft_of_a_part_says_what_it_means_and_what_it_changes(layered: Administrator) -> None:
    layered.publish(NORTH)
    draft = layered.folder / "north.draft"
    assert layered.run("propose", layered.file(WITHOUT_CT7), "--out", draft)[0] == 0

    layered.terminal.readouterr()
    assert main(["policy", "review", str(draft)]) == 0
    out = layered.terminal.readouterr().out
    assert "it makes version 2 of layer site-north\n" in out
    assert (
        "layer site-north; what it leaves out is as the organisation's policy says\na host reports every 30 s\n" in out
    )
    assert (
        "what changes on its hosts, against version 1: 1 changes, 1 dangerous\n"
        "- modalities CT7: CT7: CT, north\n"
        "    DANGER: it may no longer send\n"
    ) in out
    assert layered.run("publish", draft)[0] == 0


@pytest.mark.parametrize("wrong", ["organisation", "north", "site-", "site-NORTH", "modality_ct"])
def test_a_layer_is_named_as_it_is_called(wrong: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(["policy", "history", "--layer", wrong, "--as", "credential.json"])

    assert left.value.code == 2


def test_what_one_host_acts_by_says_whose_each_line_is(layered: Administrator) -> None:
    host = Ward(layered.database).host("CT 2", report(), parts=("site-north", "modality-ct"))
    layered.publish(NORTH + f"hosts:\n  {host}:\n    spool: {{quota_gib: 20}}\n")

    code, out, _ = layered.run("effective", "CT 2")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[:3] == [
        f"# what CT 2 ({host}) acts by, once it has them: organisation 1, site-north 1",
        "# images are sealed to the keys that organisation 1 names",
        "# nothing is published of its layer modality-ct",
    ]
    assert {
        "- ae_title: US1 # organisation 1",
        "- ae_title: CT7 # site-north 1",
        "state_every_s: 30 # site-north 1",
        "pull_every_s: 30 # organisation 1",
        "quota_gib: 20 # site-north 1, for this host",
    } <= set(lines)
    assert layered.run("effective", str(host))[1] == out
    told = json.loads(layered.run("effective", "CT 2", "--json")[1])
    assert told["layers"] == {"organisation": 1, "site-north": 1}
    assert told["policy"]["spool_quota_bytes"] == 20 << 30
    assert told["origins"]["spool_quota_bytes"] == {"layer": "site-north", "version": 1, "exception": True}


def test_a_host_without_parts_acts_by_the_organisation_alone(layered: Administrator) -> None:
    Ward(layered.database).host("CT 2", report())
    layered.publish(NORTH)

    code, out, _ = layered.run("effective", "CT 2")
    assert code == 0
    assert "site-north" not in out


def test_a_host_has_to_be_named_so_that_it_is_one(layered: Administrator) -> None:
    ward = Ward(layered.database)
    first, second = ward.host("CT 2", report()), ward.host("CT 2", report())

    code, _, errors = layered.run("effective", "CT 2")
    assert code == 1
    assert f"there is not one host 'CT 2': several are called so, name one of {first}, {second}" in errors
    code, _, errors = layered.run("effective", "CT 3")
    assert code == 1
    assert "there is not one host 'CT 3': `status` lists those there are" in errors


def test_a_part_is_tried_on_the_hosts_that_have_it_and_the_others_are_counted(layered: Administrator) -> None:
    layered.publish(DEVICES)
    ward = Ward(layered.database)
    north = ward.host("CT 2", report(2), parts=("site-north",))
    ward.host("CT 3", report(2))
    ward.captured(north, "CT7")
    layered.publish(NORTH)
    sticks = NORTH + 'devices: {rules: ["allow id 0781:* with-interface 08:06:50"]}\n'

    code, out, _ = layered.run("simulate", layered.file(sticks))
    assert code == 1
    assert "  CT 2: under device policy 2: 1 USB devices as now, 1 not\n" in out
    assert "LOOSER  1-1.2 0781:5581 Ultra 4C53: blocked -> allowed (rule 2: allow id 0781:*" in out
    assert "  1 hosts do not have this layer, and nothing changes there\n" in out
    assert "CT 3" not in out
    assert "  CT 2: CT7: 1 images as before\n" in out
    unlisted = layered.run("simulate", layered.file(WITHOUT_CT7))[1]
    assert "  CT 2: CT7: 1 images WOULD BE REFUSED (the policy does not list CT7)\n" in unlisted


def test_the_organisation_is_tried_with_what_each_host_has_besides(layered: Administrator) -> None:
    layered.publish(DEVICES)
    ward = Ward(layered.database)
    north, alone = ward.host("CT 2", report(2), parts=("site-north",)), ward.host("CT 3", report(2))
    layered.publish(NORTH + 'devices: {rules: ["allow id 0781:*"]}\n')
    ward.captured(north, "CT7")
    ward.captured(alone, "CT7")

    code, out, _ = layered.run("simulate", layered.file(DEVICES))
    assert code == 1
    assert "  CT 2: CT7: 1 images as before\n" in out
    assert "  CT 3: CT7: 1 images WOULD BE REFUSED" in out
    assert "  CT 2: under device policy 2: 2 USB devices as now, 0 not\n" in out


def test_a_host_that_would_refuse_what_is_tried_is_not_evaluated(layered: Administrator) -> None:
    layered.publish(NORTH)
    ward = Ward(layered.database)
    ward.captured(ward.host("CT 2", report(1), parts=("site-north",)), "CT7")
    clashing = FIRST.replace("US1", "CT7")

    code, out, _ = layered.run("simulate", layered.file(clashing))
    assert code == 1
    assert "  CT 2: NOT EVALUATED: it would refuse this beside its other layers: " in out
    assert "CT7: 1 images not evaluated (its host would refuse this beside its other layers: " in out


def test_an_exception_is_tried_on_its_host_alone(layered: Administrator) -> None:
    layered.publish(DEVICES)
    ward = Ward(layered.database)
    first = ward.host("CT 2", report(2), parts=("site-north",))
    ward.host("CT 3", report(2), parts=("site-north",))
    layered.publish(NORTH)
    excepted = NORTH + f'hosts:\n  {first}:\n    devices: {{rules: ["allow id 0781:*"]}}\n'

    told = json.loads(layered.run("simulate", layered.file(excepted), "--json")[1])
    differ = {host["asset"]: len(host["devices"]["differ"]) for host in told["hosts"]}
    assert differ == {"CT 2": 1, "CT 3": 0}


def test_a_part_is_tried_only_beside_a_policy_that_it_adds_to(ada: Administrator) -> None:
    code, _, errors = ada.run("simulate", ada.file(NORTH))

    assert code == 1
    assert "layer site-north adds to the organisation's policy, and that is not published yet" in errors
