"""Where captured images are kept: the spool, and what is entered of them beside it, over one database."""

from collections.abc import Callable, Collection, Mapping, Set
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from edge_agent.audit.journal import Journal
from edge_agent.capture.claims import Claims
from edge_agent.capture.instances import Instances
from edge_agent.capture.recovery import Recovery
from edge_agent.capture.registrar import Entries
from edge_agent.database import Database
from edge_agent.deliver.receipts import Receipts
from edge_agent.forward.queue import Forward
from edge_agent.log import Log
from edge_agent.moving.store import MovedStore
from edge_agent.spool.catalogue import HERE
from edge_agent.spool.reader import SpoolReader
from edge_agent.spool.spool import Spool
from edge_agent.spool.verifier import Finding, SpoolVerifier
from shared.audit.events import Event
from shared.identity import HostId, ObjectId
from shared.signing import EvidencePublicKey

MOST_DELIVERED = 1_000_000
"""How many delivered images are remembered: about 630 MB. That is 500 days of 2,000 images, and 50 of 20,000."""
_FORGOTTEN_AT_ONCE = 200  # an image waits meanwhile


def nothing_owed(_connection: Connection, forward: Forward) -> None:
    raise AssertionError(f"nobody forwards object {forward.object_id}")


class CaptureStore:
    """`key` is the host's own; `owe` enters what this host owes archives.

    `spool` is what the spool takes beside its folder and the database.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        journal: Journal,
        key: EvidencePublicKey,
        owe: Callable[[Connection, Forward], None] = nothing_owed,
        most_delivered: int = MOST_DELIVERED,
        **spool: Any,
    ) -> None:
        self.database, self.journal, self._key = database, journal, key
        self._most_delivered = most_delivered
        self._considered = 0  # up to which receipt it was considered whether to forget it
        self.spool = Spool(folder, database, **spool)
        self.receipts, self.instances, self.moved = Receipts(database), Instances(database), MovedStore(database)
        self.claims = Claims(
            self.instances,
            lambda name: self.spool.holds(name) or self.receipts.mentions(name),
            self._is_whole,
            self.receipts.holds,
        )
        self.entries = Entries(database, journal, self.spool, self.instances, self.claims, owe)

    def recover(self, host_id: HostId, log: Log) -> Mapping[int, int]:
        """Put everything in agreement after a stop, before anything new is taken. Like `Recovery.run`."""
        unread = Recovery(
            database=self.database,
            spool=self.spool,
            entries=self.entries,
            claims=self.claims,
            journal=self.journal,
            host_id=host_id,
            key=self._key,
            has_receipt=self.receipts.holds,
            is_brought=lambda object_id: self.moved.source_of(object_id) is not None,
            log=log,
        ).run()
        self.moved.forget_unfinished()
        return unread

    def doubt_after(self, seq: int) -> None:
        """Doubt that the vault still holds what the journal says, behind record `seq`, that it took.

        All that it ever took, where records from behind there are let go: which these named is not known any more.
        """
        with self.database.transaction():
            if seq + 1 < self.journal.oldest():
                self.receipts.doubt_all()
            else:
                self.receipts.doubt(self.journal.subjects_after(seq, Event.IMAGE_DELIVERED))

    def forget_old(self, named_elsewhere: Callable[[Collection[ObjectId]], Set[ObjectId]]) -> None:
        """Forget some of the images that were delivered longest ago, of more than are remembered; called by one thread.

        None that is in the spool or in doubt, and none of those given that are `named_elsewhere`: somebody still waits
        for what becomes of them. One that is sent again after that is captured again, which the vault sees.
        """
        with self.database.transaction() as connection:
            old = self.receipts.old(self._most_delivered, _FORGOTTEN_AT_ONCE, self._considered)
            # What stays is passed over until all behind it were considered, so that it keeps no other.
            self._considered = max(old, default=0)
            for object_id in set(old.values()) - named_elsewhere(old.values()) if old else ():
                self.receipts.forget(object_id)
                self.instances.forget(connection, object_id)

    def _is_whole(self, object_id: ObjectId) -> bool:
        row = self.spool.catalogue.find(object_id)
        if row is None or row.state not in HERE:
            return False
        verifier = SpoolVerifier(self.spool.catalogue, SpoolReader(self.spool.folder), lambda _: self._key)
        return verifier.result(row).judged.finding is Finding.WHOLE
