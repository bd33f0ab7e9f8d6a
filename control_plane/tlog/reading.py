"""Lets people read the Merkle log: checkpoint, tiles, entries, proofs. Every reading is a record."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import AuditRow
from control_plane.db.transactions import snapshot
from control_plane.tlog import rows
from control_plane.tlog.proofs import LogProofs, NotInLog
from control_plane.witnesses.showing import NothingCosigned, WitnessShowing
from shared.audit.attempt import Journal
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.tlog.tiles import WIDTH, Tile, encode_bundle
from shared.canonical import Json
from shared.errors import Refused


class NoSuchTile(Refused):
    def __init__(self, tile: Tile) -> None:
        super().__init__(f"the log has no {tile.path()}")
        self.tile = tile


@dataclass(frozen=True)
class ProvedRecord:
    """A record as its source wrote it, and the proof that it is in the log."""

    public: bytes
    proof: str


class LogReading:
    def __init__(
        self, database: sessionmaker[Session], journal: Journal, proofs: LogProofs, showing: WitnessShowing
    ) -> None:
        self._database, self._journal, self._proofs, self._showing = database, journal, proofs, showing

    def checkpoint(self, person: str) -> str:
        """Raises LogAltered, DatabaseUnavailable."""
        self._note(person, "checkpoint")
        return self._proofs.checkpoint()

    def cosigned(self, person: str) -> str:
        """Return the newest checkpoint that witnesses cosigned. Raises NothingCosigned, DatabaseUnavailable."""
        self._note(person, "cosigned checkpoint")
        return self._showing.cosigned()

    def witnesses(self, person: str) -> dict[str, Json]:
        """Return who saw what of the log. Raises DatabaseUnavailable."""
        self._note(person, "witnesses")
        return self._showing.report()

    def key(self, person: str) -> bytes:
        """Return the offer of the key that signs checkpoints (docs/formats/audit-log.md section 3)."""
        self._note(person, "key of checkpoints")
        return self._proofs.offer()

    def tile(self, person: str, path: str) -> bytes:
        """Return a tile of hashes or a bundle of entries. Raises Malformed, NoSuchTile."""
        tile = Tile.parse(path)
        self._note(person, tile.path())
        with snapshot(self._database) as session:
            size, _, _ = rows.head(session)
            found = (_bundle if tile.level is None else rows.hashes_of)(session, tile) if tile.is_of(size) else None
        if found is None:
            raise NoSuchTile(tile)
        return found

    def record(self, person: str, source: str, seq: int) -> ProvedRecord:
        """Raises NotInLog, LogAltered."""
        self._note(person, f"proof of record {seq} of {source}"[:200])
        with snapshot(self._database) as session:
            row = session.get(AuditRow, (source, seq))
        if row is None:
            raise NotInLog(source, f"record {seq}")
        try:
            cosigned = self._showing.cosigned()
        except NothingCosigned:
            cosigned = None
        return ProvedRecord(row.public, self._proofs.of_record(source, seq, cosigned))

    def _note(self, person: str, what: str) -> None:
        who = (Participant("person", person, True),)
        self._journal.record(Happening(Event.AUDIT_READ, Action.READ, Outcome.SUCCESS, who, (Subject("log", what),)))


def _bundle(session: Session, tile: Tile) -> bytes | None:
    first = tile.number * WIDTH
    stored = select(AuditRow.public).where(AuditRow.entry >= first, AuditRow.entry < first + tile.width)
    entries = session.scalars(stored.order_by(AuditRow.entry)).all()
    return encode_bundle(entries) if len(entries) == tile.width else None
