"""What `policy check` tells of devices, and what it doubts."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from control_plane.policy.file.device_meaning import describe_devices, doubts_of_devices
from shared.devices.device import Interface
from shared.devices.others import OtherKind, OtherKinds
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule, Rescue
from shared.devices.verdict import Access, Target

UNTIL = datetime(2026, 12, 31, 18, 0, tzinfo=UTC)
HUB = DeviceRule(parse_rule("allow with-interface one-of { 09:00:00 09:00:01 09:00:02 }"))


def rule(text: str, **beside: object) -> DeviceRule:
    return DeviceRule(parse_rule(text), **beside)  # type: ignore[arg-type]


def told(*rules: DeviceRule) -> list[str]:
    """Return what is said of each rule, without its number."""
    return [line.partition(". ")[2] for line in describe_devices(DevicePolicy(rules))[1 : len(rules) + 1]]


def doubts(*rules: DeviceRule) -> list[str]:
    """Return what is doubted of rules in front of one that allows hubs."""
    return list(doubts_of_devices(DevicePolicy((*rules, HUB))))


def test_tells_what_may_be_plugged_in_and_what_becomes_of_the_rest() -> None:
    policy = DevicePolicy(
        (HUB, rule("block")), observe_until=UNTIL, rescue=Rescue("1-1.2", 10), contact="4711", language="zh"
    )

    assert describe_devices(policy) == [
        "what may be plugged in, the first line that holds",
        "  1. a device that is a hub (09:00:00), a hub (09:00:01) or a hub (09:00:02): allowed",
        "  2. every device: blocked",
        f"  3. any other device: {OBSERVED}",
        "a device that seems to be another than before: blocked, whatever they say",
        "rescue: a keyboard in port 1-1.2 works for 10 min after a start",
        "the technologist reads Chinese, and is told to call 4711",
    ]


def test_tells_what_the_smallest_policy_means() -> None:
    assert describe_devices(DevicePolicy(suspicious=Target.ALLOW)) == [
        "what may be plugged in, the first line that holds",
        "  1. any other device: blocked",
        "a device that seems to be another than before: recorded, and the lines above decide",
        "the technologist reads English, and nobody to call",
    ]


def test_tells_what_may_be_there_where_nothing_is_prevented() -> None:
    others = OtherKinds(((OtherKind.OPTICAL, Target.ALLOW), (OtherKind.THUNDERBOLT, Target.BLOCK)))

    assert describe_devices(DevicePolicy(others=others))[3:-1] == [
        "what may be there that does not hang on the USB; of other kinds nothing is evaluated",
        "  optical drives and discs: allowed",
        "  Thunderbolt devices: not allowed: detected, not prevented",
    ]


def test_nothing_that_cannot_be_prevented_is_called_blocked() -> None:
    for kind in OtherKind:
        told = describe_devices(DevicePolicy(others=OtherKinds(((kind, Target.BLOCK),))))[3:-1]

        assert told[1].endswith("not allowed: detected, not prevented")
        assert not [line for line in told if "block" in line]


OBSERVED = "blocked, but until 2026-12-31T18:00:00Z only recorded and let through"


@pytest.mark.parametrize(
    "text, words",
    [
        ("allow id 046d:c31c", "a device with id 046d:c31c: allowed"),
        (
            "reject id one-of { 046d:* 0951:1666 }",
            "a device with id 046d:* or 0951:1666: blocked and taken off the bus",
        ),
        (
            'allow name "Stick" serial "A1" via-port "1-1"',
            'a device named "Stick", with serial number "A1", in port "1-1": allowed',
        ),
        (
            "allow with-interface { 03:01:01 08:06:50 }",
            "a device that is a keyboard (03:01:01) and storage (08:06:50): allowed",
        ),
        (
            "allow with-interface all-of { 03:*:* }",
            "a device that is an input device (03:*:*), perhaps with more: allowed",
        ),
        ("allow with-interface none-of { 08:*:* }", "a device that is not storage (08:*:*): allowed"),
        (
            "allow with-interface match-all { 03:*:* }",
            "a device that is nothing but an input device (03:*:*): allowed",
        ),
        (
            "block with-interface equals-ordered { e0:01:01 42:00:00 }",
            "a device that is wireless (e0:01:01) and something (42:00:00) in this order: blocked",
        ),
        (
            'allow hash "jEP/6WzviqdJ5VSe"',
            "a device whose descriptors have the hash jEP/6Wzv…: allowed",
        ),
        (
            'allow parent-hash "rV9bfLq7c2eA4tYj"',
            "a device behind a hub whose descriptors have the hash rV9bfLq7…: allowed",
        ),
        ('allow id 046d:c31c label "x"', 'a device with id 046d:c31c ("x"): allowed'),
        ("block if localtime(08:00-17:00)", "every device: blocked, if localtime(08:00-17:00)"),
    ],
)
def test_tells_a_rule_in_words(text: str, words: str) -> None:
    assert told(rule(text)) == [words]


@pytest.mark.parametrize(
    "beside, words",
    [
        ({"access": Access.READ_ONLY, "only_encrypted": True}, "read-only, only if it is encrypted"),
        ({"interfaces": (Interface(3, 1, 2),)}, "of its interfaces only a pointer (03:01:02)"),
        ({"not_before": UNTIL}, "from 2026-12-31T18:00:00Z"),
        ({"not_after": UNTIL}, "until 2026-12-31T18:00:00Z"),
    ],
)
def test_tells_what_stands_beside_a_rule(beside: dict[str, object], words: str) -> None:
    assert told(rule("allow", **beside)) == [f"every device: allowed, {words}"]


def test_tells_that_nobody_measures_what_a_device_encrypts_in_hardware() -> None:
    (line,) = told(rule("allow id 0951:1666", only_encrypted=True, hardware_encrypted=True))

    assert line == "a device with id 0951:1666: allowed, as encrypting in hardware, which nobody can measure"


def test_tells_that_a_rule_is_observed() -> None:
    assert told(rule("block", observe_until=UNTIL)) == [f"every device: {OBSERVED}"]


def test_tells_hostile_text_as_one_line() -> None:
    (line,) = told(rule('allow name "a\\x0ab\\xe2\\x80\\xae"'))

    assert line == 'a device named "a\N{REPLACEMENT CHARACTER}b\N{REPLACEMENT CHARACTER}": allowed'


KEYBOARD = (
    "devices, rule 1 allows a keyboard in any port, so whatever says that it is this one may type; name its via-port"
)
IN_CLEAR = (
    "devices, rule 1 allows storage to be written in clear, so images can be carried off; say only_encrypted: true, or "
    "access: read-only"
)
BY_SERIAL = "devices, rule 1 allows storage by its serial number alone, which anybody can copy; name its id and hash"


@pytest.mark.parametrize(
    "text, doubted",
    [
        ("allow id 046d:c31c with-interface 03:01:01", [KEYBOARD]),
        ("allow id 046d:c31c with-interface { 03:00:00 03:01:02 }", [KEYBOARD]),
        ("allow with-interface 03:*:*", [KEYBOARD]),
        ('allow with-interface 03:01:01 via-port "1-1"', []),
        ("allow with-interface 03:01:02", []),
        ("allow id 1234:5678", [KEYBOARD, IN_CLEAR]),
        ('allow id 1234:5678 hash "jEP/6WzviqdJ5VSe"', []),
        ("allow with-interface none-of { 03:*:* 08:*:* }", []),
        ("allow with-interface none-of { 03:01:* 08:*:* }", [KEYBOARD]),
        ('allow serial "A1" with-interface 08:06:50', [BY_SERIAL, IN_CLEAR]),
        ('allow id 0951:1666 serial "A1" with-interface 08:06:50', [IN_CLEAR]),
        ("block with-interface 08:06:50", []),
        ("reject id 046d:c31c", []),
    ],
)
def test_doubts_what_a_rule_allows_and_may_not_be_meant(text: str, doubted: list[str]) -> None:
    assert doubts(rule(text)) == doubted


@pytest.mark.parametrize("beside", [{"access": Access.READ_ONLY}, {"only_encrypted": True}])
def test_storage_that_carries_nothing_off_in_clear_is_not_doubted(beside: dict[str, object]) -> None:
    assert doubts(rule('allow id 0951:1666 serial "A1" with-interface 08:06:50', **beside)) == []


def test_doubts_a_policy_that_allows_no_hub_or_everything() -> None:
    mouse = rule("allow with-interface 03:01:02")

    assert list(doubts_of_devices(DevicePolicy((mouse,)))) == [
        "devices: no rule allows a hub, so nothing behind one works; many machines have one inside"
    ]
    assert list(doubts_of_devices(DevicePolicy((mouse,), default=Target.ALLOW))) == [
        "devices.default is allow: whatever no rule names works, also what was never seen before"
    ]


@pytest.mark.parametrize("kind", OtherKind)
def test_doubts_to_forbid_what_every_machine_has_built_in(kind: OtherKind) -> None:
    def doubted(target: Target) -> list[str]:
        return list(doubts_of_devices(DevicePolicy((HUB,), others=OtherKinds(((kind, target),)))))

    is_built_in = kind in (OtherKind.BLOCK, OtherKind.INPUT, OtherKind.NET, OtherKind.PCI)
    said = f"devices.others.{kind} is block: what is built into the machine is then not allowed either"
    assert doubted(Target.BLOCK) == [said] * is_built_in
    assert doubted(Target.ALLOW) == []


@pytest.mark.parametrize(
    "earlier, later",
    [
        ("block", "allow id 1234:5678"),
        ("block id *:*", "allow id 1234:5678"),
        ("block id 1234:*", "allow id 1234:5678 with-interface 03:01:02"),
        ("block id 1234:*", "allow id 1234:*"),
        ('block serial "A"', 'allow serial "A" id 1234:5678'),
        ("allow with-interface 03:01:02", 'block with-interface 03:01:02 via-port "1-1"'),
    ],
)
def test_doubts_a_rule_that_is_never_reached(earlier: str, later: str) -> None:
    found = doubts(rule(earlier), rule(later))

    assert "devices, rule 2 is never reached: rule 1 matches whatever it does" in found


@pytest.mark.parametrize(
    "earlier, later",
    [
        ("allow id 1234:5678 with-interface 03:01:02", "block id 1234:*"),
        ("allow if localtime(08:00-17:00)", "block"),
        ("allow if false", "block"),
        ('block serial "A"', 'block serial "B"'),
        ("block id none-of { 1234:5678 }", "block id 1234:5678"),
        ('block via-port "1-1"', "block id 1234:5678"),
    ],
)
def test_a_rule_that_can_be_reached_is_not_doubted(earlier: str, later: str) -> None:
    assert not [doubt for doubt in doubts(rule(earlier), rule(later)) if "rule 2 is never reached" in doubt]


def test_a_rule_for_a_time_hides_nothing() -> None:
    for_a_time = replace(rule("block"), not_after=UNTIL)

    assert doubts(for_a_time, rule("block"))[0].startswith("devices, rule 3 is never reached: rule 2")
