"""Keeps the record of a visit in one file, whole at any moment, and keeps two visits from running at once."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.files import make_folder, write_over
from provisioning.visit.record import MAX_BYTES, VisitRecord
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable

_RECORD, _LOCK = "visit.json", "visit.lock"


class VisitNotStored(Unavailable):
    def __init__(self, file: Path, why: str) -> None:
        super().__init__(
            f"{file} cannot be written: {why}; nothing was begun that is not in it. Make room, or see what is wrong "
            "with that disk, and run `leadglass-provision visit` again: it goes on where it was"
        )
        self.file, self.why = file, why


class VisitUnreadable(IntegrityFailure):
    def __init__(self, file: Path, why: str) -> None:
        super().__init__(
            f"{file} is not what a visit wrote: {why}; with --new it is put aside and another visit is begun, in which "
            "no step that was done is done twice"
        )
        self.file, self.why = file, why


class OtherVisit(Refused):
    def __init__(self, known: str, asked: str) -> None:
        super().__init__(f"the visit that was begun here is to {known!r}, not to {asked!r}; --new begins another one")
        self.known, self.asked = known, asked


class VisitStore:
    def __init__(self, folder: Path) -> None:
        self._folder, self.file = folder, folder / _RECORD

    def load(self) -> VisitRecord | None:
        """Return the record of the visit that was begun last; None: there is none. Raises VisitUnreadable."""
        try:
            with self.file.open("rb") as opened:
                return VisitRecord.parse(opened.read(MAX_BYTES + 1))
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise VisitUnreadable(self.file, exc.strerror or "it cannot be read") from exc
        except Malformed as exc:
            raise VisitUnreadable(self.file, str(exc)) from exc

    def store(self, record: VisitRecord) -> None:
        """Once this returns the record survives a power cut. Raises VisitNotStored: the one before is still there."""
        try:
            write_over(self.file, record.encode())
        except OSError as exc:
            raise VisitNotStored(self.file, exc.strerror or "it failed") from exc

    def put_aside(self) -> Path | None:
        """Keep the record under a name that no visit reads; return it. Raises VisitNotStored."""
        number = 1
        while (aside := self._folder / f"visit-{number}.json").exists():
            number += 1
        try:
            self.file.rename(aside)
        except FileNotFoundError:
            return None
        except OSError as exc:
            raise VisitNotStored(aside, exc.strerror or "it failed") from exc
        return aside

    @contextmanager
    def alone(self, waiting: Callable[[], None]) -> Iterator[int]:
        """Yield the descriptor of a lock that nobody else holds; `waiting` is called where it has to be waited for.

        A program that is given the descriptor holds the lock too, so that what a killed visit started has ended before
        the next one looks at what came of it. Raises VisitNotStored.
        """
        try:
            make_folder(self._folder)
            lock = os.open(self._folder / _LOCK, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise VisitNotStored(self._folder / _LOCK, exc.strerror or "it failed") from exc
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield lock
        finally:
            os.close(lock)
