"""Compares a day: what the archive knows with what the vault holds, and what was captured with what the archive knows.

No image is opened. Which instance an object is comes from its sealed index, which the index service opened at its
arrival too; it is held against the archive in memory and kept nowhere.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import date

from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.coverage import sql
from control_plane.coverage.archive import Archive, ArchiveUnavailable, OpenArchive
from control_plane.coverage.classify import Watched
from control_plane.coverage.identifier import Instance
from control_plane.coverage.sql import Captured
from control_plane.coverage.sweep import Incomplete, Known, Limits, Sweep
from control_plane.coverage.tally import Result, Tally
from control_plane.db.transactions import snapshot
from control_plane.vault.index_service import Attribute, IndexService
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.identity import KeyId
from shared.policy.document import Coverage, PolicyDocument
from shared.sealing.binding import Binding, checked_uid
from shared.sealing.index import SealedIndex
from shared.sealing.record import CaptureRecord, verify_record
from shared.signing import EvidencePublicKey, signing_key_id

Held = Callable[[Session, Sequence[bytes]], Collection[bytes]]
_AT_ONCE = 500
_MOST_ASKED = 2_000
# Enough of a keyed hash to tell the instances of a day apart, at half the memory.
_SHORT = 16


@dataclass
class _Day:
    """What is known of one day so far. `faults` are why it may not be everything."""

    day: date
    watched: tuple[Watched, ...]
    tallies: dict[str, Tally]
    is_listed: bool = False  # the archive said something of the day
    faults: list[str] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)
    to_ask: list[tuple[str, Instance, bytes]] = field(default_factory=list)


class Comparison:
    """`held` is what a test replaces to see that the look-up is what finds a gap."""

    def __init__(
        self,
        database: sessionmaker[Session],
        index: IndexService,
        hosts: EvidenceKeys,
        open_archive: OpenArchive,
        clock: Clock,
        *,
        limits: Limits | None = None,
        held: Held = sql.held,
    ) -> None:
        self._database, self._index, self._hosts = database, index, hosts
        self._open, self._clock, self._limits, self._held = open_archive, clock, limits or Limits(), held

    def compare(
        self, day: date, document: PolicyDocument, coverage: Coverage, is_over: Callable[[], bool]
    ) -> list[tuple[Result, dict[str, Json]]]:
        """Return a result for every modality that can be compared, each with what may only be kept sealed.

        However the archive fails, there is a result that says so. Raises DatabaseUnavailable.
        """
        watched = tuple(Watched(m.ae_title, m.station) for m in document.modalities if m.station is not None)
        found = _Day(day, watched, {one.ae_title: Tally() for one in watched})
        try:
            with self._open(coverage) as archive:
                self._ask(archive, found, is_over)
        except ArchiveUnavailable as exc:
            found.faults.append(str(exc))
            if not found.is_listed:
                self._count_captured(found)
        now = self._clock.now()
        return [
            (
                tally.result(day, title, coverage.peer.ae_title, _why(found, tally), now, is_listed=found.is_listed),
                tally.private(),
            )
            for title, tally in found.tallies.items()
        ]

    def _ask(self, archive: Archive, found: _Day, is_over: Callable[[], bool]) -> None:
        sweep = Sweep(archive, is_over, self._limits)
        waiting: list[Known] = []
        try:
            for known in sweep.known(found.day, found.watched):
                found.is_listed = True
                waiting.append(known)
                if len(waiting) == _AT_ONCE:
                    self._look_up(waiting, found)
                    waiting = []
            found.is_listed = True
        except Incomplete as exc:
            found.faults.append(str(exc))
            found.is_listed = found.is_listed or sweep.unclear > 0
        self._look_up(waiting, found)
        self._count_captured(found)
        self._ask_for_captured(sweep, found)

    def _look_up(self, known: Sequence[Known], found: _Day) -> None:
        """Count what the archive knows as protected or unprotected."""
        tokens = {self._token(one.instance.uid): one for one in known}
        with snapshot(self._database) as session:
            held = self._held(session, list(tokens)) if tokens else ()
        for token, one in tokens.items():
            if token[:_SHORT] in found.seen:
                continue
            found.seen.add(token[:_SHORT])
            for match in one.matches:
                found.tallies[match.ae_title].add_known(
                    one.instance, token, is_captured=token in held, by_modality_only=match.by_modality_only
                )

    def _count_captured(self, found: _Day) -> None:
        """Count what was captured that day, and note what the archive did not name: it is asked about one by one."""
        with snapshot(self._database) as session:
            for captured in sql.captured_on(session, found.day, self._reader()):
                self._count(captured, found)

    def _count(self, captured: Captured, found: _Day) -> None:
        tally = found.tallies.get(captured.ae_title)
        if captured.ae_title and tally is None:
            return
        instance, modality = self._instance(captured)
        if tally is None:
            # No record here says who sent it. It may be of any modality whose kind it is.
            for one in found.watched:
                if modality in ("", one.station.modality.strip()):
                    found.tallies[one.ae_title].not_evaluated += 1
            return
        tally.captured += 1
        if instance is None or not found.is_listed:
            tally.not_evaluated += 1
            return
        token = self._token(instance.uid)
        if token[:_SHORT] in found.seen:
            return
        if len(found.to_ask) < _MOST_ASKED:
            found.to_ask.append((captured.ae_title, instance, token))
        else:
            tally.not_evaluated += 1

    def _ask_for_captured(self, sweep: Sweep, found: _Day) -> None:
        """Ask for each captured instance that the archive did not name for the day; its study may be of another."""
        for number, (title, instance, token) in enumerate(found.to_ask):
            try:
                is_known = sweep.is_known(instance)
            except Incomplete as exc:
                found.faults.append(str(exc))
                for left, _, _ in found.to_ask[number:]:
                    found.tallies[left].not_evaluated += 1
                return
            if not is_known:
                found.tallies[title].not_in_archive.add(instance, token)

    def _instance(self, captured: Captured) -> tuple[Instance | None, str]:
        """Return which instance an object is and its modality, from its sealed index; None where that says nothing."""
        if not captured.is_indexed or captured.record is None:
            return None, ""
        try:
            sealed = SealedIndex(captured.sealed_index, captured.record.index_commitment)
            entry = self._index.open(sealed, Binding.parse(captured.binding))
            uids = (entry.study_instance_uid, entry.series_instance_uid, entry.sop_instance_uid)
            return Instance(*(checked_uid(uid.strip("\x00 ")) for uid in uids)), entry.modality.strip()
        except (Refused, IntegrityFailure):
            return None, ""

    def _token(self, uid: str) -> bytes:
        token = self._index.token(Attribute.SOP_INSTANCE_UID, uid)
        if token is None:
            raise Malformed("SOP Instance UID", "it is empty")
        return token.value

    def _reader(self) -> sql.ReadRecord:
        keys: dict[tuple[str, KeyId], EvidencePublicKey] = {}

        def read(host_id: str, signed: bytes) -> CaptureRecord:
            named = host_id, signing_key_id(signed)
            if named not in keys:
                keys[named] = self._hosts.for_statement(host_id, signed)
            return verify_record(signed, keys[named])

        return read


def _why(found: _Day, tally: Tally) -> str:
    """Return why a comparison need not be everything, empty where it is."""
    unjudged = f"of {tally.not_evaluated} captured images it is not known whether the archive has them"
    return "; ".join([*dict.fromkeys(found.faults), *([unjudged] if tally.not_evaluated else [])])
