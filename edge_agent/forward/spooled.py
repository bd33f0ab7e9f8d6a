"""Finds sealed objects in the spool by id, whatever they wait for."""

from io import BufferedReader

from edge_agent.spool.spool import Spool
from shared.identity import ObjectId


class SpoolObjects:
    def __init__(self, spool: Spool) -> None:
        self._spool = spool

    def open(self, object_id: ObjectId) -> BufferedReader | None:
        """Return the sealed object file, or None where there is none. Raises OSError, SpoolUnavailable."""
        spooled = self._spool.find(object_id)
        return None if spooled is None else self._spool.open(spooled)
