"""What a PostgreSQL server has to promise before it holds anything of ours, asked anew on every connection."""

from typing import Any

from psycopg import Connection

from shared.errors import Refused

_LOCK_TIMEOUT_MS = 10_000
# The server's own setting, what it has to be, and what it would mean otherwise.
_PROMISES = (
    ("fsync", {"on"}, "a power cut could take away what was acknowledged, or all of the database"),
    ("full_page_writes", {"on"}, "a power cut could leave half-written pages"),
    ("synchronous_commit", {"on", "local", "remote_write", "remote_apply"}, "a commit would not be on its disk"),
    ("server_encoding", {"UTF8"}, "it could not hold every name; create it with ENCODING 'UTF8' TEMPLATE template0"),
)


class ServerRefused(Refused):
    """The server is not set up so that what it says it has survives a power cut."""

    def __init__(self, setting: str, found: str, why: str) -> None:
        super().__init__(f"the PostgreSQL server has {setting} = {found}, and this is refused: {why}")
        self.setting, self.found = setting, found


def make_durable(connection: Connection[Any], _record: object) -> None:
    """Set up a new connection of the pool. Raises ServerRefused."""
    try:
        connection.autocommit = True  # what is set within a transaction would end with it
        _set_up(connection)
        connection.autocommit = False
    except BaseException:
        connection.close()
        raise


def _set_up(connection: Connection[Any]) -> None:
    # A role or a database may be set to "off"; whatever waits for more than the local disk is left as it is.
    connection.execute(
        "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'"
    )
    connection.execute(f"SET lock_timeout = {_LOCK_TIMEOUT_MS}")
    connection.execute("SET statement_timeout = 0")
    connection.execute("SET timezone = 'UTC'")
    # Compiling takes a fifth of a second, and a statement that it is done for seldom takes a hundredth of that to run.
    connection.execute("SET jit = off")
    for setting, wanted, why in _PROMISES:
        row = connection.execute("SELECT convert_to(current_setting(%s), 'SQL_ASCII')", (setting,)).fetchone()
        found = bytes(row[0]).decode() if row else ""
        if found not in wanted:
            raise ServerRefused(setting, found, why)
