"""The names of what can be done to a drive, and of what it comes to.  docs/formats/wipe.md"""

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeAlias

Fact: TypeAlias = "str | int | bool"
Facts: TypeAlias = Mapping[str, Fact]


class Technique(StrEnum):
    """One command or one kind of writing. What a drive has of them is found out, never taken from its name."""

    OVERWRITE = "overwrite"
    ATA_SANITIZE_BLOCK = "ata-sanitize-block"
    ATA_SANITIZE_CRYPTO = "ata-sanitize-crypto"
    ATA_SANITIZE_OVERWRITE = "ata-sanitize-overwrite"
    ATA_SECURE_ERASE = "ata-secure-erase"
    ATA_SECURE_ERASE_ENHANCED = "ata-secure-erase-enhanced"
    NVME_SANITIZE_BLOCK = "nvme-sanitize-block"
    NVME_SANITIZE_CRYPTO = "nvme-sanitize-crypto"
    NVME_SANITIZE_OVERWRITE = "nvme-sanitize-overwrite"
    NVME_FORMAT_USER = "nvme-format-user"
    NVME_FORMAT_CRYPTO = "nvme-format-crypto"
    SCSI_SANITIZE_BLOCK = "scsi-sanitize-block"
    SCSI_SANITIZE_CRYPTO = "scsi-sanitize-crypto"
    SCSI_SANITIZE_OVERWRITE = "scsi-sanitize-overwrite"
    MMC_SANITIZE = "mmc-sanitize"
    DISCARD = "discard"
    LUKS_ERASE = "luks-erase"
    DESTRUCTION = "destruction"


class Sequence(StrEnum):
    """What an overwrite writes, pass after pass. `CUSTOM` names its passes itself."""

    RANDOM = "random"
    ZERO = "zero"
    THREE_PASS = "three-pass"  # noqa: S105 (a sequence)
    BMB21 = "bmb21-2019"
    DOD_SHORT = "dod-5220.22-m-short"
    CUSTOM = "custom"


class SanitizationClass(StrEnum):
    """NIST SP 800-88 Rev. 2, in rising order; `NONE` where nothing was proved."""

    NONE = "none"
    CLEAR = "clear"
    PURGE = "purge"
    DESTROY = "destroy"

    def reaches(self, least: "SanitizationClass") -> bool:
        order = list(SanitizationClass)
        return order.index(self) >= order.index(least)


class Available(StrEnum):
    """Whether a drive has a technique here and now. What could not be asked is *unknown*, and is never tried."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
