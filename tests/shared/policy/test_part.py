"""The document of a part: one encoding, nothing unknown, nothing that says nothing."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import canonical
from shared.canonical import Json
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.watch import WatchPolicy
from shared.errors import Malformed
from shared.identity import HostId
from shared.policy.document import Modality
from shared.policy.grading import Grading
from shared.policy.part import PartContent, PartDocument
from shared.policy.wipe import LeastClass, ReadBack, WipePolicy

FULL = PartContent(
    (Modality("CT9", "a modality"),), Grading("restricted"), 30, 600,
    1 << 30, DevicePolicy((DeviceRule(parse_rule("allow")),)), WatchPolicy(60),
    WipePolicy(LeastClass.PURGE, ReadBack.WHOLE, 2, 24),
)  # fmt: skip
PART = PartDocument("site-north", 4, FULL, ((HostId(bytes(16)), PartContent(state_every_s=5)),))


@pytest.mark.parametrize("part", [PART, PartDocument("modality-ct", 1, PartContent()), replace(PART, hosts=())])
def test_a_part_reads_back(part: PartDocument) -> None:
    assert PartDocument.parse(part.encode()) == part


@pytest.mark.parametrize(
    "changed",
    [
        {"layer": "organisation"},
        {"layer": "site-"},
        {"layer": "ward-3"},
        {"layer": "modality-ct"},
        {"version": 0},
        {"v": 2},
        {"keys": []},
        {"receipt_key": ""},
        {"modalities": []},
        {"frame_digests": True},
        {"routes": []},
        {"spool_quota_bytes": 0},
        {"state_every_s": 3601},
        {"hosts": {}},
        {"hosts": {"host-1": {}}},
        {"x": 1},
    ],
    ids=str,
)
def test_what_is_no_part_is_refused(changed: dict[str, Json]) -> None:
    with pytest.raises(Malformed):
        PartDocument.parse(canonical.encode({**json.loads(PART.encode()), **changed}))


@given(st.binary(max_size=400) | st.deferred(lambda: st.builds(_flipped, st.integers(0), st.integers(1, 255))))
def test_whatever_the_bytes_are_it_is_a_part_in_its_one_form_or_malformed(data: bytes) -> None:
    try:
        part = PartDocument.parse(data)
    except Malformed:
        return
    assert part.encode() == data


def _flipped(at: int, byte: int) -> bytes:
    data = bytearray(PART.encode())
    data[at % len(data)] ^= byte
    return bytes(data)
