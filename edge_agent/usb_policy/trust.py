"""`trust.json`: whose policy the guard follows. Pinned by a person, and read by the guard and its child.

{"v": 1, "host": host id, "layer", "parts": [layer, ...], "root": base64 of TUF root metadata}; parts only where any
"""

import os
import stat
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from shared import canonical
from shared.canonical import Json
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.fields import Fields, encode_base64
from shared.identity import HostId
from shared.policy.layer import LAYER_PATTERN, read_parts

MAX_ROOT_BYTES = 64 * 1024
_MAX_BYTES = 2 * MAX_ROOT_BYTES
UNPINNED = ("organisation",)  # whose policy a guard without a pin has its child refuse, so that it says what to do


class NotPinned(Refused):
    def __init__(self, file: Path) -> None:
        super().__init__(f"there is no {file}; no policy can be verified until `leadglass-guard trust` has been run")
        self.file = file


class FileUnreadable(Refused):
    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file} cannot be used: {why}")
        self.file, self.why = file, why


class TrustDamaged(IntegrityFailure):
    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"{file} is damaged, so no policy can be verified: {why}")
        self.file, self.why = file, why


@dataclass(frozen=True)
class Trust:
    host_id: HostId
    layer: str
    root: bytes
    parts: tuple[str, ...] = ()  # the further layers: of its site, of its type of modality

    @property
    def layers(self) -> tuple[str, ...]:
        return (self.layer, *self.parts)

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the root metadata, 64 hexadecimal digits."""
        return sha256(self.root).hexdigest()

    def encode(self) -> bytes:
        parts: dict[str, Json] = {"parts": list(self.parts)} if self.parts else {}
        return canonical.encode(
            {**parts, "v": 1, "host": str(self.host_id), "layer": self.layer, "root": encode_base64(self.root)}
        )

    @classmethod
    def parse(cls, data: bytes) -> "Trust":
        """Raises Malformed."""
        fields = Fields(canonical.parse(data, "trust.json"), "trust.json")
        fields.version()
        trust = cls(
            HostId.parse(fields.text("host")),
            fields.text("layer", LAYER_PATTERN),
            fields.base64("root", max_bytes=MAX_ROOT_BYTES),
            read_parts(fields),
        )
        fields.done()
        return trust


def trust_file(state: Path) -> Path:
    return state / "trust.json"


def trusted_metadata(state: Path) -> Path:
    """Return the folder of TUF metadata that was verified against the pinned root."""
    return state / "policy"


def load_trust(state: Path) -> Trust:
    """Raises NotPinned, FileUnreadable, TrustDamaged."""
    file = trust_file(state)
    try:
        return Trust.parse(read_small(file, _MAX_BYTES))
    except FileNotFoundError as exc:
        raise NotPinned(file) from exc
    except Malformed as exc:
        raise TrustDamaged(file, exc.why) from exc


def read_small(file: Path, most_bytes: int) -> bytes:
    """Read a file whose folder may belong to somebody else: no link, pipe or device is followed or waited for.

    Raises FileNotFoundError, FileUnreadable.
    """
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise FileUnreadable(file, "not a file")
            data = opened.read(most_bytes + 1)
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise FileUnreadable(file, exc.strerror or "it cannot be read") from exc
    if len(data) > most_bytes:
        raise FileUnreadable(file, f"larger than {most_bytes} bytes")
    return data
