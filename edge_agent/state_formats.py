"""Which forms of what lies on a host's disk this version reads, and which were written there.

    edge_agent/formats   what this version reads; a line each: name SP number
    <state>/formats      what was written there; a line each: name SP number SP the program that first wrote it

The package's `preinst` goes by the same two: an older version is not unpacked over what it could not read. A form that
an older version reads wrongly gets a higher number; one that it reads, as a further table, does not.
docs/formats/bundle.md section 5.
"""

import os
import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from edge_agent import SOFTWARE
from edge_agent.files import sync_folder
from shared.errors import Malformed, Refused

_LINE = re.compile(r"(?P<name>[a-z][a-z-]{0,63}) (?P<number>[1-9][0-9]{0,8})( (?P<by>[ -~]{1,64}))?")
_MAX_CHARS = 16_384
FILE = "formats"


class StateTooNew(Refused):
    def __init__(self, file: Path, name: str, by: str, *, written: int, known: int) -> None:
        super().__init__(
            f"{file}: {name} has version {written}, written by {by}, and {SOFTWARE} reads {known or 'none'}; install "
            "a version that reads it"
        )
        self.name, self.by, self.written, self.known = name, by, written, known


def known() -> dict[str, int]:
    return {name: number for name, (number, _by) in parse(files("edge_agent").joinpath(FILE).read_text()).items()}


def parse(text: str) -> dict[str, tuple[int, str]]:
    """Return the number of each, and what wrote it. Raises Malformed."""
    found: dict[str, tuple[int, str]] = {}
    if len(text) > _MAX_CHARS:
        raise Malformed("formats", f"longer than {_MAX_CHARS} characters")
    for line in text.splitlines():
        read = _LINE.fullmatch(line)
        if read is None or read["name"] in found:
            raise Malformed("formats", "expected lines of a name that is not there yet, a number and a program")
        found[read["name"]] = int(read["number"]), read["by"] or ""
    return found


def merged(written: Mapping[str, tuple[int, str]], reads: Mapping[str, int], file: Path) -> str:
    """Return what has to stand in `file` once this version writes there. Raises StateTooNew."""
    for name, (number, by) in written.items():
        if number > reads.get(name, 0):
            raise StateTooNew(file, name, by, written=number, known=reads.get(name, 0))
    after = {name: (number, SOFTWARE) for name, number in reads.items()}
    after.update({name: row for name, row in written.items() if row[0] == reads[name]})
    return "".join(f"{name} {number} {by}\n" for name, (number, by) in sorted(after.items()))


def claim(state: Path) -> None:
    """Note durably in the folder `state` what this version writes there; before it does.

    Raises StateTooNew, Malformed, OSError.
    """
    file = state / FILE
    try:
        before = file.read_text(encoding="ascii")
    except FileNotFoundError:
        before = ""
    except UnicodeDecodeError as exc:
        raise Malformed(str(file), "not ASCII") from exc
    after = merged(parse(before), known(), file)
    if after == before:
        return
    draft = state / f"{FILE}.new"
    with draft.open("w", encoding="ascii") as new:
        new.write(after)
        new.flush()
        os.fsync(new.fileno())
    draft.replace(file)
    sync_folder(state)
