"""What a drive behind a USB bridge says of itself, where the bridge carries the question: asked by smartctl.

Without an answer the bridge's own serial number is all there is, and a bridge may have made that up.
"""

from pathlib import Path

from edge_agent.sanitize.identify import Name, line
from edge_agent.sanitize.programs import Run, run
from edge_agent.sanitize.smart import read_smartctl
from shared.canonical import Json
from shared.errors import Malformed
from shared.sanitization.medium import SerialSource

_SOURCES = {"ATA": SerialSource.ATA_IDENTIFY, "NVMe": SerialSource.NVME_IDENTIFY}


def ask(node: Path, run: Run = run) -> Name | None:
    """Return the drive's own name; None: nothing behind the bridge answered."""
    ran = run(["smartctl", "--json=c", "--info", str(node)])
    try:
        return named(read_smartctl(ran.stdout)) if ran.code is not None else None
    except Malformed:
        return None


def named(told: dict[str, Json]) -> Name | None:
    device = told.get("device")
    source = _SOURCES.get(str(device.get("protocol"))) if isinstance(device, dict) else None
    serial = _text(told, "serial_number")
    if source is None or not serial:
        return None
    return Name("", _text(told, "model_name"), _text(told, "firmware_version"), serial, source, _wwn(told.get("wwn")))


def _text(told: dict[str, Json], name: str) -> str:
    value = told.get(name)
    return line(value.encode("utf-8", "replace")) if isinstance(value, str) else ""


def _wwn(wwn: Json) -> str:
    match wwn:
        case {"naa": int(naa), "oui": int(oui), "id": int(own)} if 0 <= naa < 16 and 0 <= oui < 1 << 24 and own >= 0:
            return f"naa.{naa << 60 | oui << 36 | own & (1 << 36) - 1:016x}"
    return ""
