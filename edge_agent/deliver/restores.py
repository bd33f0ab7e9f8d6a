"""Hears that the centre was restored from a backup, which may lack what it answered for just before it was lost.

A centre that holds less of this host's journal than it confirmed shows it by that (audit/uploader.py). Of an image that
it took and whose record it had not been sent yet nothing would show: the record comes to the restored centre as new.
"""

from collections.abc import Callable

from edge_agent.database import Database
from edge_agent.https import Answer
from shared.fleet.receipt import RESTORED_HEADER, is_restore_mark

_SCHEMA = """
CREATE TABLE IF NOT EXISTS centre_restored (one INTEGER PRIMARY KEY CHECK (one = 1), mark TEXT NOT NULL) STRICT;
"""


class Restores:
    """Told of every answer at the host door, by any thread, before whoever asked reads it.

    `acknowledged` is up to which record the centre has confirmed the journal; `doubt_after` doubts what rests on its
    answers behind one, within the transaction that keeps the mark of the restore; `wake` is for whoever asks about it.
    """

    def __init__(
        self,
        database: Database,
        acknowledged: Callable[[], int],
        doubt_after: Callable[[int], None],
        wake: Callable[[], None],
    ) -> None:
        self._database, self._acknowledged, self._doubt_after, self._wake = database, acknowledged, doubt_after, wake
        database.create(_SCHEMA)
        self._heard = self._kept()

    def heard(self, answer: Answer) -> None:
        """Raises DatabaseUnavailable, DatabaseDamaged: whoever asked takes it for no answer, and asks again."""
        mark = answer.headers.get(RESTORED_HEADER.lower(), "")
        if mark == self._heard or not is_restore_mark(mark):
            return
        with self._database.transaction() as connection:
            if mark != self._kept():
                self._doubt_after(self._acknowledged())
                connection.execute(
                    "INSERT INTO centre_restored VALUES (1, ?) ON CONFLICT DO UPDATE SET mark = excluded.mark", (mark,)
                )
        self._heard = mark
        self._wake()

    def _kept(self) -> str:
        rows = self._database.read("SELECT mark FROM centre_restored")
        return str(rows[0][0]) if rows else ""
