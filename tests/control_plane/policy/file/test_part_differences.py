"""What another version of a part changes is told by what its hosts act by, and what may do harm is called that."""

from dataclasses import replace
from datetime import UTC, datetime
from time import process_time

import pytest

from control_plane.policy.file.authored import AuthoredPart, AuthoredPolicy
from control_plane.policy.file.change import Change
from control_plane.policy.file.meaning import describe, doubts
from control_plane.policy.file.part_differences import part_differences
from control_plane.policy.file.reading import parse_policy_file
from shared.errors import Malformed
from shared.policy.part import PartDocument
from tests.control_plane.policy.file.full import MEANT, organisation
from tests.control_plane.policy.file.test_parts import HOST, NORTH, parse
from tests.control_plane.policy.file.test_reading import document

ORGANISATION_TEXT = """\
layer: organisation
modalities: [{ae_title: CT1, description: CT}]
grading: {default: restricted, grades: [restricted, secret]}
timings: {state_every_s: 5, pull_every_s: 30}
devices: {rules: ["allow with-interface 09:00:00", "block id 0781:*"]}
watch: {every_s: 60, forbidden: ["/opt/*/vnc*"]}
"""
ORGANISATION = document(organisation(ORGANISATION_TEXT.encode(), "policy.yaml"))


def published(text: str, version: int = 1) -> PartDocument:
    return parse(text).document(version)


def changes(before: str | None, after: str) -> tuple[Change, ...]:
    return part_differences(ORGANISATION, None if before is None else published(before), parse(after))


def only(before: str | None, after: str) -> Change:
    (change,) = changes(before, after)
    return change


def test_a_new_part_is_told_by_what_changes_on_its_hosts_and_the_same_one_changes_nothing() -> None:
    told = changes(None, NORTH.replace("0781:5581", "0951:1666"))

    assert [(change.mark, change.field) for change in told] == [
        ("+", "modalities CT7"), ("~", "timings.state_every_s"), ("+", "devices.rules[3]"),
        ("~", f"hosts[{HOST}].spool"), ("~", f"hosts[{HOST}].timings.pull_every_s"),
    ]  # fmt: skip
    assert [change.danger for change in told if change.field == "devices.rules[3]"] == ["it allows more than before"]
    assert changes(NORTH, NORTH) == ()


def test_what_stays_as_the_organisation_says_is_no_change() -> None:
    says_the_same = "layer: site-north\ntimings: {state_every_s: 5}\n"

    assert changes(None, says_the_same) == ()
    assert changes(says_the_same, "layer: site-north\n") == ()


def test_a_modality_that_a_part_no_longer_adds_may_no_longer_send() -> None:
    without = NORTH.replace('modalities:\n  - {ae_title: CT7, description: "CT, north"}\n', "")

    assert only(NORTH, without) == Change("modalities CT7", "CT7: CT, north", "", "it may no longer send")


def test_watch_rules_that_a_part_says_anew_leave_out_what_the_organisation_looks_for() -> None:
    told = only(None, "layer: modality-ct\nwatch: {every_s: 60}\n")

    assert told.danger == "/opt/*/vnc* is looked for no more"


def test_wipe_rules_of_a_part_change_only_what_they_make_stricter() -> None:
    organisation = replace(ORGANISATION, wipe=MEANT.wipe)
    laxer = "layer: site-north\nwipe: {least: clear, read_back: samples, approvals: 1, ticket_hours: 168}\n"

    assert part_differences(organisation, None, parse(laxer)) == ()
    stricter = laxer.replace("approvals: 1", "approvals: 3")
    (told,) = part_differences(organisation, None, parse(stricter))
    assert told == Change("wipe.approvals", "2 approvals", "3 approvals", "")
    (fewer,) = part_differences(organisation, published(stricter), parse(laxer))
    assert fewer.danger == "a drive is wiped with fewer people having said so"
    assert changes(None, laxer) == (), "without the organisation's section a part's says nothing"


def test_a_weaker_grade_of_a_part_is_dangerous_whichever_of_the_two_files_lists_the_grades() -> None:
    strict = "layer: site-north\ngrading: {default: secret, grades: [restricted, secret]}\n"

    assert only(None, strict).danger == ""
    assert only(strict, "layer: site-north\n").danger == "restricted is less strict than secret"


def test_an_exception_that_comes_or_goes_is_told_of_its_host() -> None:
    plain = "layer: site-north\n"
    excepted = f"""{plain}hosts:
  {HOST}:
    modalities: [{{ae_title: CT7, description: CT}}]
    devices: {{rules: ["allow id 1234:*"]}}
"""

    added, allowed = changes(plain, excepted)
    assert (added.field, added.danger) == (f"hosts[{HOST}].modalities CT7", "")
    assert (allowed.field, allowed.danger) == (f"hosts[{HOST}].devices.rules[3]", "it allows more than before")
    removed = changes(excepted, plain)[0]
    assert (removed.field, removed.danger) == (f"hosts[{HOST}].modalities CT7", "it may no longer send")


def test_what_changes_everywhere_is_not_told_again_for_hosts_with_an_exception() -> None:
    slower = NORTH.replace("state_every_s: 30", "state_every_s: 60")

    assert [change.field for change in changes(NORTH, slower)] == ["timings.state_every_s"]


def test_an_exception_that_is_weaker_than_its_site_is_dangerous_on_that_host_alone() -> None:
    strict = (
        f"layer: site-north\ngrading: {{default: secret, grades: [restricted, secret]}}\nhosts: {{{HOST}: {{X}}}}\n"
    )
    before, after = (
        strict.replace("{X}", f"{{grading: {{default: {grade}, grades: [restricted, secret]}}}}")
        for grade in ("secret", "restricted")
    )

    assert only(before, after) == Change(
        f"hosts[{HOST}].grading.default", "secret", "restricted", "restricted is less strict than secret"
    )


STRICT_MG = "layer: modality-mg\ngrading: {default: secret, grades: [restricted, secret]}\n"
LAX_NORTH = "layer: site-north\ngrading: {default: restricted, grades: [restricted, secret]}\n"


def test_what_a_site_says_instead_of_a_type_of_modality_is_told_though_it_is_what_the_organisation_says() -> None:
    types = [published(STRICT_MG), published("layer: modality-ct\n")]

    assert part_differences(ORGANISATION, None, parse(LAX_NORTH)) == ()
    assert part_differences(ORGANISATION, None, parse(LAX_NORTH), types) == (
        Change("beside modality-mg: grading.default", "secret", "restricted", "restricted is less strict than secret"),
    )


def test_parts_of_its_own_kind_are_on_no_host_beside_it() -> None:
    others = [published(LAX_NORTH.replace("default: restricted", "default: secret").replace("north", "south"))]

    assert part_differences(ORGANISATION, None, parse(LAX_NORTH), others) == ()


def test_what_an_exception_says_instead_of_a_type_of_modality_is_told_of_its_host() -> None:
    excepted = (
        f"layer: site-north\nhosts: {{{HOST}: {{grading: {{default: restricted, grades: [restricted, secret]}}}}}}\n"
    )

    assert part_differences(ORGANISATION, published("layer: site-north\n"), parse(excepted)) == ()
    (change,) = part_differences(
        ORGANISATION, published("layer: site-north\n"), parse(excepted), [published(STRICT_MG)]
    )
    assert change.field == f"hosts[{HOST}].beside modality-mg: grading.default"
    assert change.danger == "restricted is less strict than secret"


def test_a_type_of_modality_is_judged_beside_the_exceptions_of_sites() -> None:
    without = replace(ORGANISATION, devices=None)
    strict = published("layer: modality-ct\ndevices: {rules: [], default: reject}\n")
    gone = parse("layer: modality-ct\n")
    site = published(f"layer: site-north\nhosts: {{{HOST}: {{devices: {{rules: [], default: allow}}}}}}\n")
    told = part_differences(without, strict, gone, [site])
    elsewhere = part_differences(without, strict, gone, [replace(site, hosts=())])

    (change,) = [change for change in told if change not in elsewhere]
    assert change.field == f"beside site-north with its exception for {HOST}: devices.default"
    assert change.danger


def test_beside_many_types_a_thousand_exceptions_that_say_the_same_are_judged_once() -> None:
    lax = "{grading: {default: restricted, grades: [restricted, secret]}}"
    hosts = "".join(f"  host-{number:032x}: {lax}\n" for number in range(1000))
    types = [published(STRICT_MG.replace("modality-mg", f"modality-t{number}")) for number in range(20)]

    began = process_time()
    told = part_differences(ORGANISATION, None, parse(f"layer: site-north\nhosts:\n{hosts}"), types)
    assert len(told) == 1000
    assert process_time() - began < 10


def test_a_thousand_exceptions_that_say_the_same_are_each_told() -> None:
    hosts = "".join(f"  host-{number:032x}: {{timings: {{pull_every_s: 60}}}}\n" for number in range(1000))

    told = changes(None, f"layer: site-north\nhosts:\n{hosts}")
    assert len(told) == 1000
    assert told[7].field == f"hosts[host-{7:032x}].timings.pull_every_s"


def test_a_part_that_is_no_policy_together_with_the_organisation_is_refused() -> None:
    for text, why in (
        ("layer: site-north\nmodalities: [{ae_title: CT1, description: again}]\n", "lists a modality AE title twice"),
        ("layer: site-north\ngrading: {default: restricted, routes: [pacs]}\n", "names route pacs"),
        ("layer: site-north\ngrading: {default: general}\n", "has no data key for grade general"),
        (f"layer: site-north\nhosts: {{{HOST}: {{grading: {{default: general}}}}}}\n", "has no data key"),
    ):
        with pytest.raises(Malformed, match=why):
            changes(None, text)


def test_where_what_was_published_fits_no_more_what_changes_cannot_be_told_and_is_dangerous() -> None:
    clashing = "layer: site-north\nmodalities: [{ae_title: CT1, description: again}]\n"

    told = changes(clashing, "layer: site-north\ntimings: {state_every_s: 60}\n")
    assert [change.field for change in told] == ["policy", "timings.state_every_s"]
    assert "lists a modality AE title twice" in told[0].was
    assert "cannot be told" in told[0].danger


def test_every_kind_of_line_of_a_part_is_told_in_words() -> None:
    said = "\n".join(describe(parse(NORTH)))

    assert said.startswith("layer site-north; what it leaves out is as the organisation's policy says\n")
    for words in (
        "who may send besides\n  CT7: CT, north",
        "device rules that come after the organisation's",
        "a host reports every 30 s",
        f"for {HOST} alone\n  spool: at most 20 GiB\n  a host asks for a newer policy every 60 s",
    ):
        assert words in said
    whole = AuthoredPart(
        "modality-mg", replace(parse(NORTH).content, grading=MEANT.grading, watch=MEANT.watch, wipe=MEANT.wipe)
    )
    assert {
        "its own grading, and none of the organisation's",
        "its own watch rules, and none of the organisation's",
        "wipe rules beside the organisation's, the stricter of the two each",
        "  the host itself and the centre refuse a ticket that is laxer",
    } <= {*describe(whole)}
    assert describe(AuthoredPart("site-x", parse("layer: site-x\n").content))[1:] == ["nothing is otherwise"]


def test_what_a_part_says_without_effect_is_doubted_and_what_the_organisation_says_is_not_asked_of_it() -> None:
    until = datetime(2027, 1, 1, tzinfo=UTC)
    part = parse(NORTH)
    assert part.content.devices is not None
    devices = replace(part.content.devices, observe_until=until)
    watched = AuthoredPart(part.layer, replace(part.content, devices=devices), part.hosts)

    assert any("CT7: neither addresses nor certificates" in doubt for doubt in doubts(part))
    assert not any("hub" in doubt for doubt in doubts(part))
    assert any("observe_until does nothing unless" in doubt for doubt in doubts(watched))
    open_to_all = parse("layer: site-x\ndevices: {rules: [], default: allow}\n")
    assert doubts(open_to_all) == [
        "devices.default is allow: that does nothing unless the organisation's policy says allow too"
    ]
    excepted = AuthoredPart("site-x", part.content, ((part.hosts[0][0], open_to_all.content),))
    assert any(doubt.startswith(f"{HOST}: devices.default is allow") for doubt in doubts(excepted))


def test_a_file_of_the_organisation_is_described_as_before() -> None:
    policy = parse_policy_file(ORGANISATION_TEXT.encode(), "policy.yaml")

    assert isinstance(policy, AuthoredPolicy)
    assert describe(policy)[0] == "who may send"
