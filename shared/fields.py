"""Reads the fields of an untrusted JSON object once, into types that need no further checking."""

import base64
import binascii
import re
from collections.abc import Collection
from datetime import datetime
from functools import cache

from shared import clock
from shared.canonical import Json
from shared.errors import Malformed


class Fields:
    """The members of one JSON object; each is taken once and `done` refuses whatever is left.

    Every method raises Malformed naming the object and the field; none quotes the value, which may be private.
    """

    def __init__(self, value: Json, what: str) -> None:
        if not isinstance(value, dict):
            raise Malformed(what, "expected an object")
        self._left, self._what = dict(value), what

    def text(self, name: str, pattern: str = r"[^\x00-\x1f\x7f]*", *, max_chars: int = 1024) -> str:
        value = self._take(name)
        if not isinstance(value, str) or len(value) > max_chars or not _compiled(pattern).fullmatch(value):
            raise self._bad(name, f"expected text of at most {max_chars} characters matching {pattern}")
        return value

    def choice(self, name: str, allowed: Collection[str]) -> str:
        value = self._take(name)
        if not isinstance(value, str) or value not in allowed:
            raise self._bad(name, f"expected one of {', '.join(allowed)}")
        return value

    def choices(self, name: str, allowed: Collection[str]) -> list[str]:
        """Take a list of some of `allowed`, in whatever order, none twice."""
        values = self._take(name)
        chosen = [one for one in values if isinstance(one, str)] if isinstance(values, list) else []
        if chosen != values or len(set(chosen)) != len(chosen) or not set(chosen) <= set(allowed):
            raise self._bad(name, f"expected a list of some of {', '.join(allowed)}, none twice")
        return chosen

    def integer(self, name: str, *, least: int = 0, most: int = 2**53 - 1) -> int:
        value = self._take(name)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self._bad(name, f"expected a whole number from {least} to {most}")
        return value

    def flag(self, name: str) -> bool:
        value = self._take(name)
        if not isinstance(value, bool):
            raise self._bad(name, "expected true or false")
        return value

    def version(self, expected: int = 1) -> None:
        if self.integer("v") != expected:
            raise self._bad("v", f"this reader knows version {expected} only; upgrade it")

    def hex(self, name: str, size_bytes: int) -> bytes:
        return bytes.fromhex(self.text(name, _hex(size_bytes), max_chars=2 * size_bytes))

    def base64(self, name: str, *, max_bytes: int) -> bytes:
        return decode_base64(self._take(name), f"{self._what} field {name!r}", max_bytes)

    def instant(self, name: str) -> datetime:
        value = self.text(name, max_chars=32)
        instant = clock.parse(value)
        if clock.text(instant) != value:
            raise self._bad(name, "expected six fractional digits")
        return instant

    def fields(self, name: str) -> "Fields":
        return Fields(self._take(name), f"{self._what} field {name!r}")

    def items(self, name: str, *, most: int) -> list[Json]:
        value = self._take(name)
        if not isinstance(value, list) or len(value) > most:
            raise self._bad(name, f"expected a list of at most {most}")
        return value

    def mapping(self, name: str, *, most: int) -> dict[str, Json]:
        value = self._take(name)
        if not isinstance(value, dict) or len(value) > most:
            raise self._bad(name, f"expected an object of at most {most} members")
        return value

    def is_null(self, name: str) -> bool:
        """Take the field when it is null; leave it for another reader when it is not."""
        if name in self._left and self._left[name] is None:
            del self._left[name]
            return True
        return False

    def has(self, name: str) -> bool:
        return name in self._left

    def peek_text(self, name: str) -> str:
        """Return a text by which its reader is chosen, and leave it for that one; empty where there is none."""
        value = self._left.get(name)
        return value if isinstance(value, str) else ""

    def done(self) -> None:
        if self._left:
            raise Malformed(self._what, f"unknown field {sorted(self._left)[0][:64]!r}")

    def _take(self, name: str) -> Json:
        if name not in self._left:
            raise self._bad(name, "missing")
        return self._left.pop(name)

    def _bad(self, name: str, why: str) -> Malformed:
        return Malformed(f"{self._what} field {name!r}", why)


@cache
def _hex(size_bytes: int) -> str:
    return rf"[0-9a-f]{{{2 * size_bytes}}}"


# Faster than the module's own, which is asked for each member of each record.
_compiled = cache(re.compile)


def encode_base64(data: bytes) -> str:
    """Write `data` in the standard base64 alphabet with padding (RFC 4648 section 4)."""
    return base64.b64encode(data).decode()


def decode_base64(value: Json, what: str, max_bytes: int) -> bytes:
    """Read what `encode_base64` writes, one encoding only.

    Raises Malformed: another alphabet, stray bits in the last character, more than `max_bytes`.
    """
    if not isinstance(value, str) or len(value) > 4 * (max_bytes // 3 + 1):
        raise Malformed(what, f"expected base64 of at most {max_bytes} bytes")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise Malformed(what, "not base64") from exc
    if len(data) > max_bytes or encode_base64(data) != value:
        raise Malformed(what, f"not canonical base64 of at most {max_bytes} bytes")
    return data
