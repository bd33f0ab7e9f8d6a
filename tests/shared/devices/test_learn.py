"""Rules from what is there: USBGuard's own output for the same devices, and that they allow them again."""

from dataclasses import replace

from hypothesis import given

from shared.devices.device import UsbDevice
from shared.devices.evaluate import evaluate
from shared.devices.learn import Ports, learn
from shared.devices.parse import parse_rules
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.verdict import Target
from tests.shared.devices.given import AROUND, KEYBOARD, ROOT_HUB, STICK, devices, interfaces

MOUSE = replace(
    KEYBOARD, product=0xC077, name="Mouse", fingerprint="psmJ5oJE3kc2P+/70daOTeSfOxQ+Zo2IOGTVT5wOo9I=",
    parent_fingerprint=ROOT_HUB.fingerprint, interfaces=interfaces("03:01:02 03:00:00 03:00:00"),
)  # fmt: skip
HUB = replace(ROOT_HUB, parent_fingerprint="rV9bfLq7c2eA4tYjVjwO4bxhm+y6GgZpl9J60L0fBkY=")
THERE = [HUB, replace(STICK, name="Stick"), MOUSE]

# usbguard 1.1.2 generate-policy, under umockdev, with these three devices
GENERATED = """\
allow id 1d6b:0002 serial "0000:00:14.0" name "xHCI Host Controller" \
hash "ccnexImzakZFUGz2Zf13X2gXuivCzW7J07QemG5U4qE=" \
parent-hash "rV9bfLq7c2eA4tYjVjwO4bxhm+y6GgZpl9J60L0fBkY=" with-interface 09:00:00 with-connect-type ""
allow id 0781:5583 serial "4C53" name "Stick" hash "aFuQ7BLj0Xrz1knYCPG+xvKofw+iufU0TiAEQzZJkMw=" \
parent-hash "ccnexImzakZFUGz2Zf13X2gXuivCzW7J07QemG5U4qE=" with-interface 08:06:50 with-connect-type "hotplug"
allow id 046d:c077 serial "" name "Mouse" hash "psmJ5oJE3kc2P+/70daOTeSfOxQ+Zo2IOGTVT5wOo9I=" \
parent-hash "ccnexImzakZFUGz2Zf13X2gXuivCzW7J07QemG5U4qE=" via-port "1-2" \
with-interface { 03:01:02 03:00:00 03:00:00 } with-connect-type "hotplug"
"""


def test_writes_what_usbguard_generates() -> None:
    assert "".join(f"{rule.text()}\n" for rule in learn(THERE)) == GENERATED


def test_reads_what_usbguard_generates_and_prints_it_unchanged() -> None:
    assert "".join(f"{rule.text()}\n" for rule in parse_rules(GENERATED)) == GENERATED


def test_without_hashes_and_ports_a_rule_holds_in_every_port() -> None:
    (rule,) = learn([STICK], ports=Ports.NONE, hashes=False)
    policy = DevicePolicy((DeviceRule(rule),))
    elsewhere = replace(STICK, port="3-4.1", fingerprint="other=", parent_fingerprint="hub=")

    assert evaluate(policy, elsewhere, AROUND).target is Target.ALLOW
    assert evaluate(policy, replace(elsewhere, interfaces=MOUSE.interfaces), AROUND).target is Target.BLOCK


@given(devices)
def test_what_was_learned_is_allowed_as_read_from_its_text(device: UsbDevice) -> None:
    rules = parse_rules("\n".join(rule.text() for rule in learn([device])))

    assert evaluate(DevicePolicy(tuple(map(DeviceRule, rules))), device, AROUND).target is Target.ALLOW
