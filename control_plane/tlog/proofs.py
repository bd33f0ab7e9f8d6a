"""Proves single records: where in the Merkle log they are, as files that need nothing else of ours."""

from collections.abc import Callable

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import AuditRow
from control_plane.db.transactions import snapshot
from control_plane.tlog import rows
from control_plane.tlog.rows import LogAltered
from shared.audit.tlog.checkpoint import claimed_head
from shared.audit.tlog.log_key import LogKeyOffer
from shared.audit.tlog.proof_text import ProofText
from shared.audit.tlog.proofs import make_inclusion
from shared.audit.tlog.tiles import nodes_of
from shared.errors import Malformed, Refused
from shared.identity import HostId


class NotInLog(Refused):
    def __init__(self, source: str, what: str) -> None:
        super().__init__(f"the log holds no {what} of {source}; what has not arrived yet cannot be proved")
        self.source, self.what = source, what


class LogProofs:
    """`offer` says, in the centre's evidence key, by which key checkpoints are signed."""

    def __init__(self, database: sessionmaker[Session], offer: Callable[[], LogKeyOffer]) -> None:
        self._database, self._offer = database, offer

    def of_leaf(self, host_id: HostId, leaf: bytes) -> str:
        """Return a tlog-proof of a record of the host by its leaf, among the newest `rows.FOUND_AMONG` entries.

        Raises NotInLog, LogAltered, DatabaseUnavailable.
        """
        with snapshot(self._database) as session:
            entry = rows.entry_of(session, leaf)
        named = (AuditRow.source == str(host_id)) & (AuditRow.entry == entry)
        return self._proof(named, str(host_id), "such record")

    def of_record(self, source: str, seq: int, cosigned: str | None = None) -> str:
        """Return a tlog-proof of record `seq` of `source`. Raises what `of_leaf` does.

        It is under the checkpoint that witnesses `cosigned`, if that reaches as far, else under the newest.
        """
        return self._proof((AuditRow.source == source) & (AuditRow.seq == seq), source, f"record {seq}", cosigned)

    def offer(self) -> bytes:
        """Return by which key checkpoints are signed, and who says so, encoded."""
        return self._offer().encode()

    def checkpoint(self) -> str:
        """Raises LogAltered, DatabaseUnavailable."""
        with snapshot(self._database) as session:
            return rows.head(session)[2]

    def _proof(self, named: ColumnElement[bool], source: str, what: str, cosigned: str | None = None) -> str:
        with snapshot(self._database) as session:
            entry = session.scalar(select(AuditRow.entry).where(named).limit(1))
            size, _, checkpoint = rows.head(session)
            if entry is None or entry >= size or not checkpoint:
                raise NotInLog(source, what)
            if cosigned is not None and entry < (head := claimed_head(cosigned)).size <= size:
                size, checkpoint = head.size, cosigned
            try:
                path = make_inclusion(entry, size, nodes_of(rows.reader(session)))
            except Malformed as exc:
                raise LogAltered(str(exc)) from exc
        return ProofText(entry, tuple(path), checkpoint, self.offer()).encode()
