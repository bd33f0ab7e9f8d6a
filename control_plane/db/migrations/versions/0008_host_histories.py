"""Which runs of its agent a host has reported from, and whether its history is doubted."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("hosts") as hosts:
        hosts.add_column(sa.Column("runs", sa.Text(), nullable=False, server_default="[]"))
        hosts.add_column(sa.Column("doubt", sa.String(length=16), nullable=False, server_default=""))
        hosts.add_column(sa.Column("doubted", sa.DateTime(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("hosts") as hosts:
        for name in ("doubted", "doubt", "runs"):
            hosts.drop_column(name)
