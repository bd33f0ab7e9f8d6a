"""Which runs of its agent a host has reported from, and whether its history is doubted."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Not in a batch: that makes the table anew, and other tables point at its rows.
    op.add_column("hosts", sa.Column("runs", sa.Text(), nullable=False, server_default="[]"))
    op.add_column("hosts", sa.Column("doubt", sa.String(length=16), nullable=False, server_default=""))
    op.add_column("hosts", sa.Column("doubted", sa.DateTime(), nullable=True))


def downgrade() -> None:
    for name in ("doubted", "doubt", "runs"):
        op.drop_column("hosts", name)
