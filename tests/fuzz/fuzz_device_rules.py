"""Rules for devices: a rules file, and the section of a policy in which they travel."""

from shared import canonical
from shared.devices.parse import parse_rules
from shared.devices.policy import DevicePolicy
from shared.fields import Fields
from tests.fuzz.target import Target
from tests.shared.devices.test_learn import GENERATED

_RULES = """\
# sticks
allow id { 0781:* 1d6b:0002 } name one-of { "Ultra Fit" "q\\"\\\\\\xff" } with-interface equals { 08:06:50 } label "x"
reject with-interface all-of { 08:*:* 03:*:* } if { !allowed-matches(with-interface 03:01:01) localtime(8:00-17:30:59) }
block serial "" if !rule-applied(10) # the rest
"""
_POLICY = canonical.encode(
    {
        "contact": "IT",
        "observe_until": "2026-03-04T12:00:00.000000Z",
        "others": {"optical": "allow", "thunderbolt": "block"},
        "rescue": {"minutes": 10, "port": "1-1.2"},
        "rules": [
            {
                "access": "read-only",
                "hardware_encrypted": True,
                "interfaces": ["08:06:50"],
                "only_encrypted": True,
                "rule": "allow id 0781:*",
            },
            {"not_after": "2026-03-04T12:00:00.000000Z", "rule": 'reject name "x" if random(0.5)'},
        ],
        "suspicious": "allow",
    }
)


def read_rules(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    rules = parse_rules(text)
    printed = "\n".join(rule.text() for rule in rules)
    assert printed.isascii(), "a canonical text is not ASCII"
    assert parse_rules(printed) == rules, "what was printed is read as something else"


def read_policy(data: bytes) -> None:
    policy = DevicePolicy.parse(Fields(canonical.parse(data, "devices"), "devices"))
    assert canonical.encode(policy.json()) == data, "one policy has two texts"


TARGETS = (
    Target("device-rules", read_rules, (_RULES.encode(), GENERATED.encode(), b"allow", b"")),
    Target("device-policy", read_policy, (_POLICY, b'{"rules":[]}')),
)
