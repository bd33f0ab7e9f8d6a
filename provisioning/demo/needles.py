"""The forms in which an identity would betray itself in raw bytes, and the search for them.

Each value becomes many needles: its own bytes, the encodings a program could have put it in, base64 at its three
alignments, hexadecimal, escaped JSON, and the DICOM data element that carries it. Short values also occur by accident
(four given bytes come up once in 4 GiB of noise, six given digits far sooner in hexadecimal text), so how a needle
counts depends on its length:

    fewer than 5 bytes    only as a whole DICOM element: tag, length, value
    5 to 7 bytes          as an element, or standing alone: no letter or digit on either side
    8 bytes and more      anywhere, but for one case: a value that is all hexadecimal digits does not count within
                          a run of exactly 32, 64 or 128 of them, which is an identifier or a digest

Compressed or encrypted leaks are not found by any search of this kind.
"""

import base64
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

ALONE_FROM_BYTES = 5
ANYWHERE_FROM_BYTES = 8
PROBE_BYTES = 32
CONTEXT_BYTES = 130  # looked at beside a needle: wide enough to tell a run of 128 digits from a longer one
_PROBES_PER_DATASET = 8
_LEAST_DISTINCT_BYTES = 14
_CODECS = ("utf-8", "latin-1", "utf-16-le", "utf-16-be", "shift_jis", "iso2022_jp", "gb18030")
_HEX = re.compile(rb"[0-9a-f]+")
_DIGEST_DIGITS = (32, 64, 128)
_WORD = re.compile(rb"[0-9A-Za-z]")
# DICOM PS3.5 table 7.1-1: these value representations have a 16-bit length in explicit VR.
_EXPLICIT = struct.Struct("<HH2sH"), struct.Struct(">HH2sH")
_IMPLICIT = struct.Struct("<HHI")


class Counts(Enum):
    ANYWHERE = "anywhere"
    ALONE = "standing alone"


@dataclass(frozen=True)
class Identity:
    """One value in one file that says who somebody is. `raw` is the value as encoded there, without padding."""

    tag: int
    vr: str
    keyword: str
    raw: bytes
    text: str


@dataclass(frozen=True)
class Needle:
    """`what` says what was looked for and in which form, never the value."""

    data: bytes
    counts: Counts
    what: str


@dataclass(frozen=True)
class Hit:
    needle: Needle
    offset: int


def needles(identities: Iterable[Identity]) -> tuple[Needle, ...]:
    """Return every needle of `identities`, each byte string once."""
    made: dict[bytes, Needle] = {}
    for identity in identities:
        for needle in _of_one(identity):
            made.setdefault(needle.data, needle)
    return tuple(made.values())


def probes(dataset: bytes, name: str) -> tuple[Needle, ...]:
    """Return pieces of `dataset` that do not repeat themselves, spread over its second half, where the pixels are."""
    found = []
    start = len(dataset) // 2
    step = max((len(dataset) - start) // _PROBES_PER_DATASET, PROBE_BYTES)
    for offset in range(start, len(dataset) - PROBE_BYTES + 1, step):
        piece = dataset[offset : offset + PROBE_BYTES]
        if len(set(piece)) >= _LEAST_DISTINCT_BYTES:
            found.append(Needle(piece, Counts.ANYWHERE, f"image data of {name}"))
    return tuple(found)


def search(data: bytes, wanted: Sequence[Needle]) -> Iterator[Hit]:
    """Yield the first place in `data` at which each needle counts; most yield nothing."""
    for needle in wanted:
        offset = data.find(needle.data)
        while offset >= 0:
            if _counts(data, offset, needle):
                yield Hit(needle, offset)
                break
            offset = data.find(needle.data, offset + 1)


def _of_one(identity: Identity) -> Iterator[Needle]:
    for encoded in _elements(identity):
        yield Needle(encoded, Counts.ANYWHERE, f"{identity.keyword} as a DICOM element")
    for text in _spellings(identity):
        plain = {"the file's own encoding": identity.raw} if text == identity.text else {}
        for codec in _CODECS:
            try:
                plain.setdefault(codec, text.encode(codec))
            except UnicodeEncodeError:
                continue
        for form, data in [*plain.items(), ("escaped JSON", _escaped(text))]:
            if len(data) >= ALONE_FROM_BYTES:
                counts = Counts.ANYWHERE if len(data) >= ANYWHERE_FROM_BYTES else Counts.ALONE
                yield Needle(data, counts, f"{identity.keyword} in {form}")
        for data in {identity.raw, text.encode()} if text == identity.text else {text.encode()}:
            yield from _armoured(identity.keyword, data)


def _spellings(identity: Identity) -> Iterator[str]:
    """Yield a value as it stands and, for a person's name, its groups and components and the common rewritings."""
    yield identity.text
    if identity.vr != "PN":
        return
    # PS3.5 section 6.2.1: up to three groups divided by "=", each of up to five components divided by "^".
    for group in identity.text.split("="):
        yield group
        parts = [part for part in group.split("^") if part]
        if len(parts) > 1:
            yield from (group.upper(), group.lower(), " ".join(parts), ", ".join(parts), " ".join(reversed(parts)))
        yield from parts


def _elements(identity: Identity) -> Iterator[bytes]:
    padding = b"\x00" if identity.vr == "UI" else b" "
    value = identity.raw + padding * (len(identity.raw) % 2)
    if not identity.raw or len(value) > 0xFFFF:
        return
    group, element = identity.tag >> 16, identity.tag & 0xFFFF
    for layout in _EXPLICIT:
        yield layout.pack(group, element, identity.vr.encode(), len(value)) + value
    yield _IMPLICIT.pack(group, element, len(value)) + value


def _armoured(keyword: str, data: bytes) -> Iterator[Needle]:
    if len(data) < ALONE_FROM_BYTES:
        return
    for digits in (data.hex(), data.hex().upper()):
        yield Needle(digits.encode(), Counts.ANYWHERE, f"{keyword} in hexadecimal")
    for before in range(3):
        # Characters that also depend on the neighbouring bytes are left away at both ends.
        whole = base64.b64encode(bytes(before) + data)
        first = (before * 8 + 5) // 6
        last = (before + len(data)) * 8 // 6
        inner = whole[first:last]
        if len(inner) >= ANYWHERE_FROM_BYTES:
            yield Needle(inner, Counts.ANYWHERE, f"{keyword} in base64")
            yield Needle(inner.translate(bytes.maketrans(b"+/", b"-_")), Counts.ANYWHERE, f"{keyword} in base64url")


def _escaped(text: str) -> bytes:
    return "".join(char if char.isascii() else f"\\u{ord(char):04x}" for char in text).encode("ascii", "replace")


def _counts(data: bytes, offset: int, needle: Needle) -> bool:
    end = offset + len(needle.data)
    if needle.counts is Counts.ALONE:
        return not (_WORD.match(data[max(offset - 1, 0) : offset]) or _WORD.match(data[end : end + 1]))
    if len(needle.data) >= max(_DIGEST_DIGITS) or not _HEX.fullmatch(needle.data):
        return True
    begin = max(offset - CONTEXT_BYTES, 0)
    for run in _HEX.finditer(data[begin : end + CONTEXT_BYTES]):
        if begin + run.start() <= offset and end <= begin + run.end():
            return len(run.group()) not in _DIGEST_DIGITS
    return True
