"""Finds, among many rules, the few whose attributes can apply to a device."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from shared.devices.device import UsbDevice
from shared.devices.matching import Applies, prepared, shown
from shared.devices.rule import Attribute, Rule, RuleTarget, SetOperator, Value

if TYPE_CHECKING:
    from shared.devices.policy import DeviceRule

Key = tuple[str, str | int]
MOST_NEAR = 64


class RuleIndex:
    """Each rule stands under the keys of its most telling attribute: a device to which it applies has one of them.

    A rule without any such attribute is among the rest, which is looked at for every device.
    """

    def __init__(self, rules: "Sequence[DeviceRule]") -> None:
        self._rules = rules
        self._by_key: dict[Key, list[int]] = defaultdict(list)
        self._allowing: dict[Key, list[int]] = defaultdict(list)
        self._rest: list[int] = []
        self._prepared: dict[int, tuple[Applies, ...]] = {}  # of the rest, and of what else was looked at so far
        for position, rule in enumerate(rules):
            keys = _keys(rule.rule)
            for key in keys or ():
                self._by_key[key].append(position)
            if keys is None:
                self._rest.append(position)
                self._prepared[position] = prepared(rule.rule)
            if rule.rule.target is RuleTarget.ALLOW:
                for key in _id_keys(rule.rule) or (("any", ""),):
                    self._allowing[key].append(position)

    def applying(self, device: UsbDevice) -> Iterator[int]:
        """Yield the positions of the rules whose attributes apply to `device`, in their order."""
        found = set(self._rest)
        for key in _keys_of(device):
            found.update(self._by_key.get(key, ()))
        return (position for position in sorted(found) if self._applies(position, device))

    def _applies(self, position: int, device: UsbDevice) -> bool:
        parts = self._prepared.get(position)
        if parts is None:
            parts = self._prepared[position] = prepared(self._rules[position].rule)
        for applies in parts:  # noqa: SIM110 - with any() the last rule of ten thousand is reached half as fast
            if not applies(device):
                return False
        return True

    def near(self, device: UsbDevice) -> list[int]:
        """Return the positions of at most MOST_NEAR allowing rules that are for something like `device`."""
        near: list[int] = []
        for key in _keys_of(device):
            near += [each for each in self._by_key.get(key, ())[:MOST_NEAR] if self._allows(each)]
        for key in (("id", device.id), ("vendor", device.vendor), ("any", "")):
            near += self._allowing.get(key, ())[:MOST_NEAR]
        return list(dict.fromkeys(near))[:MOST_NEAR]

    def _allows(self, position: int) -> bool:
        return self._rules[position].rule.target is RuleTarget.ALLOW


def _keys(rule: Rule) -> list[Key] | None:
    """Return keys of which a device has one at least where `rule` applies to it; None: there are none such."""
    return (
        _text_keys("hash", rule.hash)
        or _text_keys("serial", rule.serial)
        or _id_keys(rule)
        or _text_keys("via-port", rule.via_port)
        or _text_keys("name", rule.name)
        or _text_keys("parent-hash", rule.parent_hash)
        or _class_keys(rule)
    )


def _keys_of(device: UsbDevice) -> list[Key]:
    texts = (
        ("hash", device.fingerprint),
        ("serial", device.serial),
        ("via-port", device.port),
        ("name", device.name),
        ("parent-hash", device.parent_fingerprint),
    )
    classes = sorted({interface.class_code for interface in device.interfaces})
    return [
        *((name, shown(value)) for name, value in texts if value),
        ("id", device.id),
        ("vendor", device.vendor),
        *(("class", class_code) for class_code in classes),
    ]


def _text_keys(name: str, attribute: Attribute[str]) -> list[Key] | None:
    values = _some_of(attribute)
    return [(name, shown(value)) for value in values] if values and "" not in values else None


def _id_keys(rule: Rule) -> list[Key] | None:
    values = _some_of(rule.id)
    if not values or any(value.vendor is None for value in values):
        return None
    return [("vendor", value.vendor or 0) if value.product is None else ("id", str(value)) for value in values]


def _class_keys(rule: Rule) -> list[Key] | None:
    if rule.with_interface.operator is SetOperator.MATCH_ALL:  # which applies to a device without interfaces
        return None
    return [("class", value.class_code) for value in _some_of(rule.with_interface)] or None


def _some_of(attribute: Attribute[Value]) -> tuple[Value, ...]:
    """Return values of which at least one covers a value of every device to which `attribute` applies, or none."""
    if attribute.operator is SetOperator.NONE_OF:
        return ()
    if attribute.operator in (SetOperator.ONE_OF, SetOperator.MATCH_ALL):
        return attribute.values
    return attribute.values[:1]
