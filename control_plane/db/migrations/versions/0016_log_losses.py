"""What somebody had seen of the centre's own log and the log did not have."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "log_losses",
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("leaf", sa.LargeBinary(), primary_key=True),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("seen_by", sa.String(length=80), nullable=False),
        sa.Column("found", sa.DateTime(), nullable=False),
        sa.Column("accepted", sa.DateTime(), nullable=True),
        sa.Column("accepted_by", sa.String(length=80), nullable=True),
    )


def downgrade() -> None:
    op.drop_table("log_losses")
