"""Records that say an object are found by numbers that lie together: a random name wrote a page for each record."""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

from control_plane.audit_log.objects import MAX_ENTRY, numbers
from control_plane.audit_log.quick_reader import record_reader
from control_plane.db.driver import blob
from shared.audit.record import ReadRecord
from shared.errors import Malformed

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_AT_ONCE = 2_000
_READ = "SELECT entry, public FROM audit_records WHERE entry > :after ORDER BY entry LIMIT :most"
# Nobody asks which records say the hash of another kind of record.
_GONE = ("object", "record")
_SUBJECTS = sa.table("audit_subjects", *(sa.column(name) for name in ("kind", "name", "event", "source", "seq")))


def upgrade() -> None:
    objects = op.create_table(
        "audit_objects",
        sa.Column(
            "number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=False
        ),
    )
    for read in _read():
        found = {number for entry, record in read for number in numbers([record], entry)}
        op.bulk_insert(objects, [{"number": number} for number in sorted(found)])
    _make_subjects_again(with_rowid=False)


def _make_subjects_again(*, with_rowid: bool) -> None:
    """Keep the few rows that stay: to delete the others, each from its own page of an index, takes far longer."""
    kept = op.create_table(
        "audit_subjects_kept",
        sa.Column("kind", sa.String(length=32), primary_key=True),
        sa.Column("name", sa.String(length=200), primary_key=True),
        sa.Column("event", sa.String(length=40), primary_key=True),
        sa.Column("source", sa.String(length=40), primary_key=True),
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sqlite_with_rowid=with_rowid,
    )
    stays = sa.select(*_SUBJECTS.c).where(_SUBJECTS.c.kind.not_in(_GONE))
    op.execute(kept.insert().from_select(list(_SUBJECTS.c.keys()), stays))
    op.drop_table("audit_subjects")
    op.rename_table("audit_subjects_kept", "audit_subjects")


def _read() -> Iterator[list[tuple[int, ReadRecord]]]:
    """Yield a few thousand records at a time, with their entries.

    One that no longer reads, or has no entry that anything could lead to, is passed over; verification names it.
    """
    connection, after, read = op.get_bind(), -1, record_reader()
    while rows := connection.execute(sa.text(_READ), {"after": after, "most": _AT_ONCE}).all():
        after, some = rows[-1].entry, list[tuple[int, ReadRecord]]()
        for entry, public in rows:
            if not isinstance(entry, int) or entry >= MAX_ENTRY:
                continue
            try:
                some.append((entry, read(blob(public))))
            except Malformed:
                continue
        yield some


def downgrade() -> None:
    _make_subjects_again(with_rowid=True)  # the version before counts its rows by it
    for read in _read():
        said = {
            (what.kind, what.name, record.event.value, record.source, record.seq)
            for _, record in read
            for what in record.what
            if what.kind in _GONE
        }
        op.bulk_insert(_SUBJECTS, [dict(zip(_SUBJECTS.c.keys(), one, strict=True)) for one in sorted(said)])
    op.drop_table("audit_objects")
