"""A disk that keeps what was synced and nothing else, and what a power cut may leave on it.

Watches one folder of this process. What counts as durable:

    data of a file         once os.fsync of it has returned, or os.pwrite to a descriptor that is open with O_DSYNC
    the names in a folder  once os.fsync of the folder has returned; a folder's own name lies in the one above
    SQLite's files         as they stand when a commit under synchronous=FULL has returned

Everything else a power cut may leave or not, each name and each block of 4,096 bytes by itself. That SQLite syncs its
files before a commit returns is taken on trust.
"""

import fcntl
import os
import random
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edge_agent.database import Database

BLOCK_BYTES = 4096
_FULL = 2
_OVERTAKEN_S = 0.02


@dataclass(frozen=True)
class Left:
    """What a power cut left: the content of each file, None for a folder, by its path in the watched one."""

    entries: Mapping[Path, bytes | None]

    def put_into(self, folder: Path) -> None:
        folder.mkdir()
        for path, content in sorted(self.entries.items()):
            if content is None:
                (folder / path).mkdir(parents=True)
            else:
                (folder / path).write_bytes(content)


@dataclass(frozen=True)
class _Writing:
    inode: int
    offset: int
    data: bytes


class Choice:
    """What becomes of what was not synced: nothing of it is there, or each piece by chance."""

    def __init__(self, seed: int | None) -> None:
        self._random = random.Random(seed)
        self._share = 0.0 if seed is None else self._random.choice((0.1, 0.5, 0.9, 1.0))

    def is_there(self) -> bool:
        return self._random.random() < self._share


@dataclass
class Disk:
    """`on_point` is called at each sync point, with what it is, once before and once after it took hold."""

    root: Path
    on_point: Callable[[str], None] = lambda _: None
    reorders: Callable[[], bool] = lambda: False  # whether a write waits, not long, until another has overtaken it
    names_of: dict[int, set[str]] = field(default_factory=dict)  # by inode, under which names a file was ever seen
    _lock: threading.Condition = field(default_factory=threading.Condition)
    _content: dict[int, bytes] = field(default_factory=dict)
    _names: dict[Path, dict[str, int]] = field(default_factory=dict)
    _writing: dict[int, _Writing] = field(default_factory=dict)
    _pinned: dict[int, int] = field(default_factory=dict)
    _database: dict[Path, bytes] = field(default_factory=dict)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch until the end of the block. What is in the folder by then counts as durable only once it is synced."""
        real_fsync, real_pwrite = os.fsync, os.pwrite

        def fsync(descriptor: int) -> None:
            path = self._ours(descriptor)
            if path is not None:
                with self._lock:
                    self.on_point(f"before fsync of {path}")
            real_fsync(descriptor)
            if path is None:
                return
            with self._lock:
                self._synced(descriptor, path)
                self.on_point(f"after fsync of {path}")

        def pwrite(descriptor: int, data: Any, offset: int) -> int:
            path = self._ours(descriptor)
            if path is None:
                return real_pwrite(descriptor, data, offset)
            inode, token = self._pin(descriptor), threading.get_ident()
            with self._lock:
                self._writing[token] = _Writing(inode, offset, bytes(data))
                self.on_point(f"before write to {path}")
                if self.reorders():
                    self._lock.wait(_OVERTAKEN_S)
            try:
                written = real_pwrite(descriptor, data, offset)
            finally:
                with self._lock:
                    del self._writing[token]
            with self._lock:
                if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DSYNC:
                    before = self._content.get(inode, b"")
                    self._content[inode] = _overlaid(before, offset, bytes(memoryview(data)[:written]))
                self.on_point(f"after write to {path}")
                self._lock.notify_all()
            return written

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(os, "fsync", fsync)
            patched.setattr(os, "pwrite", pwrite)
            try:
                yield
            finally:
                for descriptor in self._pinned.values():
                    os.close(descriptor)
                self._pinned.clear()

    def database(self, path: Path) -> "WatchedDatabase":
        return WatchedDatabase(path, lambda connection: self._committed(path, connection))

    # ---- what a power cut leaves

    def left(self, choice: Choice) -> Left:
        """Return the folder as a power cut at this moment would leave it."""
        with self._lock:
            entries: dict[Path, bytes | None] = {}
            self._leave(Path(), choice, entries)
            return Left(entries | self._database)

    def _leave(self, folder: Path, choice: Choice, entries: "dict[Path, bytes | None]") -> None:
        synced, written = self._names.get(folder, {}), self._listed(folder)
        for name in sorted(synced.keys() | written.keys()):
            before, after = synced.get(name), written.get(name)
            inode = after if before != after and choice.is_there() else before
            if inode is None or _is_of_the_database(name):
                continue
            path = folder / name
            if stat.S_ISDIR(self._through_pin(inode).stat().st_mode):
                entries[path] = None
                self._leave(path, choice, entries)
            else:
                entries[path] = self._content_left(inode, choice)

    def _content_left(self, inode: int, choice: Choice) -> bytes:
        synced = self._content.get(inode, b"")
        written = _read(self._through_pin(inode))
        for writing in self._writing.values():
            if writing.inode == inode:
                # On its way this very moment: of these blocks too each may have arrived.
                written = _overlaid(written, writing.offset, writing.data)
        if written == synced:
            return synced
        size = len(written) if choice.is_there() else len(synced)
        left = bytearray(synced[:size].ljust(size, b"\x00"))
        for at in range(0, size, BLOCK_BYTES):
            end = min(at + BLOCK_BYTES, size)
            if written[at:end] != synced[at:end] and choice.is_there():
                left[at:end] = written[at:end].ljust(end - at, b"\x00")
        return bytes(left)

    # ---- what is durable

    def _synced(self, descriptor: int, path: Path) -> None:
        inode = self._pin(descriptor)
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            self._names[path] = self._listed(path)
        else:
            self._content[inode] = _read(self._through_pin(inode))

    def _committed(self, path: Path, connection: sqlite3.Connection) -> None:
        (level,) = connection.execute("PRAGMA synchronous").fetchone()
        with self._lock:
            name = path.relative_to(self.root)
            files = {name.with_name(name.name + end): path.with_name(path.name + end) for end in ("", "-wal")}
            now = {name: _read(file) for name, file in files.items() if file.exists()}
            if now == self._database:
                return
            self.on_point("before a commit")
            if level >= _FULL:
                self._database = now
            self.on_point("after a commit")

    def _listed(self, folder: Path) -> dict[str, int]:
        try:
            with os.scandir(self.root / folder) as found:
                listed = {entry.name: self._pin(Path(entry.path)) for entry in found}
        except FileNotFoundError:
            return {}
        for name, inode in listed.items():
            self.names_of.setdefault(inode, set()).add(name)
        return {name: inode for name, inode in listed.items() if not _is_of_the_database(name)}

    def _ours(self, descriptor: int) -> Path | None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        return path.relative_to(self.root) if path.is_relative_to(self.root) else None

    def _pin(self, file: "Path | int") -> int:
        """Return the inode of a file, which belongs to no other file as long as it is watched."""
        path = file if isinstance(file, Path) else Path(f"/proc/self/fd/{file}")
        descriptor = os.open(path, os.O_PATH)
        inode = os.fstat(descriptor).st_ino
        with self._lock:
            if self._pinned.setdefault(inode, descriptor) != descriptor:
                os.close(descriptor)
        return inode

    def _through_pin(self, inode: int) -> Path:
        return Path(f"/proc/self/fd/{self._pinned[inode]}")


class WatchedDatabase(Database):
    """Says when something was committed, while nothing else can be."""

    def __init__(self, path: Path, on_commit: Callable[[sqlite3.Connection], None]) -> None:
        self._on_commit = on_commit
        super().__init__(path)
        # So that moving the log into the file falls between two cuts as well.
        self._connection.execute("PRAGMA wal_autocheckpoint=20")

    def create(self, schema: str) -> None:
        with self._lock:
            super().create(schema)
            self._on_commit(self._connection)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            is_outermost = not self._depth
            with super().transaction() as connection:
                yield connection
            if is_outermost:
                self._on_commit(connection)


def _is_of_the_database(name: str) -> bool:
    return ".sqlite" in name


def _overlaid(content: bytes, offset: int, data: bytes) -> bytes:
    return content[:offset].ljust(offset, b"\x00") + data + content[offset + len(data) :]


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read()
