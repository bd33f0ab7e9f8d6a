"""The guest's serial line as text, and a person's fingers on the USB keyboard that was added last."""

import re
import time
from pathlib import Path

from tests.lab.qmp import Qmp
from tests.lab.wire import until

HELD_MS = 12
_NAMED = {" ": "spc", "\n": "ret", "-": "minus", "/": "slash", ".": "dot", "=": "equal", ";": "semicolon"}
_SHIFTED = {
    ">": "dot",
    "*": "8",
    "_": "minus",
    "|": "backslash",
    "&": "7",
    "$": "4",
    '"': "apostrophe",
    ":": "semicolon",
}


class Console:
    def __init__(self, qmp: Qmp, log: Path) -> None:
        self._qmp, self._log = qmp, log

    def text(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def await_text(self, pattern: str, timeout_s: float = 120) -> None:
        """Raises LabError."""
        until(f"the console shows {pattern!r}", lambda: re.search(pattern, self.text()) is not None, timeout_s)

    def type(self, text: str) -> None:
        """Press the keys for `text`, as fast as a keyboard with sixteen places can pass them on, heard or not."""
        for character in text:
            pressed = [{"type": "qcode", "data": key} for key in keys(character)]
            self._qmp.ask("send-key", keys=pressed, hold_time=HELD_MS)
            time.sleep(3 * HELD_MS / 1000)


def keys(character: str) -> list[str]:
    """Return the keys of an American keyboard to press together, by QEMU's names."""
    if character in _SHIFTED:
        return ["shift", _SHIFTED[character]]
    if character in _NAMED:
        return [_NAMED[character]]
    return ["shift", character.lower()] if character.isupper() else [character]
