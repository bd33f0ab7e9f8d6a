"""Where a drive keeps what the host does not see: asked of the drive, and *indeterminate* where the answer is none.

ATA    HPA (or accessible max address) by `hdparm -N`, DCO by `hdparm --dco-identify`
NVMe   other namespaces, and capacity that is in none
eMMC   boot partitions and RPMB
USB    indeterminate: a bridge answers for the drive
"""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.firmware import ata, mmc, nvme
from edge_agent.sanitize.firmware.ata_identify import Identity
from edge_agent.sanitize.firmware.tools import Answer, NoAnswer, Tools
from shared.errors import Malformed, Unavailable
from shared.sanitization.medium import MediumKind
from shared.sanitization.report import HiddenArea, HiddenKind, HiddenState

_MMC_SECTOR_BYTES = 512
_MAX_SECTORS = re.compile(
    r"^ max sectors   = (?P<current>[0-9]{1,15})/(?P<native>[0-9]{1,15}), "
    r"(?P<what>HPA is enabled|HPA is disabled|ACCESSIBLE MAX ADDRESS enabled|ACCESSIBLE MAX ADDRESS disabled)$", re.M,
)  # fmt: skip
_REAL_SECTORS = re.compile(r"^\tReal max sectors: (?P<real>[0-9]{1,15})$", re.M)
_VERIFIED = "DCO Checksum verified."


def hidden_areas(drive: Drive, tools: Tools) -> tuple[HiddenArea, ...]:
    """Return one for each kind that such a drive may have. Nothing of a drive's makes it raise."""
    match drive.medium.kind:
        case MediumKind.ATA_DISK | MediumKind.ATA_SSD:
            return (*_asked((HiddenKind.HPA, HiddenKind.DCO), lambda: _of_ata(drive, tools)),)
        case MediumKind.NVME:
            return _asked((HiddenKind.NAMESPACES,), lambda: [of_nvme(nvme.subsystem(drive, tools), drive)])
        case MediumKind.MMC:
            return _asked((HiddenKind.BOOT_PARTITIONS,), lambda: [of_mmc(mmc.registers(drive, tools))])
        case MediumKind.USB:
            why = "a USB bridge answers for the drive, so what it hides cannot be asked"
            kinds = (HiddenKind.HPA, HiddenKind.DCO)
            return tuple(HiddenArea(kind, HiddenState.INDETERMINATE, 0, why) for kind in kinds)
        case _:
            return ()


def remove_hidden(drive: Drive, tools: Tools) -> tuple[HiddenArea, ...]:
    """Open an HPA for good, and return what is hidden now: it is removed only where the drive says so afterwards.

    Any other answer, and none, leaves it as it was found: that it is there is known.
    The host learns the new size when the drive is found again; some drives show it only after their power was cut.
    """
    before = hidden_areas(drive, tools)
    kinds = {HiddenKind.HPA, HiddenKind.AMA}
    hpa = next((one for one in before if one.kind in kinds and one.state is HiddenState.PRESENT), None)
    if hpa is None:
        return before
    native = _shown(drive) + hpa.sectors
    try:
        said = tools.run("hdparm", ata.SURE, "-N", f"p{native}", str(drive.node)).words
    except NoAnswer as exc:
        said = str(exc)
    with suppress(OSError):
        (drive.sysfs / "device" / "rescan").write_text("1", encoding="ascii")  # the kernel has the old size
    whole = replace(drive, medium=replace(drive.medium, size_bytes=native * drive.medium.logical_sector_bytes))
    return tuple(
        HiddenArea(one.kind, HiddenState.REMOVED, hpa.sectors, f"{hpa.sectors} sectors were opened for good")
        if one.kind is hpa.kind and one.state is HiddenState.NONE
        else _still(hpa, said)
        if one.kind is hpa.kind
        else one
        for one in hidden_areas(whole, tools)
    )


def _shown(drive: Drive) -> int:
    return drive.medium.size_bytes // drive.medium.logical_sector_bytes


def _still(area: HiddenArea, said: str) -> HiddenArea:
    why = f"it could not be opened (cut the drive's power and try once more): {said}"
    return HiddenArea(area.kind, area.state, area.sectors, why[:300])


def _asked(kinds: Iterable[HiddenKind], ask: Callable[[], Iterable[HiddenArea]]) -> tuple[HiddenArea, ...]:
    try:
        return tuple(ask())
    except (Unavailable, Malformed) as exc:
        return tuple(HiddenArea(kind, HiddenState.INDETERMINATE, 0, f"not known: {exc}"[:300]) for kind in kinds)


# ---- ATA


def _of_ata(drive: Drive, tools: Tools) -> list[HiddenArea]:
    """Raises Unavailable, Malformed."""
    identity, node = ata.identity(drive, tools), str(drive.node)
    shown = _shown(drive)
    hpa = HiddenKind.AMA if identity.has_ama else HiddenKind.HPA
    instead = HiddenArea(HiddenKind.HPA, HiddenState.NOT_APPLICABLE, 0, "the drive has accessible max address instead")
    return [
        *([instead] if identity.has_ama else []),
        *_asked((hpa,), lambda: [of_max_sectors(identity, tools.run("hdparm", "-N", node), shown)]),
        *_asked((HiddenKind.DCO,), lambda: [of_overlay(identity, tools.run("hdparm", "--dco-identify", node), shown)]),
    ]


def of_max_sectors(identity: Identity, answer: Answer, shown: int) -> HiddenArea:
    """Raises Unavailable, Malformed."""
    kind = HiddenKind.AMA if identity.has_ama else HiddenKind.HPA
    if not (identity.has_hpa or identity.has_ama):
        return HiddenArea(kind, HiddenState.NONE, 0, "the drive says that it can have none")
    if answer.code != 0 or ata.NO_SENSE in answer.err:
        raise Unavailable(f"the drive does not say how many sectors it has: {answer.words}")
    found = _MAX_SECTORS.findall(answer.out.decode("ascii", "replace"))
    if len(found) != 1:
        raise Malformed("answer of hdparm -N", "expected one line with both numbers of sectors")
    current, native = int(found[0][0]), int(found[0][1])
    if current > native or current != shown:
        raise Malformed("answer of hdparm -N", f"{current} of {native} sectors, and the kernel has {shown}")
    if current == native:
        return HiddenArea(kind, HiddenState.NONE, 0, f"all {native} sectors can be addressed")
    return HiddenArea(kind, HiddenState.PRESENT, native - current, f"{current} of {native} sectors can be addressed")


def of_overlay(identity: Identity, answer: Answer, shown: int) -> HiddenArea:
    """Raises Unavailable, Malformed: nonsense, such as the one sector that an emulated drive claims, is no answer."""
    if not identity.has_dco:
        return HiddenArea(HiddenKind.DCO, HiddenState.NONE, 0, "the drive says that it can have none")
    text = answer.out.decode("ascii", "replace")
    if answer.code != 0 or ata.NO_SENSE in answer.err:
        raise Unavailable(f"the drive does not answer for its overlay: {answer.words}")
    found = _REAL_SECTORS.findall(text)
    if len(found) != 1 or _VERIFIED not in text:
        raise Malformed("answer of hdparm --dco-identify", "expected a number of sectors under a sum that is right")
    real = int(found[0])
    if real < shown:
        raise Malformed("answer of hdparm --dco-identify", f"{real} sectors are fewer than the {shown} that are shown")
    if real == shown:
        return HiddenArea(HiddenKind.DCO, HiddenState.NONE, 0, f"all {real} sectors can be addressed")
    return HiddenArea(HiddenKind.DCO, HiddenState.PRESENT, real - shown, f"{shown} of {real} sectors can be addressed")


# ---- NVMe and eMMC


def of_nvme(found: nvme.Subsystem, drive: Drive) -> HiddenArea:
    others, left = len(found.namespaces) - 1, found.controller.unallocated_bytes
    if others <= 0 and left == 0:
        return HiddenArea(HiddenKind.NAMESPACES, HiddenState.NONE, 0, "the drive is one namespace, and all of it")
    detail = f"{others} other namespace(s); {left} bytes are in none"
    return HiddenArea(HiddenKind.NAMESPACES, HiddenState.PRESENT, left // drive.medium.logical_sector_bytes, detail)


def of_mmc(registers: mmc.Registers) -> HiddenArea:
    boot, rpmb = registers.boot_bytes, registers.rpmb_bytes
    if not boot and not rpmb:
        return HiddenArea(HiddenKind.BOOT_PARTITIONS, HiddenState.NONE, 0, "the card says that it has none")
    detail = f"two boot partitions of {boot} bytes, and {rpmb} bytes that only their key's holder can write"
    return HiddenArea(HiddenKind.BOOT_PARTITIONS, HiddenState.PRESENT, (2 * boot + rpmb) // _MMC_SECTOR_BYTES, detail)
