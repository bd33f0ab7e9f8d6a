"""What archives know, held against what was captured."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "coverage",
        sa.Column("day", sa.String(length=10), nullable=False),
        sa.Column("ae_title", sa.String(length=16), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("archive", sa.String(length=16), nullable=False),
        sa.Column("compared", sa.DateTime(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("why", sa.String(length=500), nullable=False),
        sa.Column("known", sa.BigInteger(), nullable=False),
        sa.Column("protected", sa.BigInteger(), nullable=False),
        sa.Column("unprotected", sa.BigInteger(), nullable=False),
        sa.Column("captured", sa.BigInteger(), nullable=False),
        sa.Column("not_in_archive", sa.BigInteger(), nullable=False),
        sa.Column("not_evaluated", sa.BigInteger(), nullable=False),
        sa.Column("by_modality_only", sa.Boolean(), nullable=False),
        sa.Column("difference", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("day", "ae_title", "number"),
    )


def downgrade() -> None:
    op.drop_table("coverage")
