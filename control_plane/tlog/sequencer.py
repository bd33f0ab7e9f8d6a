"""Enters records in the Merkle log, in the commit that makes them durable, and signs what the log then is.

Whoever enters holds the lock of `in_one_commit`, so over all workers of one database there is one sequencer. Before it
signs, the log has to be the one that it signed last: edited rows are not made part of a signed history.
"""

from collections.abc import Callable, Sequence
from threading import Lock

from sqlalchemy.orm import Session

from control_plane.audit_log.objects import MAX_ENTRY
from control_plane.tlog import rows
from control_plane.tlog.rows import LogAltered
from shared.audit.tlog.checkpoint import TreeHead, sign_checkpoint, verify_checkpoint
from shared.audit.tlog.growth import Growth
from shared.audit.tlog.keys import NoteKey, NoteSigner
from shared.audit.tlog.tree import CompactRange
from shared.errors import IntegrityFailure, Malformed, Unavailable

_GATHERED = "gathered leaves"


class LogFull(Unavailable):
    """Nothing is lost: whoever has records keeps them."""

    def __init__(self, size: int, most: int) -> None:
        super().__init__(f"the audit log is full: it holds {size} of at most {most} entries, and takes no more")
        self.size, self.most = size, most


class Gathered:
    """Leaves of one transaction, with the numbers that they will have."""

    def __init__(self, session: Session, enter: Callable[[Session, Sequence[bytes]], int], most: int) -> None:
        self._session, self._enter, self._most = session, enter, most
        self._first, self._leaves = -1, list[bytes]()

    def add(self, leaves: Sequence[bytes]) -> int:
        """Raises LogFull."""
        if self._first < 0:
            self._first = rows.head(self._session)[0]
        _verify_room(self._first + len(self._leaves), leaves, self._most)
        self._leaves += leaves
        return self._first + len(self._leaves) - len(leaves)

    def mark(self) -> Callable[[], None]:
        """Return what forgets all that is added from here on: whoever added it takes back its rows."""
        count = len(self._leaves)

        def take_back() -> None:
            del self._leaves[count:]

        return take_back

    def finish(self) -> None:
        """Enter them all. Raises LogAltered."""
        del self._session.info[_GATHERED]
        if self._leaves:
            self._enter(self._session, self._leaves)


class Sequencer:
    """Safe for several threads and several processes on one database. It enters `most` leaves and no more."""

    def __init__(self, signer: NoteSigner, most: int = MAX_ENTRY) -> None:
        self._signer, self._most = signer, most
        self._lock, self._verified = Lock(), ""

    @property
    def key(self) -> NoteKey:
        return self._signer.public

    def enter(self, session: Session, leaves: Sequence[bytes]) -> int:
        """Enter `leaves` in a transaction of `in_one_commit`; return the number of the first one, counted from 0.

        Raises LogAltered: the head is not what was signed, or nobody signed it; LogFull, before anything is written.
        """
        gathered = session.info.get(_GATHERED)
        return self._enter(session, leaves) if gathered is None else gathered.add(leaves)

    def gather(self, session: Session) -> "Gathered":
        """From now on have what is entered within `session` wait for `finish`: one checkpoint over all of it."""
        gathered = session.info[_GATHERED] = Gathered(session, self._enter, self._most)
        return gathered

    def _enter(self, session: Session, leaves: Sequence[bytes]) -> int:
        size, encoded, checkpoint = rows.head(session)
        _verify_room(size, leaves, self._most)
        grown = self._verify(size, encoded, checkpoint)
        growth = Growth(grown, rows.reader(session))
        growth.append(leaves)
        rows.keep_tiles(session, size, growth)
        self._keep_head(session, grown)
        return size

    def sign_first(self, session: Session) -> None:
        """Sign what a migration entered, in the commit that makes the key: no later one may find a log unsigned."""
        size, encoded, checkpoint = rows.head(session)
        if size and not checkpoint:
            self._keep_head(session, CompactRange.parse(size, encoded))

    def _keep_head(self, session: Session, grown: CompactRange) -> None:
        signed = sign_checkpoint(TreeHead(self.key.name, grown.size, grown.root()), self._signer)
        rows.keep_head(session, grown, signed)
        self._remember(signed)

    def _verify(self, size: int, encoded: bytes, checkpoint: str) -> CompactRange:
        try:
            grown = CompactRange.parse(size, encoded)
            if size or checkpoint:
                head = TreeHead(self.key.name, size, grown.root())
                if not checkpoint.startswith(head.text() + "\n"):
                    raise LogAltered(f"its head is at {size}, and that is not what was signed")
                if checkpoint != self._last():
                    verify_checkpoint(checkpoint, [self.key])
        except (Malformed, IntegrityFailure) as exc:
            raise exc if isinstance(exc, LogAltered) else LogAltered(str(exc)) from exc
        self._remember(checkpoint)
        return grown

    def _last(self) -> str:
        with self._lock:
            return self._verified

    def _remember(self, checkpoint: str) -> None:
        with self._lock:
            self._verified = checkpoint


def _verify_room(size: int, leaves: Sequence[bytes], most: int) -> None:
    """Raises LogFull: an entry beyond has no number by which it is found (audit_log/objects.py)."""
    if size + len(leaves) > most:
        raise LogFull(size, most)
