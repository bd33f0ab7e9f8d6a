"""What kind of drive it is and what it calls itself, by what sysfs has of it. All of it is the drive's own word.

    ATA    IDENTIFY DEVICE (ACS-4 section 9.11), as the kernel keeps it in VPD page 89h (SAT-4 section 12.4.2)
    SCSI   VPD page 80h has the serial number, 83h the designators (SPC-5 sections 7.7.6 and 7.7.18)
    NVMe   the controller's serial, model and firmware, and the namespace's name
    eMMC   the card identification register
    USB    the descriptor's serial number is the bridge's; what the drive behind it says counts where the bridge asks it

docs/formats/wipe-drive.md section 1
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edge_agent.media.place import usb_place
from shared.sanitization.medium import MAX_TEXT_CHARS, Medium, MediumKind, PartitionCount, SerialSource

_IDENTIFY_AT, _IDENTIFY_BYTES = 60, 512
_SERIAL, _FIRMWARE, _MODEL, _WWN, _HAS_WWN = (20, 40), (46, 54), (54, 94), (216, 224), 174
_NAA, _OF_LOGICAL_UNIT = 3, 0
_GLOBAL_NAMES = ("naa.", "eui.", "uuid.")
_ADDRESS = re.compile(r"/\d+:(?P<channel>\d+):\d+:\d+/")
# On which channels drivers of RAID controllers have what they made of other disks; two more say it by `raid_level`.
_VOLUMES = {"megaraid_sas": {2, 3}, "mpt2sas": {1}, "mpt3sas": {1}, "aacraid": {0}}
ATTRIBUTES = (
    "serial", "wwid", "loop/identity",
    "device/vendor", "device/model", "device/rev", "device/wwid", "device/raid_level", "host/proc_name",
    "device/vpd_pg80", "device/vpd_pg83", "device/vpd_pg89",
    "device/serial", "device/firmware_rev",
    "device/cid", "device/name", "device/fwrev",
    "usb/manufacturer", "usb/product", "usb/serial", "usb/bcdDevice",
)  # fmt: skip


@dataclass(frozen=True)
class Said:
    """What sysfs has of one disk: `attributes` by their path below its folder, those that are there."""

    name: str
    place: str  # its resolved path
    size_bytes: int
    logical_sector_bytes: int
    physical_sector_bytes: int
    rotational: bool
    attributes: Mapping[str, bytes]


@dataclass(frozen=True)
class Name:
    """What a drive answers when it is asked who it is."""

    vendor: str
    model: str
    firmware: str
    serial: str
    source: SerialSource
    wwn: str


def kind_of(said: Said) -> MediumKind:
    if usb_place(said.place) is not None:
        return MediumKind.USB
    if said.name.startswith("nvme"):
        return MediumKind.NVME
    if said.name.startswith("mmcblk"):
        return MediumKind.MMC
    if not said.name.startswith("sd") or _is_volume(said):
        return MediumKind.VIRTUAL
    if said.attributes.get("device/vendor", b"").strip() == b"ATA" or "device/vpd_pg89" in said.attributes:
        return MediumKind.ATA_DISK if said.rotational else MediumKind.ATA_SSD
    return MediumKind.SCSI_DISK if said.rotational else MediumKind.SCSI_SSD


def _is_volume(said: Said) -> bool:
    """Return whether a RAID controller made it of other disks, as far as its driver says: those are not reached."""
    if said.attributes.get("device/raid_level", b"").startswith(b"RAID"):
        return True
    channels = _VOLUMES.get(line(said.attributes.get("host/proc_name", b"")), set())
    address = _ADDRESS.search(f"{said.place}/")
    return address is not None and int(address["channel"]) in channels


def medium(said: Said, partitions: tuple[PartitionCount, ...], behind: Name | None = None) -> Medium:
    """Return what the drive is; `behind` is what a drive behind a USB bridge answered."""
    kind = kind_of(said)
    name = behind if behind is not None and kind is MediumKind.USB else _named(kind, said.attributes)
    return Medium(
        kind=kind,
        vendor=name.vendor,
        model=name.model,
        firmware=name.firmware,
        serial=name.serial,
        serial_source=name.source if name.serial else SerialSource.NONE,
        wwn=name.wwn,
        size_bytes=said.size_bytes,
        logical_sector_bytes=said.logical_sector_bytes,
        physical_sector_bytes=said.physical_sector_bytes,
        rotational=said.rotational,
        partitions=partitions,
    )


def line(data: bytes) -> str:
    """Return text of a drive's as a ticket and a certificate may have it."""
    shown = "".join(chr(byte) if 0x20 <= byte <= 0x7E else "?" for byte in data.strip(b" \0\t\r\n"))
    return shown[:MAX_TEXT_CHARS].strip()


def _named(kind: MediumKind, attributes: Mapping[str, bytes]) -> Name:
    def of(path: str) -> str:
        return line(attributes.get(path, b""))

    match kind:
        case MediumKind.USB:
            vendor, model = of("usb/manufacturer"), of("usb/product")
            firmware, serial = of("usb/bcdDevice"), of("usb/serial")
            return Name(vendor, model, firmware, serial, SerialSource.USB_DESCRIPTOR, _global(attributes))
        case MediumKind.NVME:
            serial = of("device/serial")
            return Name(
                "",
                of("device/model"),
                of("device/firmware_rev"),
                serial,
                SerialSource.NVME_IDENTIFY,
                _global(attributes),
            )
        case MediumKind.MMC:
            # The whole register: it holds maker, product, revision, serial number and date.
            return Name("", of("device/name"), of("device/fwrev"), of("device/cid"), SerialSource.MMC_CID, "")
        case MediumKind.VIRTUAL if "device/vpd_pg80" in attributes:
            return _of_scsi(attributes, SerialSource.SCSI_VPD)
        case MediumKind.VIRTUAL:
            serial = of("serial") or of("loop/identity")
            return Name("", of("device/model"), "", serial, SerialSource.KERNEL, "")
        case MediumKind.ATA_DISK | MediumKind.ATA_SSD:
            return _of_ata(attributes)
    return _of_scsi(attributes, SerialSource.SCSI_VPD)


def _of_ata(attributes: Mapping[str, bytes]) -> Name:
    page = attributes.get("device/vpd_pg89", b"")
    identify = page[_IDENTIFY_AT : _IDENTIFY_AT + _IDENTIFY_BYTES]
    if len(identify) < _IDENTIFY_BYTES or not _words(identify, _SERIAL).strip(b" \0"):
        # An older kernel has page 80h, which it makes from the same IDENTIFY; its model is cut off.
        return _of_scsi(attributes, SerialSource.ATA_IDENTIFY)
    wwn = f"naa.{_words(identify, _WWN).hex()}" if identify[_HAS_WWN + 1] & 1 else ""
    return Name(
        "",
        line(_words(identify, _MODEL)),
        line(_words(identify, _FIRMWARE)),
        line(_words(identify, _SERIAL)),
        SerialSource.ATA_IDENTIFY,
        wwn or _global(attributes),
    )


def _words(identify: bytes, place: tuple[int, int]) -> bytes:
    """Return a field of 16-bit words, each of which lies there with its low byte first."""
    return b"".join(identify[at : at + 2][::-1] for at in range(*place, 2))


def _of_scsi(attributes: Mapping[str, bytes], source: SerialSource) -> Name:
    page = attributes.get("device/vpd_pg80", b"")
    serial = line(page[4 : 4 + int.from_bytes(page[2:4])]) if len(page) > 4 and page[1] == 0x80 else ""
    vendor, model, rev = (line(attributes.get(f"device/{name}", b"")) for name in ("vendor", "model", "rev"))
    return Name("" if source is SerialSource.ATA_IDENTIFY else vendor, model, rev, serial, source, _global(attributes))


def _global(attributes: Mapping[str, bytes]) -> str:
    """Return the name that no other drive has, as the kernel writes it; empty: it has none that is not made up."""
    for path in ("wwid", "device/wwid"):
        said = line(attributes.get(path, b""))
        if said.startswith(_GLOBAL_NAMES):
            return said
    naa = next(iter(sorted(_naa(attributes.get("device/vpd_pg83", b"")))), b"")
    return f"naa.{naa.hex()}" if naa else ""


def _naa(page: bytes) -> Iterator[bytes]:
    """Yield the NAA designators of the logical unit itself in VPD page 83h."""
    at = 4
    end = min(len(page), 4 + int.from_bytes(page[2:4]))
    while at + 4 <= end:
        length = page[at + 3]
        designator = page[at + 4 : at + 4 + length]
        if page[at + 1] & 0x0F == _NAA and page[at + 1] >> 4 & 0x03 == _OF_LOGICAL_UNIT and len(designator) == length:
            yield designator
        at += 4 + length
