"""What several writers may rely on: nothing is lost, nothing is given twice, nothing is seen by halves."""

import gc
import signal
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

import pytest
from sqlalchemy import event, select, text, update
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.engine import engine_of
from control_plane.db.group import GroupCommit
from control_plane.db.models import Fact
from control_plane.db.transactions import DatabaseUnavailable, Overtaken, in_one_commit, snapshot
from provisioning.demo.processes import wait_until
from shared.errors import Refused, Unavailable
from tests.contracts.database.together import asking_together, await_waiting, together

T = TypeVar("T")
# SQLite has one writer at a time: there nobody overlaps, and no two wait for each other.
ON_POSTGRESQL = pytest.mark.parametrize("engine", ["postgresql"], indirect=True)


def at_once(works: list[Callable[[], T]]) -> list[T]:
    """Run all of `works` in threads that begin together, and return what each returned."""
    gate = threading.Barrier(len(works))

    def begin(work: Callable[[], T]) -> T:
        gate.wait(30)
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(begin, works))


def put(database: sessionmaker[Session], value: str) -> None:
    with database.begin() as session:
        session.merge(Fact(name="n", value=value))


def value(session: Session) -> str:
    return session.get_one(Fact, "n").value


def test_of_two_writers_that_read_and_then_write_neither_undoes_the_other(database: sessionmaker[Session]) -> None:
    put(database, "0")

    def add(session: Session) -> None:
        session.get_one(Fact, "n").value = str(int(value(session)) + 1)

    def many() -> None:
        for _ in range(20):
            in_one_commit(database, add)

    at_once([many, many])
    with database() as session:
        assert value(session) == "40"


@ON_POSTGRESQL
def test_writers_that_read_and_write_without_it_do_undo_each_other(database: sessionmaker[Session]) -> None:
    put(database, "0")
    both_read = threading.Barrier(2)

    def careless() -> None:
        with database.begin() as session:
            read = int(value(session))
            both_read.wait(30)
            session.execute(update(Fact).where(Fact.name == "n").values(value=str(read + 1)))

    at_once([careless, careless])
    with database() as session:
        assert value(session) == "1"


def test_one_that_a_writer_of_another_kind_overtakes_runs_again(database: sessionmaker[Session]) -> None:
    put(database, "before")
    seen: list[str] = []

    def work(session: Session) -> None:
        seen.append(value(session))
        if len(seen) == 1 and session.get_bind().dialect.name != "sqlite":
            put(database, "meanwhile")
        session.execute(update(Fact).where(Fact.name == "n").values(value=f"{seen[-1]}, then this"))

    in_one_commit(database, work)

    with database() as session:
        assert value(session) == f"{seen[-1]}, then this"
    assert seen in (["before"], ["before", "meanwhile"])


def test_one_that_is_always_overtaken_gives_up_and_says_so(database: sessionmaker[Session]) -> None:
    runs: list[int] = []

    def work(_session: Session) -> None:
        runs.append(1)
        raise Overtaken

    with pytest.raises(Overtaken):
        in_one_commit(database, work)
    assert len(runs) == 8


def test_a_snapshot_stays_as_it_was_at_its_first_look(database: sessionmaker[Session]) -> None:
    put(database, "before")

    with snapshot(database) as still:
        first = value(still)
        put(database, "after")
        still.expire_all()
        again = value(still)

    assert (first, again) == ("before", "before")


@ON_POSTGRESQL
def test_a_deadlock_is_ended_and_tried_again(database: sessionmaker[Session]) -> None:
    put(database, "0")
    with database.begin() as session:
        session.add(Fact(name="m", value="0"))
    holds_m, wants_n = threading.Event(), threading.Event()

    def other() -> None:
        with database.begin() as session:
            session.execute(text("UPDATE facts SET value = 'other' WHERE name = 'm'"))
            holds_m.set()
            wants_n.wait(30)
            session.execute(text("UPDATE facts SET value = 'other' WHERE name = 'n'"))

    runs: list[int] = []

    def work(session: Session) -> None:
        runs.append(1)
        session.execute(text("SET LOCAL deadlock_timeout = '50ms'"))
        session.execute(text("UPDATE facts SET value = 'mine' WHERE name = 'n'"))
        wants_n.set()
        # A deadlock is looked for once, that long after one began to wait: by then the other has to wait as well.
        assert len(runs) > 1 or wait_until(lambda: is_held_up(database), 60) is not None
        session.execute(text("UPDATE facts SET value = 'mine' WHERE name = 'm'"))

    thread = threading.Thread(target=other)
    thread.start()
    holds_m.wait(30)
    in_one_commit(database, work)
    thread.join(30)

    assert len(runs) >= 2  # more where a busy machine lets it be chosen again
    with database() as session:
        assert [session.get_one(Fact, name).value for name in "nm"] == ["mine", "mine"]


def is_held_up(database: sessionmaker[Session]) -> bool:
    """Say whether somebody waits for what somebody else has locked."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with database() as session:
        return bool(session.scalar(text(waiting)))


class Names:
    """What a group's members gather: it is written at the group's end."""

    def __init__(self, session: Session) -> None:
        self._session, self._names = session, list[str]()
        session.info["names"] = self._names

    def mark(self) -> Callable[[], None]:
        count = len(self._names)

        def take_back() -> None:
            del self._names[count:]

        return take_back

    def finish(self) -> None:
        self._session.add(Fact(name="gathered", value=" ".join(sorted(self._names))))


class ForgottenNames(Names):
    def finish(self) -> None:
        """Write nothing, so that several groups may gather."""


def gathering(database: sessionmaker[Session]) -> GroupCommit:
    return GroupCommit(database, Names)


def test_what_waits_for_a_commit_is_written_in_the_next_one_and_a_refused_one_takes_nobody_along(
    database: sessionmaker[Session],
) -> None:
    commits = list[int]()
    event.listen(engine_of(database), "commit", lambda _connection: commits.append(1))

    def first(session: Session) -> str:
        session.add(Fact(name="first", value=""))
        return "first"

    def work(name: str) -> Callable[[Session], str]:
        def do(session: Session) -> str:
            session.add(Fact(name=name, value=""))
            session.flush()
            session.info["names"].append(name)
            if name == "2":
                raise Refused(name)
            return name

        return do

    leading, waiting = together(gathering(database), first, [work(str(number)) for number in range(7)])

    assert leading.result() == "first"
    for number, one in enumerate(waiting):
        if number == 2:
            with pytest.raises(Refused, match="2"):
                one.result()
        else:
            assert one.result() == str(number)

    assert len(commits) == 2
    with database() as session:
        assert set(session.scalars(select(Fact.name))) == {"first", "0", "1", "3", "4", "5", "6", "gathered"}
        assert session.get_one(Fact, "gathered").value == "0 1 3 4 5 6"


@pytest.mark.parametrize("within_s, commits_each", [(30.0, 1), (0.0, 2)], ids=["waited for", "control: not waited for"])
def test_senders_that_were_answered_together_are_committed_together_again(
    database: sessionmaker[Session], within_s: float, commits_each: int
) -> None:
    """Else the first to come back would have a commit of its own, each time, and the others would wait for two."""
    group, commits = GroupCommit(database, ForgottenNames, within_s), list[int]()
    asking_together(group, lambda _session: None, [partial(group.run, lambda _session: None)] * 2)
    event.listen(engine_of(database), "commit", lambda _connection: commits.append(1))

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(group.run, lambda _session: len(commits))
        if within_s:
            await_waiting(group, 1)
        else:
            first.result(30)
        group.run(lambda _session: None)
        first.result(30)

    assert len(commits) == commits_each


def test_who_comes_alone_after_many_is_committed_alone(database: sessionmaker[Session]) -> None:
    group = GroupCommit(database, ForgottenNames)
    asking_together(group, lambda _session: None, [partial(group.run, lambda _session: None)] * 3)

    assert group.run(lambda _session: "alone") == "alone"


class Refusing:
    """Work that is refused, as large as what somebody sent."""

    def __call__(self, _session: Session) -> None:
        raise Refused("no")


@pytest.mark.parametrize("together_with", [0, 2], ids=["alone", "in a group"])
def test_what_was_refused_is_let_go_of_with_its_error(database: sessionmaker[Session], together_with: int) -> None:
    """By its traceback it would stay until the collector comes, which counts objects and not how large they are."""
    group, held = GroupCommit(database, ForgottenNames), list["weakref.ref[Refusing]"]()

    def ask() -> None:
        work = Refusing()
        held.append(weakref.ref(work))
        with suppress(Refused):
            group.run(work)

    gc.disable()
    try:
        asking_together(group, lambda _session: None, [ask] * (1 + together_with))
        assert [one() for one in held] == [None] * (1 + together_with)
    finally:
        gc.enable()


def test_who_is_done_is_answered_while_the_next_commit_is_under_way(database: sessionmaker[Session]) -> None:
    group, answered, all_answered = gathering(database), list[int](), threading.Event()

    def see(_session: Session) -> bool:
        in_time = all_answered.wait(60)
        all_answered.set()
        return in_time

    def ask_twice(number: int) -> bool:
        group.run(lambda _session: None)
        answered.append(number)
        if len(answered) == 7:
            all_answered.set()
        return group.run(see)

    _, asking = asking_together(group, lambda _session: None, [partial(ask_twice, number) for number in range(7)])

    assert all(one.result() for one in asking)


def test_who_is_stopped_while_it_commits_for_others_says_so_to_them_and_holds_up_nobody(
    database: sessionmaker[Session],
) -> None:
    def stopped(_session: Session) -> None:
        raise SystemExit

    group = gathering(database)
    _, both = together(group, lambda _session: None, [stopped, stopped])

    assert {type(one.exception()) for one in both} == {SystemExit, DatabaseUnavailable}
    assert group.run(lambda _session: "next") == "next"


def test_who_is_stopped_while_it_waits_holds_up_nobody(database: sessionmaker[Session]) -> None:
    class Stopped(BaseException):
        pass

    def stop(_number: int, _frame: object) -> None:
        raise Stopped

    def interrupt(_session: Session) -> None:
        begun.set()
        await_waiting(group, 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        stopped.wait(30)

    group, begun, stopped = gathering(database), threading.Event(), threading.Event()
    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with ThreadPoolExecutor(1) as pool:
            leading = pool.submit(group.run, interrupt)
            assert begun.wait(30)
            with pytest.raises(Stopped):
                group.run(lambda _session: None)
            stopped.set()
            assert leading.exception() is None
            assert pool.submit(group.run, lambda _session: "next").result(30) == "next"
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_who_is_stopped_while_it_waits_for_others_holds_up_nobody(database: sessionmaker[Session]) -> None:
    class Stopped(BaseException):
        pass

    def stop(_number: int, _frame: object) -> None:
        raise Stopped

    def interrupt() -> str:
        await_waiting(group, 1)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        stopped.wait(30)
        return group.run(lambda _session: "next")

    group, stopped = GroupCommit(database, ForgottenNames, 30.0), threading.Event()
    asking_together(group, lambda _session: None, [partial(group.run, lambda _session: None)] * 2)
    before = signal.signal(signal.SIGUSR1, stop)
    try:
        with ThreadPoolExecutor(2) as pool:
            following = pool.submit(interrupt)
            with pytest.raises(Stopped):
                group.run(lambda _session: None)
            stopped.set()
            assert pool.submit(group.run, lambda _session: "another").result(30) == "another"
            assert following.result(30) == "next"
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("broken", [DatabaseUnavailable, Unavailable, ValueError])
def test_what_fails_in_the_work_of_one_fails_for_nobody_else(
    database: sessionmaker[Session], broken: type[Exception]
) -> None:
    """Or what a database refuses of one sender would keep out whoever happens to come with it."""

    def work(number: int) -> Callable[[Session], int]:
        def do(session: Session) -> int:
            session.add(Fact(name=str(number), value=""))
            session.flush()
            if number in (1, 3):
                raise broken
            return number

        return do

    leading, waiting = together(gathering(database), lambda _session: None, [work(number) for number in range(5)])

    assert leading.exception() is None
    failed = {number: one.exception() for number, one in enumerate(waiting) if one.exception() is not None}

    assert {number: type(error) for number, error in failed.items()} == {1: broken, 3: broken}
    assert failed[1] is not failed[3]
    with database() as session:
        assert set(session.scalars(select(Fact.name))) - {"gathered"} == {"0", "2", "4"}


def test_what_the_database_refuses_of_all_that_was_gathered_fails_only_for_whom_it_is_of(
    database: sessionmaker[Session],
) -> None:
    """What is gathered is written for all of them at once, and says no more whose it was."""

    def work(number: int) -> Callable[[Session], int]:
        def do(session: Session) -> int:
            session.add(Fact(name=str(number), value=""))
            write(session.info.get("names"), number)
            return number

        return do

    def write(names: list[str] | None, number: int) -> None:
        if names is not None:
            names.append(str(number))
        elif number == 1:
            raise DatabaseUnavailable

    leading, waiting = together(
        GroupCommit(database, PickyNames), lambda _session: None, [work(number) for number in range(4)]
    )

    assert leading.exception() is None
    failed = [number for number, one in enumerate(waiting) if one.exception() is not None]

    assert failed == [1]
    with database() as session:
        assert set(session.scalars(select(Fact.name))) == {"0", "2", "3"}


class PickyNames(Names):
    def finish(self) -> None:
        if "1" in self._names:
            raise DatabaseUnavailable
        super().finish()
