"""Reads the list of a site: one line for each host that is to be enrolled there.

    asset,site,type
    CT-4711,north,ct
    MR-0815,north,

CSV (RFC 4180) in UTF-8, with that first line; site and type may be empty. All faults are found at once.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

from control_plane.enrolment.assets import asset_key
from shared.errors import Malformed
from shared.policy.layer import named_parts

MAX_BYTES = 256 << 10
MOST = 1000
_HEADER = ("asset", "site", "type")
_MAX_ASSET_CHARS = 100


@dataclass(frozen=True)
class ListedAsset:
    asset: str
    site: str | None
    modality_type: str | None


class ListMalformed(Malformed):
    """`faults` are one for each line, the first of them first."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("list of assets", "\n  ".join(("no code was issued", *faults)))
        self.faults = tuple(faults)


def parse(data: bytes) -> list[ListedAsset]:
    """Raises ListMalformed."""
    if len(data) > MAX_BYTES:
        raise ListMalformed([f"larger than {MAX_BYTES} bytes"])
    try:
        rows = csv.reader(StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        lines = [(rows.line_num, row) for row in rows if row]
    except (UnicodeDecodeError, csv.Error) as exc:
        raise ListMalformed([f"not CSV in UTF-8: {exc}"]) from exc
    if not lines or tuple(lines[0][1]) != _HEADER:
        raise ListMalformed([f"line 1: expected {','.join(_HEADER)}"])
    if not 1 <= len(lines) - 1 <= MOST:
        raise ListMalformed([f"expected 1 to {MOST} assets, found {len(lines) - 1}"])
    listed, faults, seen = [], list[str](), dict[str, int]()
    for number, row in lines[1:]:
        try:
            one = _read(row)
        except Malformed as exc:
            faults.append(f"line {number}: {exc}")
            continue
        first = seen.setdefault(asset_key(one.asset), number)
        if first != number:
            faults.append(f"line {number}: the asset of line {first} again")
        listed.append(one)
    if faults:
        raise ListMalformed(faults)
    return listed


def _read(row: Sequence[str]) -> ListedAsset:
    """Raises Malformed."""
    if len(row) != len(_HEADER):
        raise Malformed("line", f"expected {len(_HEADER)} fields, found {len(row)}")
    asset, site, modality_type = (field.strip() for field in row)
    if not asset or len(asset) > _MAX_ASSET_CHARS or not asset.isprintable():
        raise Malformed("asset", f"expected 1 to {_MAX_ASSET_CHARS} printable characters")
    one = ListedAsset(asset, site or None, modality_type or None)
    named_parts(site=one.site, modality_type=one.modality_type)
    return one
