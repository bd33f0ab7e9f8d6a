"""Orders to wipe drives: tickets, signatures, notes, reports; and holds."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "wipe_orders",
        sa.Column("order_id", sa.String(32), primary_key=True),
        sa.Column("host_id", sa.String(40), sa.ForeignKey("hosts.host_id"), nullable=False),
        sa.Column("requested", sa.DateTime(), nullable=False),
        sa.Column("expires", sa.DateTime(), nullable=False),
        sa.Column("ticket", sa.LargeBinary(), nullable=False),
        sa.Column("closed", sa.DateTime(), nullable=True),
        sa.Column("closed_as", sa.String(16), nullable=True),
        sa.Column("closed_by", sa.String(80), nullable=True),
        sa.Column("destruction", sa.Text(), nullable=True),
    )
    op.create_index("ix_wipe_orders_host_id", "wipe_orders", ["host_id"])
    op.create_index("ix_wipe_orders_requested", "wipe_orders", ["requested"])
    op.create_table(
        "wipe_signatures",
        sa.Column("order_id", sa.String(32), sa.ForeignKey("wipe_orders.order_id"), primary_key=True),
        sa.Column("key_id", sa.String(32), primary_key=True),
        sa.Column("person", sa.String(80), nullable=False),
        sa.Column("signed", sa.DateTime(), nullable=False),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "wipe_notes",
        sa.Column("order_id", sa.String(32), sa.ForeignKey("wipe_orders.order_id"), primary_key=True),
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("note", sa.LargeBinary(), nullable=False),
        sa.Column("received", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "wipe_reports",
        sa.Column("order_id", sa.String(32), sa.ForeignKey("wipe_orders.order_id"), primary_key=True),
        sa.Column("number", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("signed", sa.LargeBinary(), nullable=False),
        sa.Column("received", sa.DateTime(), nullable=False),
        sa.Column("brought_by", sa.String(80), nullable=True),
        sa.Column("judged", sa.Text(), nullable=True),
    )
    op.create_table(
        "wipe_certificates",
        sa.Column("order_id", sa.String(32), sa.ForeignKey("wipe_orders.order_id"), primary_key=True),
        sa.Column("made", sa.DateTime(), nullable=False),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.Column("file", sa.LargeBinary(), nullable=True),
        sa.Column("pdf", sa.LargeBinary(), nullable=True),
    )
    op.create_table(
        "incident_holds",
        sa.Column("hold_id", sa.String(8), primary_key=True),
        sa.Column("host_id", sa.String(40), sa.ForeignKey("hosts.host_id"), nullable=False),
        sa.Column("placed", sa.DateTime(), nullable=False),
        sa.Column("placed_by", sa.String(80), nullable=False),
        sa.Column("lifted", sa.DateTime(), nullable=True),
    )
    op.create_index("ix_incident_holds_host_id", "incident_holds", ["host_id"])


def downgrade() -> None:
    for table in (
        "incident_holds",
        "wipe_certificates",
        "wipe_reports",
        "wipe_notes",
        "wipe_signatures",
        "wipe_orders",
    ):
        op.drop_table(table)
