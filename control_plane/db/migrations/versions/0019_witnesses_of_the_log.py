"""Tree heads that were lost, witnesses of the Merkle log and their cosignatures, and logs of others."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tree_losses",
        sa.Column("size", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("root", sa.LargeBinary(), primary_key=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("now", sa.BigInteger(), nullable=False),
        sa.Column("seen_by", sa.String(length=80), nullable=False),
        sa.Column("found", sa.DateTime(), nullable=False),
        sa.Column("accepted", sa.DateTime(), nullable=True),
        sa.Column("accepted_by", sa.String(length=80), nullable=True),
        sa.Column("accepted_seq", sa.BigInteger(), nullable=True),
    )
    op.create_table(
        "log_rounds",
        sa.Column("size", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("begun", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "log_cosignatures",
        sa.Column("size", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(length=255), primary_key=True),
        sa.Column("line", sa.Text(), nullable=False),
    )
    op.create_table(
        "log_witnesses",
        sa.Column("name", sa.String(length=255), primary_key=True),
        sa.Column("vkey", sa.Text(), nullable=False),
        sa.Column("host", sa.String(length=40), nullable=True),
        sa.Column("statement", sa.LargeBinary(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("cosigned", sa.BigInteger(), nullable=False),
        sa.Column("heard", sa.DateTime(), nullable=True),
        sa.Column("said", sa.Text(), nullable=False, server_default=""),
    )
    op.create_table(
        "other_logs",
        sa.Column("origin", sa.String(length=255), primary_key=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("cosigned", sa.DateTime(), nullable=False),
    )
    op.create_index("objects_by_host", "objects", ["host_id", "received"])
    op.drop_index("ix_objects_host_id", "objects")
    op.add_column("hosts", sa.Column("records_owed", sa.DateTime(), nullable=True))
    op.add_column("hosts", sa.Column("records_silent", sa.DateTime(), nullable=True))


def downgrade() -> None:
    op.drop_column("hosts", "records_silent")
    op.drop_column("hosts", "records_owed")
    op.create_index("ix_objects_host_id", "objects", ["host_id"])
    op.drop_index("objects_by_host", "objects")
    for table in ("other_logs", "log_witnesses", "log_cosignatures", "log_rounds", "tree_losses"):
        op.drop_table(table)
