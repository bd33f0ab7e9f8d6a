"""What a person asks for when they order a wipe, and the method that it comes to under the host's policy."""

from dataclasses import dataclass

from shared.identity import HostId
from shared.policy.wipe import LeastClass, ReadBack, WipePolicy
from shared.sanitization.method import Method
from shared.sanitization.technique import Sequence, Technique
from shared.sanitization.ticket import Override, Reason, TargetDrive

_PURGES = (
    Technique.ATA_SANITIZE_CRYPTO,
    Technique.ATA_SANITIZE_BLOCK,
    Technique.ATA_SANITIZE_OVERWRITE,
    Technique.NVME_SANITIZE_CRYPTO,
    Technique.NVME_SANITIZE_BLOCK,
    Technique.NVME_SANITIZE_OVERWRITE,
    Technique.NVME_FORMAT_CRYPTO,
    Technique.SCSI_SANITIZE_CRYPTO,
    Technique.SCSI_SANITIZE_BLOCK,
    Technique.SCSI_SANITIZE_OVERWRITE,
    Technique.MMC_SANITIZE,
)
USUAL = {LeastClass.PURGE: _PURGES, LeastClass.CLEAR: (Technique.OVERWRITE, *_PURGES)}


@dataclass(frozen=True)
class Wish:
    """`text` may name somebody, so it is kept in the sealed part of the record only.

    What is None is as policy has it; without `techniques` the usual ones for the class are taken.
    """

    host_id: HostId
    drive: TargetDrive
    least: LeastClass | None
    read_back: ReadBack | None
    techniques: tuple[Technique, ...]
    sequence: Sequence
    passes: tuple[str, ...]
    reason: Reason
    text: str
    technician: str
    overrides: tuple[Override, ...]
    hours: int | None


def method_of(wish: Wish, policy: WipePolicy) -> Method:
    least = wish.least or policy.least
    return Method(
        least, wish.techniques or USUAL[least], wish.sequence, wish.passes, wish.read_back or policy.read_back
    )
