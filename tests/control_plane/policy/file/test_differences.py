"""What another policy changes is told field by field, and what may do harm is called that."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given

from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.file.change import Change
from control_plane.policy.file.differences import differences, summary
from control_plane.policy.file.problems import PolicyFileMalformed
from shared.devices.others import OtherKind, OtherKinds
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule, Rescue
from shared.devices.verdict import Access, Target
from shared.devices.watch import WatchPolicy
from shared.policy.document import AfterReceipt, Modality
from shared.policy.grading import Rule
from shared.policy.routes import Via
from tests.control_plane.policy.file.broken import DOCUMENT, Broken, as_yaml, broken
from tests.control_plane.policy.file.full import MEANT, organisation

WHOLE = organisation(as_yaml(DOCUMENT).encode(), "policy.yaml")
MG1, CT1 = MEANT.modalities
DEVICES = MEANT.devices or DevicePolicy()
HUBS, STICK = DEVICES.rules
LATER = datetime(2027, 12, 31, tzinfo=UTC)


def only(after: AuthoredPolicy, before: AuthoredPolicy = MEANT) -> Change:
    (change,) = differences(before, after)
    return change


def with_rules(*rules: DeviceRule) -> AuthoredPolicy:
    return replace(MEANT, devices=replace(DEVICES, rules=rules))


def test_the_same_policy_changes_nothing() -> None:
    assert differences(MEANT, MEANT) == ()
    assert summary(()) == "nothing"


def test_the_order_in_which_modalities_and_routes_are_listed_is_no_change() -> None:
    assert differences(MEANT, replace(MEANT, modalities=(CT1, MG1), routes=MEANT.routes[::-1])) == ()


@given(broken)
def test_whatever_is_changed_is_told(made: Broken) -> None:
    try:
        after = organisation(made.text.encode(), "policy.yaml")
    except PolicyFileMalformed:
        return

    assert bool(differences(WHOLE, after)) == bool(differences(after, WHOLE)) == (after != WHOLE)
    assert all(change.was != change.now for change in differences(WHOLE, after))


def test_no_text_of_a_policy_forges_a_line() -> None:
    hostile = "<x>\x9b2J\N{RIGHT-TO-LEFT OVERRIDE}\N{LINE SEPARATOR}- all is well"
    watch = WatchPolicy(60, forbidden=(hostile,))
    after = replace(MEANT, modalities=(replace(MG1, description=hostile), CT1), watch=watch)

    lines = [line for change in (*differences(MEANT, after), *differences(after, MEANT)) for line in change.lines()]
    assert any("DANGER: " in line and "is looked for no more" in line for line in lines)
    assert all(line.isprintable() for line in lines)


def test_a_modality_that_may_no_longer_send_is_a_danger_and_a_new_one_is_not() -> None:
    fewer = replace(MEANT, modalities=(MG1,))

    assert only(fewer) == Change(
        "modalities CT1", "CT1: CT, room 1.14; known to archives as CT", "", "it may no longer send"
    )
    added = only(MEANT, fewer)
    assert (added.was, added.danger) == ("", "")
    assert list(added.lines()) == ["+ modalities CT1: CT1: CT, room 1.14; known to archives as CT"]


@pytest.mark.parametrize(
    "before, after, danger",
    [
        (("192.0.2.10",), (), "it may send without any address being looked at"),
        ((), ("192.0.2.10",), "it may no longer send without one of these as its address"),
        (("192.0.2.10", "192.0.2.11"), ("192.0.2.10",), "it may no longer send with address 192.0.2.11"),
        (("192.0.2.10",), ("192.0.2.10", "192.0.2.11"), "it may send with an address that it could not before"),
    ],
)
def test_where_a_modality_may_send_from_is_a_danger_in_both_directions(
    before: tuple[str, ...], after: tuple[str, ...], danger: str
) -> None:
    old, new = (replace(MEANT, modalities=(replace(CT1, addresses=each),)) for each in (before, after))

    assert only(new, old).danger == danger


def test_files_that_are_to_be_deleted_are_a_danger() -> None:
    after = replace(MEANT, modalities=(replace(MG1, export_folder=AfterReceipt.DELETE), CT1))

    assert list(only(after).lines()) == [
        "~ modalities MG1: export_folder: move -> delete", "    DANGER: files are deleted after the receipt",
    ]  # fmt: skip
    assert only(MEANT, after).danger == ""


def test_a_default_that_is_less_strict_is_a_danger_and_a_stricter_one_is_not() -> None:
    looser, stricter = (replace(MEANT, grading=replace(MEANT.grading, default=each)) for each in ("general", "secret"))

    assert only(looser).danger == "general is less strict than restricted"
    assert only(stricter).danger == ""


def test_a_grade_that_no_list_ranks_is_never_taken_for_as_strict() -> None:
    before = replace(MEANT, grading=replace(MEANT.grading, grades=(), rules=()))
    after = replace(MEANT, grading=replace(MEANT.grading, default="other", grades=(), rules=()))

    assert (
        "no list of grades says" in next(c for c in differences(before, after) if c.field == "grading.default").danger
    )


def test_an_archive_that_gets_no_more_images_is_a_danger_wherever_it_is_taken_away() -> None:
    grading = replace(MEANT.grading, routes=("pacs-main",))
    rule = replace(MEANT.grading.rules[0], routes=())
    ruled = replace(MEANT.grading, rules=(rule, MEANT.grading.rules[1]))

    assert only(replace(MEANT, grading=grading)).danger == "these images no longer go to pacs-old"
    assert only(replace(MEANT, grading=ruled)).danger == "these images no longer go to pacs-main"
    gone = replace(MEANT, routes=MEANT.routes[:1])
    assert only(gone).danger == "the archive gets no more images on it"


def test_a_rule_that_grades_down_and_a_strict_one_that_goes_are_dangers() -> None:
    down = Rule((("modality", ("US",)),), "general", ("pacs-main",))
    added = replace(MEANT, grading=replace(MEANT.grading, rules=(*MEANT.grading.rules, down)))
    fewer = replace(MEANT, grading=replace(MEANT.grading, rules=MEANT.grading.rules[1:]))
    swapped = replace(MEANT, grading=replace(MEANT.grading, rules=MEANT.grading.rules[::-1]))

    assert only(added).danger == "it takes images from others: general is less strict than restricted"
    assert only(fewer).danger == "its images may fall to others: general is less strict than secret"
    assert "images may be graded otherwise" in only(swapped).danger


def graded_by(*rules: Rule) -> AuthoredPolicy:
    return replace(MEANT, grading=replace(MEANT.grading, default="general", rules=rules))


def test_a_rule_that_takes_images_from_a_stricter_one_behind_it_is_a_danger() -> None:
    strict, lax = Rule((("modality", ("CT",)),), "secret"), Rule((("calling_ae_title", ("CT1",)),), "restricted")
    lost = Rule((("calling_ae_title", ("CT1",)),), "secret")

    assert only(graded_by(lax, strict), graded_by(strict)).danger == (
        "it takes images from others: restricted is less strict than secret"
    )
    assert "these images no longer go to" in only(graded_by(lost, strict), graded_by(strict)).danger
    lasting = replace(lost, routes=("pacs-main", "pacs-old"))
    assert only(graded_by(lasting, strict), graded_by(strict)).danger == ""


def test_a_rule_that_is_changed_for_the_better_and_moved_in_front_of_another_is_a_danger() -> None:
    first, second = Rule((("modality", ("CT",)),), "secret"), Rule((("calling_ae_title", ("CT1",)),), "general")
    better = replace(second, grade="restricted")

    assert only(graded_by(first, better), graded_by(first, second)).danger == ""
    moved = "the first rule that holds decides, so images may be graded otherwise"
    assert only(graded_by(better, first), graded_by(first, second)).danger == moved


def test_a_route_that_leads_elsewhere_or_leaves_images_openable_is_a_danger() -> None:
    main, old = MEANT.routes
    elsewhere = replace(main, peer=replace(main.peer, host="other.example"))
    by_host = replace(main, via=Via.HOST)

    assert only(replace(MEANT, routes=(elsewhere, old))).danger == "images go to another machine"
    assert "can be opened on the host" in only(replace(MEANT, routes=(by_host, old))).danger


@pytest.mark.parametrize(
    "devices, danger",
    [
        (replace(DEVICES, default=Target.ALLOW), "what no rule names is let in"),
        (replace(DEVICES, default=Target.REJECT), ""),
        (replace(DEVICES, observe_until=LATER), "until then what no rule allows is let in and only recorded"),
        (
            replace(DEVICES, suspicious=Target.ALLOW),
            "a device that seems to be another than before is treated like any",
        ),
        (replace(DEVICES, rescue=Rescue("1-1", 10)), "any keyboard in port 1-1 works for a time after a start"),
        (replace(DEVICES, contact="nobody you know"), ""),
        (replace(DEVICES, others=OtherKinds(((OtherKind.SD, Target.BLOCK),))), ""),
    ],
)
def test_devices_that_may_do_more_are_a_danger(devices: DevicePolicy, danger: str) -> None:
    assert only(replace(MEANT, devices=devices)).danger == danger


@pytest.mark.parametrize(
    "rules, danger",
    [
        ((HUBS, STICK, DeviceRule(parse_rule("allow id 1234:*"))), "it allows more than before"),
        ((HUBS, STICK, DeviceRule(parse_rule("block id 1234:*"))), ""),
        ((HUBS,), "what it allowed with limits may be allowed without them by what follows"),
        ((STICK,), ""),
        ((HUBS, replace(STICK, only_encrypted=False)), "storage that is not encrypted is taken"),
        ((HUBS, replace(STICK, hardware_encrypted=True)), "it is believed to encrypt in hardware"),
        ((HUBS, replace(STICK, not_after=LATER)), "it is allowed for longer"),
        ((HUBS, replace(STICK, not_after=None)), "it is allowed for longer"),
        ((HUBS, replace(STICK, access=Access.READ_ONLY)), ""),
        ((STICK, HUBS), "the first rule that holds decides, so devices may be allowed that were not"),
    ],
)
def test_a_device_rule_that_allows_more_is_a_danger(rules: tuple[DeviceRule, ...], danger: str) -> None:
    assert only(with_rules(*rules)).danger == danger


def test_a_blocking_rule_that_goes_or_turns_into_an_allowing_one_is_a_danger() -> None:
    block, allow = (DeviceRule(parse_rule(f"{target} id 1234:*")) for target in ("block", "allow"))

    assert only(MEANT, with_rules(HUBS, STICK, block)).danger == "what it kept out may be allowed by what follows"
    assert only(with_rules(HUBS, STICK, allow), with_rules(HUBS, STICK, block)).danger == "it allows more than before"
    assert only(with_rules(HUBS, STICK, block), with_rules(HUBS, STICK, allow)).danger == ""


def test_whole_sections_that_go_are_dangers() -> None:
    for name, after in (
        ("devices", replace(MEANT, devices=None)),
        ("watch", replace(MEANT, watch=None)),
        ("coverage", replace(MEANT, coverage=None)),
    ):
        change = only(after)
        assert change.field == name
        assert change.danger


def test_the_first_policy_of_all_is_told_as_that() -> None:
    assert [change.field for change in differences(None, MEANT)] == ["policy"]


def test_one_line_names_what_is_dangerous_first() -> None:
    after = replace(
        MEANT, modalities=(MG1, Modality("US1", "ultrasound")), state_every_s=9, pull_every_s=9, frame_digests=False
    )

    assert summary(differences(MEANT, after)) == (
        "-modalities CT1, +modalities US1, ~custody, ~timings.state_every_s and 1 more"
    )
