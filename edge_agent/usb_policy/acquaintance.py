"""How devices looked when they were last there and nothing was suspicious about them.

A device that has a serial is remembered for good, over restarts; one without only for as long as it takes to tell that
it came back as another one.
"""

from collections.abc import Callable
from datetime import timedelta

from edge_agent.database import Database
from edge_agent.devices.descriptors import MAX_INTERFACES
from shared import canonical
from shared.canonical import Json
from shared.devices.device import MAX_TEXT_CHARS, Interface, UsbDevice
from shared.devices.surroundings import Remembered
from shared.devices.suspicion import RE_ENUMERATION
from shared.errors import Malformed
from shared.fields import Fields

_MOST_KNOWN = 10_000
_MOST_GONE = 64
_MOST_AT_HAND = 64
_SCHEMA = """
CREATE TABLE IF NOT EXISTS known_device (
    vendor INTEGER NOT NULL, product INTEGER NOT NULL, serial TEXT NOT NULL, look BLOB NOT NULL, nth INTEGER NOT NULL,
    PRIMARY KEY (vendor, product, serial)
) STRICT;
CREATE INDEX IF NOT EXISTS known_device_nth ON known_device (nth);
"""

_Key = tuple[int, int, str]  # vendor, product, serial


class Acquaintances:
    """`uptime` is the time since the machine's start."""

    def __init__(self, database: Database, uptime: Callable[[], timedelta]) -> None:
        """Raises DatabaseUnavailable, DatabaseDamaged."""
        self._database, self._uptime = database, uptime
        self._gone: list[tuple[UsbDevice, timedelta]] = []
        # What was asked for or remembered last, so that a device which comes again waits for no look into the database.
        self._at_hand: dict[_Key, UsbDevice | None] = {}
        database.create(_SCHEMA)

    def remembered(self, device: UsbDevice, attached: timedelta) -> tuple[Remembered, ...]:
        """Return what is known of this device, which was attached at this uptime, and of what was there just before.

        Raises DatabaseUnavailable, DatabaseDamaged.
        """
        gone = [
            Remembered(was, attached - at)
            for was, at in self._gone
            if was.port == device.port and timedelta(0) <= attached - at <= RE_ENUMERATION
        ]
        known = self._known((device.vendor, device.product, device.serial))
        return (*gone, Remembered(known)) if known is not None else tuple(gone)

    def remember(self, device: UsbDevice) -> None:
        """Take a device that was allowed as it is now. What was blocked proves nothing of the honest one."""
        if not device.serial or device.is_root_hub:
            return
        key, look = (device.vendor, device.product, device.serial), _encode(device)
        known = self._known(key)
        if known is not None and _encode(known) == look:
            return
        with self._database.transaction() as connection:
            (last,) = connection.execute("SELECT coalesce(max(nth), 0) FROM known_device").fetchone()
            connection.execute("INSERT OR REPLACE INTO known_device VALUES (?, ?, ?, ?, ?)", (*key, look, last + 1))
            connection.execute("DELETE FROM known_device WHERE nth <= ?", (last + 1 - _MOST_KNOWN,))
        self._take_to_hand(key, device)

    def went(self, device: UsbDevice) -> None:
        self._gone = [*self._gone[1 - _MOST_GONE :], (device, self._uptime())]

    def _known(self, key: _Key) -> UsbDevice | None:
        if key not in self._at_hand:
            query = "SELECT look FROM known_device WHERE vendor = ? AND product = ? AND serial = ?"
            rows = self._database.read(query, key)
            self._take_to_hand(key, _parsed(rows[0][0]) if rows else None)
        return self._at_hand[key]

    def _take_to_hand(self, key: _Key, device: UsbDevice | None) -> None:
        self._at_hand.pop(key, None)
        self._at_hand[key] = device
        if len(self._at_hand) > _MOST_AT_HAND:
            del self._at_hand[next(iter(self._at_hand))]


def _encode(device: UsbDevice) -> bytes:
    look: dict[str, Json] = {
        "port": device.port,
        "vendor": device.vendor,
        "product": device.product,
        "name": device.name,
        "serial": device.serial,
        "interfaces": [str(interface) for interface in sorted(device.interface_set)],
    }
    return canonical.encode(look)


def _parsed(look: bytes) -> UsbDevice | None:
    try:
        return _parse(look)
    except Malformed:
        return None  # one that was written by another version is an acquaintance no more


def _parse(look: bytes) -> UsbDevice:
    """Raises Malformed."""
    fields = Fields(canonical.parse(look, "known device"), "known device")
    return UsbDevice(
        port=fields.text("port"),
        parent="",
        vendor=fields.integer("vendor"),
        product=fields.integer("product"),
        name=fields.text("name", max_chars=MAX_TEXT_CHARS),
        serial=fields.text("serial", max_chars=MAX_TEXT_CHARS),
        fingerprint="",
        parent_fingerprint="",
        interfaces=tuple(map(_interface, fields.items("interfaces", most=MAX_INTERFACES))),
    )


def _interface(text: Json) -> Interface:
    if not isinstance(text, str):
        raise Malformed("known device", "an interface is no text")
    class_code, subclass, protocol = (int(part, 16) for part in text.split(":"))
    return Interface(class_code, subclass, protocol)
