"""Reads a file that a policy names, from the policy's own folder and from nowhere else."""

import os
import stat
from pathlib import Path

from shared.errors import Refused
from shared.policy.document import MAX_BYTES


class FileBesideUnusable(Refused):
    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name}: {why}")
        self.name, self.why = name, why


class FolderOf:
    """The folder of a policy file."""

    def __init__(self, policy: Path) -> None:
        self._folder = policy.parent

    def read(self, name: str) -> bytes:
        """Return what a file of that name holds. A link is not followed, and no folder can be named.

        Raises FileBesideUnusable.
        """
        if "/" in name or name in ("", ".", ".."):
            raise FileBesideUnusable(name, "names a folder; the file has to lie beside the policy")
        try:
            descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise FileBesideUnusable(name, "is no file")
                data = file.read(MAX_BYTES + 1)
        except OSError as exc:
            raise FileBesideUnusable(name, exc.strerror or "it cannot be read") from exc
        if len(data) > MAX_BYTES:
            raise FileBesideUnusable(name, f"larger than {MAX_BYTES // 1024} KiB")
        return data
