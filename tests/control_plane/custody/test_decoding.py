"""Decoding: one digest for one image whatever its encoding, and hostile bytes that end in a refusal."""

import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.custody import decoding
from control_plane.custody.decoder import COMMAND, Decoder, DecoderStopped, NotDecoded, Why
from control_plane.custody.decoding import Form, canonical
from shared.custody.frames import Pixels
from tests.edge_agent.capture.images import load

EXPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
MR = ("MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_expb.dcm", "MR_small_RLE.dcm",
      "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm")  # fmt: skip


def decode(name: str) -> Pixels:
    image = load(name)
    return Decoder().decode([image.dataset], image.transfer_syntax)


def refusal(dataset: bytes, transfer_syntax: str = EXPLICIT, command: Sequence[str] = COMMAND) -> Why:
    with pytest.raises(NotDecoded) as refused:
        Decoder(command).decode([dataset], transfer_syntax)
    return refused.value.why


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    tag = struct.pack("<HH2s", group, number, vr)
    return tag + (struct.pack("<HI", 0, len(value)) if vr == b"OW" else struct.pack("<H", len(value))) + value


def dataset(rows: int = 2, columns: int = 2, frames: int = 1, stored: int = 16, pixels: bytes = bytes(8)) -> bytes:
    return b"".join(
        (
            element(0x28, 0x02, b"US", struct.pack("<H", 1)),
            element(0x28, 0x04, b"CS", b"MONOCHROME2 "),
            element(0x28, 0x08, b"IS", str(frames).encode().ljust(len(str(frames)) + len(str(frames)) % 2)),
            element(0x28, 0x10, b"US", struct.pack("<H", rows)),
            element(0x28, 0x11, b"US", struct.pack("<H", columns)),
            element(0x28, 0x100, b"US", struct.pack("<H", 16)),
            element(0x28, 0x101, b"US", struct.pack("<H", stored)),
            element(0x28, 0x102, b"US", struct.pack("<H", stored - 1)),
            element(0x28, 0x103, b"US", struct.pack("<H", 0)),
            element(0x7FE0, 0x10, b"OW", pixels),
        )
    )


# ---- one form for one image


@pytest.mark.parametrize("name", MR[1:])
def test_an_image_has_the_same_digests_in_every_lossless_transfer_syntax(name: str) -> None:
    first, again = decode(MR[0]), decode(name)

    assert again.frames == first.frames
    assert (again.rows, again.columns, again.bits_stored, again.signed, again.colour, again.lossy) == (
        first.rows, first.columns, first.bits_stored, first.signed, first.colour, False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "one, other",
    [
        ("SC_rgb_small_odd.dcm", "SC_rgb_small_odd_big_endian.dcm"),  # an odd number of octets, swapped in words
        ("rtdose.dcm", "rtdose_rle.dcm"),
        ("SC_rgb_rle.dcm", "SC_rgb_gdcm_KY.dcm"),  # planes apart, and JPEG 2000 with a component transform
    ],
)
def test_planes_words_and_transforms_leave_no_trace(one: str, other: str) -> None:
    assert decode(one).frames == decode(other).frames


def test_every_frame_has_its_digest() -> None:
    assert len(decode("rtdose.dcm").frames) == 15


def test_what_compression_may_have_lost_is_said() -> None:
    pixels = decode("SC_rgb_jpeg_dcmtk.dcm")

    assert pixels.lossy
    assert pixels.colour == "YBR_FULL"
    assert "gdcm" in pixels.decoder


def test_an_image_without_the_program_that_decodes_it_says_so() -> None:
    image = load("MR_small_jp2klossless.dcm")
    hidden = f"""
import importlib.metadata as packages, runpy
find = packages.version
def version(name):
    if name == "python-gdcm":
        raise packages.PackageNotFoundError(name)
    return find(name)
packages.version = version
runpy.run_path({COMMAND[-1]!r}, run_name="__main__")
"""
    without = (sys.executable, "-I", "-B", "-c", hidden)

    assert refusal(image.dataset, image.transfer_syntax, without) is Why.NO_DECODER
    assert Decoder(without).decode([load(MR[0]).dataset], EXPLICIT).frames == decode(MR[0]).frames


def test_bits_above_those_stored_are_not_covered() -> None:
    clear, overlaid = struct.pack("<4H", 1, 2, 3, 4095), struct.pack("<4H", 0x8001, 2, 0xF003, 0xFFFF)

    both = [Decoder().decode([dataset(stored=12, pixels=pixels)], EXPLICIT).frames for pixels in (clear, overlaid)]

    assert both[0] == both[1]


def test_single_bits_are_one_octet_each() -> None:
    pixels = decode("liver_1frame.dcm")

    assert (pixels.bits_allocated, pixels.bits_stored, len(pixels.frames)) == (1, 1, 1)


@given(st.data())
def test_the_canonical_form_is_that_of_the_page(data: st.DataObject) -> None:
    allocated = data.draw(st.sampled_from([8, 16, 32]))
    stored = data.draw(st.integers(1, allocated))
    samples, planar, big = data.draw(st.sampled_from([1, 3])), data.draw(st.booleans()), data.draw(st.booleans())
    rows, columns = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    values = data.draw(
        st.lists(st.integers(0, 2**allocated - 1), min_size=rows * columns * samples, max_size=rows * columns * samples)
    )
    order = "big" if big else "little"
    pixels = [values[first : first + samples] for first in range(0, len(values), samples)]
    laid_out = [pixel[plane] for plane in range(samples) for pixel in pixels] if planar else values
    frame = b"".join(value.to_bytes(allocated // 8, order) for value in laid_out)  # type: ignore[arg-type]

    found = canonical(frame, Form(rows, columns, samples, allocated, stored, planar, big))

    width = 1 if stored <= 8 else 2 if stored <= 16 else 4
    assert found == b"".join((value % 2**stored).to_bytes(width, "little") for value in values)


# ---- what there is none of


@pytest.mark.parametrize(
    "name, why",
    [
        ("rtplan.dcm", Why.NO_PIXELS),
        ("test-SR.dcm", Why.NO_PIXELS),
        ("rtdose_expb.dcm", Why.UNSUPPORTED),  # 32 bits, big endian
        ("JPGExtended.dcm", Why.NOT_DECODED),
        ("MR_truncated.dcm", Why.NOT_DECODED),
    ],
)
def test_images_without_digests_say_why(name: str, why: Why) -> None:
    image = load(name)

    assert refusal(image.dataset, image.transfer_syntax) is why


@pytest.mark.parametrize(
    "data, why",
    [
        (dataset(65_535, 65_535), Why.TOO_LARGE),
        (dataset(20_000, 10_000, 9_999), Why.TOO_LARGE),
        (dataset(1, 1, 10_001, pixels=bytes(20_002)), Why.TOO_LARGE),
        (dataset(frames=2), Why.NOT_DECODED),
        (dataset(rows=0), Why.DESCRIPTION),
        (dataset(frames=-3), Why.DESCRIPTION),
        (dataset(stored=17), Why.DESCRIPTION),
        (b"", Why.NO_PIXELS),
        (b"\xff" * 100, Why.NO_PIXELS),
    ],
)
def test_hostile_descriptions_are_refused_before_memory_is_taken(data: bytes, why: Why) -> None:
    assert refusal(data) is why


def test_a_transfer_syntax_without_a_decoder_is_not_guessed() -> None:
    assert refusal(dataset(), "1.2.840.10008.1.2.4.201") is Why.UNSUPPORTED
    assert refusal(dataset(), "1.2.3.4") in (Why.UNSUPPORTED, Why.UNREADABLE)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(MR), st.data())
def test_damaged_bytes_end_in_digests_or_a_refusal(name: str, data: st.DataObject) -> None:
    image = load(name)
    damaged = bytearray(image.dataset)
    for _ in range(8):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))

    with suppress(NotDecoded):
        assert Decoder().decode([bytes(damaged)], image.transfer_syntax).frames


# ---- what a decoder can do to us


def script(text: str) -> list[str]:
    return [sys.executable, "-I", "-c", text]


LIE = {
    "pixels": {
        "rows": 1, "columns": 1, "samples": 1, "bits_allocated": 8, "bits_stored": 8, "signed": False,
        "colour": "MONOCHROME2", "lossy": False, "decoder": "mine", "frames": ["00" * 32],
    }
}  # fmt: skip


@pytest.mark.parametrize(
    "text, why",
    [
        ("import os; os.abort()", Why.CRASHED),
        ("import sys; sys.exit(1)", Why.CRASHED),
        ("import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", Why.TOO_SLOW),
        ("", Why.NONSENSE),
        ("import sys; sys.stdin.read(); print('{')", Why.NONSENSE),
        ("import sys; sys.stdin.read(); print('[' * 100_000)", Why.NONSENSE),
        ('import sys; sys.stdin.read(); print(\'{"refused": "Mustermann^Erika"}\')', Why.NONSENSE),
        ("import sys; sys.stdin.read(); print('{\"pixels\": {}}')", Why.NONSENSE),
        ("import sys; sys.stdin.read(); print('x' * (3 << 20))", Why.CRASHED),
        (f"print({json.dumps(LIE)!r})", Why.NONSENSE),  # about pixels that it has not read
    ],
)
def test_a_decoder_that_crashes_or_lies_is_a_refusal(text: str, why: Why) -> None:
    large = bytes(4 << 20)

    assert refusal(large, command=script(text)) is why


def test_a_decoder_that_hangs_is_ended() -> None:
    with pytest.raises(NotDecoded) as refused:
        Decoder(script("import signal; signal.pause()"), timeout_s=0.2).decode([b""], EXPLICIT)

    assert refused.value.why is Why.TOO_SLOW


def test_what_fails_while_it_is_handed_over_is_not_taken_for_the_decoder_s_fault() -> None:
    def broken() -> list[bytes]:
        raise OSError("the disk")

    with pytest.raises(OSError, match="the disk"):
        Decoder().decode((piece for piece in broken()), EXPLICIT)


def test_a_decoder_that_was_stopped_decodes_nothing_more() -> None:
    decoder = Decoder()
    decoder.stop()

    with pytest.raises(DecoderStopped):
        decoder.decode([dataset()], EXPLICIT)


def test_the_process_gives_up_what_a_decoder_does_not_need() -> None:
    told = f"""
import json, os, resource, sys
sys.path.insert(0, {str(Path(decoding.__file__).parent)!r})
import decoding
decoding.limit(1 << 30, 5)
names = "CORE", "FSIZE", "CPU", "AS"
limits = [resource.getrlimit(getattr(resource, "RLIMIT_" + name))[1] for name in names]
print(json.dumps([limits, dict(os.environ)]), file=sys.stderr)
"""
    said = subprocess.run(script(told), env={}, capture_output=True, check=True).stderr
    limits, environment = json.loads(said)
    assert limits == [0, 0, 5, 1 << 30]
    assert not environment.keys() - {"LC_CTYPE"}


def test_a_decompression_bomb_ends_in_its_own_process() -> None:
    squeezer = zlib.compressobj(1, wbits=-zlib.MAX_WBITS)
    bomb = b"".join(squeezer.compress(bytes(1 << 20)) for _ in range(1024)) + squeezer.flush()
    told = f"""
import json, sys
sys.path.insert(0, {str(Path(decoding.__file__).parent)!r})
import decoding
decoding.limit(512 << 20, 60)
print(json.dumps(decoding.main({DEFLATED!r})))
"""

    assert refusal(bomb, DEFLATED, script(told)) is Why.TOO_LARGE
