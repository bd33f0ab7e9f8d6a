"""The policy's bundles as they came last, kept so that an agent that starts without its centre can offer them again."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge_agent.database import Database
from shared.policy.document import ORGANISATION

_SCHEMA = """
CREATE TABLE IF NOT EXISTS kept_head (one INTEGER PRIMARY KEY CHECK (one = 1), head BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS kept_layer (layer TEXT PRIMARY KEY, bundle BLOB NOT NULL) STRICT;
"""


@dataclass(frozen=True)
class Kept:
    """A head, and each layer's bundle, that hold together; the organisation's is always there."""

    head: bytes
    layers: Mapping[str, bytes]


class KeptBundles:
    """Safe to use from any thread."""

    def __init__(self, database: Database, on_change: Callable[[], None] = lambda: None) -> None:
        """Raises DatabaseUnavailable, DatabaseDamaged."""
        self._database, self._on_change, self._lock = database, on_change, threading.Lock()
        database.create(_SCHEMA)
        self._take_over()
        layers = dict(database.read("SELECT layer, bundle FROM kept_layer"))
        self._held = next((Kept(head, layers) for (head,) in database.read("SELECT head FROM kept_head")), None)

    def held(self) -> Kept | None:
        """Return what came last, None where none ever came."""
        with self._lock:
            return self._held

    def keep(self, head: bytes, layers: Mapping[str, bytes]) -> None:
        """Raises DatabaseUnavailable, DatabaseDamaged."""
        kept = Kept(head, dict(layers))
        with self._lock:
            if self._held == kept:
                return
            self._write(kept)
            self._held = kept
        self._on_change()

    def _write(self, kept: Kept) -> None:
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO kept_head VALUES (1, ?)", (kept.head,))
            connection.execute("DELETE FROM kept_layer")
            connection.executemany("INSERT INTO kept_layer VALUES (?, ?)", kept.layers.items())

    def _take_over(self) -> None:
        """Take over the table of an agent that knew one layer."""
        with self._database.transaction() as connection:
            if not self._database.read("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'kept_bundles'"):
                return
            if not self._database.read("SELECT 1 FROM kept_head"):
                for head, layer in self._database.read("SELECT head, layer FROM kept_bundles"):
                    self._write(Kept(head, {ORGANISATION: layer}))
            connection.execute("DROP TABLE kept_bundles")
