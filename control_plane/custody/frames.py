"""Digests the frames of stored images in the background, and signs what was found: off every acknowledging path.

The queue is the objects that have no row in `frame_digests` yet, oldest first, so a stop, a crash or a time without it
loses nothing. One object at a time: this is work that can wait for everything else.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import sha256
from threading import Event as Flag
from threading import Thread
from typing import Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.audit_log.journal import CentreJournal
from control_plane.custody.decoder import NotDecoded, Why
from control_plane.custody.decoding import MAX_DATASET_BYTES
from control_plane.db.models import FrameDigests, Object
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.vault.object_store import BodyUnreadable
from control_plane.vault.opening import Verified
from shared.audit.attempt import failure
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.custody.frames import FrameStatement, Pixels, sign_frames
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.identity import CONTROL_PLANE, ObjectId
from shared.sealing.record import verify_record
from shared.signing import EvidenceSigner

DIGESTED, REFUSED, NOT_ASKED = "digested", "refused", "not asked for"
POLL_S = 15.0
_AT_ONCE = 100
_MAX_WHY_CHARS = 500

_log = logging.getLogger(__name__)


class Opener(Protocol):
    def verified(self, object_id: ObjectId) -> Verified:
        """Return an object of which everything held. Raises Refused, IntegrityFailure, Unavailable."""


class FrameDecoder(Protocol):
    def decode(self, pieces: Iterable[bytes], transfer_syntax: str) -> Pixels:
        """Return the digests of a dataset's frames. Raises NotDecoded, Unavailable, and whatever `pieces` raises."""

    def stop(self) -> None:
        """Break off what is being decoded: `decode` then raises Unavailable."""


class FrameDigester:
    """`asked` says whether the policy version that an image was captured under wants its frames digested."""

    def __init__(
        self,
        database: sessionmaker[Session],
        hosts: EvidenceKeys,
        opener: Opener,
        decoder: FrameDecoder,
        asked: Callable[[int], bool],
        journal: CentreJournal,
        signer: EvidenceSigner,
        clock: Clock,
    ) -> None:
        self._database, self._hosts, self._opener, self._decoder = database, hosts, opener, decoder
        self._asked, self._journal, self._signer, self._clock = asked, journal, signer, clock

    def run_once(self, stop: Flag | None = None) -> int:
        """Deal with the objects that wait, at most 100, and return how many. Raises Unavailable; the rest waits on."""
        unseen = select(Object).outerjoin(FrameDigests, FrameDigests.object_id == Object.object_id)
        oldest = unseen.where(FrameDigests.object_id.is_(None)).order_by(Object.received, Object.object_id)
        with snapshot(self._database) as session:
            waiting = session.scalars(oldest.limit(_AT_ONCE)).all()
        not_asked = []
        for row in waiting:
            if stop is not None and stop.is_set():
                break
            if not self._deal_with(row):
                not_asked.append(row.object_id)
        if not_asked:
            in_one_commit(self._database, lambda session: self._keep_not_asked(session, not_asked))
        return len(waiting)

    def stop(self) -> None:
        """Break off the object at hand; it waits on."""
        self._decoder.stop()

    def _deal_with(self, row: Object) -> bool:
        """Return False where nobody asked for this object's frames; keep what became of them otherwise."""
        object_id, happening = ObjectId.parse(row.object_id), _happening(row.object_id)
        try:
            if not self._asked(
                verify_record(row.record, self._hosts.for_statement(row.host_id, row.record)).policy_version
            ):
                return False
            signed = self._digest(object_id)
        except (Refused, IntegrityFailure, BodyUnreadable) as exc:
            self._refuse(row.object_id, failure(happening, Event.FRAMES_REFUSED, exc))
        except Unavailable:
            raise
        except Exception as exc:  # noqa: BLE001 (a task of its own: the next image is not kept waiting by a bug)
            _log.exception("custody.frames-failed")
            self._refuse(row.object_id, failure(happening, Event.FRAMES_REFUSED, exc))
        else:
            done = replace(happening, what=(*happening.what, Subject("frames", sha256(signed).hexdigest())))
            in_one_commit(self._database, lambda session: self._keep(session, row.object_id, DIGESTED, done, signed))
        return True

    def _digest(self, object_id: ObjectId) -> bytes:
        verified = self._opener.verified(object_id)
        if verified.record.dataset_bytes > MAX_DATASET_BYTES:
            raise NotDecoded(Why.TOO_LARGE)
        pixels = self._decoder.decode(verified.pieces, verified.transfer_syntax)
        statement = FrameStatement(
            object_id,
            verified.record_sha256,
            verified.record.dataset_sha256,
            verified.transfer_syntax,
            self._clock.now(),
            pixels,
        )
        return sign_frames(statement, self._signer)

    def _refuse(self, object_id: str, refused: Happening) -> None:
        in_one_commit(self._database, lambda session: self._keep(session, object_id, REFUSED, refused, None))

    def _keep(
        self, session: Session, object_id: str, state: str, happening: Happening, statement: bytes | None
    ) -> None:
        if session.get(FrameDigests, object_id) is None:
            self._add(session, object_id, state, statement, happening.reason)
            self._journal.append(session, happening)

    def _keep_not_asked(self, session: Session, object_ids: list[str]) -> None:
        for object_id in object_ids:
            if session.get(FrameDigests, object_id) is None:
                self._add(session, object_id, NOT_ASKED, None, "")

    def _add(self, session: Session, object_id: str, state: str, statement: bytes | None, why: str) -> None:
        made = self._clock.now()
        session.add(
            FrameDigests(object_id=object_id, state=state, statement=statement, why=why[:_MAX_WHY_CHARS], made=made)
        )


class FrameWorker:
    """Runs the digester in a thread until it is stopped."""

    def __init__(self, digester: FrameDigester, poll_s: float = POLL_S) -> None:
        self._digester, self._poll_s = digester, poll_s
        self._stop = Flag()
        self._thread = Thread(target=self._run, name="frame-digests", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop, also in the middle of an object: what waits is found again at the next start."""
        self._stop.set()
        self._digester.stop()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                more = self._digester.run_once(self._stop) == _AT_ONCE
            except Unavailable as exc:
                _log.warning("custody.frames-wait", extra={"why": str(exc)})
                more = False
            except Exception:  # noqa: BLE001 (task boundary: the thread goes on, the traceback says why it stumbled)
                _log.exception("custody.frames-failed")
                more = False
            if not more:
                self._stop.wait(self._poll_s)


def _happening(object_id: str) -> Happening:
    who, what = (Participant("service", CONTROL_PLANE, True),), (Subject("object", object_id),)
    return Happening(Event.FRAMES_DIGESTED, Action.READ, Outcome.SUCCESS, who, what)
