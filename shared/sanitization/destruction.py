"""A drive that people destroyed: their word, and what backs it. No drive answers afterwards, so nothing proves more."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared import canonical, clock
from shared.audit.events import Subject
from shared.canonical import Json
from shared.devices.printable import FIT
from shared.errors import Malformed
from shared.fields import Fields
from shared.sanitization.ticket import PERSON_PATTERN

MAX_PHOTOGRAPHS = 20
_TEXT = rf"{FIT}{{3,200}}"
_WHAT = "destruction of a drive"


@dataclass(frozen=True)
class Destruction:
    """`means` is by which machine and how, such as "shredder HSM 3, H-5"; `photographs` are SHA-256 digests."""

    recorded_by: str
    witness: str
    means: str
    photographs: tuple[bytes, ...]
    time: datetime

    def json(self) -> dict[str, Json]:
        return {
            "v": 1,
            "recorded_by": self.recorded_by,
            "witness": self.witness,
            "means": self.means,
            "photographs": [one.hex() for one in self.photographs],
            "time": clock.text(self.time),
        }

    def encode(self) -> str:
        return canonical.encode(self.json()).decode()

    def subjects(self) -> tuple[Subject, ...]:
        photographs = (Subject("fact", f"photograph: {one.hex()}") for one in self.photographs)
        return Subject("fact", f"witness: {self.witness}"), Subject("fact", f"means: {self.means}"), *photographs

    @classmethod
    def of(cls, recorded_by: str, witness: str, means: str, photographs: Sequence[str], now: datetime) -> "Destruction":
        """Raises Malformed."""
        told: list[Json] = [*photographs]
        value: dict[str, Json] = {
            "v": 1, "recorded_by": recorded_by, "witness": witness, "means": means, "photographs": told,
            "time": clock.text(now),
        }  # fmt: skip
        return cls._parse(value)

    @classmethod
    def parse(cls, text: str) -> "Destruction":
        """Raises Malformed."""
        return cls._parse(canonical.parse(text.encode(), _WHAT))

    @classmethod
    def _parse(cls, value: Json) -> "Destruction":
        fields = Fields(value, _WHAT)
        fields.version()
        listed = fields.items("photographs", most=MAX_PHOTOGRAPHS)
        destruction = cls(
            fields.text("recorded_by", PERSON_PATTERN),
            fields.text("witness", PERSON_PATTERN),
            fields.text("means", _TEXT),
            tuple(Fields({"photograph": one}, _WHAT).hex("photograph", 32) for one in listed),
            fields.instant("time"),
        )
        fields.done()
        if destruction.witness.strip().casefold() == destruction.recorded_by.strip().casefold():
            raise Malformed(f"{_WHAT} field 'witness'", "expected another person than the one who records it")
        return destruction
