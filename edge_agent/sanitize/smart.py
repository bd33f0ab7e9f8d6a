"""What `smartctl --json` and `nvme smart-log -o json` print, as facts. Both are outside bytes, told by a drive.

A number is taken only where it is a whole one that a report may carry; what a drive does not say is left out, and
where it says neither temperature nor state, nothing was evaluated.

docs/formats/wipe-drive.md section 2
"""

import json
from collections.abc import Mapping
from typing import Any

from shared.canonical import Json
from shared.devices.printable import printable
from shared.errors import Malformed
from shared.sanitization.technique import Fact, Facts

MAX_BYTES = 1 << 20
_MOST = (1 << 53) - 1
_KELVIN = 273
# Attributes of ATA drives that count what no longer holds data; their raw values are vendors' own beyond these.
_ATA_COUNTS = {5: "reallocated_sectors", 197: "pending_sectors", 198: "uncorrectable_sectors"}
_NVME_NAMES = {
    "critical_warning": "critical_warning",
    "avail_spare": "available_spare_percent",
    "percent_used": "used_percent",
    "media_errors": "media_errors",
    "power_on_hours": "power_on_hours",
    "power_cycles": "power_cycles",
}
_SMARTCTL_NVME_NAMES = {
    "critical_warning": "critical_warning",
    "available_spare": "available_spare_percent",
    "percentage_used": "used_percent",
    "media_errors": "media_errors",
}
_STATE = {"passed", "temperature_c"}


def not_evaluated(why: str) -> Facts:
    return {"evaluated": False, "why": printable(why, 300)}


def read_smartctl(printed: bytes) -> dict[str, Json]:
    """Raises Malformed."""
    return _object(printed, "what smartctl printed")


def of_smartctl(printed: bytes) -> Facts:
    """Raises Malformed."""
    told = read_smartctl(printed)
    own = _member(told, "smartctl")
    facts: dict[str, Fact] = {}
    _take(facts, "passed", _member(told, "smart_status").get("passed"))
    _take(facts, "temperature_c", _member(told, "temperature").get("current"))
    _take(facts, "power_on_hours", _member(told, "power_on_time").get("hours"))
    _take(facts, "power_cycles", told.get("power_cycle_count"))
    _take(facts, "grown_defects", told.get("scsi_grown_defect_list"))
    log = _member(told, "nvme_smart_health_information_log")
    for name, ours in _SMARTCTL_NVME_NAMES.items():
        _take(facts, ours, log.get(name))
    table = _member(told, "ata_smart_attributes").get("table")
    for row in table if isinstance(table, list) else []:
        match row:
            case {"id": int(number), "raw": {"value": value}} if number in _ATA_COUNTS:
                _take(facts, _ATA_COUNTS[number], value)
    if not _STATE & facts.keys():
        return not_evaluated(f"smartctl: {_messages(own) or 'the drive told neither its state nor its temperature'}")
    version = own.get("version")
    numbers = [str(each) for each in version if isinstance(each, int)] if isinstance(version, list) else []
    return {"evaluated": True, "tool": printable(f"smartctl {'.'.join(numbers)}".strip(), 40), **facts}


def of_nvme(printed: bytes) -> Facts:
    """Raises Malformed."""
    told = _object(printed, "what nvme printed")
    facts: dict[str, Fact] = {}
    for name, ours in _NVME_NAMES.items():
        _take(facts, ours, told.get(name))
    kelvin = told.get("temperature")
    if isinstance(kelvin, int) and not isinstance(kelvin, bool) and 0 < kelvin < 1000:
        facts["temperature_c"] = kelvin - _KELVIN
    warning = facts.get("critical_warning")
    if isinstance(warning, int):
        facts["passed"] = warning == 0
    if not _STATE & facts.keys():
        return not_evaluated("nvme: the drive told neither its state nor its temperature")
    return {"evaluated": True, "tool": "nvme smart-log", **facts}


def _object(printed: bytes, what: str) -> dict[str, Json]:
    if len(printed) > MAX_BYTES:
        raise Malformed(what, f"larger than {MAX_BYTES} bytes")
    try:
        told: Any = json.loads(printed.decode(), parse_constant=_no_number, object_pairs_hook=_once)
    except (ValueError, RecursionError) as exc:
        raise Malformed(what, "expected one JSON object, each member once") from exc
    if not isinstance(told, dict):
        raise Malformed(what, "expected a JSON object")
    return told


def _no_number(name: str) -> None:
    raise ValueError(name)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member twice")
    return members


def _member(told: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    member = told.get(name)
    return member if isinstance(member, dict) else {}


def _take(facts: dict[str, Fact], name: str, value: Json) -> None:
    if isinstance(value, bool) == (name == "passed") and isinstance(value, int) and abs(value) <= _MOST:
        facts[name] = value


def _messages(own: Mapping[str, Json]) -> str:
    messages = own.get("messages")
    texts = [each.get("string") for each in messages if isinstance(each, dict)] if isinstance(messages, list) else []
    return "; ".join(text for text in texts if isinstance(text, str))
