"""Which objects are of one SOP instance, and where their data sets differ."""

import json
from contextlib import suppress

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Where the payload of a signed statement lies: docs/formats/signed-statement.md section 1.
_HEAD_BYTES, _SIGNATURE_BYTES = 28, 64


def upgrade() -> None:
    instances = op.create_table(
        "instances",
        sa.Column("object_id", sa.String(length=32), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("dataset_sha256", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["object_id"], ["objects.object_id"]),
        sa.PrimaryKeyConstraint("object_id"),
    )
    op.create_index("instances_by_token", "instances", ["token", "dataset_sha256"])
    op.create_table(
        "conflicts",
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("found", sa.DateTime(), nullable=False),
        sa.Column("settled", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("token"),
    )
    connection = op.get_bind()
    held = connection.execute(
        sa.text(
            "SELECT o.object_id, b.token, o.record FROM objects o JOIN blind_index b ON b.object_id = o.object_id "
            "WHERE b.attribute = 'sop_instance_uid'"
        )
    )
    for rows in held.partitions(1000):
        connection.execute(
            instances.insert(),
            [{"object_id": name, "token": token, "dataset_sha256": _digest(record)} for name, token, record in rows],
        )
    connection.execute(
        sa.text(
            "INSERT INTO conflicts (token, found) SELECT i.token, MAX(o.received) FROM instances i "
            "JOIN objects o ON o.object_id = i.object_id GROUP BY i.token HAVING COUNT(DISTINCT i.dataset_sha256) > 1"
        )
    )


def _digest(record: bytes) -> bytes:
    """Return the digest that a record states; of one that was altered none, which is like no other."""
    with suppress(ValueError, KeyError, TypeError):
        return bytes.fromhex(json.loads(bytes(record)[_HEAD_BYTES:-_SIGNATURE_BYTES])["dataset_sha256"])
    return b""


def downgrade() -> None:
    op.drop_table("conflicts")
    op.drop_table("instances")
