"""Decides what protects the keys of a host that is being enrolled."""

from dataclasses import dataclass

from shared.errors import Unavailable
from shared.fleet.keys import KeyProtection

AUTO = "auto"
ASKED = (AUTO, *KeyProtection)


@dataclass(frozen=True)
class Chosen:
    protection: KeyProtection
    why: str


def choose(asked: str, tpm_fault: Unavailable | None) -> Chosen:
    """Return what was asked for; of `auto` the TPM if it answered, which is when `tpm_fault` is None.

    Raises `tpm_fault` where the TPM was asked for by name: nothing else is taken in its place.
    """
    if asked == KeyProtection.FILE:
        return Chosen(KeyProtection.FILE, "as asked for")
    if tpm_fault is None:
        return Chosen(KeyProtection.TPM, "it encrypted and decrypted what it was given to try")
    if asked == KeyProtection.TPM:
        raise tpm_fault
    return Chosen(KeyProtection.FILE, str(tpm_fault))
