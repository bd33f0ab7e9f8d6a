"""Versions that were published in rings, and taken back: how they are looked back at, and what follows them."""

import json

import pytest

from control_plane.__main__ import main
from tests.control_plane.cli.conftest import Administrator
from tests.control_plane.cli.test_policy_parts import NORTH, WITHOUT_CT7
from tests.control_plane.cli.test_policy_past import FIRST
from tests.control_plane.cli.test_policy_simulate import report
from tests.control_plane.policy.simulation.ward import Ward

SECOND = FIRST.replace("pull_every_s: 30", "pull_every_s: 60")
THIRD = FIRST.replace("pull_every_s: 30", "pull_every_s: 90")


@pytest.fixture
def rolling(ada: Administrator) -> Administrator:
    """Return the administrator of a centre that rolls its second policy out, on one host so far."""
    ada.publish(FIRST)
    Ward(ada.database).host("CT 2", report())
    done(ada, "publish", ada.file(SECOND), "--canary", "CT 2")
    return ada


def done(person: Administrator, *arguments: object) -> str:
    code, out, errors = person.run(*map(str, arguments))
    assert (code, errors) == (0, "")
    return out


def test_a_version_in_rings_is_shown_compared_with_and_published_again(rolling: Administrator) -> None:
    assert json.loads(done(rolling, "show", "2", "--json"))["timings"]["pull_every_s"] == 60
    assert "60 s -> 90 s" in done(rolling, "diff", rolling.file(THIRD), "--against", "2")

    done(rolling, "rollout", "revert")
    done(rolling, "publish", rolling.file(THIRD))
    assert "as version 4: 1 changes" in done(rolling, "revert", "2", "--yes")
    assert json.loads(done(rolling, "show", "4", "--json"))["timings"]["pull_every_s"] == 60


def test_after_a_version_was_taken_back_a_revert_says_which_one_follows_it(rolling: Administrator) -> None:
    done(rolling, "rollout", "revert")

    code, out, errors = rolling.run("revert", "2", typed="2\n")
    assert code == 1
    assert "type 3 to publish it: " in errors
    assert out.startswith("publishing what version 2 said, as version 3: 1 changes")
    assert "policy 3 is published" in done(rolling, "revert", "2", "--yes")


def test_what_was_taken_back_from_a_host_is_said_where_its_policy_is_shown(rolling: Administrator) -> None:
    assert "was taken back" not in rolling.run("effective", "CT 2")[1]
    done(rolling, "rollout", "revert")

    out = done(rolling, "effective", "CT 2")
    assert "acts by, once it has them: organisation 1\n" in out
    assert "# policy 2 of organisation was taken back: by the centre's word it goes by what all hosts had" in out


def test_a_draft_of_a_part_is_held_against_what_its_hosts_were_left_with(ada: Administrator) -> None:
    ada.publish(FIRST)
    done(ada, "layer", "add", "site-north")
    ada.publish(NORTH)
    Ward(ada.database).host("CT 2", report(), parts=("site-north",))
    done(ada, "publish", ada.file(WITHOUT_CT7), "--canary", "CT 2")
    done(ada, "rollout", "revert", "--layer", "site-north")
    done(ada, "propose", ada.file(WITHOUT_CT7), "--out", ada.folder / "north.draft")

    assert main(["policy", "review", str(ada.folder / "north.draft")]) == 0
    out = ada.terminal.readouterr().out
    assert "what changes on its hosts, against version 1: 1 changes, 1 dangerous\n- modalities CT7: CT7" in out
    assert out.endswith(
        "DANGER: modalities CT7: it may no longer send\n"
        "enough people have signed; publish it: leadglass-server policy publish DRAFT --as CREDENTIAL\n"
    )


def test_what_a_policy_holds_forges_no_line_of_what_may_do_harm(ada: Administrator) -> None:
    ada.publish(FIRST)
    done(ada, "layer", "add", "site-north")
    ada.publish('layer: site-north\nwatch: {every_s: 60, forbidden: ["/opt/\\u202Egnp.exe"]}\n')

    other = ada.file("layer: site-north\nwatch: {every_s: 60, forbidden: [/opt/b.exe]}\n")
    out = done(ada, "propose", other, "--out", ada.folder / "north.draft")
    assert "DANGER: watch.forbidden: /opt/\N{REPLACEMENT CHARACTER}gnp.exe is looked for no more\n" in out
    assert "\u202e" not in done(ada, "publish", other)
