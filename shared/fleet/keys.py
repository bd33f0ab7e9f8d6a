"""What protects a host's private keys where they lie."""

from enum import StrEnum


class KeyProtection(StrEnum):
    """FILE: the permissions of a file. TPM: this machine's own security chip, whatever becomes of the disk."""

    FILE = "file"
    TPM = "tpm"

    @property
    def in_words(self) -> str:
        return f"{self}{_SAYS[self]}"


_SAYS = {KeyProtection.FILE: " (readable by root and by whoever takes the disk)", KeyProtection.TPM: ""}
