"""Gathers what witnesses cosigned: of hosts as they bring it, of other sites as they answered."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.audit_log.refusals import Refusals
from control_plane.checkpoints import trees
from control_plane.db.models import LogCosignature, LogRound, LogWitness
from control_plane.db.transactions import in_one_commit
from control_plane.enrolment.enroller import Journal
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.tlog.checkpoint import TreeHead, verify_checkpoint
from shared.audit.tlog.keys import NoteKey, cosigned_at
from shared.audit.tlog.note import Note, NoteSignature
from shared.audit.tlog.witness_key import verify_witness_key
from shared.audit.tlog.witnessing import Cosigned
from shared.clock import Clock
from shared.errors import IntegrityFailure, Malformed
from shared.identity import HostId

_LOG = logging.getLogger(__name__)
_AHEAD = timedelta(minutes=5)


class CosignatureRefused(IntegrityFailure):
    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"the cosignature of {name} is not taken: {why}")
        self.name, self.why = name, why


@dataclass(frozen=True)
class Witness:
    """Who cosigns, by which key; of a host, with its own word on that."""

    key: NoteKey
    host: HostId | None = None
    statement: bytes | None = None


class Gathering:
    """Safe for several threads and several processes on one database."""

    def __init__(
        self,
        database: sessionmaker[Session],
        journal: Journal,
        evidence: EvidenceKeys,
        log_key: NoteKey,
        clock: Clock,
    ) -> None:
        self._database, self._journal, self._evidence = database, journal, evidence
        self._log_key, self._clock = log_key, clock
        self._refusals = Refusals(journal)

    def take_of_host(self, host_id: HostId, sent: bytes) -> None:
        """Keep what a host cosigned. What does not hold is recorded, once for each reason.

        Raises Malformed, CosignatureRefused, WrongSigner, SignatureInvalid, NoteUnverified, HostUnknown,
        DatabaseUnavailable.
        """
        cosigned = Cosigned.parse(sent)
        try:
            key = verify_witness_key(cosigned.key, host_id, self._evidence.of_active_host(host_id))
            self.take(Witness(key, host_id, cosigned.key), cosigned.checkpoint)
        except (Malformed, IntegrityFailure) as exc:
            _LOG.warning("log.cosignature-refused", extra={"host": str(host_id), "why": str(exc)})
            who, reason = (Participant("host", str(host_id), True),), f"{type(exc).__name__}: {exc}"
            happening = Happening(
                Event.COSIGNATURE_REFUSED, Action.EXECUTE, Outcome.SERIOUS_FAILURE, who, reason=reason
            )
            self._refusals.record(happening, host_id, host_id, reason)
            raise
        self._refusals.over(host_id, host_id)

    def take(self, witness: Witness, checkpoint: str) -> None:
        """Keep the cosignature of `witness` over a checkpoint of this log. What was kept before may come again.

        Raises Malformed, NoteUnverified, CosignatureRefused, DatabaseUnavailable.
        """
        head = verify_checkpoint(checkpoint, [self._log_key])
        signature = _only(witness.key, Note.parse(checkpoint))
        in_one_commit(self._database, lambda session: self._keep(session, witness, head, signature))

    def _keep(self, session: Session, witness: Witness, head: TreeHead, signature: NoteSignature) -> None:
        name, at, line = witness.key.name, cosigned_at(signature.signature), signature.line()
        if trees.root_at(session, head.size) != head.root:
            raise CosignatureRefused(name, f"it is over {head.size} entries, root {head.root.hex()}, not of this log")
        row = session.get(LogWitness, name)
        _verify_goes_on(row, witness, head, at, line, self._clock.now())
        if row is None or row.vkey != witness.key.vkey:
            self._journal.append(session, _known(witness))
        if row is None:
            row = LogWitness(name=name)
            session.add(row)
        row.vkey, row.host, row.statement = witness.key.vkey, _text(witness.host), witness.statement
        row.size, row.root, row.line, row.cosigned = head.size, head.root, line, at
        row.heard, row.said = self._clock.now(), ""
        if (shown := session.get(LogRound, head.size)) is not None and TreeHead.parse(
            Note.parse(shown.note).text
        ) == head:
            session.merge(LogCosignature(size=head.size, name=name, line=line))


def _only(key: NoteKey, note: Note) -> NoteSignature:
    """Return the one signature of `key` on a note. Raises NoteUnverified, CosignatureRefused."""
    found = [one for known, one in note.verify([key]) if known == key]
    if len(found) != 1:
        raise CosignatureRefused(key.name, f"it signed {len(found)} times")
    return found[0]


def _verify_goes_on(
    row: LogWitness | None, witness: Witness, head: TreeHead, at: int, line: str, now: datetime
) -> None:
    """Raises CosignatureRefused: it says less, or earlier, than what this witness said before; a replay does."""
    name = witness.key.name
    if at > (now + _AHEAD).timestamp():
        raise CosignatureRefused(name, f"it says that it was made at {at}, which is not yet")
    if row is None or row.vkey != witness.key.vkey or row.line == line:
        return
    if at < row.cosigned:
        raise CosignatureRefused(name, f"it was made at {at}, and a later one of {row.cosigned} is known")
    if head.size < row.size:
        raise CosignatureRefused(name, f"it is over {head.size} entries, after one over {row.size}")


def _known(witness: Witness) -> Happening:
    who = (
        Participant("host", str(witness.host), True) if witness.host else Participant("service", witness.key.name, True)
    )
    what = (Subject("key", witness.key.vkey[:200]),)
    return Happening(Event.WITNESS_KNOWN, Action.CREATE, Outcome.SUCCESS, (who,), what)


def _text(host: HostId | None) -> str | None:
    return None if host is None else str(host)
