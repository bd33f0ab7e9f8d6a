"""Log lines: one JSON object each, an event name and fields. Never patient data, payloads, tokens or keys."""

import contextlib
import json
import sys
import threading
import traceback
from collections import deque
from typing import Protocol, TextIO, TypeAlias

from shared import clock
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused, Unavailable

Field: TypeAlias = "str | int | bool | list[str] | None"
OUR_ERRORS = (Refused, IntegrityFailure, Unavailable)


class Log(Protocol):
    def event(self, name: str, **fields: Field) -> None: ...


class JsonLog:
    """Writes to a stream, one line at a time, from any thread.

    A log that cannot be written (its disk is full, its reader gone) stops nothing: the audit journal is the evidence.
    """

    def __init__(self, clock: Clock, stream: TextIO = sys.stderr) -> None:
        self._clock, self._stream, self._lock = clock, stream, threading.Lock()

    def event(self, name: str, **fields: Field) -> None:
        line = json.dumps({"time": clock.text(self._clock.now()), "event": name, **fields}, ensure_ascii=True)
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()


class RecentLog:
    """Passes everything on, and remembers which events came last, by name and time and nothing else of them."""

    def __init__(self, log: Log, clock: Clock, most: int = 100) -> None:
        self._log, self._clock, self._names = log, clock, deque[str](maxlen=most)

    def event(self, name: str, **fields: Field) -> None:
        self._names.append(f"{clock.text(self._clock.now())} {name}")
        self._log.event(name, **fields)

    def recent(self, most: int) -> list[str]:
        """Return the last events, the newest last."""
        return list(self._names)[-most:] if most else []


def why(exc: BaseException) -> str:
    """Say what went wrong. Only our own errors promise that their text quotes nothing private."""
    name = type(exc).__name__
    return f"{name}: {exc}" if isinstance(exc, OUR_ERRORS) else name


def where(exc: BaseException) -> list[str]:
    """Return the traceback of `exc` as places in the code, without values and without the text of foreign errors."""
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(exc.__traceback__)[-12:]]
