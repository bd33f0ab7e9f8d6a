"""What can be done to this drive here and now, and for whatever cannot, why: asked of the drive, never of its name."""

from collections.abc import Callable, Iterable

from edge_agent.sanitize import luks
from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.drives import Look, look_in_child
from edge_agent.sanitize.firmware import ata, discard, mmc, nvme, scsi
from edge_agent.sanitize.firmware.ata import FROZEN
from edge_agent.sanitize.firmware.ata_identify import Identity, Security
from edge_agent.sanitize.firmware.nvme import Subsystem
from edge_agent.sanitize.firmware.sanitizing import State, Status
from edge_agent.sanitize.firmware.tools import Tools
from shared.errors import Malformed, Unavailable
from shared.sanitization.medium import MediumKind
from shared.sanitization.report import Considered
from shared.sanitization.technique import Available, Technique

_OF_ATA = (*ata.SANITIZES, *ata.ERASES)
_OF_NVME = (*nvme.SANITIZES, *nvme.FORMATS)
_OF_SCSI = tuple(scsi.SANITIZES)
_OF_MMC = (Technique.MMC_SANITIZE,)
_OF_FIRMWARE = (*_OF_ATA, *_OF_NVME, *_OF_SCSI, *_OF_MMC)
_BEHIND_A_BRIDGE = (
    "a USB bridge stands before the drive; many do not pass this command on, or garble it: "
    "take the drive out and connect it directly"
)
_PERHAPS_OURS = f". Where a wipe was cut off and given up, {ata.OPENED_BY} takes it off"
_PROTOCOLS = {
    MediumKind.ATA_DISK: ("ATA", _OF_ATA),
    MediumKind.ATA_SSD: ("ATA", _OF_ATA),
    MediumKind.NVME: ("NVMe", _OF_NVME),
    MediumKind.SCSI_DISK: ("SCSI", _OF_SCSI),
    MediumKind.SCSI_SSD: ("SCSI", _OF_SCSI),
    MediumKind.MMC: ("eMMC", _OF_MMC),
}


def considered(drive: Drive, tools: Tools, look: Look = look_in_child) -> tuple[Considered, ...]:
    """Return every technique, in the order of `Technique`. Nothing of a drive's makes it raise."""
    found = [
        Considered(Technique.OVERWRITE, Available.YES, "everything that the host can address is written"),
        *_asked((Technique.DISCARD,), lambda: [discard.supports(drive)]),
        luks.considered(drive, look),
        Considered(Technique.DESTRUCTION, Available.NO, "people destroy it, and record that at the centre"),
        *_of_firmware(drive, tools),
    ]
    order = list(Technique)
    return tuple(sorted(found, key=lambda one: order.index(one.technique)))


def _of_firmware(drive: Drive, tools: Tools) -> list[Considered]:
    kind = drive.medium.kind
    if kind is MediumKind.USB:
        return [Considered(one, Available.UNKNOWN, _BEHIND_A_BRIDGE) for one in _OF_FIRMWARE]
    if kind not in _PROTOCOLS:
        return [Considered(one, Available.NO, "a virtual drive has no firmware of its own") for one in _OF_FIRMWARE]
    protocol, own = _PROTOCOLS[kind]
    others = [Considered(one, Available.NO, f"the drive is {protocol}") for one in _OF_FIRMWARE if one not in own]
    ask: dict[str, Callable[[], Iterable[Considered]]] = {
        "ATA": lambda: _ata(drive, tools),
        "NVMe": lambda: _nvme(nvme.subsystem(drive, tools)),
        "SCSI": lambda: [scsi.supports(one, drive, tools) for one in _OF_SCSI],
        "eMMC": lambda: [_named(Technique.MMC_SANITIZE, is_there=mmc.registers(drive, tools).sanitize)],
    }
    return [*others, *_asked(own, ask[protocol])]


def _asked(techniques: Iterable[Technique], ask: Callable[[], Iterable[Considered]]) -> list[Considered]:
    """What could not be asked is unknown, and is never tried."""
    try:
        return list(ask())
    except (Unavailable, Malformed) as exc:
        return [Considered(one, Available.UNKNOWN, f"not known: {exc}"[:300]) for one in techniques]


# ---- ATA


def _ata(drive: Drive, tools: Tools) -> list[Considered]:
    """Raises Unavailable, Malformed."""
    identity = ata.identity(drive, tools)
    has = {
        Technique.ATA_SANITIZE_BLOCK: identity.block_erase,
        Technique.ATA_SANITIZE_CRYPTO: identity.crypto_scramble,
        Technique.ATA_SANITIZE_OVERWRITE: identity.overwrite,
    }
    found = [ata_secure_erase(one, identity.security) for one in ata.ERASES]
    if not any(has.values()) or not identity.sanitize:
        why = "the drive has no sanitize commands"
        return [*found, *(Considered(one, Available.NO, why) for one in has)]
    status = _asked(
        ata.SANITIZES, lambda: _ata_sanitize(has, identity, ata.AtaSanitizer(next(iter(has)), drive, tools).status())
    )
    return [*found, *status]


def ata_secure_erase(technique: Technique, security: Security) -> Considered:
    """Decide by what IDENTIFY DEVICE says of security."""
    objections = (
        (not security.supported, "the drive has no security commands"),
        (technique is Technique.ATA_SECURE_ERASE_ENHANCED and not security.enhanced, "the drive has no enhanced erase"),
        (security.frozen, FROZEN),
        (security.locked, f"the drive is locked by a password that nobody gave us{_PERHAPS_OURS}"),
        (security.enabled, f"the drive is under a password already: have it taken off first{_PERHAPS_OURS}"),
        (security.expired, "too many wrong passwords were tried: cut the drive's power, then look again"),
    )
    for applies, why in objections:
        if applies:
            return Considered(technique, Available.NO, why)
    return Considered(technique, Available.YES, "the drive has it, is not frozen, and is under no password")


def _ata_sanitize(has: dict[Technique, bool], identity: Identity, status: Status) -> list[Considered]:
    if status.state is State.FROZEN:
        why = "frozen against sanitize until the drive's power is cut"
        return [Considered(one, Available.NO, why) for one in has]
    if status.state is State.RUNNING:
        return [Considered(one, Available.NO, "the drive is at a sanitize: wait for its end") for one in has]
    if identity.security.locked:
        return [Considered(one, Available.NO, "the drive is locked by a password that nobody gave us") for one in has]
    return [_named(one, is_there=there) for one, there in has.items()]


# ---- NVMe


def _nvme(found: Subsystem) -> list[Considered]:
    controller = found.controller
    has = {
        Technique.NVME_SANITIZE_BLOCK: controller.sanitize_block,
        Technique.NVME_SANITIZE_CRYPTO: controller.sanitize_crypto,
        Technique.NVME_SANITIZE_OVERWRITE: controller.sanitize_overwrite,
        Technique.NVME_FORMAT_USER: controller.formats,
        Technique.NVME_FORMAT_CRYPTO: controller.formats and controller.format_crypto,
    }
    return [_nvme_one(one, found, is_there=there) for one, there in has.items()]


def _nvme_one(technique: Technique, found: Subsystem, *, is_there: bool) -> Considered:
    others = len(found.namespaces) - 1
    takes_others = found.format_takes_others if technique in nvme.FORMATS else others > 0
    if is_there and takes_others:
        why = f"it would erase the drive's {others} other namespace(s) as well, which the ticket does not name"
        return Considered(technique, Available.NO, why)
    if is_there and technique in nvme.SANITIZES and found.controllers != 1:
        count = found.controllers or "several"
        why = f"the drive serves {count} controllers, and what the others do with it is not known here"
        return Considered(technique, Available.NO, why)
    if is_there and technique is Technique.NVME_FORMAT_CRYPTO and not found.covers_all:
        why = "it would leave out namespaces or capacity that is in none"
        return Considered(technique, Available.NO, why)
    return _named(technique, is_there=is_there)


def _named(technique: Technique, *, is_there: bool) -> Considered:
    if is_there:
        return Considered(technique, Available.YES, "the drive says that it has it")
    return Considered(technique, Available.NO, "the drive says that it does not have it")
