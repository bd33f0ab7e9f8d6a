"""The port for protecting private keys at rest, and what can be wrong with one.

At rest only: an agent that runs holds its keys in its memory, whatever protects them on the disk. Python cannot
reliably erase them from there.
"""

from enum import StrEnum
from typing import Protocol

from shared.errors import Refused, Unavailable
from shared.fleet.keys import KeyProtection


class KeyName(StrEnum):
    """Which key it is. Where a vault can, it binds a key to its name, so that none can be put in another's place."""

    TLS = "tls"
    EVIDENCE = "evidence"
    DICOM = "dicom"
    FORWARDING = "forwarding"
    WITNESS = "witness"
    FRESH = "fresh"


class KeyVaultUnavailable(Unavailable):
    """Nothing is known of the key. It may open once somebody has seen to what the text says."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the TPM cannot serve for this host's keys: {why}")
        self.why = why


class KeyNotOfThisTpm(Refused):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"the {name} key was encrypted by another TPM, or by this one before it was cleared, or its file is "
            "damaged: nothing opens it here; enrol this host anew, as after a change of its mainboard, and rescue its "
            "spool"
        )
        self.name = name


class KeyMisplaced(Refused):
    """What lies there is not what we put there."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"what lies in the place of the {name} key is not that key: {why}")
        self.name, self.why = name, why


class KeyVault(Protocol):
    """Makes of a private key what may lie on a disk, and the key again. It keeps nothing itself."""

    @property
    def protection(self) -> KeyProtection: ...

    def wrap(self, name: KeyName, private: bytes) -> bytes:
        """Return what may lie on the disk, proved to give `private` again.

        Raises KeyVaultUnavailable.
        """

    def unwrap(self, name: KeyName, wrapped: bytes) -> bytes:
        """Return the key that `wrap` was given under the same name.

        Raises KeyVaultUnavailable, KeyNotOfThisTpm, KeyMisplaced.
        """

    def split(self, content: bytes) -> tuple[bytes, bytes]:
        """Return what anybody may read of a file, such as certificates, and behind it what `wrap` made."""
