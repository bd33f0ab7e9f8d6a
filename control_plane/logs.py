"""Log lines: one JSON object each, an event and its fields. Never patient data, payloads, tokens or keys."""

import json
import logging
import sys
import traceback
from typing import TextIO

from shared import clock as clocks
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused, Unavailable

_OURS = (Refused, IntegrityFailure, Unavailable)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """Writes the event, the fields given as `extra`, and places of a traceback without the values in it."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": clocks.text(self._clock.now()),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info and (error := record.exc_info[1]):
            # Only our own errors promise that their text quotes nothing private.
            line["error"] = f"{type(error).__name__}: {error}" if isinstance(error, _OURS) else type(error).__name__
            frames = traceback.extract_tb(error.__traceback__)[-12:]
            line["traceback"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        return json.dumps(line, default=str)


def configure(clock: Clock, stream: TextIO = sys.stderr) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(clock))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for noisy in ("alembic", "apscheduler", "sqlalchemy", "tuf", "securesystemslib"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
