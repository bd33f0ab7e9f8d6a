"""Commands to hosts, and their results."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "commands",
        sa.Column("command_id", sa.String(length=32), primary_key=True),
        sa.Column("host_id", sa.String(length=40), sa.ForeignKey("hosts.host_id"), nullable=False),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("person", sa.String(length=80), nullable=False),
        sa.Column("issued", sa.DateTime(), nullable=False),
        sa.Column("expires", sa.DateTime(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("result", sa.LargeBinary(), nullable=True),
        sa.Column("answered", sa.DateTime(), nullable=True),
    )
    op.create_index("ix_commands_host_id", "commands", ["host_id"])
    op.create_index("ix_commands_issued", "commands", ["issued"])


def downgrade() -> None:
    op.drop_table("commands")
