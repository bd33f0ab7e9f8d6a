"""Records are found by time, event, outcome and names; private parts have a key for each subject."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from shared.audit.question import names_of
from shared.audit.record import AuditRecord
from shared.errors import Malformed

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_AT_ONCE = 2_000
_READ = "SELECT entry, public FROM audit_records WHERE entry > :after ORDER BY entry LIMIT :most"
_SAY = "UPDATE audit_records SET happened = :happened, event = :event, action = :action, outcome = :outcome "
_SAY += "WHERE entry = :entry"
_INDEXES = (
    ("audit_by_time", ["happened", "entry"]),
    ("audit_by_event", ["event", "happened", "entry"]),
)


def upgrade() -> None:
    for column in (
        sa.Column("happened", sa.BigInteger(), nullable=True),
        sa.Column("event", sa.String(length=40), nullable=True),
        sa.Column("action", sa.String(length=1), nullable=True),
        sa.Column("outcome", sa.BigInteger(), nullable=True),
    ):
        op.add_column("audit_records", column)
    names = op.create_table(
        "audit_names",
        sa.Column("kind", sa.String(length=32), primary_key=True),
        sa.Column("name", sa.String(length=200), primary_key=True),
        sa.Column("happened", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("entry", sa.BigInteger(), primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit_tokens",
        sa.Column("attribute", sa.String(length=32), primary_key=True),
        sa.Column("token", sa.LargeBinary(), primary_key=True),
        sa.Column("entry", sa.BigInteger(), primary_key=True, autoincrement=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "subject_keys",
        sa.Column("attribute", sa.String(length=32), primary_key=True),
        sa.Column("token", sa.LargeBinary(), primary_key=True),
        sa.Column("key_id", sa.String(length=32), nullable=False, unique=True),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("since", sa.DateTime(), nullable=False),
    )
    _fill(names)
    for name, columns in _INDEXES:
        op.create_index(name, "audit_records", columns)
    failed = sa.text("outcome > 0")
    columns = ["outcome", "happened", "entry"]
    op.create_index("audit_by_failure", "audit_records", columns, sqlite_where=failed, postgresql_where=failed)
    op.drop_index("audit_by_arrival", "audit_records")
    op.create_index("blind_index_by_object", "blind_index", ["object_id", "attribute", "token"])


def _fill(names: sa.Table) -> None:
    """Read every record that is held once; one that no longer reads is found by nothing, and verification names it."""
    connection, after = op.get_bind(), -1
    while rows := connection.execute(sa.text(_READ), {"after": after, "most": _AT_ONCE}).all():
        after = rows[-1].entry
        read = [(entry, record) for entry, record in ((row.entry, _record(row.public)) for row in rows) if record]
        if read:
            connection.execute(sa.text(_SAY), [_said(entry, record) for entry, record in read])
            op.bulk_insert(names, list(_named(read)))


def _record(public: object) -> AuditRecord | None:
    try:
        return AuditRecord.parse(public if isinstance(public, bytes) else b"")
    except Malformed:
        return None


def _said(entry: int, record: AuditRecord) -> dict[str, object]:
    return {
        "entry": entry,
        "happened": record.happened,
        "event": record.event.value,
        "action": record.action.value,
        "outcome": int(record.outcome),
    }


def _named(read: Sequence[tuple[int, AuditRecord]]) -> list[dict[str, object]]:
    return [
        {"kind": kind, "name": name, "happened": record.happened, "entry": entry}
        for entry, record in read
        for kind, name in sorted(names_of(record))
    ]


def downgrade() -> None:
    op.drop_index("blind_index_by_object", "blind_index")
    op.create_index("audit_by_arrival", "audit_records", ["received"])
    op.drop_index("audit_by_failure", "audit_records")
    for name, _ in _INDEXES:
        op.drop_index(name, "audit_records")
    op.drop_table("subject_keys")
    op.drop_table("audit_tokens")
    op.drop_table("audit_names")
    for column in ("outcome", "action", "event", "happened"):
        op.drop_column("audit_records", column)
