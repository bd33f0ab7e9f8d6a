"""What a scenario asks of the guest, and what the guest saw."""

import base64
import queue
import shlex
import signal
import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from tests.lab.wire import LabError, Message, Wire

ANSWER_S = 60.0
CHUNK = 1 << 18


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str
    took_s: float  # by the guest's clock


class Spawned:
    """A program that goes on running in the guest. Lines come with the host's monotonic time of their arrival."""

    def __init__(self, guest: "Guest", pid: int) -> None:
        self._guest, self.pid = guest, pid
        self.lines: list[tuple[float, str]] = []
        self.code: int | None = None
        self._news = threading.Condition()

    def await_line(self, part: str, timeout_s: float = 90) -> tuple[float, str]:
        """Return the next line that holds `part`, each only once. Raises LabError: none came, or the program ended."""
        with self._news:
            self._news.wait_for(lambda: self._next(part) is not None or self.code is not None, timeout_s)
            number = self._next(part)
            if number is None:
                seen = [line for _, line in self.lines[-8:]]
                raise LabError(f"no line with {part!r} within {timeout_s:.0f} s (ended: {self.code}); last: {seen}")
            self._seen = number + 1
            return self.lines[number]

    def await_end(self, timeout_s: float = 90) -> int:
        with self._news:
            if not self._news.wait_for(lambda: self.code is not None, timeout_s):
                raise LabError(f"process {self.pid} has not ended within {timeout_s:.0f} s")
        assert self.code is not None
        return self.code

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self._guest.ask("signal", pid=self.pid, number=int(number))

    def heard(self, message: Message, arrived: float) -> None:
        with self._news:
            if "line" in message:
                self.lines.append((arrived, message["line"]))
            else:
                self.code = message["code"]
            self._news.notify_all()

    _seen = 0

    def _next(self, part: str) -> int | None:
        return next((n for n in range(self._seen, len(self.lines)) if part in self.lines[n][1]), None)


class Guest:
    def __init__(self, socket: Path) -> None:
        self._spawned: dict[int, Spawned] = {}
        self._early: dict[int, list[tuple[Message, float]]] = {}
        self._lock = threading.Lock()
        self._ready: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._wire = Wire(socket, self._heard, timeout_s=60)

    # ---- the machine itself

    def is_ready(self) -> bool:
        """Return whether the agent answers now: it has started, or the machine was restored."""
        try:
            self._wire.ask({"ask": "ping"}, 0.5)
        except LabError:
            return False
        return True

    def set_clock(self, moment: datetime) -> None:
        self.run(["date", "--utc", "--set", f"@{moment.timestamp():.3f}"])

    def dmesg(self) -> str:
        return self.run("dmesg").out

    # ---- programs

    def run(self, command: str | list[str], *, stdin: str = "", timeout_s: float = 60, check: bool = True) -> Done:
        """Run a program, or a line of shell. Raises LabError: it ended with another code than 0 and `check` is set."""
        answer = self.ask("run", timeout_s + ANSWER_S, argv=_argv(command), stdin=stdin, timeout_s=timeout_s)
        done = Done(answer["code"], answer["out"], answer["err"], answer["took_s"])
        if check and done.code != 0:
            raise LabError(f"code {done.code} of {command!r}: {done.out[-1500:]}{done.err[-1500:]}")
        return done

    def spawn(self, command: str | list[str]) -> Spawned:
        pid = self.ask("spawn", argv=_argv(command))["pid"]
        spawned = Spawned(self, pid)
        with self._lock:
            for message, arrived in self._early.pop(pid, []):
                spawned.heard(message, arrived)
            self._spawned[pid] = spawned
        return spawned

    # ---- files

    def read(self, path: str) -> str:
        """Return the text without its last line end. Raises LabError."""
        return str(self.ask("read", path=path)["text"])

    def write(self, path: str, text: str) -> None:
        """Raises LabError: the kernel's own error is named in it."""
        self.ask("write", path=path, text=text)

    def glob(self, pattern: str) -> list[str]:
        return list(self.ask("glob", pattern=pattern)["paths"])

    def await_there(self, pattern: str, timeout_s: float = 90) -> str:
        """Wait until something matches, and return the first. Raises LabError."""
        self._await(f"nothing at {pattern}", timeout_s, path=pattern, equals=None, there=True)
        return self.glob(pattern)[0]

    def await_gone(self, pattern: str, timeout_s: float = 90) -> None:
        self._await(f"still there: {pattern}", timeout_s, path=pattern, equals=None, there=False)

    def await_text(self, path: str, text: str, timeout_s: float = 90) -> None:
        self._await(f"{path} does not say {text!r}", timeout_s, path=path, equals=text, there=True)

    def put(self, path: str, content: bytes, *, mode: int = 0o644) -> None:
        for offset in range(0, max(len(content), 1), CHUNK):
            data = base64.b64encode(content[offset : offset + CHUNK]).decode()
            self.ask("put", path=path, data=data, mode=mode, append=offset > 0)

    def get(self, path: str) -> bytes:
        content = b""
        while True:
            part = base64.b64decode(self.ask("get", path=path, offset=len(content), most=CHUNK)["data"])
            content += part
            if len(part) < CHUNK:
                return content

    # ---- the wire

    def ask(self, what: str, wait_s: float = ANSWER_S, /, **arguments: object) -> Message:
        answer = self._wire.ask({"ask": what, **arguments}, wait_s)
        if "error" in answer:
            raise LabError(f"guest, {what}: {answer['error']}")
        return answer

    def close(self) -> None:
        self._wire.close()

    def _await(self, otherwise: str, timeout_s: float, **condition: object) -> None:
        answer = self.ask("wait", timeout_s + ANSWER_S, timeout_s=timeout_s, **condition)
        if not answer["met"]:
            raise LabError(f"{otherwise} after {timeout_s:.0f} s (it says {answer['text']!r})")

    def _heard(self, message: Message, arrived: float) -> None:
        pid = message.get("pid")
        if pid is None:
            return
        with self._lock:
            spawned = self._spawned.get(pid)
            if spawned is None:
                self._early.setdefault(pid, []).append((message, arrived))
                return
        spawned.heard(message, arrived)


def _argv(command: str | list[str]) -> list[str]:
    return ["/bin/sh", "-c", command] if isinstance(command, str) else command


def quoted(*words: str) -> str:
    return shlex.join(words)
