"""The standing of hosts, tombstones, digests of machines, asks of lapsed hosts, and acts that take two persons."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_HOSTS = sa.table(
    "hosts",
    sa.column("active", sa.Boolean),
    sa.column("doubt", sa.String),
    sa.column("standing", sa.String),
    sa.column("tombstone", sa.Boolean),
)


def upgrade() -> None:
    op.add_column("hosts", sa.Column("standing", sa.String(length=16), nullable=False, server_default="active"))
    op.add_column("hosts", sa.Column("tombstone", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("hosts", sa.Column("machine", sa.Text(), nullable=False, server_default="[]"))
    op.add_column("hosts", sa.Column("replaces", sa.String(length=40), nullable=True))
    op.execute(_HOSTS.update().where(_HOSTS.c.doubt == "cloned").values(standing="quarantined"))
    op.execute(_HOSTS.update().where(_HOSTS.c.active.is_(False)).values(standing="revoked", tombstone=True))
    op.drop_column("hosts", "active")
    op.add_column("enrolment_codes", sa.Column("cancelled", sa.DateTime(), nullable=True))
    op.add_column("enrolment_codes", sa.Column("replaces", sa.String(length=40), nullable=True))
    op.add_column("enrolment_codes", sa.Column("tried_again", sa.DateTime(), nullable=True))
    op.create_table(
        "barred_certificates",
        sa.Column("serial", sa.String(length=40), sa.ForeignKey("certificates.serial"), primary_key=True),
        sa.Column("barred", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "lapsed_asks",
        sa.Column("host_id", sa.String(length=40), sa.ForeignKey("hosts.host_id"), primary_key=True),
        sa.Column("fingerprint", sa.String(length=24), primary_key=True),
        sa.Column("asked", sa.DateTime(), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("approved", sa.DateTime(), nullable=True),
        sa.Column("approved_by", sa.String(length=80), nullable=True),
    )
    op.create_table(
        "two_person_requests",
        sa.Column("request_id", sa.String(length=8), primary_key=True),
        sa.Column("action", sa.String(length=40), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("reason", sa.String(length=300), nullable=False),
        sa.Column("asked_by", sa.String(length=80), nullable=False),
        sa.Column("asked", sa.DateTime(), nullable=False),
        sa.Column("expires", sa.DateTime(), nullable=False),
        sa.Column("decided", sa.DateTime(), nullable=True),
        sa.Column("decided_by", sa.String(length=80), nullable=True),
        sa.Column("approved", sa.Boolean(), nullable=True),
    )


def downgrade() -> None:
    for table in ("two_person_requests", "lapsed_asks", "barred_certificates"):
        op.drop_table(table)
    for column in ("tried_again", "replaces", "cancelled"):
        op.drop_column("enrolment_codes", column)
    op.add_column("hosts", sa.Column("active", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.execute(_HOSTS.update().where(_HOSTS.c.standing.not_in(["active", "quarantined"])).values(active=False))
    for column in ("replaces", "machine", "tombstone", "standing"):
        op.drop_column("hosts", column)
