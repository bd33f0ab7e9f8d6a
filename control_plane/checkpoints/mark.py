"""The high-water marks, in files beside the root key and in no backup of the database.

    log.mark   the newest statement of the centre's own log, signed
    log.head   the newest checkpoint of the Merkle log, signed

The bytes of each are what was signed, and nothing else.
"""

from pathlib import Path

from control_plane.durable import replace_whole
from shared.errors import Unavailable

_MAX_BYTES = 4096


class MarkUnusable(Unavailable):
    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} cannot be read or written: {why}")
        self.path, self.why = path, why


class MarkFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes | None:
        """Return what was signed, None where there is no file. Raises MarkUnusable."""
        try:
            with self.path.open("rb") as file:
                return file.read(_MAX_BYTES)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise MarkUnusable(self.path, exc.strerror or "it cannot be read") from exc

    def write(self, signed: bytes) -> None:
        """Put `signed` in its place; once this returns it survives a power cut. Raises MarkUnusable."""
        try:
            replace_whole(self.path, signed)
        except OSError as exc:
            raise MarkUnusable(self.path, exc.strerror or "it cannot be written") from exc
