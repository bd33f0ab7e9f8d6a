"""Which records say an object: one number for each, in runs of the log, so that what comes together lies together.

    number = run (entry >> 15), then 23 bits of a hash of the object's name, then place in the run (15 bits)

An object's name is random: by names alone, in a long log, each record would write a page of the index for itself. The
numbers of a run fit in some hundred pages, and a batch shares them. Whoever looks for a name looks into every run.

A number leads to a record and says nothing of it: other names have the same 23 bits, so each record is read. Whoever
makes a name that meets another one has a record read in vain, as by naming that one, and hides nothing.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from threading import Lock
from typing import NamedTuple
from zlib import crc32

from sqlalchemy.orm import Session

from control_plane.audit_log.quick_reader import record_reader
from control_plane.db import driver
from control_plane.tlog import rows as heads
from shared.audit.events import Event
from shared.audit.record import ReadRecord
from shared.audit.tlog.tiles import WIDTH
from shared.errors import Malformed

OBJECT = "object"
# A backup holds whole numbers of 53 bits (backup/lines.py), and so many have a number.
MAX_ENTRY = 1 << 30
_PLACE_BITS, _HASH_BITS = 15, 23
_RUN_BITS = _PLACE_BITS + _HASH_BITS
_PLACES = (1 << _PLACE_BITS) - 1
_NAMES_AT_ONCE, _RECORDS_AT_ONCE, _ANSWERS = 500, 200, 4
_RUNS = "WITH RECURSIVE runs(low) AS (SELECT CAST(? AS BIGINT) UNION ALL SELECT low + ? FROM runs WHERE low < ?)"
# What somebody wrote beyond all numbers does not count: each look-up would look into that many runs.
_NEWEST = "SELECT CAST(entry AS BIGINT) FROM audit_records WHERE entry < ? ORDER BY entry DESC LIMIT 1"


def number_of(name: str, entry: int) -> int:
    """Return by what record `entry`, which says object `name`, is found."""
    return entry >> _PLACE_BITS << _RUN_BITS | _hash(name) << _PLACE_BITS | entry & _PLACES


def numbers(records: Sequence[ReadRecord], entry: int) -> list[int]:
    """Return by what records are found that follow each other from `entry` on; in order, as it is written fastest."""
    return sorted(
        number_of(what.name, at)
        for at, record in enumerate(records, entry)
        for what in record.what
        if what.kind == OBJECT
    )


def objects_of(record: ReadRecord) -> frozenset[str]:
    return frozenset(what.name for what in record.what if what.kind == OBJECT)


class Said(NamedTuple):
    """A record that may say an object. `names` are the objects that it says, None where it no longer reads.

    Source and number are what its row says, 0 for no number: by them it is proved, whatever it says itself.
    """

    entry: int
    source: str
    seq: int
    public: bytes
    names: frozenset[str] | None


def entries(session: Session, names: Collection[str], runs: range | None = None) -> set[int]:
    """Return the entries of what may say one of `names`, in `runs` or in all."""
    runs = _all_runs(session) if runs is None else runs
    found, hashes = set[int](), sorted({_hash(name) << _PLACE_BITS for name in names})
    while hashes and runs:
        some, hashes = hashes[:_NAMES_AT_ONCE], hashes[_NAMES_AT_ONCE:]
        bounds = runs.start << _RUN_BITS, 1 << _RUN_BITS, runs.stop - 1 << _RUN_BITS
        asked = f"(VALUES {', '.join(['(?)'] * len(some))}) AS asked"
        within = f"number BETWEEN low + asked.column1 AND low + asked.column1 + {_PLACES}"
        question = f"{_RUNS} SELECT number FROM runs, {asked}, audit_objects WHERE {within}"  # noqa: S608 (ours)
        found |= {
            number >> _RUN_BITS << _PLACE_BITS | number & _PLACES
            for (number,) in driver.rows(session, question, (*bounds, *some))
            if isinstance(number, int)
        }
    return found


class Remembered:
    """Looks objects up, and remembers of the last few answers what is in runs that are full: nothing is added to those.

    So whoever reads an answer page by page has the newest run alone looked into again. An answer is forgotten where the
    log has other hashes at the end of these runs: a database of before was put in its place, and went on.
    """

    def __init__(self) -> None:
        self._lock, self._full = Lock(), dict[frozenset[str], tuple[int, bytes | None, frozenset[int]]]()

    def entries(self, session: Session, names: frozenset[str]) -> frozenset[int]:
        """Return the entries of what may say one of `names`. Raises LogAltered."""
        # What somebody wrote beyond the log must not make runs full that records are still to come in.
        runs, full = _all_runs(session), heads.head(session)[0] >> _PLACE_BITS
        full = min(full, runs.stop)
        with self._lock:
            known, end, held = self._full.pop(names, (0, None, frozenset[int]()))
        if end != _end_of(session, known):
            known, held = 0, frozenset()
        held |= entries(session, names, range(known, full))
        known = max(known, full)
        with self._lock:
            self._full[names] = known, _end_of(session, known), held
            for oldest in list(self._full)[:-_ANSWERS]:
                del self._full[oldest]
        return held | entries(session, names, range(known, runs.stop))


def led_to(
    session: Session,
    names: Collection[str],
    event: Event | None = None,
    source: str | None = None,
    runs: range | None = None,
) -> Iterator[Said]:
    """Yield every record that may say one of `names`, by entry: whoever proves records wants altered ones too."""
    led, read = sorted(entries(session, names, runs)), record_reader()
    for at in range(0, len(led), _RECORDS_AT_ONCE):
        some = led[at : at + _RECORDS_AT_ONCE]
        held, values = f"entry IN ({', '.join('?' * len(some))})", list[object](some)
        for asked, value in (("event =", event and event.value), ("source =", source)):
            if value is not None:
                held, values = f"{held} AND {asked} ?", [*values, value]
        question = f"SELECT entry, source, seq, public FROM audit_records WHERE {held} ORDER BY entry"  # noqa: S608 (ours)
        for row in driver.rows(session, question, tuple(values)):
            yield _said(read, *row)


def hidden(session: Session, name: str, event: Event, source: str) -> int | None:
    """Return an entry to which an object leads and that is not held, or whose record says `event` of it, as `source`.

    For whoever was led to none of these: then its row says something else. None: there is no such entry.
    """
    read = record_reader()
    for entry in sorted(entries(session, [name])):
        row = driver.row(session, "SELECT public FROM audit_records WHERE entry = ?", (entry,))
        if row is None:
            return entry
        with suppress(Malformed):
            record = read(driver.blob(row[0]))
            if (record.event, record.source) == (event, source) and name in objects_of(record):
                return entry
    return None


class Nearest:
    """Finds for each of many objects the record of its source that says `event` of it.

    It looks first where it found the last one: objects that arrived together have records that lie together.
    """

    def __init__(self, session: Session, event: Event) -> None:
        self._session, self._event = session, event
        self._runs = _all_runs(session)
        self._near = self._runs.stop

    def of(self, sources: Mapping[str, str]) -> dict[str, bytes]:
        """Return the public part for each object of which there is one, by the sources of the objects."""
        found = dict[str, bytes]()
        for runs in _outward(self._near, self._runs.stop):
            missing = sources.keys() - found.keys()
            if not missing:
                break
            for said in led_to(self._session, missing, self._event, runs=runs):
                for name in missing & (said.names or set()):
                    if said.source == sources[name]:
                        found.setdefault(name, said.public)
                        self._near = said.entry >> _PLACE_BITS
        return found


def _outward(near: int, end: int) -> Iterator[range]:
    """Yield all runs before `end`, in ever wider ranges to both sides of `near`."""
    below = above = min(near + 1, end)
    width = 2
    while below > 0 or above < end:
        yield range(max(0, below - width), below)
        yield range(above, min(above + width, end))
        below, above, width = below - width, above + width, width * 2


def _all_runs(session: Session) -> range:
    newest = driver.row(session, _NEWEST, (MAX_ENTRY,))
    return range(0 if newest is None else (newest[0] >> _PLACE_BITS) + 1)


def _end_of(session: Session, runs: int) -> bytes | None:
    """Return the last hashes of the first `runs`; they name their records, and those the ones before them."""
    return heads.tile(session, 0, (runs << _PLACE_BITS) // WIDTH - 1)


def _said(read: Callable[[bytes], ReadRecord], entry: int, source: str, seq: object, public: object) -> Said:
    held = driver.blob(public)
    try:
        names = objects_of(read(held))
    except Malformed:
        names = None
    return Said(entry, source, seq if isinstance(seq, int) else 0, held, names)


def _hash(name: str) -> int:
    return crc32(name.encode()) >> 32 - _HASH_BITS
