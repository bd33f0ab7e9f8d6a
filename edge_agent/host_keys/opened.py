"""One key, opened once for as long as its file stays the same: a TPM takes a second for it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge_agent.enrol.store import IdentityUnreadable
from edge_agent.host_keys.store import HostKeyStore
from edge_agent.host_keys.vault import KeyName
from edge_agent.memory_file import in_memory


class OpenedKey:
    """For any thread."""

    def __init__(self, keys: HostKeyStore, name: KeyName) -> None:
        self._keys, self._name = keys, name
        self._lock = threading.Lock()
        self._held: tuple[tuple[int, int, int], bytes] | None = None

    @contextmanager
    def readable(self) -> Iterator[Path]:
        """Yield a file in memory with the certificate and its key in clear. Raises like `HostKeyStore.load`."""
        with in_memory(self._content()) as file:
            yield file

    def _content(self) -> bytes:
        file = self._keys.file(self._name)
        with self._lock:
            try:
                status = file.stat()
            except OSError as exc:
                raise IdentityUnreadable(file, exc.strerror or "it cannot be read") from exc
            key = (status.st_ino, status.st_mtime_ns, status.st_size)
            if self._held is None or self._held[0] != key:
                self._held = (key, self._keys.load(self._name))
            return self._held[1]
