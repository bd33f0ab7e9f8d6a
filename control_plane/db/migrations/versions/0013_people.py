"""Passwords, second factors, API tokens, and sessions that end."""

import secrets
from datetime import timedelta

import sqlalchemy as sa
from alembic import op

from shared.clock import SystemClock

revision = "0013"
down_revision = "0011"
branch_labels = None
depends_on = None

_PEOPLE = sa.table("people", *map(sa.column, ("name", "token_sha256", "created")))
_TOKENS = sa.table(
    "api_tokens",
    *map(sa.column, ("token_id", "secret_sha256", "person", "name", "scope")),
    sa.column("created", sa.DateTime()),
    sa.column("expires", sa.DateTime()),
)


def upgrade() -> None:
    op.add_column("people", sa.Column("removed", sa.DateTime(), nullable=True))
    # Links live for minutes and sessions for hours: who had one signs in again.
    op.drop_table("sign_ins")
    _make_tokens()
    _make_sessions()
    _make_factors()
    _make_bindings()
    _move_tokens()


def _make_tokens() -> None:
    op.create_table(
        "api_tokens",
        sa.Column("token_id", sa.String(length=16), primary_key=True),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False, unique=True),
        sa.Column("person", sa.String(length=80), sa.ForeignKey("people.name"), nullable=False, index=True),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("expires", sa.DateTime(), nullable=False),
        sa.Column("ended", sa.DateTime(), nullable=True),
    )


def _make_sessions() -> None:
    op.create_table(
        "sign_in_links",
        sa.Column("link_sha256", sa.LargeBinary(), primary_key=True),
        sa.Column("person", sa.String(length=80), sa.ForeignKey("people.name"), nullable=False, index=True),
        sa.Column("expires", sa.DateTime(), nullable=False),
        sa.Column("used", sa.DateTime(), nullable=True),
        sa.Column("token_id", sa.String(length=16), nullable=True),
    )
    op.create_table(
        "people_sessions",
        sa.Column("session_id", sa.String(length=16), primary_key=True),
        sa.Column("secret_sha256", sa.LargeBinary(), nullable=False, unique=True),
        sa.Column("person", sa.String(length=80), sa.ForeignKey("people.name"), nullable=False, index=True),
        sa.Column("how", sa.String(length=32), nullable=False),
        sa.Column("began", sa.DateTime(), nullable=False),
        sa.Column("used", sa.DateTime(), nullable=False),
        sa.Column("expires", sa.DateTime(), nullable=False),
        sa.Column("ended", sa.DateTime(), nullable=True),
        sa.Column("token_id", sa.String(length=16), nullable=True),
    )
    op.create_table(
        "sign_in_steps",
        sa.Column("step_sha256", sa.LargeBinary(), primary_key=True),
        sa.Column("person", sa.String(length=80), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("password_right", sa.Boolean(), nullable=False),
        sa.Column("challenge", sa.LargeBinary(), nullable=False),
        sa.Column("expires", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "sign_in_failures",
        sa.Column("account", sa.LargeBinary(), primary_key=True),
        sa.Column("address", sa.String(length=64), primary_key=True),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.DateTime(), nullable=False),
    )


def _make_factors() -> None:
    op.create_table(
        "passwords",
        sa.Column("person", sa.String(length=80), sa.ForeignKey("people.name"), primary_key=True),
        sa.Column("argon2", sa.Text(), nullable=False),
        sa.Column("changed", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "second_factors",
        sa.Column("factor_id", sa.String(length=16), primary_key=True),
        sa.Column("person", sa.String(length=80), sa.ForeignKey("people.name"), nullable=False, index=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("created", sa.DateTime(), nullable=False),
        sa.Column("confirmed", sa.DateTime(), nullable=True),
        sa.Column("sealed_seed", sa.LargeBinary(), nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(), nullable=True, unique=True),
        sa.Column("public_key", sa.LargeBinary(), nullable=True),
        sa.Column("sign_count", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "recovery_codes",
        sa.Column("code_sha256", sa.LargeBinary(), primary_key=True),
        sa.Column("person", sa.String(length=80), sa.ForeignKey("people.name"), nullable=False, index=True),
        sa.Column("used", sa.DateTime(), nullable=True),
    )


def _make_bindings() -> None:
    op.create_table(
        "provider_bindings",
        sa.Column("issuer", sa.String(length=1000), primary_key=True),
        sa.Column("subject", sa.String(length=255), primary_key=True),
        sa.Column("person", sa.String(length=80), sa.ForeignKey("people.name"), nullable=False, index=True),
    )


def _move_tokens() -> None:
    """Have every credential go on for a year. SQLite cannot take its old column out, which holds no token's digest."""
    connection, now = op.get_bind(), SystemClock().now().replace(tzinfo=None)
    for name, digest, _ in connection.execute(sa.select(_PEOPLE)).all():
        moved = {
            "token_id": secrets.token_hex(8), "secret_sha256": digest, "person": name, "name": "credential",
            "scope": "all", "created": now, "expires": now + timedelta(days=365),
        }  # fmt: skip
        connection.execute(_TOKENS.insert().values(moved))
        emptied = _PEOPLE.update().where(_PEOPLE.c.name == name)
        connection.execute(emptied.values(token_sha256=secrets.token_bytes(32)))


def downgrade() -> None:
    connection = op.get_bind()
    newest = sa.select(_TOKENS).where(_TOKENS.c.name == "credential").order_by(_TOKENS.c.created)
    for row in connection.execute(newest).all():
        restored = _PEOPLE.update().where(_PEOPLE.c.name == row.person)
        connection.execute(restored.values(token_sha256=row.secret_sha256))
    for table in (
        "recovery_codes", "second_factors", "passwords", "sign_in_failures", "sign_in_steps", "people_sessions",
        "sign_in_links", "provider_bindings", "api_tokens",
    ):  # fmt: skip
        op.drop_table(table)
    op.create_table(
        "sign_ins",
        sa.Column("link_sha256", sa.LargeBinary(), primary_key=True),
        sa.Column("person", sa.String(length=80), sa.ForeignKey("people.name"), nullable=False),
        sa.Column("link_expires", sa.DateTime(), nullable=False),
        sa.Column("session_sha256", sa.LargeBinary(), nullable=True, unique=True),
        sa.Column("session_expires", sa.DateTime(), nullable=True),
    )
    op.drop_column("people", "removed")
