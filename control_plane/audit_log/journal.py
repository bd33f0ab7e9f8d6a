"""The centre's own audit journal: chained, signed record by record, durable before `record` returns."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from threading import Lock
from types import TracebackType

from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log import rows
from control_plane.db.models import AuditStatement
from control_plane.db.transactions import in_one_commit
from shared.audit.batch import sign_batch
from shared.audit.record import (
    MAX_SEALED_BYTES,
    SALT_BYTES,
    AuditRecord,
    Event,
    Happening,
    Outcome,
    Participant,
    Subject,
    compose,
)
from shared.clock import Clock
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.identity import CONTROL_PLANE, RandomBytes
from shared.sealing.hpke import SealingPublicKey
from shared.signing import EvidenceSigner

_MAX_NAME_CHARS = 200
_MAX_REASON_CHARS = 500


class CentreJournal:
    """Safe for several threads and several processes on one database: each number is given once."""

    def __init__(
        self,
        database: sessionmaker[Session],
        signer: EvidenceSigner,
        audit_key: Callable[[], SealingPublicKey | None],
        clock: Clock,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self._database, self._signer, self._audit_key = database, signer, audit_key
        self._clock, self._random = clock, random_bytes
        # One writer of this process at a time asks the database, so that they queue fairly instead of polling.
        self._one_writer = Lock()

    def record(self, happening: Happening) -> None:
        """Append a record of `happening`; once this returns, it survives a power cut.

        Raises DatabaseUnavailable, Malformed: its private part is too large or no JSON. Then nothing is recorded.
        """
        with self._one_writer:
            in_one_commit(self._database, lambda session: self.append(session, happening))

    def append(self, session: Session, happening: Happening) -> None:
        """Add a record of `happening` to a transaction of `in_one_commit`: what happened and its record, or neither."""
        head, now = rows.head(session, CONTROL_PLANE), self._clock.now()
        stored = compose(
            _printable(happening),
            source=CONTROL_PLANE,
            seq=head.seq + 1,
            prev=head.leaf,
            time=now,
            salt=self._random(SALT_BYTES),
            key=self._audit_key(),
        )
        if stored.sealed is not None and len(stored.sealed) > MAX_SEALED_BYTES:
            raise Malformed("audit private part", f"larger than {MAX_SEALED_BYTES} bytes once sealed")
        # What does not parse now would break the chain for every reader later.
        record = AuditRecord.parse(stored.public)
        rows.insert(session, record, stored, now)
        statement = sign_batch(CONTROL_PLANE, head.leaf, [stored], self._signer).statement
        session.add(AuditStatement(source=CONTROL_PLANE, first=record.seq, last=record.seq, statement=statement))

    def attempt(self, happening: Happening, *, failed: Event | None = None) -> "Attempt":
        """Return a block in which `happening` is tried: recorded as it stands by `succeeded`, else as a failure.

        `failed` is the event of the failure where that has one of its own.
        """
        return Attempt(self, happening, failed or happening.event)


class Attempt:
    """One attempt, one outcome: a block that ends without `succeeded()` is recorded as failed."""

    def __init__(self, journal: CentreJournal, happening: Happening, failed: Event) -> None:
        self._journal, self._happening, self._failed = journal, happening, failed
        self._recorded = False

    def succeeded(self, *what: Subject) -> None:
        """Record the success, durably, with what came out of it. The last thing in the block."""
        self._journal.record(replace(self._happening, what=self._happening.what + what))
        self._recorded = True

    def __enter__(self) -> "Attempt":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._recorded:
            self._journal.record(failure(self._happening, self._failed, exc))


def failure(happening: Happening, event: Event, exc: BaseException | None) -> Happening:
    """Return `happening` as an `event` that failed with `exc`, which it names; an unexpected one by its class only."""
    outcome = Outcome.MINOR_FAILURE if isinstance(exc, Refused | Unavailable) else Outcome.SERIOUS_FAILURE
    if exc is None:
        reason = "ended without success"
    elif isinstance(exc, Refused | IntegrityFailure | Unavailable):
        reason = f"{type(exc).__name__}: {exc}"
    else:
        # What others write into their messages may name a patient.
        reason = type(exc).__name__
    return replace(happening, event=event, outcome=outcome, reason=reason)


def _printable(happening: Happening) -> Happening:
    """Return `happening` with what came from outside in a form that the record format takes."""
    return replace(
        happening,
        who=tuple(Participant(p.kind, _line(p.name, _MAX_NAME_CHARS) or "-", p.requestor) for p in happening.who),
        what=tuple(Subject(s.kind, _line(s.name, _MAX_NAME_CHARS) or "-") for s in happening.what),
        reason=_line(happening.reason, _MAX_REASON_CHARS),
    )


def _line(text: str, most: int) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:most])
