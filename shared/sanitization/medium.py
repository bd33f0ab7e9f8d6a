"""A drive as it was found: what it is, how it says so, what lies on it by count. Never a name of a volume or content.

docs/formats/wipe.md
"""

from dataclasses import dataclass
from enum import StrEnum

from shared.canonical import Json
from shared.fields import Fields

MAX_TEXT_CHARS = 80
_PRINTABLE = r"[\x20-\x7e]*"
_MAX_PARTITION_TYPES = 64


class MediumKind(StrEnum):
    """What may be done to a drive follows from this and from what it answers.

    A drive behind a bridge is `USB`, whatever it may be inside. `VIRTUAL` is a loop device, virtio, device-mapper.
    """

    ATA_DISK = "ata-disk"
    ATA_SSD = "ata-ssd"
    NVME = "nvme"
    SCSI_DISK = "scsi-disk"
    SCSI_SSD = "scsi-ssd"
    USB = "usb"
    MMC = "mmc"
    VIRTUAL = "virtual"


# Magnetic: writing a sector again writes the same place, but for those that the drive has remapped.
MAGNETIC = frozenset({MediumKind.ATA_DISK, MediumKind.SCSI_DISK})


class SerialSource(StrEnum):
    """Where a serial number came from; on the certificate's first page, since a bridge may make one up."""

    ATA_IDENTIFY = "ata-identify"
    NVME_IDENTIFY = "nvme-identify"
    SCSI_VPD = "scsi-vpd-80"
    MMC_CID = "mmc-cid"
    USB_DESCRIPTOR = "usb-descriptor"
    KERNEL = "kernel"
    LABEL = "label"  # read by a person off the drive
    NONE = "none"


@dataclass(frozen=True)
class PartitionCount:
    """How many partitions of one type (`luks`, `ext4`, `ntfs`, `gpt type …`) the drive has."""

    type: str
    count: int


@dataclass(frozen=True)
class Medium:
    """`serial` and `wwn` are empty where the drive has none; `rotational` is what the kernel says of it."""

    kind: MediumKind
    vendor: str
    model: str
    firmware: str
    serial: str
    serial_source: SerialSource
    wwn: str
    size_bytes: int
    logical_sector_bytes: int
    physical_sector_bytes: int
    rotational: bool
    partitions: tuple[PartitionCount, ...] = ()

    def json(self) -> dict[str, Json]:
        return {
            "kind": self.kind.value,
            "vendor": self.vendor,
            "model": self.model,
            "firmware": self.firmware,
            "serial": self.serial,
            "serial_source": self.serial_source.value,
            "wwn": self.wwn,
            "size_bytes": self.size_bytes,
            "logical_sector_bytes": self.logical_sector_bytes,
            "physical_sector_bytes": self.physical_sector_bytes,
            "rotational": self.rotational,
            "partitions": [{"type": one.type, "count": one.count} for one in self.partitions],
        }

    @classmethod
    def parse(cls, fields: Fields) -> "Medium":
        """Raises Malformed."""
        medium = cls(
            kind=MediumKind(fields.choice("kind", list(MediumKind))),
            vendor=_text(fields, "vendor"),
            model=_text(fields, "model"),
            firmware=_text(fields, "firmware"),
            serial=_text(fields, "serial"),
            serial_source=SerialSource(fields.choice("serial_source", list(SerialSource))),
            wwn=_text(fields, "wwn"),
            size_bytes=fields.integer("size_bytes"),
            logical_sector_bytes=fields.integer("logical_sector_bytes", least=1, most=1 << 20),
            physical_sector_bytes=fields.integer("physical_sector_bytes", least=1, most=1 << 20),
            rotational=fields.flag("rotational"),
            partitions=tuple(map(_partitions, fields.items("partitions", most=_MAX_PARTITION_TYPES))),
        )
        fields.done()
        return medium


def _text(fields: Fields, name: str) -> str:
    return fields.text(name, _PRINTABLE, max_chars=MAX_TEXT_CHARS)


def _partitions(value: Json) -> PartitionCount:
    fields = Fields(value, "partitions of a drive")
    found = PartitionCount(_text(fields, "type"), fields.integer("count", least=1, most=4096))
    fields.done()
    return found
