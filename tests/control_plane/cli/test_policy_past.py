"""What a policy would change, what was changed, and taking it back, as an administrator does it."""

import json

import pytest

from control_plane.__main__ import main
from control_plane.db.models import PolicyMetadata
from shared.policy.document import ORGANISATION, PolicyDocument
from tests.control_plane.cli.conftest import Administrator

FIRST = """\
layer: organisation
modalities:
  - {ae_title: CT1, description: "CT, room 1.14"}
  - {ae_title: US1, description: ultrasound}
grading: {default: restricted}
timings: {state_every_s: 5, pull_every_s: 30}
"""
WITHOUT_US1 = FIRST.replace("  - {ae_title: US1, description: ultrasound}\n", "")
SLOWER = FIRST.replace("state_every_s: 5", "state_every_s: 60")


def stored(ada: Administrator, version: int) -> bytes:
    with ada.database() as session:
        row = session.get_one(PolicyMetadata, (ORGANISATION, version))
        assert row.policy is not None
        return row.policy


def test_a_dangerous_change_is_shown_before_it_is_published_and_ends_with_1(ada: Administrator) -> None:
    assert ada.run("diff", ada.file(FIRST))[:2] == (
        0, "nothing is published: 1 changes, 0 dangerous\n+ policy: the first one; `policy check` says what it means\n",
    )  # fmt: skip
    ada.publish(FIRST)

    assert ada.run("diff", ada.file(FIRST))[:2] == (0, "against version 1: nothing changes\n")
    assert ada.run("diff", ada.file(WITHOUT_US1))[:2] == (1, (
        "against version 1: 1 changes, 1 dangerous\n"
        "- modalities US1: US1: ultrasound\n"
        "    DANGER: it may no longer send\n"
    ))  # fmt: skip
    code, out, _ = ada.run("diff", ada.file(SLOWER), "--json")
    assert code == 0
    assert json.loads(out) == {
        "against": 1,
        "changes": [{"field": "timings.state_every_s", "was": "5 s", "now": "60 s", "danger": ""}],
    }


def test_an_older_version_can_be_what_is_compared_with(ada: Administrator) -> None:
    ada.publish(FIRST)
    ada.publish(WITHOUT_US1)

    assert ada.run("diff", ada.file(FIRST), "--against", "1")[:2] == (0, "against version 1: nothing changes\n")
    assert ada.run("diff", ada.file(FIRST))[1].startswith("against version 2: 1 changes, 0 dangerous\n+ modalities US1")
    code, _, errors = ada.run("diff", ada.file(FIRST), "--against", "3")
    assert code == 1
    assert "there is no policy version 3; there are 1 to 2" in errors


def test_history_says_who_changed_what_and_how_much_of_it_was_dangerous(ada: Administrator) -> None:
    assert ada.run("history")[:2] == (0, "nothing is published yet\n")
    ada.publish(FIRST)
    ada.publish(WITHOUT_US1)

    code, out, _ = ada.run("history")
    second, first = out.splitlines()
    assert code == 0
    assert second.startswith("     2  20")
    assert second.endswith("  ada  -modalities US1; 1 dangerous")
    assert first.endswith("  ada  +policy")
    answer = json.loads(ada.run("history", "--most", "1", "--json")[1])
    assert [(one["version"], one["changed"], one["dangers"]) for one in answer["versions"]] == [
        (2, "-modalities US1", 1)
    ]


def test_a_version_comes_back_as_a_file_that_says_the_same(ada: Administrator) -> None:
    ada.publish(FIRST)
    ada.publish(SLOWER)

    code, text, _ = ada.run("show", "1")
    assert code == 0
    file = ada.file(text, "shown.yaml")
    assert ada.run("diff", file, "--against", "1")[:2] == (0, "against version 1: nothing changes\n")
    assert json.loads(ada.run("show", "1", "--json")[1]) == json.loads(stored(ada, 1))


def test_a_revert_shows_what_it_changes_asks_and_publishes_a_higher_version(ada: Administrator) -> None:
    ada.publish(FIRST)
    ada.publish(WITHOUT_US1)

    code, out, errors = ada.run("revert", "1", typed="2\n")
    assert code == 1
    assert "+ modalities US1: US1: ultrasound" in out
    assert "type 3 to publish it" in errors
    assert "nothing was published: it was not confirmed" in errors
    assert "      3  " not in ada.run("history")[1]

    code, out, _ = ada.run("revert", "1", typed="3\n")
    assert code == 0
    assert "publishing what version 1 said, as version 3: 1 changes, 0 dangerous" in out
    assert "policy 3 is published" in out
    first, third = (PolicyDocument.parse(stored(ada, version)) for version in (1, 3))
    assert (third.version, third.modalities) == (3, first.modalities)


def test_a_script_reverts_without_being_asked_and_reads_the_answer_alone(ada: Administrator) -> None:
    ada.publish(FIRST)
    ada.publish(SLOWER)

    code, out, errors = ada.run("revert", "1", "--yes", "--json")
    assert (code, json.loads(out)) == (0, {"version": 3})
    assert "timings.state_every_s: 60 s -> 5 s" in errors
    code, _, errors = ada.run("revert", "1", "--yes")
    assert code == 1
    assert "nothing was published: version 3, which hosts have, says what version 1 said" in errors


def test_refuses_to_publish_again_what_was_altered_in_the_database_since(ada: Administrator) -> None:
    ada.publish(FIRST)
    ada.publish(WITHOUT_US1)
    with ada.database.begin() as session:
        row = session.get_one(PolicyMetadata, (ORGANISATION, 1))
        row.policy = stored(ada, 1).replace(b"US1", b"XX1")

    for command in (("show", "1"), ("revert", "1", "--yes"), ("diff", ada.file(FIRST), "--against", "1")):
        code, _, errors = ada.run(*command)
        assert code == 1
        assert "policy of layer organisation is not the file" in errors
    code, out, _ = ada.run("history")
    assert code == 1
    assert "not evaluated; NOT AUTHENTIC: policy of layer organisation is not the file" in out.splitlines()[1]
    assert out.splitlines()[0].endswith("  ada  not evaluated")


@pytest.mark.parametrize("wrong", ["0", "-1", "x", "1.0", "99999999999"])
def test_a_version_is_a_plain_number(wrong: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(["policy", "show", wrong, "--as", "credential.json"])

    assert left.value.code == 2
