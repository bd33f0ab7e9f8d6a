"""Shows people how far each modality's days are covered, and to whoever says why, which instances a gap consists of."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.audit_log.proof import AuditProof
from control_plane.coverage import results
from control_plane.coverage.results import Shown
from control_plane.coverage.runs import CoverageRuns
from control_plane.coverage.tally import State
from control_plane.db.models import AuditRow, AuditSubject
from control_plane.db.transactions import snapshot
from control_plane.vault.key_ring import KeyRing, key_for
from control_plane.vault.opening import ReasonMissing
from shared import clock as clocks
from shared.audit.batch import AuditAltered
from shared.audit.events import Action, Event, Happening, Outcome, Participant
from shared.audit.record import AuditRecord, StoredRecord, open_private
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused
from shared.identity import CONTROL_PLANE
from shared.policy.document import KeyPurpose, PolicyDocument

_DAYS_SHOWN, _OLDER_SHOWN = 7, 50
_STILL = ", and no comparison since shows it closed"


class NoGapRecorded(Refused):
    def __init__(self, day: date, modality: str) -> None:
        super().__init__(f"no gap is recorded for {modality} on {day.isoformat()}")
        self.day, self.modality = day, modality


@dataclass(frozen=True)
class CoverageStatus:
    """Nothing in it names a patient. `unknown` says which modalities were not compared at all, and why."""

    running: bool
    results: tuple[Shown, ...]
    unknown: tuple[str, ...]

    def json(self) -> dict[str, Json]:
        shown: list[Json] = [one.json() for one in self.results]
        return {"running": self.running, "results": shown, "unknown": list(self.unknown)}


def gaps(status: CoverageStatus) -> Iterator[str]:
    """Yield everything that is not known to be protected, in words a person can act on."""
    yield from status.unknown
    for one in status.results:
        about = f"coverage of {one.modality} on {one.day}"
        if one.unprotected:
            kind = ", or are of another device of the kind" if one.by_modality_only else ""
            yield f"{about}: {one.unprotected} images in {one.archive} are not in the vault{kind}: unprotected"
        if one.unprotected_then > one.unprotected:
            yield f"{about}: {one.unprotected_then} images unprotected, as found by {one.then}{_STILL}"
        if one.not_in_archive:
            yield f"{about}: {one.not_in_archive} images captured that {one.archive} does not know"
        if one.not_in_archive_then > one.not_in_archive:
            yield f"{about}: {one.not_in_archive_then} images captured and not archived, as found by {one.then}{_STILL}"
        if one.state in (State.PARTIAL, State.NOT_EVALUATED):
            yield f"{about}: {one.state}: {one.why}"


class CoverageShowing:
    def __init__(
        self,
        database: sessionmaker[Session],
        keys: KeyRing,
        journal: CentreJournal,
        log: AuditProof,
        runs: CoverageRuns,
        policy: Callable[[], PolicyDocument | None],
        clock: Clock,
    ) -> None:
        self._database, self._keys, self._journal, self._log = database, keys, journal, log
        self._runs, self._policy, self._clock = runs, policy, clock

    def status(self, day: date | None = None) -> CoverageStatus:
        """Return the newest comparison of each modality on `day`, or of the last days and of whatever is still open.

        A gap stays in sight until a later comparison shows it closed, however long ago it was found. A day that was
        due and that nobody compared is named, for as long as it is still compared by itself.
        """
        now = self._clock.now()
        today = now.date()
        first, last = (day, day) if day else (today - timedelta(days=_DAYS_SHOWN - 1), today)
        with snapshot(self._database) as session:
            recent = [results.shown(session, row) for row in results.of_days(session, first, last)]
            older = [] if day else results.still_open(session, first, _OLDER_SHOWN + 1)
            shown = [*recent, *(results.shown(session, row) for row in older[:_OLDER_SHOWN])]
            missed = [one for one in results.missed(session, now) if day in (None, one[0])]
        when = "that day" if day else f"none of the last {_DAYS_SHOWN} days"
        unknown = list(self._unknown({one.modality for one in recent}, when, missed))
        if len(older) > _OLDER_SHOWN:
            unknown.append(f"coverage: gaps of more than {_OLDER_SHOWN} earlier days, of which the latest are shown")
        return CoverageStatus(self._runs.is_running, tuple(shown), tuple(unknown))

    def gap(self, day: date, modality: str, person: str, reason: str) -> dict[str, Json]:
        """Return which instances the newest gap recorded for this day consists of, once the look is recorded.

        They are in the sealed part of the record alone, which holds no more than it has room for; `count` is of all.
        Raises ReasonMissing, NoGapRecorded, AuditAltered, PrivatePartMismatch and what opening a box raises.
        """
        if not reason.strip():
            raise ReasonMissing
        seq, stored, record = self._newest_gap(day, modality)
        if stored.sealed is None:
            raise NoGapRecorded(day, modality)
        found = open_private(stored, key_for(self._keys, stored.sealed, KeyPurpose.AUDIT)) or {}
        who, what = (Participant("person", person, True),), (results.subject_of(day, modality),)
        # What a person types about somebody's images has its place in the sealed part only.
        private: dict[str, Json] = {"reason": reason}
        looked = Happening(Event.LOOKED_UP, Action.READ, Outcome.SUCCESS, who, what, private=private)
        self._journal.record(looked)
        return {"day": day.isoformat(), "modality": modality, "recorded": clocks.text(record.time), "record": seq,
                **found}  # fmt: skip

    def _newest_gap(self, day: date, modality: str) -> tuple[int, StoredRecord, AuditRecord]:
        """Return the record of the newest gap, proved by the statement that covers it."""
        subject = results.subject_of(day, modality)
        gap = (Event.COVERAGE_GAP, CONTROL_PLANE)
        named = (AuditSubject.kind == subject.kind, AuditSubject.name == subject.name,
                 AuditSubject.event == gap[0].value, AuditSubject.source == gap[1])  # fmt: skip
        with snapshot(self._database) as session:
            seq = session.scalar(select(AuditSubject.seq).where(*named).order_by(AuditSubject.seq.desc()).limit(1))
            row = session.get(AuditRow, (CONTROL_PLANE, seq)) if seq is not None else None
        if seq is None:
            raise NoGapRecorded(day, modality)
        if row is None:
            raise AuditAltered(CONTROL_PLANE, seq, "it is missing")
        stored = StoredRecord(row.public, row.sealed)
        unproved = AuditRecord.parse(stored.public)
        comparison = next((what for what in unproved.what if what.kind == "comparison"), subject)
        proved = [record for record in self._log.about(comparison, *gap) if record.encode() == stored.public]
        if not proved or subject not in proved[0].what:
            raise AuditAltered(CONTROL_PLANE, seq, "it is not the record of this gap")
        return seq, stored, proved[0]

    def _unknown(self, compared: Collection[str], when: str, missed: Sequence[tuple[date, str]]) -> Iterator[str]:
        """Yield what nobody has compared, in words a person can act on."""
        try:
            document = self._policy()
        except (Refused, IntegrityFailure) as exc:
            yield f"coverage: not evaluated, the published policy does not hold: {exc}"
            return
        if document is None:
            return
        if document.coverage is None:
            yield "coverage: the policy names no archive, so images that took another way are not seen"
            return
        for modality in document.unstationed():
            yield f"coverage of {modality.ae_title}: nothing to compare, the policy does not name its station"
        for modality in (each for each in document.modalities if each.station is not None):
            about = f"coverage of {modality.ae_title}"
            if modality.ae_title not in compared:
                yield f"{about}: not evaluated, {when}"
            else:
                yield from (
                    f"{about} on {day}: not evaluated, nobody compared it since it was over"
                    for day, ae_title in missed
                    if ae_title == modality.ae_title
                )
