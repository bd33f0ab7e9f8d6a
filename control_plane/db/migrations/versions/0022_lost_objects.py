"""Objects that the vault answered for and whose bodies it has no more."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "lost_objects",
        sa.Column("object_id", sa.String(length=32), sa.ForeignKey("objects.object_id"), primary_key=True),
        sa.Column("host_id", sa.String(length=40), sa.ForeignKey("hosts.host_id"), nullable=False),
        sa.Column("dataset_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("found", sa.DateTime(), nullable=False),
        sa.Column("told", sa.DateTime(), nullable=True),
        sa.Column("over_by", sa.String(length=32), sa.ForeignKey("objects.object_id"), nullable=True),
    )
    for column in ("host_id", "dataset_sha256", "over_by"):
        op.create_index(f"ix_lost_objects_{column}", "lost_objects", [column])


def downgrade() -> None:
    op.drop_table("lost_objects")
