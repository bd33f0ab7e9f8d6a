"""The decision between unchanged, lossy, altered and not evaluated."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.verify.pixels import PixelState, compare
from shared.custody.frames import LOSSY_SYNTAXES, FrameStatement, Pixels
from shared.identity import ObjectId

EXPLICIT, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"
BASELINE, J2K = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91"
FRAMES = tuple(bytes([number]) * 32 for number in range(3))
WAS = Pixels(64, 32, 1, 16, 12, False, "MONOCHROME2", False, "one decoder", FRAMES)


def captured(pixels: Pixels = WAS, syntax: str = EXPLICIT) -> FrameStatement:
    return FrameStatement(ObjectId(bytes(16)), bytes(32), bytes(32), syntax, datetime(2026, 1, 1, tzinfo=UTC), pixels)


@pytest.mark.parametrize(
    "now, syntax, state",
    [
        ({}, RLE, PixelState.SAME),
        ({"bits_allocated": 32, "decoder": "another"}, RLE, PixelState.SAME),
        ({"lossy": True}, J2K, PixelState.SAME),  # a lossy syntax that lost nothing
        ({"frames": FRAMES[:2]}, RLE, PixelState.ALTERED),
        ({"rows": 63}, RLE, PixelState.ALTERED),
        ({"rows": 63, "lossy": True}, BASELINE, PixelState.ALTERED),
        ({"frames": FRAMES[::-1]}, RLE, PixelState.ALTERED),
        ({"frames": FRAMES[::-1], "decoder": "another"}, RLE, PixelState.ALTERED),
        ({"frames": FRAMES[::-1], "lossy": True}, BASELINE, PixelState.LOSSY),
        ({"frames": FRAMES[::-1], "lossy": True}, EXPLICIT, PixelState.LOSSY),  # decompressed again, and it says so
        ({"bits_stored": 8, "lossy": True, "colour": "YBR_FULL"}, BASELINE, PixelState.LOSSY),
        ({"bits_stored": 11}, RLE, PixelState.NOT_EVALUATED),
        ({"signed": True}, RLE, PixelState.NOT_EVALUATED),
        ({"colour": "MONOCHROME1"}, RLE, PixelState.NOT_EVALUATED),
    ],
)
def test_pixels_captured_without_loss(now: dict[str, Any], syntax: str, state: PixelState) -> None:
    assert compare(captured(), replace(WAS, **now), syntax).state is state


@pytest.mark.parametrize(
    "now, syntax, state",
    [
        ({}, EXPLICIT, PixelState.SAME),
        ({"frames": FRAMES[::-1]}, BASELINE, PixelState.ALTERED),  # the same bytes of JPEG give the same pixels
        ({"frames": FRAMES[::-1], "decoder": "another"}, BASELINE, PixelState.NOT_EVALUATED),
        ({"frames": FRAMES[::-1], "decoder": "another"}, EXPLICIT, PixelState.NOT_EVALUATED),
        ({"frames": FRAMES[::-1]}, J2K, PixelState.LOSSY),
    ],
)
def test_pixels_captured_with_loss(now: dict[str, Any], syntax: str, state: PixelState) -> None:
    was = replace(WAS, lossy=True)

    assert compare(captured(was, BASELINE), replace(was, **now), syntax).state is state


def test_frames_that_differ_are_named() -> None:
    found = replace(WAS, frames=(FRAMES[0], bytes(31) + b"\x01", FRAMES[2]))

    assert compare(captured(), found, RLE).why == "1 of 3 frames differ: 2"


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=5), st.data())
def test_only_the_same_frames_in_the_same_order_are_the_same(frames: list[bytes], data: st.DataObject) -> None:
    other = data.draw(st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=5))
    was, now = replace(WAS, frames=tuple(frames)), replace(WAS, frames=tuple(other))
    syntax = data.draw(st.sampled_from([EXPLICIT, RLE, *LOSSY_SYNTAXES]))

    verdict = compare(captured(was), now, syntax)

    assert (verdict.state is PixelState.SAME) == (frames == other)
