"""Reads what lies in a spool and says of each object whether it is whole. It changes nothing and opens nothing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from edge_agent.spool.catalogue import HERE, CatalogueReader, Row, Spooled
from edge_agent.spool.entry import EntryHead, Note, verify_entry
from edge_agent.spool.reader import SpoolReader
from edge_agent.spool.segment import EndsTooEarly, SegmentName
from edge_agent.spool.whole import Keys, small_parts, verify_whole
from shared.canonical import Json
from shared.errors import IntegrityFailure, Malformed
from shared.identity import ObjectId
from shared.sealing import object_file
from shared.sealing.object_file import ObjectParts, SeekableSource
from shared.sealing.record import CaptureRecord
from shared.signing import EvidencePublicKey

_NOBODY = ObjectId(bytes(16))
_REGISTERED, _NEVER_TOLD = "the next start registers it", "nobody was told that it is safe, and no start registers it"


class Finding(StrEnum):
    WHOLE = "whole"
    DAMAGED = "damaged"
    MISSING = "missing"
    UNREADABLE = "unreadable"  # the disk does not give it; what it is nobody knows
    NOT_JUDGED = "not judged"  # another host captured it, whose key is not here
    GONE = "gone meanwhile"  # delivered, or discarded, while it was looked at: no fault
    FOREIGN = "foreign"  # by its name no object, so the agent leaves it alone


BAD = (Finding.DAMAGED, Finding.MISSING, Finding.UNREADABLE, Finding.NOT_JUDGED)


@dataclass(frozen=True)
class Judged:
    """`why` is what is amiss, or, of an object that is not in the catalogue, what becomes of it."""

    finding: Finding
    why: str = ""


_FOREIGN = Judged(Finding.FOREIGN, "its name is none that the agent gives; it is left alone")


@dataclass(frozen=True)
class Result:
    """`number` and `object_id` are None where nothing that can be read says them."""

    number: int | None
    object_id: ObjectId | None
    in_catalogue: bool
    judged: Judged
    place: str

    def json(self) -> dict[str, Json]:
        return {
            "number": self.number,
            "object": str(self.object_id) if self.object_id else None,
            "in_catalogue": self.in_catalogue,
            "finding": self.judged.finding.value,
            "why": self.judged.why,
            "place": self.place,
        }


class SpoolVerifier:
    """`pause` lets enough time pass for what was being written when it began to be whole, or in the catalogue.

    `verify` proves record, binding and body of an object; a test gives another one to see what reading is good for.
    Raises DatabaseUnavailable, DatabaseDamaged.
    """

    def __init__(
        self,
        catalogue: CatalogueReader,
        files: SpoolReader,
        keys: Keys,
        pause: Callable[[], None] = lambda: None,
        verify: Callable[[SeekableSource, ObjectParts, EvidencePublicKey], CaptureRecord] = verify_whole,
    ) -> None:
        self._catalogue, self._files, self._keys, self._pause, self._verify = catalogue, files, keys, pause, verify

    def everything(self) -> Iterator[Result]:
        """Yield what is found of every object of the catalogue, in order, and then of what lies here beside it."""
        for row in self._catalogue.in_state(*HERE):
            yield self.result(row)
        yield from self._strangers()

    def result(self, row: Row) -> Result:
        """Return what is found of one object, wherever the agent has moved it meanwhile."""
        judged = self.judge(row.spooled)
        while judged.finding is not Finding.WHOLE:
            now = self._catalogue.find(row.spooled.object_id)
            if now is None or now.state not in HERE:
                judged = Judged(Finding.GONE)
                break
            if now.spooled == row.spooled:
                break
            row, judged = now, self.judge(now.spooled)
        return _result(row.spooled, judged, in_catalogue=True)

    def judge(self, spooled: Spooled) -> Judged:
        """Return what is found where an object is said to lie."""
        try:
            with self._files.open(spooled) as source:
                parts = object_file.parse(source)
                if spooled.place is not None:
                    self._verify_entry(spooled, small_parts(source, parts))
                key = self._keys(parts)
                if key is None:
                    return Judged(Finding.NOT_JUDGED, f"{parts.binding.host_id} captured it, whose key is not here")
                record = self._verify(source, parts, key)
        except (Malformed, IntegrityFailure) as exc:
            return Judged(Finding.DAMAGED, str(exc))
        except EndsTooEarly as exc:
            return Judged(Finding.DAMAGED, str(exc.strerror))
        except FileNotFoundError:
            return Judged(Finding.MISSING, "it is not where the catalogue says")
        except OSError as exc:
            return _unreadable(exc)
        if record.object_id != spooled.object_id:
            return Judged(Finding.DAMAGED, f"it is object {record.object_id}")
        return Judged(Finding.WHOLE)

    def _verify_entry(self, spooled: Spooled, parts: bytes) -> None:
        head = self._files.entry_head(spooled)
        if head is None:
            raise Malformed("spool entry", "its head is none of this segment's")
        if (head.number, head.object_bytes) != (spooled.number, spooled.object_bytes):
            raise Malformed("spool entry", "its head is that of another object")
        verify_entry(head, parts)

    # ---- what lies here and is not in the catalogue

    def _strangers(self) -> Iterator[Result]:
        strangers: list[tuple[Spooled, EntryHead | None]] = [
            (spooled, None) for spooled in self._files.files() if not self._is_known(spooled)
        ]
        for name in self._files.segments():
            try:
                found, unread = self._strange_entries(name)
            except FileNotFoundError:
                continue  # its last object has left
            except OSError as exc:
                yield _segment(name, _unreadable(exc))
                continue
            strangers += found
            if unread:
                yield _segment(name, Judged(Finding.UNREADABLE, f"{unread} blocks of it"))
        if strangers:
            self._pause()
        for spooled, head in strangers:
            if not self._is_known(spooled):
                named = spooled if head is None else replace(spooled, object_id=self._object_in(spooled))
                judged = self.judge(named)
                if not self._is_known(spooled):
                    yield self._stranger(named, head, judged)
        for place in self._files.foreign():
            yield Result(None, None, in_catalogue=False, judged=_FOREIGN, place=place)

    def _strange_entries(self, name: SegmentName) -> tuple[list[tuple[Spooled, EntryHead]], int]:
        """Return what lies in a segment and is not in the catalogue, and how many blocks the disk does not give."""
        known = self._catalogue.offsets(name.number)
        found, unread = [], 0
        for place, head in self._files.entries(name):
            if head is None:
                unread += 1
            elif place.offset not in known:
                spooled = Spooled(head.number, _NOBODY, head.object_bytes, place)
                if not self._is_known(spooled):
                    found.append((spooled, head))
        return found, unread

    def _is_known(self, spooled: Spooled) -> bool:
        """Return whether the catalogue has an object by now, or it is not here any more."""
        if spooled.place is None:
            return self._catalogue.find(spooled.object_id) is not None or not self._is_there(spooled)
        # Asked in this order: the rows of a segment go after the segment.
        return self._catalogue.knows(spooled.place, spooled.number) or not self._is_there(spooled)

    def _is_there(self, spooled: Spooled) -> bool:
        try:
            return self._files.path(spooled).exists()
        except OSError:
            return False

    def _object_in(self, spooled: Spooled) -> ObjectId:
        try:
            with self._files.peek(spooled) as source:
                return object_file.parse_head(source)[0].object_id
        except (Malformed, OSError):
            return _NOBODY

    def _stranger(self, spooled: Spooled, head: EntryHead | None, judged: Judged) -> Result:
        if judged.finding is Finding.WHOLE:
            judged = replace(judged, why=_NEVER_TOLD if self._is_owed(spooled, head) else _REGISTERED)
        return _result(spooled, judged, in_catalogue=False)

    def _is_owed(self, spooled: Spooled, head: EntryHead | None) -> bool:
        try:
            return Note.parse(head.note if head else self._files.note(spooled)).owed
        except (Malformed, OSError):
            return False


def _result(spooled: Spooled, judged: Judged, *, in_catalogue: bool) -> Result:
    object_id = None if spooled.object_id == _NOBODY else spooled.object_id
    return Result(spooled.number, object_id, in_catalogue=in_catalogue, judged=judged, place=spooled.where())


def _segment(name: SegmentName, judged: Judged) -> Result:
    return Result(None, None, in_catalogue=False, judged=judged, place=f"segments/{name}")


def _unreadable(exc: OSError) -> Judged:
    return Judged(Finding.UNREADABLE, exc.strerror or type(exc).__name__)
