"""Databases that are made once and copied for each test: to migrate one costs ten times what its copy does."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Protocol, TypeVar

from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.engine import close_database, leave_nothing_behind, open_database, parse_url, sqlite_url
from tests.control_plane.vault.bench import Bench, HostBench
from tests.fakes.postgresql import Server

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    engine: str
    url: str

    def open(self) -> sessionmaker[Session]:
        return open_database(self.url)


class Engine(Protocol):
    def empty(self, folder: Path) -> Place:
        """Return a database that holds nothing; `folder` is for what it may keep there."""

    def copy(self, original: Place, folder: Path) -> Place:
        """Return a copy of one that nobody has open."""

    def drop(self, copy: Place) -> None: ...


class Sqlite:
    def empty(self, folder: Path) -> Place:
        return Place("sqlite", sqlite_url(folder / "centre.sqlite"))

    def copy(self, original: Place, folder: Path) -> Place:
        copied = self.empty(folder)
        shutil.copyfile(_file(original), _file(copied))
        return copied

    def drop(self, copy: Place) -> None:
        """Leave it to go with its folder."""


class Postgresql:
    def __init__(self, server: Server) -> None:
        self._server = server

    def empty(self, folder: Path) -> Place:
        return Place("postgresql", self._server.new_database())

    def copy(self, original: Place, folder: Path) -> Place:
        return Place("postgresql", self._server.copy(original.url))

    def drop(self, copy: Place) -> None:
        self._server.drop(copy.url)


class Originals:
    """Makes each when it is first asked for, in a folder of its own."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        self._engine, self._folder = engine, folder
        self._made: dict[str, Place] = {}
        self._after: dict[Callable[[Bench], Any], tuple[Place, Bench, Any]] = {}
        self._lent: list[Place] = []

    def empty(self, folder: Path) -> Place:
        return self._lend(self._engine.empty(folder))

    def copy(self, name: str, fill: Callable[[str], sessionmaker[Session]], folder: Path) -> Place:
        """Return a copy of the database of that name, which `fill` makes of an empty one where there is none yet."""
        if name not in self._made:
            original = self._engine.empty(self._new_folder())
            _put_away(fill(original.url))
            self._made[name] = original
        return self._lend(self._engine.copy(self._made[name], folder))

    def migrated(self, folder: Path) -> Place:
        return self.copy("migrated", open_database, folder)

    def begun(self, folder: Path) -> Place:
        """Return one with the keys and certificates of a centre."""
        return self.copy("begun", lambda url: Bench(self._new_folder(), url=url).database, folder)

    @contextmanager
    def after(self, went: Callable[[Bench], T], folder: Path) -> Iterator[tuple[Bench, T]]:
        """Yield a centre that `went` was done to, as its restart finds it, and what that returned, for all to read."""
        if went not in self._after:
            original = self._engine.empty(self._new_folder())
            bench = Bench(self._new_folder(), url=original.url)
            self._after[went] = original, bench, went(bench)
            _put_away(bench.database)
        original, made, returned = self._after[went]
        shutil.copytree(made.folder, folder / "centre")
        bench = Bench(folder / "centre", url=self._lend(self._engine.copy(original, folder)).url)
        bench.clock.advance(made.clock.now() - bench.clock.now())
        yield bench, returned
        close_database(bench.database)

    @contextmanager
    def host_after(self, went: Callable[[Bench], HostBench], folder: Path) -> Iterator[HostBench]:
        with self.after(went, folder) as (bench, host):
            yield replace(host, bench=bench, journal=list(host.journal))

    def drop_copies(self) -> None:
        while self._lent:
            self._engine.drop(self._lent.pop())

    def _lend(self, place: Place) -> Place:
        self._lent.append(place)
        return place

    def _new_folder(self) -> Path:
        return Path(mkdtemp(dir=self._folder))


def _put_away(database: sessionmaker[Session]) -> None:
    leave_nothing_behind(database)
    close_database(database)


def _file(place: Place) -> Path:
    return Path(parse_url(place.url).database or "")
