"""Finds sealed objects in the spool's folder by id: those that wait for the vault, and those that it does not take."""

from io import BufferedReader
from pathlib import Path

from shared.identity import ObjectId

_FOLDERS = ("ready", "refused")


class SpoolFolder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, object_id: ObjectId) -> BufferedReader | None:
        """Return the sealed object file, or None where there is none. Raises OSError."""
        for name in _FOLDERS:
            for path in (self._folder / name).glob(f"*-{object_id}"):
                return path.open("rb")
        return None
