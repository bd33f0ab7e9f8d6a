"""Which host may deliver for which other one."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "spool_moves",
        sa.Column("move_id", sa.String(length=8), nullable=False),
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("bearer", sa.String(length=40), nullable=False),
        sa.Column("allowed_by", sa.String(length=80), nullable=False),
        sa.Column("allowed", sa.DateTime(), nullable=False),
        sa.Column("until", sa.DateTime(), nullable=False),
        sa.Column("ended", sa.DateTime(), nullable=True),
        sa.Column("objects", sa.BigInteger(), nullable=False),
        sa.Column("records", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["source"], ["hosts.host_id"]),
        sa.ForeignKeyConstraint(["bearer"], ["hosts.host_id"]),
        sa.PrimaryKeyConstraint("move_id"),
    )
    op.create_index("spool_moves_by_pair", "spool_moves", ["source", "bearer"])


def downgrade() -> None:
    op.drop_table("spool_moves")
