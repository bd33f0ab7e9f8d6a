"""When a person said that a lost object does not come again."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("lost_objects") as table:
        table.add_column(sa.Column("settled", sa.DateTime(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("lost_objects") as table:
        table.drop_column("settled")
