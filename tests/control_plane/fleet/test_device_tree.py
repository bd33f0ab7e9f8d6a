"""A guard's report in words: each device once, in the tree's order, and nothing proved that is not."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.fleet.device_tree import count, enforcement, gaps, in_order, tree
from shared.devices.verdict import Access, Cause, Target
from shared.fleet.devices import (
    Authorized,
    DeviceState,
    Finding,
    FindingState,
    GuardReport,
    OtherDevice,
    OtherState,
    Seen,
)

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script>\x9b2J\N{RIGHT-TO-LEFT OVERRIDE}\N{LINE SEPARATOR}"
HUB = DeviceState(
    "usb1", "", "1d6b:0002", "xHCI Host Controller", "0000:00:03.0", "0a" * 32, "09:00:00", Seen.BEFORE, NOW,
    Target.ALLOW, Target.ALLOW, Cause.ROOT_HUB, 0, "", Access.READ_WRITE, Authorized.YES,
)  # fmt: skip
STICK = DeviceState(
    "1-1.2", "1-1", "0781:5581", "Ultra", "4C53", "0b" * 32, "08:06:50", Seen.NOW, NOW,
    Target.BLOCK, Target.BLOCK, Cause.DEFAULT, 2, "nearest rule 2 differs in serial: expected 4C52, found 4C53",
    Access.READ_WRITE, Authorized.NO,
)  # fmt: skip
REPORT = GuardReport(
    "leadglass-guard 0.1.0", 3, "", True, "boot", False, 0, 9, (HUB, STICK),
    (OtherDevice("optical", "sr0", "medium inserted", Seen.NOW, NOW, OtherState.ALLOWED),),
    (
        Finding("disk-encryption", FindingState.NOT_EVALUATED, "the disk cannot be read", NOW),
        Finding("free-space", FindingState.FINE, "80 % free", NOW),
    ),
)  # fmt: skip


def at(port: str, parent: str) -> DeviceState:
    return replace(STICK, port=port, parent=parent)


def test_a_device_stands_below_its_hub_and_ports_in_the_order_of_their_numbers() -> None:
    devices = (
        at("1-10", "usb1"),
        at("1-2.1", "1-2"),
        at("usb2", ""),
        at("1-2", "usb1"),
        at("usb1", ""),
        at("2-1", "usb2"),
    )

    assert [(device.port, depth) for device, depth in in_order(devices)] == [
        ("usb1", 0), ("1-2", 1), ("1-2.1", 2), ("1-10", 1), ("usb2", 0), ("2-1", 1),
    ]  # fmt: skip


def test_what_hangs_on_a_hub_that_was_left_out_stands_at_the_top() -> None:
    assert [depth for _, depth in in_order((at("1-2.1", "1-2"), at("1-2.1.4", "1-2.1")))] == [0, 1]


PORTS = st.sampled_from(["", "usb1", "1-1", "1-2", "1-1.1", "a", "-", "..", "1-99999999999999999999", "1-\u0663"])


@given(st.lists(st.tuples(PORTS, PORTS), max_size=12))
def test_every_device_is_shown_once_whatever_hangs_on_what(places: list[tuple[str, str]]) -> None:
    devices = [at(*place) for place in places]
    found = [device for device, _ in in_order(devices)]

    assert sorted(map(id, found)) == sorted(map(id, devices))


@pytest.mark.parametrize(
    "device, proved",
    [
        (STICK, "enforced"),
        (HUB, "enforced"),
        (replace(STICK, target=Target.REJECT, would_be=Target.REJECT), "enforced"),
        (replace(STICK, authorized=Authorized.YES), "not enforced"),
        (replace(HUB, authorized=Authorized.NO), "not enforced"),
        (replace(STICK, authorized=Authorized.UNKNOWN), "unknown"),
        (replace(STICK, target=Target.ALLOW, authorized=Authorized.YES), "not enforced"),
        (replace(STICK, target=Target.ALLOW, authorized=Authorized.UNKNOWN), "not enforced"),
    ],
)
def test_enforced_is_what_sysfs_proved_and_observe_mode_is_not(device: DeviceState, proved: str) -> None:
    assert enforcement(device) == proved


def test_counts_are_of_what_they_say() -> None:
    observed = replace(STICK, target=Target.ALLOW, authorized=Authorized.YES, cause=Cause.SUSPICIOUS)
    unknown = replace(STICK, authorized=Authorized.UNKNOWN)
    others = tuple(replace(REPORT.others[0], state=state) for state in OtherState)
    counts = count(replace(REPORT, devices=(HUB, STICK, observed, unknown), others=others, left_out=3))

    assert counts.json() == {
        "devices": 7, "blocked": 2, "not_enforced": 1, "unknown": 1, "observed": 1, "suspicious": 1,
        "not_allowed": 1,
    }  # fmt: skip


def test_a_guard_that_proved_everything_leaves_nothing_to_say() -> None:
    assert list(gaps("CT 2", replace(REPORT, findings=(REPORT.findings[1],)))) == []


@pytest.mark.parametrize(
    "report, said",
    [
        (None, "no guard answers there; what is plugged in is neither seen nor prevented"),
        (replace(REPORT, policy=0), "guard: it has no device policy"),
        (replace(REPORT, policy_error="PolicyRollback: no"), "guard: refused a policy: PolicyRollback: no"),
        (replace(REPORT, clock_sure=False), "its clock is not certain"),
        (replace(REPORT, default_deny="late"), "let in between the machine's start and the guard's"),
        (replace(REPORT, default_deny="no"), "let in before they are judged"),
        (replace(REPORT, gaps=2), "events were missed 2 times"),
        (replace(REPORT, left_out=4), "4 devices, others or findings are not in its report"),
        (replace(REPORT, sidecar=True), "the modality's own ports are not evaluated"),
        (REPORT, "check disk-encryption: not evaluated: the disk cannot be read"),
        (replace(REPORT, devices=(replace(STICK, authorized=Authorized.YES),)),
         "port 1-1.2: 0781:5581 Ultra should be blocked, and authorised is read back as yes"),
        (replace(REPORT, devices=(replace(STICK, authorized=Authorized.UNKNOWN),)), "authorised cannot be read back"),
        (replace(REPORT, devices=(replace(STICK, target=Target.ALLOW),)), "only observed: it would have been blocked"),
        (replace(REPORT, devices=(replace(STICK, cause=Cause.SUSPICIOUS),)), "is suspicious: nearest rule 2 differs"),
        (replace(REPORT, others=(replace(REPORT.others[0], state=OtherState.NOT_ALLOWED),)),
         "optical sr0 is not allowed: detected, not prevented"),
    ],
)  # fmt: skip
def test_what_nobody_has_proved_is_said(report: GuardReport | None, said: str) -> None:
    told = list(gaps("CT 2", report))

    assert [line for line in told if said in line]
    assert all(line.startswith("CT 2: ") for line in told)


@pytest.mark.parametrize("state", [each for each in OtherState if each is not OtherState.NOT_ALLOWED])
def test_what_policy_allows_or_does_not_name_on_another_bus_is_nothing_to_prove(state: OtherState) -> None:
    report = replace(REPORT, others=(replace(REPORT.others[0], state=state),), findings=())

    assert list(gaps("CT 2", report)) == []


def test_what_is_on_another_bus_has_its_state_and_the_words_for_it() -> None:
    def shown(state: OtherState) -> object:
        others = (replace(REPORT.others[0], state=state),)
        return tree(replace(REPORT, others=others), is_current=True)["others"]

    for state in OtherState:
        assert f"'state': '{state.value}', 'verdict': '{state.words}'" in str(shown(state))
    assert "not allowed: detected, not prevented" in str(shown(OtherState.NOT_ALLOWED))
    assert "block" not in str([shown(state) for state in OtherState])


def test_of_a_host_that_is_not_heard_nothing_is_enforced_and_nothing_fine() -> None:
    shown = tree(REPORT, is_current=False)

    assert "enforced" not in str(shown).replace("'enforcement'", "").replace("not enforced", "")
    assert "fine" not in str(shown)
    assert "'enforcement': 'enforced'" in str(tree(REPORT, is_current=True))


def test_what_a_device_says_is_one_printable_line_whatever_the_host_made_of_it() -> None:
    hostile = replace(STICK, name=HOSTILE, serial=HOSTILE, detail=HOSTILE, cause=Cause.SUSPICIOUS)
    report = replace(
        REPORT, devices=(hostile,), policy_error=HOSTILE,
        others=(replace(REPORT.others[0], name=HOSTILE, detail=HOSTILE, state=OtherState.NOT_ALLOWED),),
        findings=(replace(REPORT.findings[0], detail=HOSTILE),),
    )  # fmt: skip

    told = [str(tree(report, is_current=True)), *gaps("CT 2", report)]
    assert all(line.isprintable() for line in told)
    assert all("\N{REPLACEMENT CHARACTER}" in line for line in told)


def test_a_reason_names_the_rule_and_what_differed() -> None:
    def reason(**changes: object) -> object:
        shown = tree(replace(REPORT, devices=(replace(STICK, **changes),)), is_current=True)  # type: ignore[arg-type]
        return shown["devices"][0]["reason"]  # type: ignore[index, call-overload]

    assert reason() == "no rule matched: nearest rule 2 differs in serial: expected 4C52, found 4C53"
    assert reason(cause=Cause.RULE, rule=7, detail="") == "rule 7"
    assert reason(cause=Cause.DEFAULT, rule=0, detail="") == "no rule matched"
    for cause in Cause:
        assert "{" not in str(reason(cause=cause))
