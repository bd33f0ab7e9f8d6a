"""Policies that are rolled out in rings."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("policy_metadata", sa.Column("stable", sa.LargeBinary(), nullable=True))
    op.add_column("policy_metadata", sa.Column("remark", sa.Text(), nullable=False, server_default=""))
    op.create_table(
        "rollouts",
        sa.Column("layer", sa.String(length=40), primary_key=True),
        sa.Column("version", sa.BigInteger(), primary_key=True),
        sa.Column("plan", sa.Text(), nullable=False),
        sa.Column("opened", sa.Text(), nullable=False),
        sa.Column("heard", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.Column("person", sa.String(length=80), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("rollouts")
    op.drop_column("policy_metadata", "remark")
    op.drop_column("policy_metadata", "stable")
