"""What the vault says that it has lost of this host's images, so that they are taken in when they are sent again.

Nothing is let go of on its word: a receipt that it takes back is doubted, asked for and forgotten, and what lies in
the spool stays there.
"""

from collections.abc import Callable

from edge_agent.database import Database
from edge_agent.deliver.receipts import Receipts
from edge_agent.https import Answer
from edge_agent.log import Log, why
from shared.errors import Malformed
from shared.fleet.receipt import LOST_HEADER, lost_in
from shared.identity import ObjectId


class Losses:
    """Told of every answer at the host door, by any thread.

    `reconsider` takes back what was decided by receipts, within the transaction that doubts some; `wake` is for whoever
    asks about them.
    """

    def __init__(
        self,
        database: Database,
        receipts: Receipts,
        reconsider: Callable[[], None],
        wake: Callable[[], None],
        log: Log,
    ) -> None:
        self._database, self._receipts, self._log = database, receipts, log
        self._reconsider, self._wake = reconsider, wake
        self._named: tuple[ObjectId, ...] = ()

    def heard(self, answer: Answer) -> None:
        """Raises DatabaseUnavailable, DatabaseDamaged; the centre says it again."""
        try:
            lost = lost_in(answer.headers.get(LOST_HEADER.lower(), ""))
        except Malformed as exc:
            self._log.event("delivery.losses-unreadable", why=why(exc))
            return
        if not lost:
            return
        with self._database.transaction():
            if self._receipts.doubt(map(str, lost)):
                self._reconsider()
        self._named = lost
        self._wake()

    def take_without_receipt(self) -> tuple[ObjectId, ...]:
        """Return, once each time they were heard, those for which there is no receipt to take back."""
        named, self._named = self._named, ()
        return tuple(object_id for object_id in named if not self._receipts.mentions(object_id))
