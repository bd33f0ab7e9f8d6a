"""Records are found by pieces of the log, and by their hashes in its tiles: each record had eight rows of indexes."""

from collections.abc import Iterator
from itertools import groupby

import sqlalchemy as sa
from alembic import op

from control_plane.audit_log.pieces import cut
from control_plane.db.driver import blob
from shared.audit.question import names_of
from shared.audit.record import AuditRecord
from shared.errors import Malformed

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_AT_ONCE = 2_000
_READ = "SELECT entry, public FROM audit_records WHERE entry > :after ORDER BY entry LIMIT :most"
_FAILED = sa.text("outcome > 0")
_INDEXES: dict[str, list[str]] = {
    "audit_by_leaf": ["source", "leaf"],
    "audit_by_time": ["happened", "entry"],
    "audit_by_event": ["event", "happened", "entry"],
    "audit_by_failure": ["outcome", "happened", "entry"],
}
_NAMES = sa.table("audit_names", *(sa.column(name) for name in ("kind", "name", "happened", "entry")))


def upgrade() -> None:
    pieces = op.create_table(
        "audit_pieces",
        sa.Column("first", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
    )
    for name in _INDEXES:
        op.drop_index(name, "audit_records")
    op.execute("DELETE FROM audit_names")
    for run in _runs():
        found = list(cut([record for _, record in run], [record.happened for _, record in run], run[0][0]))
        op.bulk_insert(pieces, [{"first": one.first, "last": one.last, "since": one.since} for one in found])
        op.bulk_insert(_NAMES, [said for one in found for said in _said(one.names, one.since, one.first)])
    op.create_index("audit_pieces_by_time", "audit_pieces", ["since", "first"])


def _runs() -> Iterator[list[tuple[int, AuditRecord]]]:
    """Yield records of one source that stand one after the other, with their entries, a few thousand at the most.

    One that no longer reads is found by nothing, and verification names it.
    """
    connection, after = op.get_bind(), -1
    while rows := connection.execute(sa.text(_READ), {"after": after, "most": _AT_ONCE}).all():
        after = rows[-1].entry
        read = [(row.entry, record) for row in rows if (record := _record(row.public)) is not None]
        for _, run in groupby(enumerate(read), key=lambda one: (one[1][1].source, one[1][0] - one[0])):
            yield [one for _, one in run]


def _said(names: frozenset[tuple[str, str]], happened: int, entry: int) -> list[dict[str, object]]:
    return [{"kind": kind, "name": name, "happened": happened, "entry": entry} for kind, name in sorted(names)]


def _record(public: object) -> AuditRecord | None:
    try:
        return AuditRecord.parse(blob(public))
    except Malformed:
        return None


def downgrade() -> None:
    op.execute("DELETE FROM audit_names")
    for run in _runs():
        said = [one for entry, record in run for one in _said(names_of(record), record.happened, entry)]
        op.bulk_insert(_NAMES, said)
    for name, columns in _INDEXES.items():
        only = _FAILED if name == "audit_by_failure" else None
        op.create_index(name, "audit_records", columns, sqlite_where=only, postgresql_where=only)
    op.drop_table("audit_pieces")
