"""SMART and temperature. The outputs are written by hand after smartctl 7.3 and nvme-cli 2.3, but for those said to be
recorded.
"""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.health import health
from edge_agent.sanitize.programs import Ran
from edge_agent.sanitize.smart import MAX_BYTES, of_nvme, of_smartctl
from shared.errors import Malformed
from shared.sanitization.medium import Medium, MediumKind, SerialSource
from shared.sanitization.technique import Facts

ATA = b"""{"json_format_version":[1,0],"smartctl":{"version":[7,3],"exit_status":0},
"device":{"name":"/dev/sda","type":"sat","protocol":"ATA"},"smart_status":{"passed":true},
"ata_smart_attributes":{"revision":10,"table":[
{"id":5,"name":"Reallocated_Sector_Ct","value":100,"raw":{"value":8,"string":"8"}},
{"id":194,"name":"Temperature_Celsius","value":64,"raw":{"value":154619805732,"string":"36"}},
{"id":197,"name":"Current_Pending_Sector","value":100,"raw":{"value":1,"string":"1"}},
{"id":198,"name":"Offline_Uncorrectable","value":100,"raw":{"value":0,"string":"0"}}]},
"power_on_time":{"hours":30211},"power_cycle_count":57,"temperature":{"current":36}}"""
SAS = b"""{"smartctl":{"version":[7,3],"exit_status":4},"device":{"protocol":"SCSI"},"smart_status":{"passed":false},
"temperature":{"current":27,"drive_trip":85},"power_on_time":{"hours":982,"minutes":1},"scsi_grown_defect_list":3}"""
NVME = b"""{"smartctl":{"version":[7,3],"exit_status":0},"device":{"protocol":"NVMe"},
"smart_status":{"passed":true,"nvme":{"value":0}},"nvme_smart_health_information_log":{"critical_warning":0,
"temperature":41,"available_spare":100,"percentage_used":3,"media_errors":0,"power_cycles":8},
"temperature":{"current":41},"power_cycle_count":8,"power_on_time":{"hours":10147}}"""
# Recorded: smartctl 7.3 on a virtio disk.
NOT_DETECTED = b"""{"json_format_version":[1,0],"smartctl":{"version":[7,3],"svn_revision":"5338",
"argv":["smartctl","--json=c","--info","--health","--attributes","/dev/vda"],
"messages":[{"string":"/dev/vda: Unable to detect device type","severity":"error"}],"exit_status":1}}"""
SMART_LOG = b"""{"critical_warning":4,"temperature":314,"avail_spare":90,"spare_thresh":10,"percent_used":7,
"endurance_grp_critical_warning_summary":0,"data_units_read":"91817265","power_cycles":12,"power_on_hours":5120,
"unsafe_shutdowns":3,"media_errors":2,"num_err_log_entries":9}"""


def drive(kind: MediumKind) -> Drive:
    medium = Medium(kind, "", "", "", "S", SerialSource.KERNEL, "", 1 << 30, 512, 512, rotational=False)
    return Drive(Path("/dev/nvme0n1"), "259:0", Path("/sys"), medium)


def asked(kind: MediumKind, **answers: Ran) -> Facts:
    return health(drive(kind), lambda command, timeout_s=30.0, /: answers[command[0]])


def test_what_ata_sas_and_nvme_drives_say_to_smartctl() -> None:
    assert of_smartctl(ATA) == {
        "evaluated": True, "tool": "smartctl 7.3", "passed": True, "temperature_c": 36, "power_on_hours": 30211,
        "power_cycles": 57, "reallocated_sectors": 8, "pending_sectors": 1, "uncorrectable_sectors": 0,
    }  # fmt: skip
    assert of_smartctl(SAS) == {
        "evaluated": True, "tool": "smartctl 7.3", "passed": False, "temperature_c": 27, "power_on_hours": 982,
        "grown_defects": 3,
    }  # fmt: skip
    assert of_smartctl(NVME) == {
        "evaluated": True, "tool": "smartctl 7.3", "passed": True, "temperature_c": 41, "power_on_hours": 10147,
        "power_cycles": 8, "critical_warning": 0, "available_spare_percent": 100, "used_percent": 3, "media_errors": 0,
    }  # fmt: skip


def test_what_an_nvme_drive_says_to_nvme_where_smartctl_is_not_there() -> None:
    facts = asked(MediumKind.NVME, smartctl=Ran(None, why="smartctl is not installed"), nvme=Ran(0, SMART_LOG))

    assert facts == {
        "evaluated": True, "tool": "nvme smart-log", "passed": False, "temperature_c": 41, "critical_warning": 4,
        "available_spare_percent": 90, "used_percent": 7, "media_errors": 2, "power_on_hours": 5120, "power_cycles": 12,
    }  # fmt: skip


@pytest.mark.parametrize(
    "ran, why",
    [
        (Ran(None, why="smartctl is not installed"), "smartctl is not installed"),
        (Ran(None, why="smartctl did not end within 30 s"), "smartctl did not end within 30 s"),
        (Ran(1, NOT_DETECTED), "smartctl: /dev/vda: Unable to detect device type"),
        (Ran(2, b""), "smartctl printed nothing and ended with 2"),
        (Ran(0, b"{}"), "smartctl: the drive told neither its state nor its temperature"),
        (Ran(0, b"Usage: smartctl"), "smartctl ended with 0: what smartctl printed is malformed"),
        (Ran(0, b'{"smart_status":{"passed":1},"temperature":{"current":true}}'), "told neither"),
    ],
)
def test_a_drive_that_says_nothing_was_not_evaluated_and_why(ran: Ran, why: str) -> None:
    facts = asked(MediumKind.ATA_DISK, smartctl=ran)

    assert facts.keys() == {"evaluated", "why"}
    assert facts["evaluated"] is False
    assert why in str(facts["why"])


def test_of_a_virtual_drive_nobody_asks_and_of_an_nvme_drive_both_reasons_are_told() -> None:
    assert asked(MediumKind.VIRTUAL)["evaluated"] is False
    facts = asked(MediumKind.NVME, smartctl=Ran(1, NOT_DETECTED), nvme=Ran(None, why="nvme is not installed"))
    assert "Unable to detect" in str(facts["why"])
    assert "nvme is not installed" in str(facts["why"])


@pytest.mark.parametrize(
    "printed", [b"", b"[]", b"1", b'{"a":1,"a":1}', b'{"a":NaN}', b"\xff", b"[" * 200_000, b" " * (MAX_BYTES + 1)]
)
def test_refuses_what_is_not_one_json_object(printed: bytes) -> None:
    for read in (of_smartctl, of_nvme):
        with pytest.raises(Malformed):
            read(printed)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
_MEMBERS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("smartctl", "smart_status", "temperature", "power_on_time", "ata_smart_attributes", "critical_warning",
         "nvme_smart_health_information_log", "power_cycle_count", "scsi_grown_defect_list"), _JSON,
    ),
)  # fmt: skip


@given(_MEMBERS, st.sampled_from([of_smartctl, of_nvme]))
def test_whatever_a_drive_has_the_tool_print_becomes_facts_that_a_report_may_carry(told: object, read: object) -> None:
    assert callable(read)
    facts = read(json.dumps(told).encode())

    assert isinstance(facts["evaluated"], bool)
    for name, value in facts.items():
        assert name.isascii()
        assert isinstance(value, bool | int | str)
        assert not isinstance(value, int) or abs(value) < 2**53
        assert not isinstance(value, str) or re.fullmatch(r"[^\x00-\x1f\x7f]{0,300}", value)
