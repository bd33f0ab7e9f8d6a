"""One JSON object a line over a Unix socket, each answer with the moment at which it arrived."""

import contextlib
import json
import queue
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Message = dict[str, Any]
POLL_S = 0.005
RESTED = 2  # times as long as a look took: where the guest is asked, it takes the processor from what is waited for


class LabError(AssertionError):
    """The machine, or the guest in it, did not do what a scenario is built on."""


class Wire:
    """Requests carry an `id` and get the answer with the same one; everything else goes to `heard`."""

    def __init__(self, path: Path, heard: Callable[[Message, float], None], timeout_s: float) -> None:
        self._heard = heard
        self._waiting: dict[int, queue.SimpleQueue[Message]] = {}
        self._last_id = 0
        self._lock = threading.Lock()
        self._socket = _connect(path, timeout_s)
        threading.Thread(target=self._read, name=f"lab {path.name}", daemon=True).start()

    def ask(self, request: Message, timeout_s: float) -> Message:
        """Raises LabError: no answer in time, or the other end is gone."""
        answers: queue.SimpleQueue[Message] = queue.SimpleQueue()
        with self._lock:
            self._last_id += 1
            number = self._last_id
            self._waiting[number] = answers
            try:
                self._socket.sendall(json.dumps({**request, "id": number}).encode() + b"\n")
            except OSError as exc:
                raise LabError(f"the lab's machine is gone: {exc}") from exc
        try:
            return answers.get(timeout=timeout_s)
        except queue.Empty:
            raise LabError(f"no answer within {timeout_s:.0f} s to {str(request)[:300]}") from None
        finally:
            self._waiting.pop(number, None)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError), self._socket.makefile("rb") as lines:
            for line in lines:
                arrived = time.monotonic()
                message = json.loads(line)
                waiting = self._waiting.get(message.get("id", 0))
                if waiting is not None:
                    waiting.put(message)
                else:
                    self._heard(message, arrived)


def _connect(path: Path, timeout_s: float) -> socket.socket:
    deadline = time.monotonic() + timeout_s
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
        except OSError as exc:
            connection.close()
            if time.monotonic() > deadline:
                raise LabError(f"{path.name} does not answer: {exc}") from exc
            time.sleep(POLL_S)
        else:
            return connection


def until(what: str, holds: Callable[[], bool], timeout_s: float = 90, every_s: float = POLL_S) -> None:
    """Wait for what sends no event. Raises LabError: it did not come about."""
    deadline = time.monotonic() + timeout_s
    while True:
        began = time.monotonic()
        if holds():
            return
        now = time.monotonic()
        if now > deadline:
            raise LabError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(max(every_s, RESTED * (now - began)))
