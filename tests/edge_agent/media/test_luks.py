"""LUKS headers: those that cryptsetup writes, and those made to encrypt less than they seem to."""

import copy
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.media.head import Head, Kind, Luks2
from edge_agent.media.header import read_head
from tests.edge_agent.media import made
from tests.edge_agent.media.made import DATA_AT, HEADER_BYTES, MIB, luks, luks2_bytes, of_bytes


def header(data: bytes) -> Luks2:
    head = read_head(of_bytes(data), len(data))
    assert head.luks2 is not None
    assert Head.parse(head.json()) == head
    return head.luks2


def test_reads_what_cryptsetup_writes(tmp_path: Path) -> None:
    head = made.surveyed(luks(tmp_path, 20 * MIB, more="--label SCANS --key-size 256 --sector-size 4096")).head

    assert [(each.kind, each.offset) for each in head.found] == [(Kind.LUKS2, 0), (Kind.LUKS2, HEADER_BYTES)]
    found = head.luks2
    assert found is not None
    assert (found.copies, found.label, found.ciphers) == (("header", "second header"), "SCANS", ("aes-xts-plain64",))
    assert (found.key_bits, found.kdfs, found.keyslots, found.tokens) == (256, ("pbkdf2 iterations 1000",), 1, 0)
    assert (found.data_offsets, found.weak, found.problems) == ((16 * MIB,), (), ())
    assert len(found.uuid) == 36


def test_names_the_key_derivation_and_every_keyslot(tmp_path: Path) -> None:
    path = luks(tmp_path, 20 * MIB)
    key = tmp_path / "key"
    key.write_bytes(b"passphrase")
    cost = "--pbkdf argon2id --pbkdf-memory 32 --pbkdf-parallel 1 --pbkdf-force-iterations 4"
    made.run(f"cryptsetup luksAddKey -q {cost} --key-file {key} {path} {key}")

    found = made.surveyed(path).head.luks2
    assert found is not None
    assert found.kdfs == ("pbkdf2 iterations 1000", "argon2id time 4 memory 32 cpus 1")
    assert found.keyslots == 2


@pytest.mark.parametrize("metadata", ["32k", "64k", "128k", "4m"])
def test_finds_the_second_header_wherever_it_may_lie(tmp_path: Path, metadata: str) -> None:
    path = luks(tmp_path, 32 * MIB, more=f"--luks2-metadata-size {metadata}")

    assert made.surveyed(path).head.luks2 == made.surveyed(path).head.luks2
    found = made.surveyed(path).head.luks2
    assert found is not None
    assert found.copies == ("header", "second header")


def test_luks1_is_itself_and_told_with_its_cipher(tmp_path: Path) -> None:
    head = made.surveyed(luks(tmp_path, 8 * MIB, "luks1")).head

    assert head.kinds == {Kind.LUKS1}
    assert head.luks2 is None
    assert head.found[0].what == "aes-xts-plain64, 512 bit, sha256, 1 keyslots, data at 2097152"


def test_a_damaged_header_is_not_believed_and_the_second_one_is_named(tmp_path: Path) -> None:
    path = made.put(luks(tmp_path, 20 * MIB), 4096 + 20, b"\xff")

    head = made.surveyed(path).head
    assert head.kinds == {Kind.LUKS2}
    assert head.luks2 is not None
    assert head.luks2.copies == ("second header",)
    assert head.luks2.problems == ("header at 0: its checksum does not hold",)


def test_with_both_damaged_nothing_of_them_is_believed(tmp_path: Path) -> None:
    path = luks(tmp_path, 20 * MIB)
    for at in (4096, HEADER_BYTES + 4096):
        made.put(path, at + 20, b"\xff")

    found = made.surveyed(path).head.luks2
    assert found is not None
    assert (found.copies, found.ciphers, found.keyslots) == ((), (), 0)


def changed(change: Callable[[Any], object]) -> Any:
    area = copy.deepcopy(made.members())
    change(area)
    return area


def test_a_header_made_by_hand_is_one_to_cryptsetup_too(tmp_path: Path) -> None:
    path = tmp_path / "by-hand"
    path.write_bytes(luks2_bytes(size_bytes=DATA_AT + MIB))

    dump = made.run(f"cryptsetup luksDump {path}")
    assert "aes-xts-plain64" in dump
    assert header(path.read_bytes()).weak == ()


def test_cryptsetup_takes_a_cipher_that_encrypts_nothing_and_we_name_it(tmp_path: Path) -> None:
    area = changed(lambda m: m["segments"]["0"].update(encryption="cipher_null-ecb"))
    path = tmp_path / "null"
    path.write_bytes(luks2_bytes(area, size_bytes=DATA_AT + MIB))

    assert "cipher_null-ecb" in made.run(f"cryptsetup luksDump {path}")
    assert header(path.read_bytes()).weak == ("cipher cipher_null-ecb",)


@pytest.mark.parametrize(
    "change, weak",
    [
        (lambda m: m["segments"]["0"].update(encryption="aes-ecb"), "cipher aes-ecb"),
        (lambda m: m["segments"]["0"].update(encryption="capi:ecb(cipher_null)-plain"), "cipher capi:ecb"),
        (lambda m: m["segments"]["0"].update(type="linear"), "segment of type linear"),
        (lambda m: m["segments"]["0"].update(type="hw-opal"), "segment of type hw-opal"),
        (lambda m: m["segments"]["0"].update(size="1048576"), "does not reach to the end"),
        (lambda m: m["segments"].clear(), "0 segments instead of one"),
        (lambda m: m["segments"].update({"1": m["segments"]["0"]}), "2 segments instead of one"),
        (lambda m: m["config"].update(requirements={"mandatory": ["online-reencrypt-v2"]}), "online-reencrypt-v2"),
        (lambda m: m["keyslots"]["0"]["area"].update(encryption="cipher_null-ecb"), "keyslot written with cipher_null"),
        (lambda m: m["keyslots"]["0"].update(key_size=8), "key of 64 bit"),
        (lambda m: m["keyslots"]["0"].update(type="reencrypt"), "keyslot of type reencrypt"),
    ],
)
def test_names_what_a_header_leaves_in_clear(change: Callable[[Any], object], weak: str) -> None:
    found = header(luks2_bytes(changed(change)))

    assert found.copies == ("header", "second header")
    assert any(weak in each for each in found.weak)


def test_a_file_system_where_the_encrypted_data_begins_is_found() -> None:
    data = luks2_bytes(size_bytes=DATA_AT) + made.fat_sector().ljust(MIB, b"\0")
    head = read_head(of_bytes(data), len(data))

    assert head.kinds == {Kind.LUKS2, Kind.FAT}
    assert head.found[-1].offset == DATA_AT + 11
    assert "in clear within LUKS2 data" in head.found[-1].what


@pytest.mark.parametrize(
    "area",
    [
        b"",
        b"[]",
        b"null",
        b'{"keyslots":{},"segments":{},"config":{},"config":{}}',
        b'{"keyslots":[],"segments":{},"config":{}}',
        b'{"keyslots":{"0":3},"segments":{},"config":{}}',
        b'{"keyslots":{},"segments":{"0":{"type":"crypt"}},"config":{}}',
        b'{"keyslots":{},"segments":{"0":{"type":"crypt","offset":"-1"}},"config":{}}',
        b'{"keyslots":{},"segments":{"0":{"type":"crypt","offset":"9007199254740992"}},"config":{}}',
        b'{"keyslots":{},"segments":{"0":{"type":"crypt","offset":' + b"9" * 5000 + b'}},"config":{}}',
        b'{"keyslots":{},"segments":{},"config":{"requirements":7}}',
        b'{"keyslots":{},"segments":{},"config":{"requirements":{"mandatory":7}}}',
        b"[" * 12_000,
        b'{"a":' * 2000,
        b"\xff\xfe",
    ],
)
def test_a_json_area_that_is_none_is_a_damaged_header_though_its_checksum_holds(area: bytes) -> None:
    padded = area.ljust(HEADER_BYTES - 4096, b"\0")
    data = (made.luks2_copy(padded, 0) + made.luks2_copy(padded, HEADER_BYTES)).ljust(DATA_AT, b"\0")

    assert header(data).copies == ()
    assert "its JSON area is not what LUKS2 has" in header(data).problems[0]


@pytest.mark.parametrize("algorithm", [b"sha1", b"none", b"\xff", b"", b"md5"])
def test_a_checksum_that_nobody_here_can_make_is_not_believed(algorithm: bytes) -> None:
    area = json.dumps(made.members()).encode().ljust(HEADER_BYTES - 4096, b"\0")
    data = made.luks2_copy(area, 0, algorithm=algorithm).ljust(DATA_AT, b"\0")

    assert header(data).problems == ("header at 0: its checksum algorithm is not known here",)


@given(st.integers(0, 2 * HEADER_BYTES - 1), st.integers(1, 255))
def test_any_changed_byte_of_either_header_is_noticed(at: int, change: int) -> None:
    data = bytearray(luks2_bytes())
    data[at] ^= change

    found = read_head(of_bytes(bytes(data)), len(data)).luks2
    assert found is not None
    # Behind the 32 bytes of its SHA-256 a checksum field has 32 that say nothing, and are covered by nothing.
    unused = 480 <= at % HEADER_BYTES < 512
    assert (len(found.copies) == 2) == unused


@given(st.integers(0, 2 * HEADER_BYTES))
def test_a_medium_that_ends_early_is_no_whole_header(size: int) -> None:
    data = luks2_bytes()[:size]
    found = read_head(of_bytes(data), len(data)).luks2

    assert found is None or "second header" not in found.copies or size == 2 * HEADER_BYTES


@given(st.binary(min_size=8, max_size=2000))
def test_random_bytes_behind_the_magic_bring_nothing_but_a_value(data: bytes) -> None:
    for magic in (b"LUKS\xba\xbe\x00\x01", b"LUKS\xba\xbe\x00\x02", b"SKUL\xba\xbe\x00\x02"):
        written = magic + data
        head = read_head(of_bytes(written), len(written))
        assert head.luks2 is None or not head.luks2.copies


def test_text_of_a_header_is_one_printable_line() -> None:
    area = changed(lambda m: m["keyslots"]["0"]["kdf"].update(type="a\nb\x1b[2J" + "c" * 500))

    found = header(luks2_bytes(area))
    assert found.kdfs[0].isprintable()
    assert len(found.kdfs[0]) <= 100
    assert os.linesep not in found.kdfs[0]
