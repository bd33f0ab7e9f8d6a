"""What each technique can reach at best on a medium; what it did reach follows from evidence (`judge.py`).

NIST SP 800-88 Rev. 2 and IEEE 2883-2022.  docs/formats/wipe-techniques.md
"""

from collections.abc import Iterable, Mapping

from shared.sanitization.medium import MAGNETIC, MediumKind
from shared.sanitization.report import HiddenArea, HiddenKind, HiddenState
from shared.sanitization.technique import SanitizationClass, Technique

_BEST: Mapping[Technique, SanitizationClass] = {
    Technique.OVERWRITE: SanitizationClass.CLEAR,
    Technique.ATA_SANITIZE_BLOCK: SanitizationClass.PURGE,
    Technique.ATA_SANITIZE_CRYPTO: SanitizationClass.PURGE,
    Technique.ATA_SANITIZE_OVERWRITE: SanitizationClass.PURGE,
    # Nothing that a drive says tells whether its maker's erase reaches what the host cannot address.
    Technique.ATA_SECURE_ERASE: SanitizationClass.CLEAR,
    Technique.ATA_SECURE_ERASE_ENHANCED: SanitizationClass.CLEAR,
    Technique.NVME_SANITIZE_BLOCK: SanitizationClass.PURGE,
    Technique.NVME_SANITIZE_CRYPTO: SanitizationClass.PURGE,
    Technique.NVME_SANITIZE_OVERWRITE: SanitizationClass.PURGE,
    Technique.NVME_FORMAT_USER: SanitizationClass.CLEAR,
    Technique.NVME_FORMAT_CRYPTO: SanitizationClass.PURGE,
    Technique.SCSI_SANITIZE_BLOCK: SanitizationClass.PURGE,
    Technique.SCSI_SANITIZE_CRYPTO: SanitizationClass.PURGE,
    Technique.SCSI_SANITIZE_OVERWRITE: SanitizationClass.PURGE,
    # An eMMC neither shows that it is at work nor keeps a log of it.
    Technique.MMC_SANITIZE: SanitizationClass.CLEAR,
    Technique.DISCARD: SanitizationClass.CLEAR,
    # What a drive of flash has remapped may hold an old key slot; luks.py says what is proved.
    Technique.LUKS_ERASE: SanitizationClass.PURGE,
    Technique.DESTRUCTION: SanitizationClass.DESTROY,
}
# IEEE 2883 has block erase and crypto scramble for flash behind ATA, and no overwrite by the drive.
_LESS_ON_FLASH = {Technique.ATA_SANITIZE_OVERWRITE, Technique.LUKS_ERASE}


def is_hidden_unknown(hidden: Iterable[HiddenArea]) -> bool:
    """Return whether the drive may keep something that nothing was done to. Then nothing reaches more than Clear."""
    return any(
        area.state is HiddenState.INDETERMINATE
        or (area.state is HiddenState.PRESENT and area.kind is HiddenKind.BOOT_PARTITIONS)
        for area in hidden
    )


def best(technique: Technique, kind: MediumKind) -> SanitizationClass:
    if technique in _LESS_ON_FLASH and kind not in MAGNETIC:
        return SanitizationClass.CLEAR
    return _BEST[technique]
