"""One thing that the people at the machine are told, as a value.

    notices.json   {"v": 1, "notices": [notice, ...]}, canonical JSON in the guard's folder below /run, for all to read

The newest notices, oldest first; numbers rise by one and begin anew when the machine starts. The words are made by
whoever shows a notice, in the language that they choose.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared import canonical, clock
from shared.canonical import Json
from shared.devices.device import HID_CLASS, MAX_TEXT_CHARS, STORAGE_CLASS, UsbDevice
from shared.devices.policy import DevicePolicy
from shared.devices.printable import printable
from shared.devices.verdict import Access, Cause, Target, Verdict
from shared.errors import Malformed
from shared.fields import Fields
from shared.fleet.devices import DeviceState

MAX_NOTICES = 50
MAX_BYTES = 128 * 1024
MAX_DETAIL_CHARS, MAX_CONTACT_CHARS = 300, 300
LANGUAGES = ("en", "zh")


class Kind(StrEnum):
    """What a device is to the one who plugged it in."""

    STORAGE = "storage"
    KEYBOARD = "keyboard"
    NETWORK = "network"
    OTHER = "other"


# Communications, wireless, and what is called miscellaneous: how network and radio adapters present themselves.
_NETWORK_CLASSES = {0x02, 0x0A, 0xE0}


@dataclass(frozen=True)
class Told:
    """What is told: `done` is what was done to the device, `meant` what would be without observing."""

    time: datetime
    port: str
    name: str
    id: str
    kind: Kind
    done: Target
    meant: Target
    cause: Cause
    detail: str
    access: Access
    contact: str
    language: str

    @property
    def is_observed(self) -> bool:
        return self.done is not self.meant


@dataclass(frozen=True)
class Notice:
    number: int
    told: Told

    def json(self) -> dict[str, Json]:
        told = self.told
        return {
            "number": self.number, "time": clock.text(told.time), "port": told.port, "name": told.name, "id": told.id,
            "kind": told.kind.value, "done": told.done.value, "meant": told.meant.value, "cause": told.cause.value,
            "detail": told.detail, "access": told.access.value, "contact": told.contact, "language": told.language,
        }  # fmt: skip

    @classmethod
    def parse(cls, value: Json) -> "Notice":
        """Raises Malformed."""
        fields = Fields(value, "notice")
        number = fields.integer("number", least=1)
        told = Told(
            fields.instant("time"),
            fields.text("port", r"[0-9a-z.-]{1,31}"),
            fields.text("name", max_chars=MAX_TEXT_CHARS),
            fields.text("id", r"[0-9a-f]{4}:[0-9a-f]{4}"),
            Kind(fields.choice("kind", list(Kind))),
            Target(fields.choice("done", list(Target))),
            Target(fields.choice("meant", list(Target))),
            Cause(fields.choice("cause", list(Cause))),
            fields.text("detail", max_chars=MAX_DETAIL_CHARS),
            Access(fields.choice("access", list(Access))),
            fields.text("contact", max_chars=MAX_CONTACT_CHARS),
            fields.choice("language", LANGUAGES),
        )
        fields.done()
        return cls(number, told)


def encode(notices: Iterable[Notice]) -> bytes:
    return canonical.encode({"v": 1, "notices": [notice.json() for notice in notices]})


def parse(data: bytes) -> tuple[Notice, ...]:
    """Raises Malformed."""
    if len(data) > MAX_BYTES:
        raise Malformed("notices", f"larger than {MAX_BYTES} bytes")
    fields = Fields(canonical.parse(data, "notices"), "notices")
    fields.version()
    notices = tuple(map(Notice.parse, fields.items("notices", most=MAX_NOTICES)))
    fields.done()
    return notices


def told_of(device: UsbDevice, verdict: Verdict, policy: DevicePolicy | None, now: datetime) -> Told | None:
    """Return what the people at the machine are told of a verdict; None: it works as they expect, so nothing."""
    meant = verdict.would_be or verdict.target
    is_limited = verdict.access is Access.READ_ONLY and device.has_class(STORAGE_CLASS)
    if meant is Target.ALLOW and not is_limited and verdict.cause is not Cause.RESCUE:
        return None
    return Told(
        now,
        device.port,
        printable(device.name, MAX_TEXT_CHARS),
        device.id,
        _kind({interface.class_code for interface in device.interfaces}),
        verdict.target,
        meant,
        verdict.cause,
        printable(verdict.detail, MAX_DETAIL_CHARS),
        verdict.access,
        printable(policy.contact, MAX_CONTACT_CHARS) if policy else "",
        policy.language if policy and policy.language in LANGUAGES else "en",
    )


def told_of_state(state: DeviceState, contact: str, language: str) -> Told:
    """Return what would be told of a device in the guard's report, also where that is nothing out of the ordinary."""
    return Told(
        state.since,
        state.port,
        state.name,
        state.id,
        _kind({int(interface[:2], 16) for interface in state.interfaces.split()}),
        state.target,
        state.would_be,
        state.cause,
        state.detail,
        state.access,
        contact,
        language if language in LANGUAGES else "en",
    )


def _kind(classes: set[int]) -> Kind:
    """Return the plainest word; what stores anything is storage, whatever else it is."""
    if STORAGE_CLASS in classes:
        return Kind.STORAGE
    if classes & _NETWORK_CLASSES:
        return Kind.NETWORK
    return Kind.KEYBOARD if HID_CLASS in classes else Kind.OTHER
