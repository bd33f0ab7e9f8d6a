"""Makes applies.json again: `python -m tests.shared.devices.usbguard.generate`. The answers are USBGuard's library's.

Needs the Debian packages g++ and libusbguard-dev.
"""

import json
import random
import sys
import tempfile
from pathlib import Path

from shared.devices.device import ConnectType, Interface, UsbDevice
from shared.devices.parse import parse_rule
from shared.devices.rule import Rule, SetOperator
from tests.shared.devices.usbguard.peer import applies, build, device_text

FILE = Path(__file__).with_name("applies.json")
_SEED, _DRAWN = 20260304, 800
_TEXTS = ('""', '"A"', '"B"', '"q\\"\\\\"', '"\\xc3\\xbc"')
_IDS = ("1234:abcd", "1234:*", "abcd:1234", "*:*")
_INTERFACES = ("08:06:50", "08:06:*", "08:*:*", "03:01:01", "03:00:*", "03:*:*", "00:00:00")
_OWN_TEXTS = ("", "A", "B", 'q"\\', "ü")
_OWN_INTERFACES = (Interface(8, 6, 0x50), Interface(8, 6, 0x62), Interface(3, 1, 1), Interface(3, 0, 0))


def main() -> None:
    rng = random.Random(_SEED)
    pairs = [(_rule(rng), _device(rng)) for _ in range(_DRAWN)]
    with tempfile.TemporaryDirectory() as folder:
        answers = applies(build(Path(folder)), pairs)
    lines = [
        json.dumps([rule.text(), device_text(device), answer])
        for (rule, device), answer in zip(pairs, answers, strict=True)
    ]
    FILE.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    sys.stdout.write(f"{len(answers)} vectors, of which {sum(answers)} apply\n")


def _rule(rng: random.Random) -> Rule:
    kinds = {
        "id": _IDS, "serial": _TEXTS, "name": _TEXTS, "hash": _TEXTS, "parent-hash": _TEXTS,
        "via-port": ('"1-1"', '"1-2"'), "with-interface": _INTERFACES,
        "with-connect-type": ('"hotplug"', '""', '"not used"'), "label": _TEXTS,
    }  # fmt: skip
    names = rng.sample(list(kinds), rng.choice([1, 1, 1, 2, 2, 3]))
    # Interfaces are what operators are about; every other attribute of a device has one value.
    if rng.random() < 0.5 and "with-interface" not in names:
        names.append("with-interface")
    text = "allow"
    rare = dict.fromkeys(kinds.keys() - {"with-interface"}, 0.1)  # match-all, which USBGuard has for interfaces alone
    for name in names:
        values = rng.choices(kinds[name], k=rng.choice([1, 1, 2, 2, 3]))
        operators = [
            each for each in SetOperator if each is not SetOperator.MATCH_ALL or rng.random() < rare.get(name, 1)
        ]
        text += f" {name} {rng.choice(operators)} {{ {' '.join(values)} }}"
    return parse_rule(text)


def _device(rng: random.Random) -> UsbDevice:
    return UsbDevice(
        port=rng.choice(["1-1", "1-2"]),
        parent="usb1",
        vendor=rng.choice([0x1234, 0xABCD]),
        product=rng.choice([0x1234, 0xABCD]),
        name=rng.choice(_OWN_TEXTS),
        serial=rng.choice(_OWN_TEXTS),
        fingerprint=rng.choice(_OWN_TEXTS),
        parent_fingerprint=rng.choice(_OWN_TEXTS),
        interfaces=tuple(rng.choices(_OWN_INTERFACES, k=rng.choice([1, 1, 2, 2, 3]))),
        connect_type=rng.choice([ConnectType.HOTPLUG, ConnectType.NONE, ConnectType.NOT_USED]),
    )


if __name__ == "__main__":
    main()
