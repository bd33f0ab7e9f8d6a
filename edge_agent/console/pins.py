"""Which devices are the console: what `pin-console` stores and what the guard goes by.

    pins.json   {"v": 1, "pins": [pin, ...]}, canonical JSON in the guard's folder, owner only
    pin         role, controller, ports, vendor, product, descriptors, port, name

`descriptors` is the SHA-256 of the file of that name in sysfs, which is everything that the device says of itself in
binary: class, every configuration and every interface. `port` and `name` are for people and decide nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from edge_agent.console.place import NoPlace, Place
from shared import canonical
from shared.canonical import Json
from shared.devices.device import MAX_TEXT_CHARS
from shared.errors import Malformed
from shared.fields import Fields

MAX_PINS = 32
MAX_BYTES = 64 * 1024


class Role(StrEnum):
    KEYBOARD = "keyboard"
    POINTER = "pointer"
    BOTH = "keyboard and pointer"
    INPUT = "input device"  # of the class, and does not say which in its descriptors
    HUB = "hub"


@dataclass(frozen=True)
class Pin:
    role: Role
    place: Place
    vendor: int
    product: int
    descriptors: str
    port: str
    name: str

    def json(self) -> dict[str, Json]:
        return {
            "role": self.role.value, "controller": self.place.controller, "ports": self.place.port_text,
            "vendor": f"{self.vendor:04x}", "product": f"{self.product:04x}", "descriptors": self.descriptors,
            "port": self.port, "name": self.name,
        }  # fmt: skip

    @classmethod
    def parse(cls, value: Json) -> "Pin":
        """Raises Malformed."""
        fields = Fields(value, "pin")
        role = Role(fields.choice("role", list(Role)))
        controller, ports = fields.text("controller"), fields.text("ports", max_chars=32)
        try:
            place = Place.parse(controller, ports)
        except NoPlace as exc:
            raise Malformed("pin", "it names no place") from exc
        pin = cls(
            role,
            place,
            int(fields.text("vendor", r"[0-9a-f]{4}"), 16),
            int(fields.text("product", r"[0-9a-f]{4}"), 16),
            fields.text("descriptors", r"[0-9a-f]{64}"),
            fields.text("port", r"[0-9]{1,3}-[0-9.]{1,27}"),
            fields.text("name", max_chars=MAX_TEXT_CHARS),
        )
        fields.done()
        return pin

    def fits(self, place: Place, vendor: int, product: int, descriptors: str) -> bool:
        return (self.place, self.vendor, self.product, self.descriptors) == (place, vendor, product, descriptors)


@dataclass(frozen=True)
class Pins:
    """At most one for a place, and a hub only on the way to a console device. In the order of their places."""

    pins: tuple[Pin, ...] = ()

    def encode(self) -> bytes:
        return canonical.encode({"v": 1, "pins": [pin.json() for pin in self.pins]}) + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> "Pins":
        """Raises Malformed."""
        if len(data) > MAX_BYTES:
            raise Malformed("pins", f"larger than {MAX_BYTES} bytes")
        fields = Fields(canonical.parse(data.removesuffix(b"\n"), "pins"), "pins")
        fields.version()
        pins = tuple(map(Pin.parse, fields.items("pins", most=MAX_PINS)))
        fields.done()
        if cls().joined(pins).pins != pins:
            raise Malformed("pins", "a place is named twice, a hub leads nowhere, or they are out of order")
        return cls(pins)

    @property
    def consoles(self) -> tuple[Pin, ...]:
        return tuple(pin for pin in self.pins if pin.role is not Role.HUB)

    def joined(self, pins: Iterable[Pin]) -> "Pins":
        """Return these with `pins`, each in the place of what was pinned there."""
        by_place = {pin.place: pin for pin in (*self.pins, *pins)}
        return _needed(by_place.values())

    def without(self, place: Place) -> "Pins":
        return _needed(pin for pin in self.pins if pin.place != place)

    def find(self, place: Place, vendor: int, product: int, descriptors: str) -> Pin | None:
        return next((pin for pin in self.pins if pin.fits(place, vendor, product, descriptors)), None)


def _needed(pins: Iterable[Pin]) -> Pins:
    pins = sorted(pins, key=lambda pin: pin.place)
    on_the_way = {hub for pin in pins if pin.role is not Role.HUB for hub in pin.place.hubs}
    return Pins(tuple(pin for pin in pins if pin.role is not Role.HUB or pin.place in on_the_way))
