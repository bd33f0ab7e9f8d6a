"""Keeps the highest checkpoints that this host verified of the centre's log, and what it lost of it, for good."""

import sqlite3
from dataclasses import dataclass

from edge_agent.database import Database
from shared.audit.checkpoint import Checkpoint
from shared.audit.tlog.checkpoint import TreeHead, claimed_head

_SCHEMA = """
CREATE TABLE IF NOT EXISTS log_checkpoint (
    one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, leaf BLOB NOT NULL, signed BLOB, said TEXT NOT NULL
) STRICT;
INSERT OR IGNORE INTO log_checkpoint VALUES (1, 0, x'', NULL, '');
CREATE TABLE IF NOT EXISTS log_checkpoint_lost (
    seq INTEGER NOT NULL, leaf BLOB NOT NULL, signed BLOB NOT NULL, accepted BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS log_head (one INTEGER PRIMARY KEY CHECK (one = 1), note TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS log_head_lost (note TEXT NOT NULL, accepted BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS log_cosigner (one INTEGER PRIMARY KEY CHECK (one = 1), vkey TEXT NOT NULL) STRICT;
"""


@dataclass(frozen=True)
class Held:
    checkpoint: Checkpoint | None
    signed: bytes | None
    said: str  # what is wrong with the centre's log, empty where nothing is
    note: str | None = None  # the newest checkpoint of the Merkle log, as the log signed it

    @property
    def head(self) -> TreeHead | None:
        return None if self.note is None else claimed_head(self.note)


class CheckpointStore:
    """Within a transaction of the same database each change becomes durable together with that."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(_SCHEMA)

    def held(self) -> Held:
        ((seq, leaf, signed, said, note),) = self._database.read(
            "SELECT seq, leaf, signed, said, (SELECT note FROM log_head) FROM log_checkpoint"
        )
        return Held(None if signed is None else Checkpoint(seq, leaf), signed, said, note)

    def keep(self, checkpoint: Checkpoint, signed: bytes) -> None:
        """Put a verified checkpoint in the place of the one before; it then survives a power cut."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE log_checkpoint SET seq = ?, leaf = ?, signed = ?", (checkpoint.seq, checkpoint.leaf, signed)
            )

    def keep_head(self, note: str) -> None:
        """Put a verified checkpoint of the Merkle log in the place of the one before, as `keep` does."""
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO log_head VALUES (1, ?)", (note,))

    def note_cosigner(self, vkey: str) -> None:
        """Note by which key this host cosigns, for people who look."""
        if self._database.read("SELECT vkey FROM log_cosigner") != [(vkey,)]:
            with self._database.transaction() as connection:
                connection.execute("INSERT OR REPLACE INTO log_cosigner VALUES (1, ?)", (vkey,))

    def lose(self, accepted: bytes) -> None:
        """Put what is held aside for good, with the centre's record by which a person accepted that it is lost."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO log_checkpoint_lost SELECT seq, leaf, signed, ? FROM log_checkpoint", (accepted,)
            )

    def lose_head(self, accepted: bytes) -> None:
        with self._database.transaction() as connection:
            connection.execute("INSERT INTO log_head_lost SELECT note, ? FROM log_head", (accepted,))

    def say(self, said: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("UPDATE log_checkpoint SET said = ?", (said,))


def read_said(connection: sqlite3.Connection) -> tuple[int, str]:
    """Return the number of what is held, 0 for none, and what is wrong with the centre's log."""
    seq, said = connection.execute("SELECT seq, said FROM log_checkpoint").fetchone()
    return int(seq), str(said)


def read_witness(connection: sqlite3.Connection) -> tuple[str, str]:
    """Return the newest checkpoint of the Merkle log that this host verified, and by which key it cosigns, or empty."""
    note, vkey = connection.execute("SELECT (SELECT note FROM log_head), (SELECT vkey FROM log_cosigner)").fetchone()
    return str(note or ""), str(vkey or "")
