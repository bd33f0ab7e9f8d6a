"""Reads samples of a drive and holds them against what its certificate says was written there last."""

import os
import secrets
from pathlib import Path

from provisioning.verify.checks import Check, judged, not_evaluated
from shared.sanitization.certificate import Statement
from shared.sanitization.report import StepOutcome
from shared.sanitization.sampling import places
from shared.sanitization.stream import RANDOM, Content
from shared.sanitization.technique import Technique

_NAME = "samples of the drive"
_MOST_BYTES = 4096  # of each sample: a spot check, where `places` has a tenth of the drive


def check_drive(statement: Statement, device: Path, seed: bytes | None = None) -> Check:
    """Read two samples in each of a thousand sections, at places that nobody foresees. Raises OSError."""
    reported = statement.reported
    done = [] if reported is None else [one for one in reported.report.steps if one.outcome is StepOutcome.DONE]
    if reported is None or not done or done[-1].technique is not Technique.OVERWRITE:
        return not_evaluated(_NAME, "the drive was not overwritten last, so nothing says what is on it")
    last, medium = done[-1], reported.report.medium_after or reported.report.medium
    source = Content(last.pattern, last.seed if last.pattern == RANDOM else None).source()
    descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)
        if size != medium.size_bytes:
            return judged(_NAME, False, f"it has {size} bytes, the wiped drive has {medium.size_bytes}")
        compared = 0
        sector = medium.logical_sector_bytes
        for extent in places(seed or secrets.token_bytes(32), size, sector):
            expected = bytearray(min(extent.count * sector, max(sector, _MOST_BYTES)))
            source.fill(extent.first * sector, memoryview(expected))
            if os.pread(descriptor, len(expected), extent.first * sector) != expected:
                return judged(_NAME, False, f"what is on it from sector {extent.first} on is not what was written")
            compared += len(expected)
    finally:
        os.close(descriptor)
    return judged(_NAME, True, f"{compared} bytes at places drawn now are what was written")
