"""What the driver says itself reaches callers in the words that they know, whenever it says it."""

from contextlib import ExitStack

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError, PendingRollbackError
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db import driver
from control_plane.db.engine import engine_of
from control_plane.db.models import Fact
from control_plane.db.transactions import DatabaseUnavailable, in_one_commit

# The third row cannot be read; SQLite finds that out only when it comes to it, as with a damaged page.
BREAKS_LATE = {
    "sqlite": "SELECT abs(column1) FROM (VALUES (1), (2), (-9223372036854775808))",
    "postgresql": "SELECT 1 / n FROM (VALUES (1), (2), (0)) AS three (n)",
}


def test_rows_that_cannot_be_read_to_the_end_are_a_database_that_does_not_answer(
    database: sessionmaker[Session],
) -> None:
    with database() as session:
        late = BREAKS_LATE[session.get_bind().dialect.name]
        with pytest.raises(DatabaseUnavailable):
            driver.rows(session, late)


def test_rows_that_are_there_already_are_none_of_its_faults(database: sessionmaker[Session]) -> None:
    def twice(session: Session) -> None:
        driver.insert(session, "facts (name, value)", [("n", "1"), ("n", "2")])

    with pytest.raises(IntegrityError):
        in_one_commit(database, twice)


def test_a_session_that_has_committed_asks_by_the_connection_that_it_has_then(database: sessionmaker[Session]) -> None:
    with database() as session, database() as other:
        driver.run(session, "INSERT INTO facts (name, value) VALUES ('n', 'its own')")
        session.commit()
        # This takes the connection that the commit gave back, and changes what nobody else is to see yet.
        driver.run(other, "UPDATE facts SET value = 'not committed'")

        assert driver.rows(session, "SELECT value FROM facts") == [("its own",)]


def test_nothing_more_is_written_in_a_transaction_that_failed(database: sessionmaker[Session]) -> None:
    with database() as session:
        driver.run(session, "INSERT INTO facts (name, value) VALUES ('n', 'first')")
        session.add(Fact(name="n", value="twice"))
        with pytest.raises(IntegrityError):
            session.flush()

        with pytest.raises(PendingRollbackError):
            driver.run(session, "INSERT INTO facts (name, value) VALUES ('m', 'after it')")


def test_a_question_by_itself_sees_what_is_committed_and_keeps_nothing_open(database: sessionmaker[Session]) -> None:
    engine, values = engine_of(database), list[list[tuple[str]]]()
    for value in ("before", "after"):
        with database.begin() as session:
            session.merge(Fact(name="n", value=value))
        values.append(driver.rows_by_itself(engine, "SELECT value FROM facts WHERE name = ?", ("n",)))

    assert values == [[("before",)], [("after",)]]
    assert driver.rows_by_itself(engine, "SELECT value FROM facts WHERE name = ?", ("none",)) == []


def test_a_question_by_itself_is_answered_again_after_one_that_broke(database: sessionmaker[Session]) -> None:
    engine = engine_of(database)
    with pytest.raises(DatabaseUnavailable):
        driver.rows_by_itself(engine, BREAKS_LATE[engine.dialect.name])

    assert driver.rows_by_itself(engine, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 100, 149, 499, 500, 501, 1061])
def test_however_many_rows_each_is_there_once_and_in_its_order(database: sessionmaker[Session], count: int) -> None:
    rows = [(f"{number:04}", str(-number)) for number in range(count)]
    in_one_commit(database, lambda session: driver.insert(session, "facts (name, value)", iter(rows)))

    with database() as session:
        assert [tuple(row) for row in driver.rows(session, "SELECT name, value FROM facts ORDER BY name")] == rows


@pytest.mark.parametrize("at", [0, 499, 500, 549, 550, 559])
def test_of_rows_of_which_one_is_there_already_none_is_kept_or_just_the_others(
    database: sessionmaker[Session], at: int
) -> None:
    rows = [(f"{number:04}", str(number)) for number in range(560)]
    in_one_commit(database, lambda session: driver.insert(session, "facts (name, value)", [(rows[at][0], "before")]))

    with pytest.raises(IntegrityError):
        in_one_commit(database, lambda session: driver.insert(session, "facts (name, value)", rows))
    with database() as session:
        assert driver.rows(session, "SELECT name, value FROM facts") == [(rows[at][0], "before")]

    then = "ON CONFLICT DO NOTHING"
    in_one_commit(database, lambda session: driver.insert(session, "facts (name, value)", rows, then))
    with database() as session:
        held = dict(driver.rows(session, "SELECT name, value FROM facts"))
    assert held == {**dict(rows), rows[at][0]: "before"}


def test_connections_of_as_many_as_the_host_door_serves_at_once_are_kept(database: sessionmaker[Session]) -> None:
    opened = list[int]()
    event.listen(engine_of(database), "connect", lambda _connection, _record: opened.append(1))
    for _ in range(3):
        with ExitStack() as together:
            for _ in range(16):
                together.enter_context(database()).connection()

    assert len(opened) <= 16
