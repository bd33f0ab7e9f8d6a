"""The asking end of the link, for the agent and for commands: one connection, used by one thread."""

import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from edge_agent.link import protocol
from edge_agent.link.frames import FrameReader, frame
from edge_agent.link.protocol import Answer, Error, Explanation, Rehearsal, Request, Welcome
from shared.errors import Malformed, Refused, Unavailable
from shared.fleet.devices import GuardReport

SOCKET = Path("/run/leadglass-guard/guard.sock")
TIMEOUT_S = 10.0
_CREDENTIALS = struct.Struct("3i")
_Answer = TypeVar("_Answer", bound=Answer)


class GuardUnavailable(Unavailable):
    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"the guard at {path} does not answer as it should: {why}")
        self.path, self.why = path, why


class GuardRefused(Refused):
    """The guard read the request and does not grant it."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the guard refused: {why}")
        self.why = why


class GuardClient:
    """A connection that is open; after GuardUnavailable it is of no more use.

    Every method raises GuardUnavailable, GuardRefused.
    """

    def __init__(self, path: Path = SOCKET, *, guard_user: int = 0, timeout_s: float = TIMEOUT_S) -> None:
        """Connect to what `guard_user` listens with, and to nobody else. Raises GuardUnavailable."""
        self._path = path
        self._reader = FrameReader(protocol.MAX_ANSWER_BYTES)
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.settimeout(timeout_s)
        try:
            self._connection.connect(os.fspath(path))
            size = _CREDENTIALS.size
            _, uid, _ = _CREDENTIALS.unpack(self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
        except OSError as exc:
            raise self._failed(exc.strerror or str(exc)) from exc
        if uid != guard_user:
            raise self._failed(f"user {uid} listens there, not user {guard_user}")

    def hello(self) -> Welcome:
        return self._ask(protocol.Hello(), Welcome)

    def offer(self, head: bytes | None, layer: bytes | None) -> None:
        self._ask(protocol.Offer(head, layer), protocol.Taken)

    def report(self) -> GuardReport:
        return self._ask(protocol.Report(), protocol.Reported).report

    def records(self, after: int, most: int = protocol.MAX_RECORDS) -> tuple[bytes, ...]:
        return self._ask(protocol.Records(after, most), protocol.Given).records

    def confirm(self, upto: int) -> None:
        self._ask(protocol.Confirm(upto), protocol.Confirmed)

    def explain(self, port: str) -> Explanation:
        return self._ask(protocol.Explain(port), Explanation)

    def rehearse(self) -> Rehearsal:
        return self._ask(protocol.Rehearse(), Rehearsal)

    def close(self) -> None:
        with suppress(OSError):
            self._connection.close()

    def __enter__(self) -> "GuardClient":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: Request, expected: type[_Answer]) -> _Answer:
        try:
            self._connection.sendall(frame(protocol.encode_request(request), protocol.MAX_REQUEST_BYTES))
            answer = protocol.parse_answer(self._receive())
        except OSError as exc:
            raise self._failed(exc.strerror or str(exc)) from exc
        except Malformed as exc:
            raise self._failed(str(exc)) from exc
        if isinstance(answer, Error):
            raise GuardRefused(answer.text)
        if not isinstance(answer, expected):
            raise self._failed(f"{answer.answer} is no answer to {request.ask}")
        return answer

    def _receive(self) -> bytes:
        """Raises OSError, Malformed, GuardUnavailable."""
        while True:
            data = self._connection.recv(self._reader.wanted)
            if not data:
                raise self._failed("it hung up")
            payload = self._reader.feed(data)
            if payload is not None:
                return payload

    def _failed(self, why: str) -> GuardUnavailable:
        self.close()
        return GuardUnavailable(self._path, why)


Connect = Callable[[], GuardClient]
