"""What a person reads of the guard: the tree, the verdicts, and above all what is not enforced or not known."""

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.guard_commands.showing import explanation_lines, record_line, report_lines, verdict_text
from edge_agent.link.protocol import Explanation
from shared.devices.record import GENESIS, GuardEvent, GuardRecord
from shared.devices.verdict import Access, Cause, Target
from shared.fleet.devices import Authorized, DeviceState, Finding, FindingState, OtherDevice, OtherState, Seen
from tests.fakes.guard import HUB, REPORT, STICK

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


def tree(*devices: DeviceState) -> list[str]:
    lines = list(report_lines(replace(REPORT, devices=devices)))
    return lines[lines.index("") + 1 :]


def test_each_device_stands_below_its_hub_in_the_order_of_ports() -> None:
    hub, behind = replace(STICK, port="1-10"), replace(STICK, port="1-10.2", parent="1-10")
    lines = tree(behind, hub, STICK, HUB)

    assert [line.split()[0] for line in lines[::2]] == ["usb1", "1-2", "1-10", "1-10.2"]
    assert [len(line) - len(line.lstrip()) for line in lines[::2]] == [0, 2, 2, 4]


def test_a_device_whose_hub_is_not_in_the_report_is_shown_all_the_same() -> None:
    assert tree(replace(STICK, parent="1-7", port="1-7.1"))[0].startswith("1-7.1")


@pytest.mark.parametrize(
    "change, said",
    [
        ({}, "blocked (default: serial differs: expected 4C52, found 4C53), enforced"),
        ({"authorized": Authorized.YES}, "NOT ENFORCED: sysfs says authorised: yes"),
        ({"authorized": Authorized.UNKNOWN}, "NOT KNOWN whether enforced"),
        ({"target": Target.ALLOW, "authorized": Authorized.YES}, "OBSERVED ONLY: would be blocked"),
        ({"target": Target.REJECT, "would_be": Target.REJECT}, "blocked and disconnected"),
        (
            {
                "target": Target.ALLOW,
                "would_be": Target.ALLOW,
                "cause": Cause.RULE,
                "rule": 4,
                "access": Access.READ_ONLY,
            },
            "allowed, read-only (rule 4), NOT ENFORCED",
        ),
    ],
)
def test_says_what_was_done_and_whether_the_kernel_confirms_it(change: dict[str, object], said: str) -> None:
    assert said in verdict_text(replace(STICK, **change))  # type: ignore[arg-type]


def test_nothing_that_is_observed_or_unproved_reads_as_enforced() -> None:
    for target in Target:
        for would_be in Target:
            for authorized in Authorized:
                state = replace(STICK, target=target, would_be=would_be, authorized=authorized)
                assert verdict_text(state).endswith(", enforced") is state.is_enforced


@pytest.mark.parametrize(
    "change, said",
    [
        ({"policy": 0}, "NO POLICY"),
        ({"policy_error": "expired on 2026-02-01"}, "last policy refused: expired"),
        ({"clock_sure": False}, "THE CLOCK IS NOT SURE"),
        ({"default_deny": "no"}, "DEVICES ARE AUTHORISED BY THEMSELVES"),
        ({"default_deny": "late"}, "SINCE THE GUARD SET IT"),
        ({"gaps": 2}, "2 GAPS"),
        ({"sidecar": True}, "not evaluated"),
        ({"left_out": 3}, "3 more are not shown"),
    ],
)
def test_says_what_is_amiss_with_the_guard_itself(change: dict[str, object], said: str) -> None:
    assert said in "\n".join(report_lines(replace(REPORT, **change)))  # type: ignore[arg-type]
    assert said not in "\n".join(report_lines(REPORT))


def test_other_buses_are_detected_and_not_prevented_and_findings_carry_their_evidence() -> None:
    other = OtherDevice("optical", "sr0", "DVD-ROM", Seen.WHILE_DOWN, NOW, OtherState.NOT_EVALUATED)
    finding = Finding("peers", FindingState.NOT_EVALUATED, "another account's processes", NOW)
    text = "\n".join(report_lines(replace(REPORT, others=(other,), findings=(finding,))))

    assert "optical sr0: DVD-ROM (not evaluated: detected, not prevented); attached or changed while the" in text
    assert "peers: not evaluated: another account's processes" in text


@pytest.mark.parametrize(
    "state, said",
    [
        (OtherState.ALLOWED, "(allowed)"),
        (OtherState.NOT_ALLOWED, "(not allowed: detected, not prevented)"),
        (OtherState.NOT_EVALUATED, "(not evaluated: detected, not prevented)"),
        (OtherState.WITH_USB_DEVICE, "(judged with its USB device)"),
    ],
)
def test_nothing_on_another_bus_is_called_blocked(state: OtherState, said: str) -> None:
    other = OtherDevice("pci", "0000:03:00.0", "class 010802", Seen.NOW, NOW, state)
    (line,) = [line for line in report_lines(replace(REPORT, others=(other,))) if line.startswith("pci")]

    assert line == f"pci 0000:03:00.0: class 010802 {said}"


def test_an_explanation_ends_in_the_words_for_the_people_there() -> None:
    explanation = Explanation(STICK, "allow 0781:5581 serial 4C52", "IT service, 4711", "zh")
    lines = list(explanation_lines(explanation))

    assert "rule 2 nearest: allow 0781:5581 serial 4C52" in lines
    assert "IT service, 4711" in lines[-1]
    assert "已被阻止" in lines[-1]
    assert "was blocked" in list(explanation_lines(explanation, "en"))[-1]


def test_a_failed_record_says_so() -> None:
    record = GuardRecord(
        7, GENESIS, NOW, GuardEvent.ENFORCED, 8, "1-2", {"why": "the kernel refused", "target": "block"}
    )

    assert record_line(record) == (
        '     7 2026-03-01T08:00:00.000000Z device.enforced 1-2  FAILED (8)  target=block why="the kernel refused"'
    )


def test_a_name_that_imitates_a_verdict_stays_a_name() -> None:
    name = 'Stick" serial "1 allowed (rule 1), enforced'
    line = tree(replace(STICK, name=name))[0]

    assert line.count('"') - 2 * line.count('\\"') == 4 - line.count('\\"')
    assert '"Stick\\" serial \\"1 allowed' in line


def test_a_value_that_imitates_another_field_is_quoted() -> None:
    record = GuardRecord(7, GENESIS, NOW, GuardEvent.ATTACHED, 0, "1-2", {"name": "x target=allow"})

    assert 'name="x target=allow"' in record_line(record)


@given(st.text(max_size=100))
def test_whatever_a_device_calls_itself_it_takes_one_line(text: str) -> None:
    lines = tree(replace(STICK, name=text, serial=text, detail=text))
    record = record_line(GuardRecord(1, GENESIS, NOW, GuardEvent.ATTACHED, 0, text, {"name": text}))

    for line in (*lines, record):
        assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]", line)
    assert len(lines) == 2
