"""The Merkle log: a number for every record, tiles, and the head. What is held is entered as it arrived."""

import sqlalchemy as sa
from alembic import op

from shared.audit.tlog.growth import Growth
from shared.audit.tlog.tree import leaf_hash

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_AT_ONCE = 10_000
_NUMBER = """
UPDATE audit_records SET entry = numbered.entry FROM (
    SELECT source, seq, row_number() OVER (ORDER BY received, source, seq) - 1 AS entry FROM audit_records
) AS numbered WHERE audit_records.source = numbered.source AND audit_records.seq = numbered.seq
"""


def upgrade() -> None:
    op.add_column("audit_records", sa.Column("entry", sa.BigInteger(), nullable=True))
    tiles = op.create_table(
        "log_tiles",
        sa.Column("level", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
    )
    head = op.create_table(
        "log_head",
        sa.Column("one", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("range", sa.LargeBinary(), nullable=False),
        sa.Column("checkpoint", sa.Text(), nullable=False),
    )
    op.execute(_NUMBER)
    op.create_index("audit_by_entry", "audit_records", ["entry"], unique=True)
    op.create_index("audit_by_leaf", "audit_records", ["source", "leaf"])
    log = _enter(tiles)
    if log.range.size:
        op.bulk_insert(head, [{"one": 1, "size": log.range.size, "range": log.range.encode(), "checkpoint": ""}])


def _enter(tiles: sa.Table) -> Growth:
    """Enter what is held into a tree, from the stored public parts; nobody has signed it yet."""
    log, public = Growth(), sa.text("SELECT public FROM audit_records WHERE entry >= :at ORDER BY entry LIMIT :most")
    connection = op.get_bind()
    while found := connection.execute(public, {"at": log.range.size, "most": _AT_ONCE}).scalars().all():
        log.append([leaf_hash(_stored(one)) for one in found])
        full = log.take_full()
        if full:
            op.bulk_insert(tiles, [{"level": at[0], "number": at[1], "hashes": hashes} for at, hashes in full])
    if log.partial:
        op.bulk_insert(tiles, [{"level": at[0], "number": at[1], "hashes": log.partial[at]} for at in log.partial])
    return log


def _stored(public: object) -> bytes:
    """Return what is in the column, also where somebody wrote text there that is no UTF-8."""
    return bytes(public) if isinstance(public, bytes) else str(public).encode(errors="surrogateescape")


def downgrade() -> None:
    # Without a log there is nothing that this key signed: the next one begins with its own.
    op.execute("DELETE FROM keys WHERE name = 'log/checkpoints/1'")
    op.drop_table("log_head")
    op.drop_table("log_tiles")
    op.drop_index("audit_by_leaf", "audit_records")
    op.drop_index("audit_by_entry", "audit_records")
    op.drop_column("audit_records", "entry")
