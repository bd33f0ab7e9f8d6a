"""The centre's own audit journal: chained, signed record by record, durable before `record` returns.

What is recorded in one group commit is kept together at its end. Each record still has a statement of its own: by that
it is proved alone (docs/formats/log-checkpoint.md section 1).
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import NamedTuple

from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log import rows
from control_plane.db.group import GroupCommit
from control_plane.tlog.sequencer import Gathered, Sequencer
from control_plane.vault.index_service import Token
from shared.audit.attempt import Attempt
from shared.audit.batch import AuditAltered, ChainHead, Statement, sign_batch
from shared.audit.events import Event, Happening
from shared.audit.record import GENESIS, SALT_BYTES, AuditRecord, PrivateSealer, StoredRecord, compose
from shared.clock import Clock
from shared.errors import IntegrityFailure, Malformed
from shared.identity import CONTROL_PLANE, RandomBytes
from shared.signing import EvidenceSigner, Label, verify_statement

_GATHERED = "gathered records"


@dataclass(frozen=True)
class Sealing:
    """What seals a private part, None where nothing does; and by which blind tokens the record is found."""

    key: PrivateSealer | None
    about: tuple[Token, ...] = ()


class CentreJournal:
    """Safe for several threads and several processes on one database: each number is given once."""

    def __init__(
        self,
        database: sessionmaker[Session],
        signer: EvidenceSigner,
        sequencer: Sequencer,
        sealing: Callable[[Session, Happening, datetime], Sealing],
        clock: Clock,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self._signer, self._sealing = signer, sealing
        self.sequencer = sequencer
        self._clock, self._random = clock, random_bytes
        self.commits = GroupCommit(database, self._gather)

    def record(self, happening: Happening) -> None:
        """Append a record of `happening`; once this returns, it survives a power cut.

        Raises DatabaseUnavailable; Malformed: it has no place in one record; AuditAltered: the journal was cut and its
        last statement changed; LogAltered; LogFull. Then nothing is recorded.
        """
        self.commits.run(lambda session: self.append(session, happening))

    def append(self, session: Session, happening: Happening) -> None:
        """Add a record of `happening` to a transaction of `in_one_commit`: what happened and its record, or neither.

        Raises what `record` does.
        """
        gathered: _Run | None = session.info.get(_GATHERED)
        run = _Run(lambda: self._head(session)) if gathered is None else gathered
        self._add(session, happening, run)
        if gathered is None:
            self._keep(session, run)

    def _gather(self, session: Session) -> "_Gathered":
        run = session.info[_GATHERED] = _Run(lambda: self._head(session))
        return _Gathered(session, run, self._keep, self.sequencer.gather(session))

    def _add(self, session: Session, happening: Happening, run: "_Run") -> None:
        head, now = run.head, self._clock.now()
        sealing = self._sealing(session, happening, now)
        stored = compose(
            happening,
            source=CONTROL_PLANE,
            seq=head.seq + 1,
            prev=head.leaf,
            time=now,
            salt=self._random(SALT_BYTES),
            key=sealing.key,
        )
        if happening.private is not None and sealing.key is not None and stored.sealed is None:
            raise Malformed("audit private part", "too large, or no JSON")
        signed = sign_batch(CONTROL_PLANE, head.leaf, [stored], self._signer).statement
        run.statements.append((head.seq + 1, head.seq + 1, signed))
        run.new.append(_Made(AuditRecord.parse(stored.public), stored, stored.leaf, sealing.about))

    def _keep(self, session: Session, run: "_Run") -> None:
        records, stored, leaves, about = zip(*run.new, strict=True)
        new = rows.New(records, stored, leaves)
        arrival = rows.Arrival(CONTROL_PLANE, run.statements, new, self._clock.now(), about)
        rows.keep(session, arrival, self.sequencer)

    def _head(self, session: Session) -> ChainHead:
        """Return the end of the chain, which is where we last signed it, also when somebody cut the records off.

        What comes next then leaves the gap open for verification to name, instead of filling it with other records.
        Raises AuditAltered: records are gone, and the statement about them was changed; or the last has no hash.
        """
        head, signed = rows.head(session, CONTROL_PLANE), rows.last_statement(session, CONTROL_PLANE)
        if len(head.leaf) != len(GENESIS):
            raise AuditAltered(CONTROL_PLANE, head.seq, "its hash is none, so nothing can name it as the one before")
        if signed is None or signed.last <= head.seq:
            return head
        try:
            statement = Statement.parse(verify_statement(signed.statement, Label.AUDIT_BATCH, self._signer.public))
        except (Malformed, IntegrityFailure) as exc:
            raise AuditAltered(CONTROL_PLANE, head.seq + 1, f"it is missing, and what was signed of it: {exc}") from exc
        return ChainHead(statement.last, statement.head)

    def attempt(self, happening: Happening, *, failed: Event | None = None) -> Attempt:
        """Return a block in which `happening` is tried: recorded as it stands by `succeeded`, else as a failure.

        `failed` is the event of the failure where that has one of its own.
        """
        return Attempt(self, happening, failed or happening.event)


class _Made(NamedTuple):
    record: AuditRecord
    stored: StoredRecord
    leaf: bytes
    about: tuple[Token, ...]


class _Run:
    """Records that follow one another, from where the chain ends when the first of them is made."""

    def __init__(self, end: Callable[[], ChainHead]) -> None:
        self._end = end
        self.new, self.statements = list[_Made](), list[rows.About]()

    @cached_property
    def _before(self) -> ChainHead:
        return self._end()

    @property
    def head(self) -> ChainHead:
        return ChainHead(self.new[-1].record.seq, self.new[-1].leaf) if self.new else self._before

    def back_to(self, count: int) -> None:
        del self.new[count:], self.statements[count:]


class _Gathered:
    """What a group commit records of the centre's own, beside the leaves of others in it."""

    def __init__(self, session: Session, run: _Run, keep: Callable[[Session, _Run], None], leaves: Gathered) -> None:
        self._session, self._run, self._keep, self._leaves = session, run, keep, leaves

    def mark(self) -> Callable[[], None]:
        count, take_back_leaves = len(self._run.new), self._leaves.mark()

        def take_back() -> None:
            self._run.back_to(count)
            take_back_leaves()

        return take_back

    def finish(self) -> None:
        """Keep the records and enter all that was gathered. Raises LogAltered, LogFull."""
        del self._session.info[_GATHERED]
        if self._run.new:
            self._keep(self._session, self._run)
        self._leaves.finish()
