"""A PostgreSQL server of our own in a temporary folder: no network, a database for each test, stopped as asked."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url

_USERS = ("postgres", "nobody")
_WAIT_S = "300"


class Server:
    """Reached by a socket in its folder; root runs it as another user, since PostgreSQL refuses root."""

    def __init__(self, folder: Path, programs: Path, *, settings: tuple[str, ...] = ()) -> None:
        self.folder, self._programs, self._settings = folder, programs, settings
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = _unprivileged()
            self._as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(folder, user.pw_uid, user.pw_gid)
        self._run("initdb", "--pgdata", str(self._data), "--username", "leadglass", "--auth", "trust",
                  "--encoding", "UTF8", "--no-locale", "--no-sync")  # fmt: skip
        self.start()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def start(self, *settings: str) -> None:
        # Autovacuum would go round all databases of the tests, none of which is about what it does.
        options = (
            "listen_addresses=", f"unix_socket_directories={self.folder}", "autovacuum=off", *self._settings, *settings,
        )  # fmt: skip
        given = " ".join(f"-c '{option}'" for option in options)
        self._run("pg_ctl", "start", "--pgdata", str(self._data), "--wait", "--timeout", _WAIT_S,
                  "--log", str(self.folder / "log"), "--options", given)  # fmt: skip

    def stop(self, how: str = "fast") -> None:
        """`how` is fast, or immediate: then it drops everything where it stands, as a power cut has it."""
        self._run("pg_ctl", "stop", "--pgdata", str(self._data), "--wait", "--timeout", _WAIT_S, "--mode", how)

    def url(self, name: str = "postgres") -> str:
        return f"postgresql+psycopg://leadglass@/{name}?host={self.folder}"

    def new_database(self, options: str = "") -> str:
        """Return the URL of a database that is empty."""
        name = f"test_{uuid4().hex}"
        self.sql(f"CREATE DATABASE {name} {options}")
        return self.url(name)

    def copy(self, url: str) -> str:
        """Return the URL of a database that is as the one at `url`, which nobody may have open."""
        return self.new_database(f"TEMPLATE {make_url(url).database}")

    def drop(self, url: str) -> None:
        """Take a database away, and from whoever has it open."""
        self.sql(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def sql(self, statement: str) -> None:
        with psycopg.connect(f"user=leadglass dbname=postgres host={self.folder}", autocommit=True) as connection:
            connection.execute(statement.encode())

    def _run(self, program: str, *arguments: str) -> None:
        with (self.folder / "said").open("wb") as said:
            done = subprocess.run(
                [self._programs / program, *arguments], cwd=self.folder, check=False, stdin=subprocess.DEVNULL,
                stdout=said, stderr=subprocess.STDOUT, **self._as,
            )  # fmt: skip
        if done.returncode:
            words = [path.read_text() for path in (self.folder / "said", self.folder / "log") if path.exists()]
            raise AssertionError("\n".join(words))


@contextmanager
def server(*settings: str) -> Iterator[Server]:
    programs = _programs()
    if programs is None:
        pytest.skip("postgresql is not installed")
    # A path that is short enough for a socket, and that an unprivileged user can reach.
    with tempfile.TemporaryDirectory(prefix="leadglass-pg-", ignore_cleanup_errors=True) as folder:
        running = Server(Path(folder), programs, settings=settings)
        try:
            yield running
        finally:
            running.stop("immediate")


def _programs() -> Path | None:
    """Return the folder of the newest version; Debian keeps the server's programs off the PATH."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(folders, key=lambda folder: int(folder.parent.name), default=None)


def _unprivileged() -> pwd.struct_passwd:
    known = {user.pw_name: user for user in pwd.getpwall()}
    return next(known[name] for name in _USERS if name in known)
