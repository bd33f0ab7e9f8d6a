"""Names of hosts, objects and keys. Each is sixteen bytes with one text form."""

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self, TypeAlias

from shared.errors import Malformed

RandomBytes: TypeAlias = Callable[[int], bytes]

SIZE_BYTES = 16


@dataclass(frozen=True, order=True)
class Identifier:
    """Sixteen bytes; `str()` gives the prefix of the kind and 32 lower-case hex digits."""

    raw: bytes
    prefix: ClassVar[str] = ""

    def __post_init__(self) -> None:
        if len(self.raw) != SIZE_BYTES:
            raise Malformed(_in_words(type(self)), f"expected {SIZE_BYTES} bytes, got {len(self.raw)}")

    @classmethod
    def new(cls, random_bytes: RandomBytes = secrets.token_bytes) -> Self:
        return cls(random_bytes(SIZE_BYTES))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the one text form. Raises Malformed."""
        if not re.fullmatch(rf"{cls.prefix}[0-9a-f]{{32}}", text):
            raise Malformed(_in_words(cls), f"expected {cls.prefix and cls.prefix + ' and '}32 lower-case hex digits")
        return cls(bytes.fromhex(text.removeprefix(cls.prefix)))

    def __str__(self) -> str:
        return self.prefix + self.raw.hex()


def _in_words(kind: type[Identifier]) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", kind.__name__).lower()


class HostId(Identifier):
    """A modality host, for as long as its identity lives. The common name of its certificates."""

    prefix = "host-"


class ObjectId(Identifier):
    """One sealed object. Random, so that it says nothing about what it holds."""


class CommandId(Identifier):
    """One command to one host, for good: a host does what carries a name only once."""


class KeyId(Identifier):
    """A public key, named by the first sixteen bytes of a digest of itself."""


# The audit source name of the centre itself; hosts use their HostId's text form.
CONTROL_PLANE = "control-plane"
SOURCE_PATTERN = r"host-[0-9a-f]{32}|control-plane"

# DICOM PS3.5 section 9.1, without its rule on leading zeros, which devices in the field break.
UID_PATTERN = r"[0-9]+(\.[0-9]+)*"
