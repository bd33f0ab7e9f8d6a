"""Decodes the frames of one image in a process of its own, and digests them. Runs as a script, and only as one.

    stdin   the encoded dataset, without preamble and group 0002
    argv    transfer syntax UID
    stdout  {"pixels": {...}} (`shared.custody.frames.Pixels`) or {"refused": one of `Refusal`}

The bytes are hostile and the decoders are C and C++, so this process limits itself before it reads the first of them,
holds no key and no open file but its pipes, and says nothing in words of its own: what it prints is judged by
`decoder.py` as the word of somebody who may have been taken over. Nothing of ours is imported, so that it starts
without our modules in reach. The canonical form is that of docs/formats/custody.md section 4.
"""

import json
import resource
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

MAX_MEMORY_BYTES = 3 << 30
MAX_CPU_S = 300
MAX_DATASET_BYTES = 512 << 20
MAX_FRAME_BYTES = 256 << 20
MAX_DECODED_BYTES = 16 << 30
MAX_FRAMES = 10_000

NO_DECODER, NO_PIXELS, UNREADABLE, UNSUPPORTED = "no-decoder", "no-pixels", "unreadable", "unsupported"
DESCRIPTION, NOT_DECODED, TOO_LARGE = "description", "not-decoded", "too-large"

_IMPLICIT, _BIG_ENDIAN, _RLE = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5"
_NATIVE = frozenset((_IMPLICIT, "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", _BIG_ENDIAN))
_LOSSLESS = _NATIVE | frozenset(
    (_RLE, *(f"1.2.840.10008.1.2.4.{last}" for last in ("57", "70", "80", "90", "92", "201", "202")))
)
_JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{last}" for last in ("90", "91", "92", "93", "201", "202", "203"))
# Those for which python-gdcm is the decoder; RLE and what is not encapsulated need none but pydicom.
_GDCM = frozenset(f"1.2.840.10008.1.2.4.{last}" for last in ("50", "51", "57", "70", "80", "81", "90", "91"))
_COLOURS = {
    "MONOCHROME1": "MONOCHROME1",
    "MONOCHROME2": "MONOCHROME2",
    "PALETTE COLOR": "PALETTE COLOR",
    "RGB": "RGB",
    "YBR_FULL": "YBR_FULL",
    "YBR_FULL_422": "YBR_FULL",  # decoders of JPEG give every sample; what is not encapsulated is treated apart
    "YBR_RCT": "RGB",
    "YBR_ICT": "RGB",
}
_ONE_SAMPLE = frozenset(("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"))  # PS3.3 section C.7.6.3.1.2
_SUBSAMPLED = "YBR_FULL_422"
_UNPACKED = tuple(bytes(octet >> bit & 1 for bit in range(8)) for octet in range(256))  # PS3.5 section 8.1.1: LSB first


class Refusal(Exception):
    """Why there are no digests, as one of the words above: text would carry what is in the image out of here."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True)
class Form:
    """How the samples of one decoded frame lie in its bytes."""

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    planar: bool = False
    big_endian: bool = False

    @property
    def pixels(self) -> int:
        return self.rows * self.columns

    @property
    def frame_bytes(self) -> int:
        return self.pixels * self.samples * self.allocated // 8


def canonical(frame: bytes, form: Form) -> bytes:
    """Return one frame of 8, 16 or 32 bits allocated in canonical form."""
    wide, narrow = form.allocated // 8, _width(form.stored)
    out = bytearray(form.pixels * form.samples * narrow)
    plane = form.pixels * wide
    for sample in range(form.samples):
        start, step = (sample * plane, wide) if form.planar else (sample * wide, form.samples * wide)
        stop = start + plane if form.planar else len(frame)
        for octet in range(narrow):
            there = wide - 1 - octet if form.big_endian else octet
            keep = (1 << max(0, min(8, form.stored - 8 * octet))) - 1
            values = frame[start + there : stop : step]
            out[sample * narrow + octet :: form.samples * narrow] = values if keep == 0xFF else values.translate(
                _MASKS[keep]
            )  # fmt: skip
    return bytes(out)


_MASKS = {mask: bytes(octet & mask for octet in range(256)) for mask in (0, 1, 3, 7, 15, 31, 63, 127)}


def _width(stored: int) -> int:
    return 1 if stored <= 8 else 2 if stored <= 16 else 4


def digests(dataset: bytes, transfer_syntax: str) -> dict[str, Any]:
    """Return the members of `Pixels`. Raises Refusal."""
    ds = _read(dataset, transfer_syntax)
    if "PixelData" not in ds:
        raise Refusal(UNSUPPORTED if "FloatPixelData" in ds or "DoubleFloatPixelData" in ds else NO_PIXELS)
    form, frames, photometric = _described(ds, transfer_syntax)
    if transfer_syntax in _NATIVE:
        found = _native(ds, form, frames, transfer_syntax)
    else:
        found = _encapsulated(ds, form, transfer_syntax)
    hashed = [sha256(frame).hexdigest() for frame in found]
    if len(hashed) != frames:
        raise Refusal(NOT_DECODED)
    native = transfer_syntax in _NATIVE
    return {
        "rows": form.rows,
        "columns": form.columns,
        "samples": int(ds.SamplesPerPixel),
        "bits_allocated": form.allocated,
        "bits_stored": form.stored,
        "signed": bool(ds.PixelRepresentation),
        "colour": photometric if native and photometric == _SUBSAMPLED else _colour(photometric, transfer_syntax),
        "lossy": transfer_syntax not in _LOSSLESS or str(ds.get("LossyImageCompression", "")) == "01",
        "decoder": _decoder(transfer_syntax),
        "frames": hashed,
    }


def _read(dataset: bytes, transfer_syntax: str) -> "Dataset":
    try:
        from pydicom import dcmread
    except ImportError as exc:
        raise Refusal(NO_DECODER) from exc
    try:
        return dcmread(BytesIO(_head(transfer_syntax) + dataset))
    except MemoryError:
        raise
    except Exception as exc:  # whatever a library raises over hostile bytes
        raise Refusal(UNREADABLE) from exc


def _head(transfer_syntax: str) -> bytes:
    uid = transfer_syntax.encode() + b"\x00" * (len(transfer_syntax) % 2)
    element = b"\x02\x00\x10\x00UI" + len(uid).to_bytes(2, "little") + uid
    return bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00" + len(element).to_bytes(4, "little") + element


def _described(ds: "Dataset", transfer_syntax: str) -> tuple[Form, int, str]:
    """Return form, number of frames and photometric interpretation, none of which contradicts another."""
    try:
        photometric = str(ds.PhotometricInterpretation)
        samples, counted = int(ds.SamplesPerPixel), ds.get("NumberOfFrames")
        frames = 1 if counted in (None, "") else int(counted)
        form = Form(
            rows=int(ds.Rows),
            columns=int(ds.Columns),
            samples=2 if transfer_syntax in _NATIVE and photometric == _SUBSAMPLED else samples,
            allocated=int(ds.BitsAllocated),
            stored=int(ds.BitsStored),
            planar=samples > 1 and transfer_syntax in _NATIVE and int(ds.get("PlanarConfiguration") or 0) == 1,
            big_endian=transfer_syntax == _BIG_ENDIAN,
        )
        high_bit, signed = int(ds.HighBit), int(ds.PixelRepresentation)
    except MemoryError:
        raise
    except Exception as exc:  # missing, not a number, several values
        raise Refusal(DESCRIPTION) from exc
    sound = (
        0 < form.rows <= 65_535 and 0 < form.columns <= 65_535 and frames > 0
        and samples == (1 if photometric in _ONE_SAMPLE else 3) and photometric in _COLOURS
        and 0 < form.stored <= form.allocated and high_bit == form.stored - 1 and signed in (0, 1)
        and (photometric != _SUBSAMPLED or (form.columns % 2 == 0 and not form.planar))
    )  # fmt: skip
    if not sound or (form.allocated == 1 and samples != 1):
        raise Refusal(DESCRIPTION)
    # What is written in 16-bit words, each the other way round (PS3.5 section 7.3), is of 32 bits written by some as if
    # it were of 32-bit words: which, nothing says.
    if form.allocated not in (1, 8, 16, 32) or (form.allocated in (1, 32) and transfer_syntax == _BIG_ENDIAN):
        raise Refusal(UNSUPPORTED)
    size = max(form.frame_bytes, form.pixels)
    if size > MAX_FRAME_BYTES or size * frames > MAX_DECODED_BYTES or frames > MAX_FRAMES:
        raise Refusal(TOO_LARGE)
    return form, frames, photometric


def _native(ds: "Dataset", form: Form, frames: int, transfer_syntax: str) -> Iterator[bytes]:
    element = ds["PixelData"]
    data = bytes(element.value or b"")
    if form.allocated == 1:
        if len(data) * 8 < form.pixels * frames:
            raise Refusal(NOT_DECODED)
        for first in range(0, form.pixels * frames, form.pixels):
            whole = b"".join(map(_UNPACKED.__getitem__, data[first // 8 : (first + form.pixels + 7) // 8]))
            yield whole[first % 8 : first % 8 + form.pixels]
        return
    if transfer_syntax == _BIG_ENDIAN and form.allocated == 8 and element.VR == "OW":
        # Words of two octets, each the other way round: PS3.5 section A.3 and Annex D.
        swapped = bytearray(len(data))
        swapped[0::2], swapped[1::2] = data[1::2], data[0::2]
        data = bytes(swapped)
    if len(data) < form.frame_bytes * frames:
        raise Refusal(NOT_DECODED)
    for first in range(0, form.frame_bytes * frames, form.frame_bytes):
        yield canonical(data[first : first + form.frame_bytes], form)


def _encapsulated(ds: "Dataset", form: Form, transfer_syntax: str) -> Iterator[bytes]:
    for frame, allocated, planar in _decoded(ds, transfer_syntax):
        found = replace(form, allocated=allocated, planar=form.samples > 1 and planar)
        if allocated not in (8, 16, 32) or form.stored > allocated or len(frame) != found.frame_bytes:
            raise Refusal(NOT_DECODED)
        yield canonical(frame, found)


def _decoded(ds: "Dataset", transfer_syntax: str) -> Iterator[tuple[bytes, int, bool]]:
    """Yield each frame as its decoder gives it, with its bits allocated and whether the samples lie apart."""
    from pydicom.pixels.decoders.base import get_decoder

    plugin = _plugin(transfer_syntax)
    try:
        for frame, meta in get_decoder(transfer_syntax).iter_buffer(ds, raw=True, decoding_plugin=plugin):
            yield bytes(frame), int(meta["bits_allocated"]), int(meta.get("planar_configuration") or 0) == 1
    except MemoryError:
        raise
    except Exception as exc:  # whatever decoders raise over hostile bytes
        raise Refusal(NOT_DECODED) from exc


def _plugin(transfer_syntax: str) -> str:
    """Return the one decoder for a transfer syntax: which of several decoded would otherwise be chance."""
    if transfer_syntax == _RLE:
        return "pydicom"
    if transfer_syntax not in _GDCM:
        raise Refusal(UNSUPPORTED)
    if _gdcm() is None:
        raise Refusal(NO_DECODER)
    return "gdcm"


def _gdcm() -> str | None:
    try:
        return version("python-gdcm")
    except PackageNotFoundError:
        return None


def _decoder(transfer_syntax: str) -> str:
    own = f"pydicom {version('pydicom')}"
    return f"gdcm {_gdcm()} with {own}" if transfer_syntax in _GDCM else own


def _colour(photometric: str, transfer_syntax: str) -> str:
    if photometric in ("YBR_RCT", "YBR_ICT") and transfer_syntax not in _JPEG_2000:
        raise Refusal(DESCRIPTION)
    return _COLOURS[photometric]


def main(transfer_syntax: str) -> dict[str, Any]:
    try:
        return {"pixels": digests(_received(), transfer_syntax)}
    except Refusal as exc:
        return {"refused": exc.why}
    except MemoryError:
        return {"refused": TOO_LARGE}


def _received() -> bytes:
    received = BytesIO()
    while piece := sys.stdin.buffer.read(1 << 20):
        if received.tell() + len(piece) > MAX_DATASET_BYTES:
            raise Refusal(TOO_LARGE)
        received.write(piece)
    return received.getvalue()


def limit(memory_bytes: int, cpu_s: int) -> None:
    """Give up what a decoder does not need, for good."""
    for what, most in (
        (resource.RLIMIT_CORE, 0),  # a dump would hold the image
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    limit(MAX_MEMORY_BYTES, MAX_CPU_S)
    warnings.simplefilter("ignore")  # they quote attributes
    print(json.dumps(main(sys.argv[1])))
