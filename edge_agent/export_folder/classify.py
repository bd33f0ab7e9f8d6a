"""What is decided about a file of an export folder: whether it is complete, and whether it is one that is known.

| the file                                        | outcome                                                     |
| ----------------------------------------------- | ----------------------------------------------------------- |
| closed after writing, or renamed into place     | captured at once                                            |
| found by a scan                                 | captured once it has stood still for `settle_s`             |
| created, and not closed                         | waits for its close, at most until still for `patience_s`   |
| a head, and a data set that ends too early      | waits `patience_s`, then captured as it is                  |
| no head, or the beginning of one                | waits `patience_s`, then refused: recorded once, left alone |
| a DICOMDIR                                      | left alone                                                  |
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from struct import Struct

from shared.policy.document import AfterReceipt, PolicyDocument

_IDENTITY = Struct(">QQQQ")
_CHANGED = Struct(">Q")
_U64 = (1 << 64) - 1
_MOST_DOUBLINGS = 5


@dataclass(frozen=True)
class Stamp:
    """What the file system says of a file. Times are in nanoseconds; `changed_ns` (ctime) is nobody's to set."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int

    def identity(self) -> bytes:
        """Return all but `changed_ns` as bytes: what stays when a file gets another name."""
        # Masked: some file systems give numbers and times that no signed 64-bit column takes.
        return _IDENTITY.pack(*(n & _U64 for n in (self.device, self.inode, self.size_bytes, self.modified_ns)))

    def encode(self) -> bytes:
        return self.identity() + _CHANGED.pack(self.changed_ns & _U64)

    def same_content(self, other: "Stamp") -> bool:
        """Whether nothing says that bytes were written between the two. A rename changes `changed_ns` alone."""
        return self.identity() == other.identity()


class Word(Enum):
    """How we came to know of a file that was not captured yet; the later ones weigh more."""

    FOUND = 0  # by a scan
    CREATED = 1  # its beginning was seen and its close was not
    CLOSED = 2  # closed after writing, or renamed into place
    UNREADY = 3  # looked at; it waits until patience has run out


@dataclass(frozen=True)
class Timing:
    """In seconds."""

    settle_s: float = 3.0
    patience_s: float = 60.0
    rescan_s: float = 60.0
    missing_s: float = 10.0  # until a folder that is not there is looked for again


@dataclass(frozen=True)
class Observed:
    """A file that is watched until it is complete. `since_s`: since when its stamp is this one, monotonic."""

    stamp: Stamp
    since_s: float
    word: Word
    failures: int = 0  # attempts to capture it that were given up

    def due_s(self, timing: Timing) -> float:
        """Return the monotonic instant at which it is to be looked at."""
        if self.word in (Word.CREATED, Word.UNREADY):
            return self.since_s + timing.patience_s
        if self.word is Word.CLOSED and not self.failures:
            return self.since_s
        return self.since_s + min(timing.settle_s * (1 << min(self.failures, _MOST_DOUBLINGS)), timing.patience_s)

    def is_out_of_patience(self, now_s: float, now: datetime, timing: Timing) -> bool:
        """Whether a file that is not complete will hardly become so.

        A file that was old when it was found need not be waited for. A clock that is wrong can only end the wait too
        early: a file that changes afterwards is looked at again.
        """
        written_ns = max(self.stamp.modified_ns, self.stamp.changed_ns)
        age_s = now.timestamp() - written_ns / 1e9
        return max(now_s - self.since_s, age_s) >= timing.patience_s


@dataclass(frozen=True)
class Reading:
    """Whether a folder is read, and what becomes of its files."""

    after: AfterReceipt | None  # None: it is not read
    why: str


def choose_reading(policy: PolicyDocument | None, ae_title: str) -> Reading:
    if policy is None:
        return Reading(None, "not read: no policy is in force")
    modality = policy.modality(ae_title)
    if modality is None:
        return Reading(None, "not read: policy does not list this modality")
    if modality.export_folder is None:
        return Reading(None, "not read: policy gives this modality no export folder")
    done = {AfterReceipt.KEEP: "kept", AfterReceipt.MOVE: "moved", AfterReceipt.DELETE: "deleted"}
    return Reading(modality.export_folder, f"read; files are {done[modality.export_folder]} after the receipt")
