"""Compares decoded pixels with those that the centre digested, and says what kind of difference there is."""

from dataclasses import dataclass
from enum import StrEnum

from shared.custody.frames import LOSSY_SYNTAXES, FrameStatement, Pixels

_NAMED = 20


class PixelState(StrEnum):
    SAME = "the same in every frame"
    LOSSY = "changed by lossy compression"
    ALTERED = "altered"
    NOT_EVALUATED = "not evaluated"


@dataclass(frozen=True)
class PixelVerdict:
    state: PixelState
    why: str


def compare(captured: FrameStatement, found: Pixels, transfer_syntax: str) -> PixelVerdict:
    """Judge the decoded frames of a file in `transfer_syntax` by those that were digested after capture.

    A file whose pixels differ and that says of itself that it is lossy is taken at its word: what compression changed
    and what somebody changed before it cannot be told apart.
    """
    was = captured.pixels
    if _shape(was) != _shape(found):
        return PixelVerdict(PixelState.ALTERED, f"{_words(found)} instead of {_words(was)}")
    if _description(was) == _description(found) and was.frames == found.frames:
        return PixelVerdict(PixelState.SAME, f"{counted(found)} by SHA-256")
    if found.lossy and not was.lossy:
        return PixelVerdict(PixelState.LOSSY, "it was compressed with loss after capture")
    if transfer_syntax in LOSSY_SYNTAXES and transfer_syntax != captured.transfer_syntax:
        return PixelVerdict(PixelState.LOSSY, "it was compressed with loss after capture, and not for the first time")
    if _description(was) != _description(found):
        why = f"its pixels are described otherwise ({_described(found)}, captured {_described(was)})"
        return PixelVerdict(PixelState.NOT_EVALUATED, why)
    if was.lossy and was.decoder != found.decoder:
        why = f"captured with lossy compression and decoded by {was.decoder}; {found.decoder} need not give the same"
        return PixelVerdict(PixelState.NOT_EVALUATED, why)
    differ = [number for number, pair in enumerate(zip(was.frames, found.frames, strict=True), 1) if pair[0] != pair[1]]
    named = ", ".join(map(str, differ[:_NAMED])) + ", ..." * (len(differ) > _NAMED)
    return PixelVerdict(PixelState.ALTERED, f"{len(differ)} of {len(was.frames)} frames differ: {named}")


def _shape(pixels: Pixels) -> tuple[int, int, int]:
    return pixels.rows, pixels.columns, len(pixels.frames)


def _words(pixels: Pixels) -> str:
    return f"{counted(pixels)} of {pixels.rows} rows and {pixels.columns} columns"


def counted(pixels: Pixels) -> str:
    return f"{len(pixels.frames)} frame{'s' * (len(pixels.frames) != 1)}"


def _description(pixels: Pixels) -> tuple[int, int, bool, str]:
    return pixels.samples, pixels.bits_stored, pixels.signed, pixels.colour


def _described(pixels: Pixels) -> str:
    sign = "signed" if pixels.signed else "unsigned"
    return f"{pixels.colour}, {pixels.samples} samples of {pixels.bits_stored} bits, {sign}"
