"""The newest notices in a file for all to read: the guard posts, whoever sits at the machine reads.

The file lies in memory (/run) and is replaced whole. Losing it loses no evidence: that is in the guard's records.
"""

import contextlib
import os
import secrets
from pathlib import Path

from edge_agent.notices.notice import MAX_BYTES, MAX_NOTICES, Notice, Told, encode, parse
from shared.errors import Malformed, Unavailable

NOTICES = Path("/run/leadglass-guard/notices.json")


class NoticesUnavailable(Unavailable):
    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"the guard's notices at {path} cannot be read or written: {why}")
        self.path, self.why = path, why


class NoticeBoard:
    """Written by one guard. Numbers go on where the guard before it ended, as long as the machine is up."""

    def __init__(self, path: Path = NOTICES) -> None:
        self._path = path
        try:
            self._notices = list(read(path))
        except (NoticesUnavailable, Malformed):
            self._notices = []  # what cannot be read is not worth a guard that does not start

    def post(self, told: Told) -> None:
        """Add a notice; the oldest goes where there are too many. Raises NoticesUnavailable."""
        number = self._notices[-1].number + 1 if self._notices else 1
        self._notices = [*self._notices, Notice(number, told)][-MAX_NOTICES:]
        try:
            _replace(self._path, encode(self._notices))
        except OSError as exc:
            raise NoticesUnavailable(self._path, exc.strerror or type(exc).__name__) from exc


def read(path: Path = NOTICES) -> tuple[Notice, ...]:
    """Return the notices, none where nothing was ever posted. Raises NoticesUnavailable, Malformed."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return ()
    except OSError as exc:
        raise NoticesUnavailable(path, exc.strerror or type(exc).__name__) from exc
    return parse(data)


def _replace(path: Path, data: bytes) -> None:
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), 0o644)
        new.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
