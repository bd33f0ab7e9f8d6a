"""Which commands were taken here, and what became of each, until the centre has confirmed it.

A command is noted as taken before anything of it is done. The note is kept for good, so that no command is done twice,
however the clock is set. So is the result of one that was refused: what the centre shows as refused is never done.
"""

from dataclasses import dataclass

from edge_agent.database import Database
from shared.envelope import Signer
from shared.identity import CommandId, KeyId

_SCHEMA = """
CREATE TABLE IF NOT EXISTS command_taken (
    command TEXT PRIMARY KEY, sha256 BLOB NOT NULL, action TEXT NOT NULL, person TEXT NOT NULL, ended INTEGER NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS command_taken_stays BEFORE DELETE ON command_taken
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TABLE IF NOT EXISTS command_result (
    number INTEGER PRIMARY KEY, command TEXT NOT NULL, sha256 BLOB NOT NULL, signed BLOB NOT NULL,
    confirmed INTEGER NOT NULL, UNIQUE (command, sha256)
) STRICT;
CREATE TRIGGER IF NOT EXISTS command_result_stays BEFORE DELETE ON command_result
BEGIN SELECT RAISE(ABORT, 'append-only'); END;
CREATE TABLE IF NOT EXISTS command_signer (
    command TEXT NOT NULL, key TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (command, key)
) STRICT;
"""


@dataclass(frozen=True)
class Taken:
    """A command as it was taken: enough to say what became of it."""

    command_id: CommandId
    sha256: bytes
    action: str
    person: str  # as the command claims
    signers: tuple[Signer, ...]


@dataclass(frozen=True)
class Waiting:
    """A result that the centre has not confirmed."""

    number: int
    command_id: CommandId
    signed: bytes


class CommandStore:
    """Every change is part of a transaction of the caller's, or one of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.create(_SCHEMA)

    def is_taken(self, command_id: CommandId) -> bool:
        """Return whether a command of this name was taken or refused here."""
        query = "SELECT 1 FROM command_taken WHERE command = ? UNION SELECT 1 FROM command_result WHERE command = ?"
        return bool(self._database.read(query, (str(command_id), str(command_id))))

    def take(self, taken: Taken) -> None:
        row = (str(taken.command_id), taken.sha256, taken.action, taken.person, 0)
        with self._database.transaction() as connection:
            connection.execute("INSERT INTO command_taken VALUES (?, ?, ?, ?, ?)", row)
            signers = [(str(taken.command_id), str(signer.key_id), signer.name) for signer in taken.signers]
            connection.executemany("INSERT INTO command_signer VALUES (?, ?, ?)", signers)

    def begun(self) -> tuple[Taken, ...]:
        """Return what was taken and has no end yet."""
        rows = self._database.read("SELECT command, sha256, action, person FROM command_taken WHERE ended = 0")
        return tuple(
            Taken(CommandId.parse(command), digest, action, person, self._signers(command))
            for command, digest, action, person in rows
        )

    def _signers(self, command: str) -> tuple[Signer, ...]:
        rows = self._database.read("SELECT key, name FROM command_signer WHERE command = ? ORDER BY key", (command,))
        return tuple(Signer(KeyId.parse(key), name) for key, name in rows)

    def end(self, taken: Taken, signed: bytes) -> None:
        """Keep what became of a command that was taken."""
        with self._database.transaction() as connection:
            # An earlier version took commands that it had refused before, for want of a signature say.
            connection.execute(
                "INSERT INTO command_result (command, sha256, signed, confirmed) VALUES (?, ?, ?, 0) "
                "ON CONFLICT DO UPDATE SET signed = excluded.signed, confirmed = 0",
                (str(taken.command_id), taken.sha256, signed),
            )
            connection.execute("UPDATE command_taken SET ended = 1 WHERE command = ?", (str(taken.command_id),))

    def refuse(self, command_id: CommandId, sha256: bytes, signed: bytes) -> None:
        """Keep that a command was refused, for good, unless there is a word on just this one already."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO command_result (command, sha256, signed, confirmed) VALUES (?, ?, ?, 0) "
                "ON CONFLICT DO NOTHING",
                (str(command_id), sha256, signed),
            )

    def tell_again(self, command_id: CommandId, sha256: bytes) -> bool:
        """Have the result of just this command sent once more; return whether there is one."""
        with self._database.transaction() as connection:
            changed = connection.execute(
                "UPDATE command_result SET confirmed = 0 WHERE command = ? AND sha256 = ?", (str(command_id), sha256)
            )
            return changed.rowcount == 1

    def waiting(self) -> tuple[Waiting, ...]:
        """Return the results that nobody has confirmed, the oldest first."""
        rows = self._database.read(
            "SELECT number, command, signed FROM command_result WHERE confirmed = 0 ORDER BY number LIMIT 64"
        )
        return tuple(Waiting(number, CommandId.parse(command), signed) for number, command, signed in rows)

    def confirm(self, waiting: Waiting) -> None:
        with self._database.transaction() as connection:
            connection.execute("UPDATE command_result SET confirmed = 1 WHERE number = ?", (waiting.number,))
