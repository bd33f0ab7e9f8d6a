"""The private sealing keys as the vault asks for them: by what a box names and what the key is for."""

from typing import Protocol

from shared.errors import Refused
from shared.identity import KeyId
from shared.policy.document import KeyPurpose, SealingKey
from shared.sealing.hpke import SealedBox, SealingPrivateKey


class KeyNotForThis(Refused):
    """A box sealed to a key that the centre does not hold for this purpose and grade."""

    def __init__(self, key_id: KeyId, purpose: KeyPurpose, grade: str) -> None:
        wanted = f"{purpose.value} key of grade {grade}" if grade else f"{purpose.value} key"
        super().__init__(f"key {key_id} is no {wanted} of this centre")
        self.key_id, self.purpose, self.grade = key_id, purpose, grade


class KeyRing(Protocol):
    """The key store, as far as it is needed here."""

    def sealing_pair(self, key_id: KeyId, /) -> tuple[SealingKey, SealingPrivateKey] | None: ...


def key_for(keys: KeyRing, box: bytes, purpose: KeyPurpose, grade: str = "") -> SealingPrivateKey:
    """Return the private key that `box` names. Raises Malformed, KeyNotForThis, KeyNotAuthentic."""
    key_id = SealedBox.parse(box).key_id
    pair = keys.sealing_pair(key_id)
    if pair is None or (pair[0].purpose, pair[0].grade) != (purpose, grade):
        raise KeyNotForThis(key_id, purpose, grade)
    return pair[1]
