"""Has an image decoded by a process that may crash, hang or lie, and judges what it says.

The process gets the dataset through a pipe and nothing else of ours: no environment, no folder, no key. It is the one
place where image bytes meet decoders; what they do to it ends as `NotDecoded`, never here.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from threading import Event as Flag
from threading import Lock, Timer
from typing import IO

from shared.canonical import Json
from shared.custody.frames import Pixels
from shared.errors import Malformed, Refused, Unavailable
from shared.fields import Fields

TIMEOUT_S = 600.0
MAX_ANSWER_BYTES = 2 << 20
_SCRIPT = Path(__file__).with_name("decoding.py")
# -I: neither the environment nor the working folder chooses what it imports.
COMMAND = (sys.executable, "-I", "-B", str(_SCRIPT))


class Why(StrEnum):
    """Why an image has no frame digests; the words of `decoding.py`, and what only its parent can see."""

    NO_DECODER = "no-decoder"
    NO_PIXELS = "no-pixels"
    UNREADABLE = "unreadable"
    UNSUPPORTED = "unsupported"
    DESCRIPTION = "description"
    NOT_DECODED = "not-decoded"
    TOO_LARGE = "too-large"
    CRASHED = "crashed"
    TOO_SLOW = "too-slow"
    NONSENSE = "nonsense"


_SAYS = {
    Why.NO_DECODER: "pydicom and python-gdcm, which decode them, are not installed here (extra: verify)",
    Why.NO_PIXELS: "it has no pixel data",
    Why.UNREADABLE: "its data set could not be read",
    Why.UNSUPPORTED: "there is no decoder here for its transfer syntax or its kind of pixels",
    Why.DESCRIPTION: "its description of the pixels is missing, contradicts itself, or is of a kind not digested here",
    Why.NOT_DECODED: "a frame could not be decoded",
    Why.TOO_LARGE: "it has more pixels than are decoded here",
    Why.CRASHED: "the decoder crashed over it",
    Why.TOO_SLOW: "the decoder did not finish in time",
    Why.NONSENSE: "the decoder's answer was not one",
}


class NotDecoded(Refused):
    """There are no digests of this image's frames; that says nothing about whether it was altered."""

    def __init__(self, why: Why) -> None:
        super().__init__(f"the frames of the image were not evaluated: {_SAYS[why]}")
        self.why = why


class DecoderStopped(Unavailable):
    def __init__(self) -> None:
        super().__init__("decoding was broken off, because this process is stopping")


class Decoder:
    """`command` is what a test replaces to see what a decoder can do to us."""

    def __init__(self, command: Sequence[str] = COMMAND, timeout_s: float = TIMEOUT_S) -> None:
        self._command, self._timeout_s = command, timeout_s
        self._lock, self._stopped = Lock(), False
        self._children: set[subprocess.Popen[bytes]] = set()

    def decode(self, pieces: Iterable[bytes | memoryview], transfer_syntax: str) -> Pixels:
        """Return the digests of the frames of an encoded dataset.

        Raises NotDecoded, DecoderStopped, and whatever `pieces` raises.
        """
        with self._begun(transfer_syntax) as child:
            late = Flag()
            timer = Timer(self._timeout_s, _break_off, (child, late))
            timer.start()
            try:
                answer, whole = _converse(child, pieces)
            finally:
                timer.cancel()
                self._end(child)
        if self._stopped:
            raise DecoderStopped
        if child.returncode != 0:
            raise NotDecoded(_ended(child.returncode, late=late.is_set()))
        pixels = _judged(answer)
        if not whole:
            raise NotDecoded(Why.NONSENSE)  # an answer about something it has not read
        return pixels

    def stop(self) -> None:
        """Break off what is being decoded, and decode nothing more."""
        with self._lock:
            self._stopped = True
            for child in self._children:
                child.kill()

    def _begun(self, transfer_syntax: str) -> "subprocess.Popen[bytes]":
        with self._lock:
            if self._stopped:
                raise DecoderStopped
            child = subprocess.Popen(
                [*self._command, transfer_syntax], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, env={}, cwd="/", close_fds=True,
            )  # fmt: skip
            self._children.add(child)
            return child

    def _end(self, child: "subprocess.Popen[bytes]") -> None:
        with self._lock:
            self._children.discard(child)
        child.kill()
        # What is still buffered for a child that has gone has nowhere to go.
        with suppress(BrokenPipeError):
            _pipes(child)[0].close()


def _break_off(child: "subprocess.Popen[bytes]", late: Flag) -> None:
    late.set()
    child.kill()


def _converse(child: "subprocess.Popen[bytes]", pieces: Iterable[bytes | memoryview]) -> tuple[bytes, bool]:
    """Return the child's answer once it has ended, and whether it took all the pieces."""
    stdin, stdout = _pipes(child)
    whole = False
    # It may end before it has read everything; its answer, or how it ended, says why.
    with suppress(BrokenPipeError):
        for piece in pieces:
            stdin.write(piece)
        stdin.close()
        whole = True
    answer = stdout.read(MAX_ANSWER_BYTES + 1)
    if len(answer) > MAX_ANSWER_BYTES:
        child.kill()
    child.wait()
    return answer, whole


def _pipes(child: "subprocess.Popen[bytes]") -> tuple[IO[bytes], IO[bytes]]:
    assert child.stdin is not None  # noqa: S101 (both were asked for)
    assert child.stdout is not None  # noqa: S101
    return child.stdin, child.stdout


def _ended(returncode: int, *, late: bool) -> Why:
    return Why.TOO_SLOW if late or returncode == -signal.SIGXCPU else Why.CRASHED


def _judged(answer: bytes) -> Pixels:
    try:
        value: Json = json.loads(answer)
        fields = Fields(value, "decoder's answer")
        if fields.has("refused"):
            raise NotDecoded(Why(fields.choice("refused", [why.value for why in Why])))
        described = fields.fields("pixels")
        pixels = Pixels.parse(described)
        described.done()
        fields.done()
    except (ValueError, RecursionError, Malformed) as exc:
        raise NotDecoded(Why.NONSENSE) from exc
    return pixels
