"""The migrations make what the models say, on every engine."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db import engine
from control_plane.db.engine import NEWEST, DatabaseRefused, close_database, engine_of, open_empty
from control_plane.db.models import Base
from control_plane.db.transactions import DatabaseUnavailable
from tests.contracts.database.originals import Place


def test_migrated_up_from_nothing_the_schema_is_that_of_the_models(empty: Place) -> None:
    database = empty.open()
    with engine_of(database).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, Base.metadata)

    assert differences == []
    close_database(database)


def test_the_newest_revision_is_the_one_that_the_migrations_end_with() -> None:
    assert ScriptDirectory(str(engine._MIGRATIONS)).get_current_head() == NEWEST


def test_opening_it_again_changes_nothing(migrated: Place, database: sessionmaker[Session]) -> None:
    again = migrated.open()

    with engine_of(again).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    close_database(again)


def test_a_schema_of_a_newer_version_is_refused_and_named_as_such(
    migrated: Place, database: sessionmaker[Session]
) -> None:
    with database.begin() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'ffff'"))

    with pytest.raises(DatabaseRefused, match="newer version"):
        migrated.open()


def test_an_upgrade_that_was_broken_off_leaves_nothing_and_starts_again(empty: Place) -> None:
    """As where the power fails: what it made before it broke off would be in its own way."""
    before = open_empty(empty.url, "0021")
    with before.begin() as session:
        session.execute(text("CREATE TABLE audit_subjects_kept (breaks INTEGER)"))
    with pytest.raises((DatabaseUnavailable, ProgrammingError), match="audit_subjects_kept"):
        empty.open()
    with before.begin() as session:
        assert session.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == ["0021"]
        session.execute(text("DROP TABLE audit_subjects_kept"))
    close_database(before)

    again = empty.open()
    with engine_of(again).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    close_database(again)


def test_a_database_that_is_not_empty_is_not_taken_for_a_new_one(migrated: Place) -> None:
    with pytest.raises(DatabaseRefused, match="holds tables already"):
        open_empty(migrated.url)
