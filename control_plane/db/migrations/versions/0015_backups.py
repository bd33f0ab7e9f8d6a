"""Backups that were made, and what was destroyed since."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "backups",
        sa.Column("label", sa.String(length=32), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("begun", sa.DateTime(), nullable=False),
        sa.Column("made", sa.DateTime(), nullable=True),
        sa.Column("audit_seq", sa.BigInteger(), nullable=False),
        sa.Column("objects", sa.BigInteger(), nullable=False),
        sa.Column("body_bytes", sa.BigInteger(), nullable=False),
        sa.Column("keys", sa.Text(), nullable=False),
        sa.Column("keep_until", sa.DateTime(), nullable=True),
        sa.Column("forgotten", sa.DateTime(), nullable=True),
        sa.Column("forgotten_by", sa.String(length=80), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("label"),
    )
    op.create_table(
        "destroyed",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.Column("destroyed", sa.DateTime(), nullable=False),
        sa.Column("person", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name"),
    )


def downgrade() -> None:
    op.drop_table("destroyed")
    op.drop_table("backups")
