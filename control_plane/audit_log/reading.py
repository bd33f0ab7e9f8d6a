"""Reads the log: its tail, its records, a proof of all of it, and an export for tools that are not ours.

Every reading by a person is a record itself.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log import certificates, sql
from control_plane.audit_log.blind import verify_blind_index
from control_plane.audit_log.dated_ahead import Ahead, dated_ahead
from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.audit_log.index import verify_index
from control_plane.audit_log.journal import CentreJournal
from control_plane.audit_log.shown import Showing
from control_plane.audit_log.verify import Gap, KeyOf, verify_chain
from control_plane.db.acting import acting, tables
from control_plane.db.models import AuditRow, AuditSubject, Certificate
from control_plane.db.transactions import snapshot
from control_plane.enrolment.authority import AUTHORITIES, Kind
from control_plane.erasure.private_parts import PrivateParts
from control_plane.tlog.rows import LogAltered
from control_plane.tlog.verify import LogVerdict, verify_log
from shared import clock as clocks
from shared.audit.batch import AuditAltered, Batch, Statement
from shared.audit.checkpoint import GAP, read_gap
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.record import AuditRecord, leaf_hash
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import IntegrityFailure, Malformed
from shared.identity import KeyId
from shared.signing import EvidencePublicKey, Label, signing_key_id, verify_statement

MERKLE_LOG = "merkle-log"
CERTIFICATES = "certificates"
SEARCH_INDEX = "search-index"
BLIND_INDEX = "blind-index"
DATABASE = "database"
"""Stand beside the sources in what `verify` returns: the log of all, certificates and indexes, held against it, and
whether the database holds anything that could show others what verification is not shown."""


class ChainState(StrEnum):
    VERIFIED = "verified"
    ALTERED = "altered"


@dataclass(frozen=True)
class SourceVerdict:
    """`records` are held; `first_bad` is the number of the first that does not hold, None where all do."""

    records: int
    state: ChainState
    first_bad: int | None
    why: str

    def json(self) -> dict[str, Json]:
        return {"records": self.records, "state": self.state.value, "first_bad": self.first_bad, "why": self.why}


class AuditReading:
    def __init__(
        self,
        database: sessionmaker[Session],
        keys: EvidenceKeys,
        journal: CentreJournal,
        private: PrivateParts,
        clock: Clock,
    ) -> None:
        self._database, self._keys, self._journal = database, keys, journal
        self._private, self._clock = private, clock

    def tail(self, limit: int) -> list[dict[str, Json]]:
        """Return the newest records by arrival, newest first, as they stand and held against their entries.

        Of a person who is to see them, `records` makes a record.
        """
        newest = select(AuditRow).order_by(AuditRow.entry.desc())
        with snapshot(self._database) as session:
            return [*map(Showing(session).row, session.scalars(newest.limit(limit)))]

    def records(self, person: str, source: str | None, after: int, limit: int) -> list[dict[str, Json]]:
        """Return records of `source` numbered above `after`; without a source the newest of all, newest first."""
        self._note(person, "records", source or "every source")
        if source is None:
            return self.tail(limit)
        theirs = select(AuditRow).where(AuditRow.source == source, AuditRow.seq > after).order_by(AuditRow.seq)
        with snapshot(self._database) as session:
            return [*map(Showing(session).row, session.scalars(theirs.limit(limit)))]

    def verify(self, person: str, kept: Sequence[str] = ()) -> dict[str, SourceVerdict]:
        """Prove every record held, source by source, the Merkle log of all, and what is held against it.

        In constant memory. A log that was altered so that nothing can be entered any more is proved too, and says so:
        no other question is answered then, for none can be recorded.

        Raises Malformed, NoteUnverified: a checkpoint that somebody `kept` is none of this log.
        """
        unrecorded = self._note_verification(person)
        with snapshot(self._database) as session:
            proved = self._proved(session, kept)
            indexes = {SEARCH_INDEX: _index(session), BLIND_INDEX: self._blind_index(session)}
            verdicts = {**proved, **indexes, DATABASE: _database(session)}
        if unrecorded:
            why = "; ".join(filter(None, (proved[MERKLE_LOG].why, unrecorded)))
            verdicts[MERKLE_LOG] = replace(proved[MERKLE_LOG], state=ChainState.ALTERED, why=why)
        return verdicts

    def prove(self, kept: Sequence[str] = ()) -> dict[str, SourceVerdict]:
        """Prove the log where nobody who could be named asks; by what it is searched, nobody does then."""
        with snapshot(self._database) as session:
            return self._proved(session, kept)

    def _proved(self, session: Session, kept: Sequence[str]) -> dict[str, SourceVerdict]:
        ahead = dated_ahead(session)
        verdicts = {source: self._verdict(session, source, ahead.get(source)) for source in sql.sources(session)}
        merkle = _merkle(verify_log(session, self._journal.sequencer.key, kept))
        return {**verdicts, MERKLE_LOG: merkle, CERTIFICATES: _certificates(session)}

    def export(self, person: str) -> Iterator[bytes]:
        """Yield the lines of an export (docs/formats/audit-export.md), recorded before the first one.

        Raises AuditAltered: a record is no longer text, so it has no place in a batch.
        """
        self._note(person, "export", "every source")
        return self._export()

    def _export(self) -> Iterator[bytes]:
        yield _line({"v": 1, "kind": "leadglass audit export", "exported": clocks.text(self._clock.now())})
        with snapshot(self._database) as session:
            issued = select(Certificate.subject, Certificate.pem).order_by(Certificate.subject, Certificate.issued)
            for _, pem in session.execute(issued.where(Certificate.kind.in_(AUTHORITIES))):
                yield _line({"kind": "ca", "pem": pem})
            for source, pem in session.execute(issued.where(Certificate.kind == Kind.EVIDENCE)):
                yield _line({"kind": "evidence", "source": source, "certificate": pem})
            for source in sql.sources(session):
                gaps = tuple(_accepted_gaps(session, source, self._key_of(source)))
                yield from _batches(session, source, {gap.last for gap in gaps})

    def _verdict(self, session: Session, source: str, ahead: Ahead | None) -> SourceVerdict:
        records, key_of = sql.count(session, source), self._key_of(source)
        gaps = tuple(_accepted_gaps(session, source, key_of))
        try:
            with closing(sql.records(session, source)) as held, closing(sql.statements(session, source)) as signed:
                verify_chain(source, held, signed, key_of, gaps)
        except AuditAltered as exc:
            return SourceVerdict(records, ChainState.ALTERED, exc.seq, exc.why)
        said = [f"{gap.first} to {gap.last} are lost, which record {gap.by} accepts" for gap in gaps]
        said += [ahead.text()] if ahead is not None else []
        return SourceVerdict(records, ChainState.VERIFIED, None, "; ".join(said))

    def _blind_index(self, session: Session) -> SourceVerdict:
        found = verify_blind_index(session, self._private, self._key_of)
        state = ChainState.VERIFIED if found.is_whole else ChainState.ALTERED
        return SourceVerdict(found.compared, state, found.first_bad, found.why)

    def _key_of(self, source: str) -> KeyOf:
        known: dict[KeyId, EvidencePublicKey] = {}

        def key_of(signed: bytes) -> EvidencePublicKey:
            named = signing_key_id(signed)
            if named not in known:
                known[named] = self._keys.for_statement(source, signed)
            return known[named]

        return key_of

    def _note_verification(self, person: str) -> str:
        """Return why it cannot be recorded that somebody asks, empty where it is."""
        try:
            self._note(person, "verification", "every source")
        except (LogAltered, AuditAltered):
            return "nothing can be entered any more, not even that you asked this"
        return ""

    def _note(self, person: str, how: str, source: str) -> None:
        who = (Participant("person", person, True),)
        what = (Subject("log", f"{how} of {source}"),)
        self._journal.record(Happening(Event.AUDIT_READ, Action.READ, Outcome.SUCCESS, who, what))


def _accepted_gaps(session: Session, source: str, key_of: KeyOf) -> Iterator[Gap]:
    """Yield the numbers that `source` left open, by records of it that it signed."""
    named = select(AuditSubject.seq).where(
        AuditSubject.kind == GAP, AuditSubject.source == source,
        AuditSubject.event == Event.LOG_LOSS_ACCEPTED.value,
    )  # fmt: skip
    for seq in session.scalars(named.distinct().order_by(AuditSubject.seq)).all():
        row, held = session.get(AuditRow, (source, seq)), sql.statement_about(session, source, seq)
        if row is None or held is None:
            continue
        try:
            signed = Statement.parse(verify_statement(held.signed, Label.AUDIT_BATCH, key_of(held.signed)))
            gap = read_gap(AuditRecord.parse(row.public))
        except (Malformed, IntegrityFailure):
            continue  # the walk over the whole chain names it
        if gap is not None and (signed.source, signed.last, signed.head) == (source, seq, leaf_hash(row.public)):
            yield Gap(*gap, by=seq)


def _merkle(found: LogVerdict) -> SourceVerdict:
    state = ChainState.ALTERED if found.why else ChainState.VERIFIED
    return SourceVerdict(found.size, state, found.first_bad, found.why)


def _index(session: Session) -> SourceVerdict:
    found = verify_index(session)
    if found.first_bad is None:
        return SourceVerdict(found.records, ChainState.VERIFIED, None, "")
    why = "`audit find` may not find it, for it, or what it is found by, was taken away or edited: above is which"
    return SourceVerdict(found.records, ChainState.ALTERED, found.first_bad, why)


def _database(session: Session) -> SourceVerdict:
    found, ours = acting(session), len(tables())
    if not found:
        return SourceVerdict(ours, ChainState.VERIFIED, None, "")
    why = f"{', '.join(found)}: not made by this program; by it `audit find` may be shown other rows than this was"
    return SourceVerdict(ours, ChainState.ALTERED, None, why)


def _certificates(session: Session) -> SourceVerdict:
    compared = certificates.compare(session)
    if not compared.count:
        return SourceVerdict(compared.certificates, ChainState.VERIFIED, None, "")
    more = compared.count - len(compared.differences)
    why = "; ".join((*compared.differences, *([f"and {more} more"] if more else [])))
    return SourceVerdict(compared.certificates, ChainState.ALTERED, None, why)


def _batches(session: Session, source: str, lost: Collection[int]) -> Iterator[bytes]:
    """Yield the batches of a source; a statement about a record that is `lost` has none to go with."""
    for held in sql.statements(session, source):
        if held.last in lost:
            continue
        records = tuple(row.stored for row in sql.records(session, source, first=held.first, last=held.last))
        try:
            text = Batch(records, held.signed).encode().decode()
        except UnicodeDecodeError as exc:
            raise AuditAltered(source, held.first, f"a record up to {held.last} is no longer text") from exc
        yield _line({"kind": "batch", "batch": text})


def _line(value: dict[str, Json]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
