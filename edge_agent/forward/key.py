"""The forwarding key: the one key on a host that opens images, and only those that wait here for an archive.

    identity/forwarding.key = seed of a sealing key pair (32), 0600; host_keys/store.py

Made when the first image needs it, so a host without such routes has none. One that is there and cannot be read is
never replaced: what waits was sealed to it.
"""

import secrets
import threading
from pathlib import Path

from edge_agent.enrol.store import IdentityNotStored, IdentityUnreadable
from edge_agent.host_keys.store import HostKeyStore
from edge_agent.host_keys.vault import KeyMisplaced, KeyName, KeyNotOfThisTpm, KeyVaultUnavailable
from shared.errors import Malformed, Unavailable
from shared.identity import RandomBytes
from shared.sealing.hpke import SEED_BYTES, SealingPrivateKey, SealingPublicKey


class ForwardingKeyUnusable(Unavailable):
    def __init__(self, file: Path, why: str) -> None:
        super().__init__(f"the forwarding key in {file} cannot be used: {why}")
        self.file, self.why = file, why


class ForwardingKey:
    """For any thread. Read once; a file that is exchanged counts after the next start."""

    def __init__(self, keys: HostKeyStore, random_bytes: RandomBytes = secrets.token_bytes) -> None:
        self._keys, self._file, self._random = keys, keys.file(KeyName.FORWARDING), random_bytes
        self._lock = threading.Lock()
        self._key: SealingPrivateKey | None = None

    def public(self) -> SealingPublicKey:
        """Return the half that seals, of a pair made first where there is none. Raises ForwardingKeyUnusable."""
        with self._lock:
            if self._load() is None:
                try:
                    self._keys.store(KeyName.FORWARDING, b"", self._random(SEED_BYTES))
                except (IdentityNotStored, KeyVaultUnavailable) as exc:
                    raise ForwardingKeyUnusable(self._file, exc.why) from exc
            return self._present().public

    def private(self) -> SealingPrivateKey:
        """Raises ForwardingKeyUnusable: also where there is none, for none is made to open things with."""
        with self._lock:
            return self._present()

    def _present(self) -> SealingPrivateKey:
        key = self._load()
        if key is None:
            raise ForwardingKeyUnusable(self._file, "it is gone, and with it what was sealed to it")
        return key

    def _load(self) -> SealingPrivateKey | None:
        if self._key is None:
            if not self._keys.has(KeyName.FORWARDING):
                return None
            try:
                self._key = SealingPrivateKey(self._keys.load(KeyName.FORWARDING))
            except (IdentityUnreadable, KeyVaultUnavailable, KeyMisplaced, Malformed) as exc:
                raise ForwardingKeyUnusable(self._file, exc.why) from exc
            except KeyNotOfThisTpm as exc:
                raise ForwardingKeyUnusable(self._file, str(exc)) from exc
        return self._key
