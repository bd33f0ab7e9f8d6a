"""Objects on their way to archives."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "route_items",
        sa.Column("object_id", sa.String(length=32), nullable=False),
        sa.Column("route", sa.String(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("queued", sa.DateTime(), nullable=False),
        sa.Column("tries", sa.BigInteger(), nullable=False),
        sa.Column("next_try", sa.DateTime(), nullable=True),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("delivered", sa.DateTime(), nullable=True),
        sa.Column("evidence", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["object_id"], ["objects.object_id"]),
        sa.PrimaryKeyConstraint("object_id", "route"),
    )
    op.create_index("route_items_in_order", "route_items", ["route", "state", "number"])
    op.create_index("route_items_by_number", "route_items", ["number"], unique=True)
    op.create_table(
        "route_states",
        sa.Column("route", sa.String(length=32), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("failing_since", sa.DateTime(), nullable=True),
        sa.Column("next_try", sa.DateTime(), nullable=True),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("delivered", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("route"),
    )


def downgrade() -> None:
    op.drop_table("route_states")
    op.drop_table("route_items")
