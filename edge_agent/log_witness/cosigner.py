"""The key by which this host cosigns checkpoints of the centre's log, and for nothing else.

    identity/witness.key = seed of an Ed25519 key (32), 0600; host_keys/store.py

Made when the first checkpoint is cosigned. One that is there and cannot be read is never replaced: whoever knows this
witness by its key would take another for somebody else.
"""

import secrets
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge_agent.enrol.store import IdentityNotStored, IdentityUnreadable
from edge_agent.host_keys.store import HostKeyStore
from edge_agent.host_keys.vault import KeyMisplaced, KeyName, KeyNotOfThisTpm, KeyVaultUnavailable
from shared.audit.tlog.keys import KeyType, NoteSigner
from shared.audit.tlog.note import Note, sign_note
from shared.audit.tlog.witness_key import sign_witness_key, witness_name
from shared.audit.tlog.witnessing import Cosigned
from shared.clock import Clock
from shared.errors import Unavailable
from shared.identity import HostId, RandomBytes
from shared.signing import EvidenceSigner

_SEED_BYTES = 32


class WitnessKeyUnusable(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"this host's key for cosigning the centre's log cannot be used: {why}")
        self.why = why


class Cosigner:
    """Used by one thread. What it is given to cosign has to be durable as the newest that this host ever saw."""

    def __init__(
        self,
        keys: HostKeyStore,
        evidence: EvidenceSigner,
        host_id: HostId,
        clock: Clock,
        random_bytes: RandomBytes = secrets.token_bytes,
    ) -> None:
        self._keys, self._evidence, self._host_id = keys, evidence, host_id
        self._clock, self._random = clock, random_bytes
        self._signer: NoteSigner | None = None
        self._vouched = b""

    def cosign(self, checkpoint: str) -> Cosigned:
        """Return a checkpoint with this host's signature beside the log's. Raises Malformed, WitnessKeyUnusable."""
        note, signer = Note.parse(checkpoint), self._load()
        (own,) = sign_note(note.text, signer, seconds=int(self._clock.now().timestamp())).signatures
        theirs = tuple(one for one in note.signatures if one.name != own.name)
        return Cosigned(self._vouched, replace(note, signatures=(*theirs, own)).encode())

    def vkey(self) -> str:
        """Return by which key others know this witness. Raises WitnessKeyUnusable."""
        return self._load().public.vkey

    def _load(self) -> NoteSigner:
        if self._signer is None:
            seed = self._seed()
            signer = NoteSigner(
                witness_name(self._host_id), Ed25519PrivateKey.from_private_bytes(seed), KeyType.COSIGNATURE
            )
            self._vouched = sign_witness_key(self._evidence, self._host_id, signer.public)
            self._signer = signer
        return self._signer

    def _seed(self) -> bytes:
        try:
            if not self._keys.has(KeyName.WITNESS):
                self._keys.store(KeyName.WITNESS, b"", self._random(_SEED_BYTES))
            seed = self._keys.load(KeyName.WITNESS)
        except (IdentityNotStored, IdentityUnreadable, KeyVaultUnavailable, KeyMisplaced, KeyNotOfThisTpm) as exc:
            raise WitnessKeyUnusable(str(exc)) from exc
        if len(seed) != _SEED_BYTES:
            raise WitnessKeyUnusable(f"{self._keys.file(KeyName.WITNESS)} holds {len(seed)} bytes, not {_SEED_BYTES}")
        return seed
