"""Makes the scenarios of docs/formats/custody.md sections 4 and 5: `pixels` and `comparison`."""

import struct
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from tests.vectors.given import Files, Scenario, as_file, b64

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
_RLE, _JPEG, _JPEG_2000 = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.91"
_WIDE = ("OB", "OW", "OF")


@dataclass(frozen=True)
class Picture:
    """A data set: what it says of its pixels, and the value of Pixel Data as it lies there. None: not said."""

    value: bytes | None
    rows: int = 2
    columns: int = 2
    samples: int = 1
    allocated: int = 16
    stored: int | None = 12
    high_bit: int | None = None  # None: as it should be
    signed: int = 0
    photometric: str = "MONOCHROME2"
    planar: int | None = None
    frames: str | None = None
    lossy: str | None = None
    vr: str = "OW"
    name: str = "Vector^Test"
    floats: bool = False

    def encoded(self, syntax: str) -> bytes:
        order = ">" if syntax == BIG_ENDIAN else "<"
        high_bit = self.high_bit if self.high_bit is not None or self.stored is None else self.stored - 1
        elements: list[tuple[int, int, str, bytes | int | str | None]] = [
            (0x0008, 0x0016, "UI", "1.2.840.10008.5.1.4.1.1.7\0"),
            (0x0008, 0x0018, "UI", "1.2.826.0.1.3680043.8.498.3\0"),
            (0x0010, 0x0010, "PN", self.name),
            (0x0028, 0x0002, "US", self.samples),
            (0x0028, 0x0004, "CS", self.photometric),
            (0x0028, 0x0006, "US", self.planar),
            (0x0028, 0x0008, "IS", self.frames),
            (0x0028, 0x0010, "US", self.rows),
            (0x0028, 0x0011, "US", self.columns),
            (0x0028, 0x0100, "US", self.allocated),
            (0x0028, 0x0101, "US", self.stored),
            (0x0028, 0x0102, "US", high_bit),
            (0x0028, 0x0103, "US", self.signed),
            (0x0028, 0x2110, "CS", self.lossy),
            (0x7FE0, 0x0008 if self.floats else 0x0010, "OF" if self.floats else self.vr, self.value),
        ]
        return b"".join(_element(*one, order=order, syntax=syntax) for one in elements)


def _element(group: int, number: int, vr: str, value: bytes | int | str | None, *, order: str, syntax: str) -> bytes:
    if value is None:
        return b""
    if isinstance(value, int):
        value = struct.pack(f"{order}H", value)
    if isinstance(value, str):
        value = value.encode() + b" " * (len(value) % 2)
    value += b"\0" * (len(value) % 2)
    tag = struct.pack(f"{order}HH", group, number)
    if syntax == IMPLICIT:
        return tag + struct.pack("<I", len(value)) + value
    size = f"{order}xxI" if vr in _WIDE else f"{order}H"
    return tag + vr.encode() + struct.pack(size, len(value)) + value


def words(*values: int, wide: int = 2, order: str = "<") -> bytes:
    return struct.pack(f"{order}{len(values)}{ {1: 'B', 2: 'H', 4: 'I'}[wide] }", *values)


GREY = Picture(words(1, 2, 3, 4095))
_RED, _GREEN, _BLUE = (1, 2, 3, 4), (11, 12, 13, 14), (21, 22, 23, 24)
_COLOUR = Picture(
    bytes(octet for pixel in zip(_RED, _GREEN, _BLUE, strict=True) for octet in pixel),
    samples=3, allocated=8, stored=8, photometric="RGB", planar=0,
)  # fmt: skip
_INTERLEAVED = [_COLOUR.value or b""]
_BITS = Picture(bytes([0b10110001, 0b01100101, 0b10]), rows=3, columns=3, allocated=1, stored=1, frames="2")
_ODD = Picture(bytes(range(1, 10)) + bytes(range(11, 20)), rows=3, columns=3, allocated=8, stored=8, frames="2")
_GREY_FORM = [words(1, 2, 3, 4095)]
_ODD_FORM = [bytes(range(1, 10)), bytes(range(11, 20))]


def scenarios() -> Files:
    return {f"custody/{name}.json": text for name, text in (_pixels() | _comparisons()).items()}


def _swapped(data: bytes) -> bytes:
    return bytes(data[at ^ 1] for at in range(len(data)))


def _pixels() -> Files:
    """Data sets with the canonical form of each of their frames."""
    half = Picture(bytes([10, 20, 1, 2, 30, 40, 3, 4]), columns=4, rows=1, samples=3, allocated=8, stored=8,
                   photometric="YBR_FULL_422", planar=0)  # fmt: skip
    deep = Picture(words(1, 2, 3, 70_000, wide=4), allocated=32, stored=17)
    good: dict[str, tuple[str, Picture, str, list[bytes]]] = {
        "16-bits": ("12 bits stored in 16.", GREY, EXPLICIT, _GREY_FORM),
        "implicit": ("The same in Implicit VR.", GREY, IMPLICIT, _GREY_FORM),
        "big-endian": (
            "The same in Explicit VR Big Endian.", replace(GREY, value=words(1, 2, 3, 4095, order=">")), BIG_ENDIAN,
            _GREY_FORM,
        ),
        "overlay-above": (
            "The same, with bits set above Bits Stored.", replace(GREY, value=words(0x8001, 0xF002, 0x1003, 0xFFFF)),
            EXPLICIT, _GREY_FORM,
        ),
        "32-allocated": (
            "The same, 12 bits stored in 32.",
            replace(GREY, value=words(0xFFFF_F001, 2, 3, 4095, wide=4), allocated=32), EXPLICIT, _GREY_FORM,
        ),
        "signed": (
            "Signed values: their sign bits above Bits Stored are no part.",
            replace(GREY, value=struct.pack("<4h", -1, -2048, 2047, 0), signed=1), EXPLICIT,
            [words(0xFFF, 0x800, 0x7FF, 0)],
        ),
        "8-bits": (
            "8 bits stored in 8.", Picture(bytes([0, 1, 254, 255]), allocated=8, stored=8, vr="OB"), EXPLICIT,
            [bytes([0, 1, 254, 255])],
        ),
        "8-in-16": (
            "8 bits stored in 16: one byte a sample.", replace(GREY, value=words(0xFF00, 1, 254, 255), stored=8),
            EXPLICIT, [bytes([0, 1, 254, 255])],
        ),
        "16-in-32": (
            "16 bits stored in 32: two bytes a sample.",
            replace(deep, value=words(1, 2, 3, 0x1_FFFF, wide=4), stored=16), EXPLICIT, [words(1, 2, 3, 0xFFFF)],
        ),
        "17-in-32": (
            "17 bits stored in 32: four bytes a sample.", deep, EXPLICIT, [words(1, 2, 3, 70_000, wide=4)],
        ),
        "32-bits": (
            "32 bits stored in 32.", replace(deep, value=words(1, 2, 3, 2**32 - 1, wide=4), stored=32), EXPLICIT,
            [words(1, 2, 3, 2**32 - 1, wide=4)],
        ),
        "by-pixel": ("RGB, samples by pixel.", _COLOUR, EXPLICIT, _INTERLEAVED),
        "by-plane": (
            "The same RGB, samples by plane.", replace(_COLOUR, value=bytes(_RED + _GREEN + _BLUE), planar=1), EXPLICIT,
            _INTERLEAVED,
        ),
        "planar-not-said": (
            "RGB that does not say how samples lie: by pixel.", replace(_COLOUR, planar=None), EXPLICIT, _INTERLEAVED,
        ),
        "by-plane-16-bits": (
            "RGB of 16 bits, by plane and big endian.",
            replace(_COLOUR, value=words(*_RED, *_GREEN, *_BLUE, order=">"), planar=1, allocated=16, stored=16),
            BIG_ENDIAN, [words(*(_COLOUR.value or b""))],
        ),
        "two-odd-frames": ("Two frames of nine bytes.", _ODD, EXPLICIT, _ODD_FORM),
        "two-odd-frames-big-endian": (
            "The same in words of 16 bits, big endian: swapped across the frames' border.",
            replace(_ODD, value=_swapped(_ODD.value or b"")), BIG_ENDIAN, _ODD_FORM,
        ),
        "bytes-big-endian": (
            "The same as VR OB: bytes have no byte order.", replace(_ODD, vr="OB"), BIG_ENDIAN, _ODD_FORM,
        ),
        "single-bits": (
            "Two frames of nine single bits, which follow one another without padding.", _BITS, EXPLICIT,
            [bytes([1, 0, 0, 0, 1, 1, 0, 1, 1]), bytes([0, 1, 0, 0, 1, 1, 0, 0, 1])],
        ),
        "half-the-colour": (
            "YBR_FULL_422 as it lies: Y1 Y2 Cb Cr for two pixels.", half, EXPLICIT, [half.value or b""],
        ),
        "palette": (
            "PALETTE COLOR: the indices, not what the table makes of them.", replace(GREY, photometric="PALETTE COLOR"),
            EXPLICIT, _GREY_FORM,
        ),
        "padded": (
            "A byte of padding behind the last frame.",
            replace(GREY, value=bytes([1, 2, 3, 0]), rows=1, columns=3, allocated=8, stored=8), EXPLICIT,
            [bytes([1, 2, 3])],
        ),
        "lossy-once": ("Compressed with loss before, and it says so.", replace(GREY, lossy="01"), EXPLICIT, _GREY_FORM),
    }  # fmt: skip
    bad: dict[str, tuple[str, Picture, str]] = {
        "no-pixels": ("No pixel data.", replace(GREY, value=None), EXPLICIT),
        "floats": ("Float Pixel Data.", replace(GREY, value=bytes(16), floats=True), EXPLICIT),
        "high-bit": ("High Bit leaves room below.", replace(GREY, high_bit=15), EXPLICIT),
        "stored-not-said": ("No Bits Stored.", replace(GREY, stored=None, high_bit=11), EXPLICIT),
        "stored-too-many": ("17 bits stored in 16.", replace(GREY, stored=17), EXPLICIT),
        "12-allocated": ("Bits Allocated 12.", replace(GREY, allocated=12), EXPLICIT),
        "64-allocated": ("Bits Allocated 64.", replace(GREY, value=bytes(32), allocated=64, stored=64), EXPLICIT),
        "32-big-endian": (
            "32 bits, big endian: written in two ways, and nothing says in which.",
            replace(GREY, value=words(1, 2, 3, 4, wide=4, order=">"), allocated=32), BIG_ENDIAN,
        ),
        "single-bits-big-endian": (
            "Single bits, big endian.", _BITS, BIG_ENDIAN,
        ),
        "single-bits-of-colour": ("RGB of single bits.", replace(_COLOUR, allocated=1, stored=1), EXPLICIT),
        "two-samples": ("Two samples a pixel.", replace(GREY, samples=2, value=bytes(16)), EXPLICIT),
        "grey-of-three": ("MONOCHROME2 of three samples.", replace(_COLOUR, photometric="MONOCHROME2"), EXPLICIT),
        "colour-of-one": ("RGB of one sample.", replace(GREY, photometric="RGB"), EXPLICIT),
        "colour": ("HSV, which is no more.", replace(_COLOUR, photometric="HSV"), EXPLICIT),
        "transformed": ("YBR_RCT that is not JPEG 2000.", replace(_COLOUR, photometric="YBR_RCT"), EXPLICIT),
        "half-odd": ("YBR_FULL_422 of three columns.", replace(half, columns=3), EXPLICIT),
        "half-by-plane": ("YBR_FULL_422 by plane.", replace(half, planar=1), EXPLICIT),
        "signed": ("Pixel Representation 2.", replace(GREY, signed=2), EXPLICIT),
        "rows": ("No rows.", replace(GREY, rows=0), EXPLICIT),
        "frames-none": ("Number of Frames 0.", replace(GREY, frames="0"), EXPLICIT),
        "frames-too-many": ("10,001 frames.", replace(GREY, frames="10001"), EXPLICIT),
        "short": ("A byte less than the frames need.", replace(GREY, value=words(1, 2, 3)), EXPLICIT),
        "short-of-frames": ("One frame of two.", replace(GREY, frames="2"), EXPLICIT),
    }  # fmt: skip
    files = {}
    for name, (about, picture, syntax, frames) in good.items():
        expect = {
            "result": "digested", "rows": picture.rows, "columns": picture.columns, "samples": picture.samples,
            "bits_allocated": picture.allocated, "bits_stored": picture.stored, "signed": picture.signed == 1,
            "colour": picture.photometric, "lossy": picture.lossy == "01",
            "frames": [sha256(frame).hexdigest() for frame in frames],
        }  # fmt: skip
        files[f"pixels-ok-{name}"] = _file(about, picture, syntax, expect, [frame.hex() for frame in frames])
    for name, (about, picture, syntax) in bad.items():
        files[f"pixels-bad-{name}"] = _file(about, picture, syntax, {"result": "refused", "error": "NotDecoded"})
    return files


def _file(about: str, picture: Picture, syntax: str, expect: Scenario, canonical_hex: list[str] | None = None) -> str:
    given = {"transfer_syntax": syntax, "dataset_base64": b64(picture.encoded(syntax))}
    shown = {} if canonical_hex is None else {"canonical_hex": canonical_hex}
    return as_file({"about": about, "kind": "pixels", "given": given, "expect": expect, **shown})


def _comparisons() -> Files:
    frames = [sha256(bytes([number])).hexdigest() for number in range(3)]
    was: dict[str, Any] = {
        "rows": 64, "columns": 32, "samples": 1, "bits_allocated": 16, "bits_stored": 12, "signed": False,
        "colour": "MONOCHROME2", "lossy": False, "decoder": "one decoder", "frames": frames,
    }  # fmt: skip
    other = [frames[0], sha256(b"other").hexdigest(), frames[2]]
    lossless: dict[str, tuple[str, Scenario, str, str]] = {
        "ok": ("The same frames in another encoding.", {}, _RLE, "same"),
        "ok-lossy-in-name": ("A lossy transfer syntax that lost nothing.", {"lossy": True}, _JPEG_2000, "same"),
        "ok-32-allocated": (
            "More bits allocated, by another decoder.", {"bits_allocated": 32, "decoder": "another"}, _RLE, "same",
        ),
        "bad-one-frame": ("One frame is another.", {"frames": other}, _RLE, "altered"),
        "bad-order": ("Frames have changed places.", {"frames": frames[::-1]}, _RLE, "altered"),
        "bad-frame-gone": ("A frame is gone.", {"frames": frames[:2]}, _RLE, "altered"),
        "bad-rows": ("Other rows, and lossy: no compression does that.", {"rows": 63, "lossy": True}, _JPEG, "altered"),
        "bad-lossy": ("Other frames in a lossy encoding.", {"frames": other, "lossy": True}, _JPEG, "lossy"),
        "bad-lossy-decompressed": (
            "The same, decompressed again: the data set says what was.", {"frames": other, "lossy": True}, EXPLICIT,
            "lossy",
        ),
        "bad-lossy-colour": (
            "Other frames, and a lossy encoding that tells colours otherwise.",
            {"frames": other, "lossy": True, "colour": "YBR_FULL"}, _JPEG, "lossy",
        ),
        "bad-bits-stored": ("Fewer bits stored.", {"bits_stored": 11}, _RLE, "not evaluated"),
        "bad-signed": ("The same bits, now signed.", {"signed": True}, _RLE, "not evaluated"),
        "bad-colour": ("The same values, shown inverse.", {"colour": "MONOCHROME1"}, _RLE, "not evaluated"),
    }  # fmt: skip
    lossy: dict[str, tuple[str, Scenario, str, str]] = {
        "ok": ("Captured with loss, the same frames.", {}, EXPLICIT, "same"),
        "bad-one-frame": ("Captured with loss, one frame is another.", {"frames": other}, _JPEG, "altered"),
        "bad-again": ("Captured with loss, compressed once more.", {"frames": other}, _JPEG_2000, "lossy"),
        "bad-another-decoder": (
            "Captured with loss and decoded by another decoder.", {"frames": other, "decoder": "another"}, _JPEG,
            "not evaluated",
        ),
    }  # fmt: skip
    files = {}
    for group, captured, syntax, cases in (
        ("lossless", was, EXPLICIT, lossless), ("lossy", {**was, "lossy": True}, _JPEG, lossy),
    ):  # fmt: skip
        for name, (about, changes, found_in, state) in cases.items():
            kind, _, rest = name.partition("-")
            given = {
                "captured": captured, "captured_transfer_syntax": syntax, "found": {**captured, **changes},
                "found_transfer_syntax": found_in,
            }  # fmt: skip
            named = f"comparison-{kind}-{group}{rest and '-' + rest}"
            files[named] = as_file({"about": about, "kind": "comparison", "given": given, "expect": {"state": state}})
    return files
