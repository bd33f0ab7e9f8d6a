"""What became of each file of the export folders, so that a restart captures nothing twice and misses nothing.

A file's name may be a patient's, so it is kept as a keyed hash. The row of a file that was let go is deleted in the
commit of its audit record; that of one which its modality took away, a month after it was last seen.
"""

import hmac
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from sqlite3 import Connection, Row

from edge_agent.database import Database
from edge_agent.export_folder.classify import Stamp
from shared.identity import ObjectId

_SCHEMA = """
CREATE TABLE IF NOT EXISTS export_file (
    name BLOB PRIMARY KEY, ae TEXT NOT NULL, identity BLOB NOT NULL, stamp BLOB NOT NULL, state TEXT NOT NULL,
    object TEXT, sha256 BLOB, noted INTEGER NOT NULL, seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS export_file_identity ON export_file (identity);
CREATE INDEX IF NOT EXISTS export_file_state ON export_file (ae, state);
CREATE TABLE IF NOT EXISTS export_folder (
    ae TEXT PRIMARY KEY, reading TEXT NOT NULL, lies_on TEXT NOT NULL, waiting INTEGER NOT NULL,
    refused INTEGER NOT NULL, time TEXT NOT NULL
) STRICT;
"""
KEPT_DAYS = 31


class State(StrEnum):
    CAPTURED = "captured"  # the object is durable on this host
    RECEIPTED = "receipted"  # the vault answers for it
    RELEASING = "releasing"  # about to be moved or deleted
    REFUSED = "refused"  # not DICOM: left alone until it changes
    UNREADABLE = "unreadable"  # tried again with each scan
    DIRECTORY = "directory"  # a DICOMDIR


@dataclass(frozen=True)
class Entry:
    """One file. `stamp` is that of the moment before it was read, encoded; `noted`: that it stays was recorded."""

    stamp: bytes
    state: State
    object_id: ObjectId | None = None
    file_sha256: bytes | None = None
    noted: bool = False
    seen_day: int = 0

    def is_of(self, stamp: Stamp) -> bool:
        return self.stamp == stamp.encode()


class Ledger:
    """Every method raises DatabaseUnavailable and DatabaseDamaged. `key` is the host's own."""

    def __init__(self, database: Database, key: bytes) -> None:
        self._database, self._key = database, key
        database.create(_SCHEMA)

    def name(self, ae_title: str, path: bytes) -> bytes:
        """Return by what the ledger knows a file."""
        said = b"leadglass export file v1\x00" + ae_title.encode() + b"\x00" + path
        return hmac.digest(self._key, said, "sha256")

    def find(self, name: bytes) -> Entry | None:
        return self._one("name = ?", name)

    def twin(self, stamp: Stamp) -> Entry | None:
        """Return a captured file that is likely this one under another name; only its digest can tell for certain."""
        return self._one("identity = ? AND object IS NOT NULL LIMIT 1", stamp.identity())

    def put(self, name: bytes, ae_title: str, stamp: Stamp, entry: Entry) -> None:
        row = (
            name, ae_title, stamp.identity(), entry.stamp, entry.state.value,
            str(entry.object_id) if entry.object_id else None, entry.file_sha256, int(entry.noted), entry.seen_day,
        )  # fmt: skip
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO export_file VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def change(self, name: bytes, entry: Entry, state: State, *, noted: bool = False) -> Entry:
        """Return the entry in its new state, which is durable."""
        with self._database.transaction() as connection:
            changed = (state.value, int(noted), name)
            connection.execute("UPDATE export_file SET state = ?, noted = ? WHERE name = ?", changed)
        return replace(entry, state=state, noted=noted)

    def forget(self, name: bytes) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM export_file WHERE name = ?", (name,))

    def mark_seen(self, names: Iterable[bytes], day: int) -> None:
        with self._database.transaction() as connection:
            connection.executemany("UPDATE export_file SET seen = ? WHERE name = ?", ((day, name) for name in names))

    def drop_unseen(self, ae_title: str, before_day: int) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM export_file WHERE ae = ? AND seen < ?", (ae_title, before_day))

    def count(self, ae_title: str, *states: State) -> int:
        query = "SELECT count(*) FROM export_file WHERE ae = ? AND state = ?"
        with self._database.transaction() as connection:
            return sum(int(connection.execute(query, (ae_title, state.value)).fetchone()[0]) for state in states)

    def releasing(self, ae_title: str) -> dict[bytes, ObjectId]:
        """Return by name the objects of files that were being let go when the agent stopped."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT name, object FROM export_file WHERE ae = ? AND state = ?", (ae_title, State.RELEASING.value)
            ).fetchall()
        return {name: ObjectId.parse(object_id) for name, object_id in rows}

    def known(self, objects: Iterable[ObjectId]) -> set[ObjectId]:
        """Return those of some objects that are known to be files of a folder."""
        asked = {str(object_id): object_id for object_id in objects}
        query = f"SELECT object FROM export_file WHERE object IN ({', '.join('?' * len(asked))})"  # noqa: S608  marks
        with self._database.transaction() as connection:
            return {asked[name] for (name,) in connection.execute(query, tuple(asked))}

    def publish(self, folder: "FolderRow") -> None:
        """Keep how a folder stands, for whoever asks without an agent."""
        row = (folder.ae_title, folder.reading, folder.lies_on, folder.waiting, folder.refused, folder.time)
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO export_folder VALUES (?, ?, ?, ?, ?, ?)", row)

    def keep_folders(self, ae_titles: Iterable[str]) -> None:
        """Forget how folders stood that are not named any more."""
        kept = set(ae_titles)
        with self._database.transaction() as connection:
            for (ae_title,) in connection.execute("SELECT ae FROM export_folder").fetchall():
                if ae_title not in kept:
                    connection.execute("DELETE FROM export_folder WHERE ae = ?", (ae_title,))

    def _one(self, where: str, value: bytes) -> Entry | None:
        query = f"SELECT stamp, state, object, sha256, noted, seen FROM export_file WHERE {where}"  # noqa: S608  ours
        with self._database.transaction() as connection:
            row: Row | None = connection.execute(query, (value,)).fetchone()
        if row is None:
            return None
        stamp, state, object_id, digest, noted, seen = row
        return Entry(
            stamp, State(state), ObjectId.parse(object_id) if object_id else None, digest, bool(noted), int(seen)
        )


@dataclass(frozen=True)
class FolderRow:
    """How a folder stood at `time` (RFC 3339). `waiting` and `refused` are numbers of files."""

    ae_title: str
    reading: str
    lies_on: str
    waiting: int
    refused: int
    time: str


def read_folders(connection: Connection) -> tuple[FolderRow, ...]:
    """Return how the folders stood when an agent last said so, from a database that may be older than they."""
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'export_folder'").fetchone()
    rows = connection.execute("SELECT * FROM export_folder ORDER BY ae").fetchall() if known else []
    return tuple(FolderRow(*row) for row in rows)
