"""LUKS headers, read within bounds and without libcryptsetup.

    LUKS2   0       binary header, 4096 bytes, big-endian       LUKS2 On-Disk Format Specification 1.1, section 2
            4096    JSON area, to the header's size             section 3
            size    the same again, its magic written backwards
    binary header: magic 6, version 2, size 8, sequence number 8, label 48, checksum algorithm 32, salt 64, uuid 40,
            subsystem 48, offset 8, 184 zero bytes, checksum 64 (over header and JSON area, itself zero)

    LUKS1   magic 6, version 2, cipher 32, mode 32, hash 32, payload offset 4, key bytes 4, ...  LUKS1 specification 1.2

A header that encrypts nothing is no lesser evil than none: a null cipher, a segment that is not encrypted, an
encryption that is not finished, and data behind the one encrypted segment are named in `Luks2.weak`.
"""

import json
from hashlib import sha256, sha512
from struct import Struct
from typing import Any

from edge_agent.media.head import MAX_LISTED, MAX_LUKS_TEXT_CHARS, Found, Kind, Luks2, ReadAt
from shared.devices.printable import printable

MAGIC, SECOND_MAGIC = b"LUKS\xba\xbe", b"SKUL\xba\xbe"
SIZES = tuple(0x4000 << n for n in range(9))  # and so the places of the second header, LUKS2 section 2.3
_BINARY = Struct(">6sHQQ48s32s64s40s48sQ")
_BINARY_BYTES = 4096
_CHECKSUM_AT, _CHECKSUM_BYTES = 448, 64
_HASHES = {"sha256": sha256, "sha512": sha512}
_LUKS1 = Struct(">6sH32s32s32sII")
_LUKS1_SLOTS_AT, _LUKS1_SLOT, _LUKS1_SLOTS, _LUKS1_ACTIVE = 208, Struct(">I44x"), 8, 0x00AC71F3
_FEWEST_KEY_BITS = 128


class _Bad(Exception):
    """This copy of the header is not whole; the text says why."""


def find_luks1(start: bytes) -> list[Found]:
    if len(start) < 592 or start[:8] != MAGIC + b"\x00\x01":
        return []
    _, _, cipher, mode, hashed, payload, key_bytes = _LUKS1.unpack_from(start)
    states = (_LUKS1_SLOT.unpack_from(start, _LUKS1_SLOTS_AT + 48 * n)[0] for n in range(_LUKS1_SLOTS))
    slots = sum(state == _LUKS1_ACTIVE for state in states)
    how = f"{_text(cipher)}-{_text(mode)}, {8 * key_bytes} bit, {_text(hashed)}"
    return [Found(Kind.LUKS1, 0, printable(f"{how}, {slots} keyslots, data at {512 * payload}", 200))]


def find_luks2(start: bytes, read_at: ReadAt) -> tuple[list[Found], Luks2 | None]:
    """Return where its headers are and what they say; where they differ, the first one that is whole counts."""
    places = [(0, MAGIC)] if start[:8] == MAGIC + b"\x00\x02" else []
    places += [(size, SECOND_MAGIC) for size in SIZES if read_at(size, 8) == SECOND_MAGIC + b"\x00\x02"]
    found, problems, headers = [], [], dict[str, Luks2]()
    for offset, magic in places:
        name = "second header" if offset else "header"
        try:
            headers.setdefault(name, _read_copy(read_at, offset, magic))
        except _Bad as why:
            problems.append(printable(f"{name} at {offset}: {why}", MAX_LUKS_TEXT_CHARS))
        else:
            found.append(Found(Kind.LUKS2, offset, f"{name}, its checksum holds"))
    if not places:
        return [], None
    if not headers:
        return [Found(Kind.LUKS2, places[0][0], problems[0])], Luks2(problems=tuple(problems[:MAX_LISTED]))
    if len({header.uuid for header in headers.values()}) > 1:
        problems.append("its two headers have different UUIDs")
    first = next(iter(headers.values()))
    return found, _with(first, tuple(headers), problems)


def _with(header: Luks2, copies: tuple[str, ...], problems: list[str]) -> Luks2:
    return Luks2(
        copies, header.uuid, header.label, header.ciphers, header.key_bits, header.kdfs, header.keyslots,
        header.tokens, header.data_offsets, header.weak, (*header.problems, *problems)[:MAX_LISTED],
    )  # fmt: skip


def _read_copy(read_at: ReadAt, offset: int, magic: bytes) -> Luks2:
    binary = read_at(offset, _BINARY_BYTES)
    if len(binary) < _BINARY_BYTES:
        raise _Bad("is cut off")
    was, version, size, _, label, algorithm, _, uuid, _, claimed = _BINARY.unpack_from(binary)
    if (was, version) != (magic, 2) or size not in SIZES or claimed != offset or offset not in (0, size):
        raise _Bad("its size or place is not one that LUKS2 has")
    hashed = _HASHES.get(_text(algorithm))
    if hashed is None:
        raise _Bad("its checksum algorithm is not known here")
    area = read_at(offset + _BINARY_BYTES, size - _BINARY_BYTES)
    end = _CHECKSUM_AT + _CHECKSUM_BYTES
    expected = hashed(binary[:_CHECKSUM_AT] + bytes(_CHECKSUM_BYTES) + binary[end:] + area).digest()
    if binary[_CHECKSUM_AT : _CHECKSUM_AT + len(expected)] != expected:
        raise _Bad("its checksum does not hold")
    try:
        return _described(_text(uuid), printable(_text(label), 48), _json(area))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as exc:
        raise _Bad("its JSON area is not what LUKS2 has") from exc


def _json(area: bytes) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            # Whoever opens the medium may take the other one.
            raise ValueError("a member twice")
        return members

    return json.loads(area.split(b"\0", 1)[0].decode(), object_pairs_hook=once)


def _described(uuid: str, label: str, members: Any) -> Luks2:
    slots = list(members["keyslots"].values())
    segments = list(members["segments"].values())
    weak = [*_weak_segments(segments), *_weak_keyslots(slots)]
    weak += [f"requires {name}" for name in members["config"].get("requirements", {}).get("mandatory", [])]
    return Luks2(
        uuid=printable(uuid, 40),
        label=label,
        ciphers=_listed(segment.get("encryption", f"segment type {segment['type']}") for segment in segments),
        key_bits=min((8 * _whole(slot["key_size"]) for slot in slots), default=0),
        kdfs=_listed(_kdf(slot.get("kdf", {})) for slot in slots),
        keyslots=len(slots),
        tokens=len(members.get("tokens", {})),
        data_offsets=tuple(sorted(_whole(segment["offset"]) for segment in segments))[:MAX_LISTED],
        weak=_listed(weak),
    )


def _weak_segments(segments: list[Any]) -> list[str]:
    weak = []
    for segment in segments:
        kind, cipher = segment["type"], str(segment.get("encryption", ""))
        if kind != "crypt":
            # linear: in clear. hw-opal: what the drive does cannot be seen. A type yet to come: nobody knows.
            weak.append(f"segment of type {kind}")
        elif _is_weak(cipher):
            weak.append(f"cipher {cipher}")
    if len(segments) != 1:
        weak.append(f"{len(segments)} segments instead of one, as while it is being encrypted")
    elif segments[0].get("size") != "dynamic":
        weak.append("its encrypted segment does not reach to the end")
    return weak


def _weak_keyslots(slots: list[Any]) -> list[str]:
    weak = []
    for slot in slots:
        area = slot["area"]
        if slot["type"] != "luks2":
            weak.append(f"keyslot of type {slot['type']}")
        elif _is_weak(str(area["encryption"])):
            weak.append(f"keyslot written with {area['encryption']}")
        elif (bits := 8 * _whole(slot["key_size"])) < _FEWEST_KEY_BITS:
            weak.append(f"key of {bits} bit")
    return weak


def _is_weak(cipher: str) -> bool:
    return "null" in cipher or not cipher or "ecb" in cipher.split("-")[1:2]


def _kdf(kdf: Any) -> str:
    cost = " ".join(f"{name} {kdf[name]}" for name in ("iterations", "time", "memory", "cpus") if name in kdf)
    return f"{kdf.get('type', 'none')} {cost}".rstrip()


def _whole(value: Any) -> int:
    """LUKS2 writes 64-bit numbers as text (section 3.1)."""
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < 1 << 53:
        raise ValueError("not a number")
    return number


def _listed(texts: Any) -> tuple[str, ...]:
    return tuple(dict.fromkeys(printable(str(text), MAX_LUKS_TEXT_CHARS) for text in texts))[:MAX_LISTED]


def _text(field: bytes) -> str:
    return printable(field.split(b"\0", 1)[0].decode("ascii", "replace"), 64)
