"""Private keys lie at rest only under the root key, and two of three shares bring the root key back."""

import secrets
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import KeyRow
from control_plane.keys.root import (
    KeyNotAuthentic,
    RootKey,
    RootKeyExists,
    RootKeyMissing,
    load_root_key,
    store_root_key,
)
from control_plane.keys.shares import SharesRefused, combine, split
from control_plane.keys.store import CA, SOP_HASH, KeyStore, KeyUnknown
from shared.clock import SystemClock
from shared.errors import Malformed
from shared.identity import KeyId
from shared.policy.document import KeyPurpose
from tests.control_plane.begun import database_at

ROOT = RootKey(bytes(range(32)))


@pytest.fixture
def database(tmp_path: Path) -> sessionmaker[Session]:
    return database_at(tmp_path / "keys.sqlite")


@pytest.fixture
def keys(database: sessionmaker[Session]) -> KeyStore:
    return KeyStore(database, ROOT, SystemClock())


def test_no_private_key_lies_in_clear_in_the_database(keys: KeyStore, tmp_path: Path) -> None:
    keys.create_p256(CA)
    keys.create_secret(SOP_HASH)
    made = keys.create_sealing_key(KeyPurpose.DATA, "restricted")
    raw = b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert made.key.raw in raw  # the search sees what is stored
    assert keys.secret(SOP_HASH) not in raw
    assert keys.p256(CA).private_numbers().private_value.to_bytes(32) not in raw


def test_a_key_opens_after_a_restart_and_only_under_its_own_root_key(
    keys: KeyStore, database: sessionmaker[Session]
) -> None:
    keys.create_secret(SOP_HASH)

    assert KeyStore(database, ROOT, SystemClock()).secret(SOP_HASH) == keys.secret(SOP_HASH)
    with pytest.raises(KeyNotAuthentic):
        KeyStore(database, RootKey(bytes(32)), SystemClock()).secret(SOP_HASH)


def test_refuses_two_swapped_keys(keys: KeyStore, database: sessionmaker[Session]) -> None:
    keys.create_secret("secret/one/1")
    keys.create_secret("secret/two/1")
    with database.begin() as session:
        one, two = session.get_one(KeyRow, "secret/one/1"), session.get_one(KeyRow, "secret/two/1")
        one.sealed, two.sealed = two.sealed, one.sealed

    with pytest.raises(KeyNotAuthentic):
        keys.secret("secret/one/1")


@given(st.integers(min_value=0, max_value=8 * (8 + 12 + 32 + 16) - 1))
def test_refuses_any_flipped_bit_of_a_sealed_key(bit: int) -> None:
    sealed = bytearray(ROOT.seal("name", secrets.token_bytes(32), secrets.token_bytes))
    sealed[bit // 8] ^= 1 << bit % 8

    with pytest.raises((KeyNotAuthentic, Malformed)):
        ROOT.open("name", bytes(sealed))


def test_names_a_key_that_is_not_there(keys: KeyStore) -> None:
    with pytest.raises(KeyUnknown, match="ca/1"):
        keys.p256(CA)
    assert keys.sealing_pair(KeyId(bytes(16))) is None


def test_the_root_key_file_is_its_owners_only_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "root-key" / "root.key"
    with pytest.raises(RootKeyMissing):
        load_root_key(path)
    store_root_key(path, ROOT)

    assert path.stat().st_mode & 0o777 == 0o600
    assert load_root_key(path).raw == ROOT.raw
    with pytest.raises(RootKeyExists):
        store_root_key(path, RootKey(bytes(32)))


def test_any_two_of_three_shares_recover_the_root_key() -> None:
    shares = split(ROOT)

    assert all(combine(pair).raw == ROOT.raw for pair in permutations(shares, 2))


def test_one_share_is_not_enough_nor_the_same_one_twice() -> None:
    share = split(ROOT)[0]

    for given_shares in ([share], [share, share.upper() + "\n"]):
        with pytest.raises(SharesRefused, match="2 different shares are needed, 1 given"):
            combine(given_shares)


def test_shares_of_two_different_roots_are_refused() -> None:
    with pytest.raises(SharesRefused):
        combine([split(ROOT)[0], split(RootKey(bytes(32)))[1]])


@settings(max_examples=30)
@given(st.integers(min_value=0, max_value=32), st.sampled_from(["academic", "zero", "xyzzy"]))
def test_a_mistyped_word_is_refused_and_not_quoted(position: int, word: str) -> None:
    first, second, _ = split(ROOT)
    words = first.split()
    if words[position] == word:
        return
    words[position] = word

    with pytest.raises(SharesRefused, match=r"recover the root key: a word was mistyped, or they are not of one set$"):
        combine([" ".join(words), second])
