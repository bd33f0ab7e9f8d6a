"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_records",
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("public", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.Column("received", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("source", "seq"),
    )
    with op.batch_alter_table("audit_records", schema=None) as batch_op:
        batch_op.create_index("audit_by_arrival", ["received"], unique=False)

    op.create_table(
        "audit_statements",
        sa.Column("source", sa.String(length=40), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("source", "first", "last"),
    )
    op.create_table(
        "certificates",
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("pem", sa.String(), nullable=False),
        sa.Column("issued", sa.DateTime(), nullable=False),
        sa.Column("not_after", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("serial"),
    )
    with op.batch_alter_table("certificates", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_certificates_subject"), ["subject"], unique=False)

    op.create_table(
        "facts",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "hosts",
        sa.Column("host_id", sa.String(length=40), nullable=False),
        sa.Column("asset", sa.String(length=100), nullable=False),
        sa.Column("enrolled", sa.DateTime(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("evidence_spki", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=True),
        sa.Column("state_number", sa.BigInteger(), nullable=False),
        sa.Column("state_received", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("host_id"),
    )
    op.create_table(
        "keys",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("key_id", sa.String(length=80), nullable=False),
        sa.Column("public", sa.LargeBinary(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    with op.batch_alter_table("keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_keys_key_id"), ["key_id"], unique=False)

    op.create_table(
        "people",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("token_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sa.UniqueConstraint("token_sha256"),
    )
    op.create_table(
        "policy_metadata",
        sa.Column("role", sa.String(length=40), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("metadata_bytes", sa.LargeBinary(), nullable=False),
        sa.Column("policy", sa.LargeBinary(), nullable=True),
        sa.Column("published", sa.DateTime(), nullable=False),
        sa.Column("person", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("role", "version"),
    )
    op.create_table(
        "enrolment_codes",
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("asset", sa.String(length=100), nullable=False),
        sa.Column("issued_by", sa.String(length=80), nullable=False),
        sa.Column("expires", sa.DateTime(), nullable=False),
        sa.Column("used", sa.DateTime(), nullable=True),
        sa.Column("host_id", sa.String(length=40), nullable=True),
        sa.ForeignKeyConstraint(
            ["issued_by"],
            ["people.name"],
        ),
        sa.PrimaryKeyConstraint("secret_sha256"),
    )
    op.create_table(
        "objects",
        sa.Column("object_id", sa.String(length=32), nullable=False),
        sa.Column("host_id", sa.String(length=40), nullable=False),
        sa.Column("binding", sa.LargeBinary(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("record_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_index", sa.LargeBinary(), nullable=False),
        sa.Column("index_state", sa.String(length=16), nullable=False),
        sa.Column("body_bytes", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.DateTime(), nullable=False),
        sa.Column("receipt", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["host_id"],
            ["hosts.host_id"],
        ),
        sa.PrimaryKeyConstraint("object_id"),
    )
    with op.batch_alter_table("objects", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_objects_host_id"), ["host_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_objects_received"), ["received"], unique=False)

    op.create_table(
        "sign_ins",
        sa.Column("link_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("person", sa.String(length=80), nullable=False),
        sa.Column("link_expires", sa.DateTime(), nullable=False),
        sa.Column("session_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("session_expires", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["person"],
            ["people.name"],
        ),
        sa.PrimaryKeyConstraint("link_sha256"),
        sa.UniqueConstraint("session_sha256"),
    )
    op.create_table(
        "blind_index",
        sa.Column("attribute", sa.String(length=32), nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.Column("object_id", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["object_id"],
            ["objects.object_id"],
        ),
        sa.PrimaryKeyConstraint("attribute", "token", "object_id"),
    )
    op.create_table(
        "wraps",
        sa.Column("object_id", sa.String(length=32), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("wrap", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["object_id"],
            ["objects.object_id"],
        ),
        sa.PrimaryKeyConstraint("object_id"),
    )
    with op.batch_alter_table("wraps", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_wraps_key_id"), ["key_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("wraps", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_wraps_key_id"))

    op.drop_table("wraps")
    op.drop_table("blind_index")
    op.drop_table("sign_ins")
    with op.batch_alter_table("objects", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_objects_received"))
        batch_op.drop_index(batch_op.f("ix_objects_host_id"))

    op.drop_table("objects")
    op.drop_table("enrolment_codes")
    op.drop_table("policy_metadata")
    op.drop_table("people")
    with op.batch_alter_table("keys", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_keys_key_id"))

    op.drop_table("keys")
    op.drop_table("hosts")
    op.drop_table("facts")
    with op.batch_alter_table("certificates", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_certificates_subject"))

    op.drop_table("certificates")
    op.drop_table("audit_statements")
    with op.batch_alter_table("audit_records", schema=None) as batch_op:
        batch_op.drop_index("audit_by_arrival")

    op.drop_table("audit_records")
