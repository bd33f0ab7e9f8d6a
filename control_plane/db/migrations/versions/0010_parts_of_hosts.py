"""The layers of a host besides the organisation's, in its enrolment code and in its own row."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("enrolment_codes", "hosts"):
        op.add_column(table, sa.Column("parts", sa.Text(), nullable=False, server_default="[]"))


def downgrade() -> None:
    for table in ("enrolment_codes", "hosts"):
        op.drop_column(table, "parts")
