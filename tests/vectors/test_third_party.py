"""What others published: chunked encryption, the KEM, HPKE. And the library's own chunked encryption as a peer."""

import io
import json
import zlib
from hashlib import sha256, sha512
from pathlib import Path
from typing import Any

import pytest
from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import IntegrityFailure
from shared.sealing.chunked import (
    CHUNK_BYTES,
    HEADER_BYTES,
    KEY_BYTES,
    SALT_BYTES,
    SEALED_CHUNK_BYTES,
    decrypt,
    decrypt_range,
)
from shared.sealing.hpke import BoxLabel, SealingPrivateKey
from tests.vectors import second_reader
from tests.vectors.salted import salted_body
from tests.vectors.second_reader import KemKey, key_schedule

_THIRD_PARTY = Path(__file__).parent / "third_party"


def load(name: str) -> Any:
    return json.loads((_THIRD_PARTY / name).read_text())


# ---- Wycheproof: C2SP chunked encryption

CHUNKED = {
    f"{test['tcId']} {test['comment']}": test
    for group in load("wycheproof/c2sp_chunked_encryption_aes_256_gcm_test.json")["testGroups"]
    for test in group["tests"]
}
VALID = [name for name, test in CHUNKED.items() if test["result"] == "valid"]
INVALID = [name for name, test in CHUNKED.items() if test["result"] == "invalid"]


class Case:
    def __init__(self, name: str) -> None:
        test = CHUNKED[name]
        self.key, self.context = bytes.fromhex(test["key"]), bytes.fromhex(test["ctx"])
        self.sealed = zlib.decompress(bytes.fromhex(test["ct"]))
        self.message = test.get("msgLength", 0), test.get("msgSha512", sha512().hexdigest())
        self.flags = set(test["flags"])

    def read_at(self, offset: int, size: int) -> bytes:
        return self.sealed[offset : offset + size]

    def range(self, start: int, length: int) -> bytes:
        return decrypt_range(self.read_at, len(self.sealed), self.key, self.context, start, length)


def measured(message: bytes | bytearray) -> tuple[int, str]:
    return len(message), sha512(message).hexdigest()


def drain(case: Case, into: bytearray) -> None:
    for piece in decrypt(io.BytesIO(case.sealed), case.key, case.context):
        into += piece


def sealed(key: bytes, salt: bytes, context: bytes, message: bytes) -> bytes:
    return salted_body(key, salt, context, message)


def test_all_35_published_vectors_are_here() -> None:
    assert (len(VALID), len(INVALID)) == (10, 25)


@pytest.mark.parametrize("name", VALID)
def test_a_valid_published_body_opens(name: str) -> None:
    case = Case(name)

    message = b"".join(bytes(piece) for piece in decrypt(io.BytesIO(case.sealed), case.key, case.context))

    assert measured(message) == case.message


@pytest.mark.parametrize("name", VALID)
def test_sealing_with_the_published_salt_gives_the_published_body(name: str) -> None:
    case = Case(name)
    message = b"".join(bytes(piece) for piece in decrypt(io.BytesIO(case.sealed), case.key, case.context))

    again = sealed(case.key, case.sealed[:SALT_BYTES], case.context, message)

    assert again == case.sealed


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_published_body_is_refused_after_at_most_its_valid_prefix(name: str) -> None:
    case = Case(name)
    given_out = bytearray()
    # A wrong key size is a mistake of the caller; nobody's sealed bytes can cause it.
    refusal = ValueError if "InvalidKeySize" in case.flags else IntegrityFailure

    with pytest.raises(refusal):
        drain(case, given_out)
    assert measured(given_out) == case.message


@pytest.mark.parametrize("name", VALID)
def test_a_valid_published_body_opens_by_range(name: str) -> None:
    case = Case(name)

    assert measured(case.range(0, len(case.sealed))) == case.message


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_published_body_is_refused_by_a_range_over_all_of_it(name: str) -> None:
    case = Case(name)

    with pytest.raises((IntegrityFailure, ValueError)):
        case.range(0, max(len(case.sealed), 1))


@pytest.mark.parametrize("name", [n for n in INVALID if "ValidFinalChunk" not in CHUNKED[n]["flags"]])
def test_the_end_of_an_invalid_published_body_cannot_be_proved(name: str) -> None:
    case = Case(name)

    with pytest.raises((IntegrityFailure, ValueError)):
        case.range(1 << 40, 1)


# ---- the library's own implementation

KEY, CONTEXT = bytes(range(KEY_BYTES)), b"a binding"


def near_a_chunks_end() -> st.SearchStrategy[int]:
    near = st.builds(lambda chunks, off: max(0, chunks * CHUNK_BYTES + off), st.integers(0, 20), st.integers(-2, 2))
    return st.one_of(near, st.integers(0, 3 * CHUNK_BYTES))


@given(near_a_chunks_end())
def test_the_library_opens_what_we_seal_and_we_open_what_it_seals(size: int) -> None:
    message = sha256(str(size).encode()).digest() * (size // 32 + 1)
    message = message[:size]
    theirs = Cobblestone256Encryptor(KEY, CONTEXT)
    opener = Cobblestone256Decryptor(KEY, CONTEXT)

    by_them = theirs.update(message) + theirs.finalize()
    by_us = sealed(KEY, bytes(SALT_BYTES), CONTEXT, message)

    assert opener.update(by_us) + opener.finalize() == message
    assert b"".join(bytes(piece) for piece in decrypt(io.BytesIO(by_them), KEY, CONTEXT)) == message
    assert sealed(KEY, by_them[:SALT_BYTES], CONTEXT, message) == by_them
    assert len(by_us) == HEADER_BYTES + size + 16 * (size // CHUNK_BYTES + 1)
    assert SEALED_CHUNK_BYTES == CHUNK_BYTES + 16


# ---- X-Wing and HPKE with KEM 0x647A

XWING = load("xwing/test-vectors.json")
HPKE = load("hpke/mlkem768-x25519.json")


@pytest.mark.parametrize("vector", XWING, ids=["1", "2", "3"])
def test_a_published_xwing_seed_gives_the_published_key_and_secret(vector: dict[str, str]) -> None:
    seed = bytes.fromhex(vector["seed"])

    assert SealingPrivateKey(seed).public.raw.hex() == vector["pk"]
    assert KemKey.from_seed(seed).public.hex() == vector["pk"]
    assert KemKey.from_seed(seed).shared_secret(bytes.fromhex(vector["ct"])).hex() == vector["ss"]


@pytest.mark.parametrize("vector", HPKE, ids=[f"kdf {vector['kdf_id']}" for vector in HPKE])
def test_a_published_hpke_seed_gives_the_published_key_and_secret(vector: dict[str, Any]) -> None:
    seed = bytes.fromhex(vector["skRm"])

    assert vector["kem_id"] == 0x647A
    assert SealingPrivateKey(seed).public.raw.hex() == vector["pkRm"]
    assert KemKey.from_seed(seed).shared_secret(bytes.fromhex(vector["enc"])).hex() == vector["shared_secret"]


def test_the_published_hpke_messages_open_with_the_second_readers_key_schedule() -> None:
    (vector,) = (vector for vector in HPKE if vector["kdf_id"] == 1)
    secret = KemKey.from_seed(bytes.fromhex(vector["skRm"])).shared_secret(bytes.fromhex(vector["enc"]))

    key, nonce = key_schedule(secret, bytes.fromhex(vector["info"]), vector["aead_id"])

    assert (key.hex(), nonce.hex()) == (vector["key"], vector["base_nonce"])
    for number, message in enumerate(vector["encryptions"]):
        own_nonce = (int.from_bytes(nonce) ^ number).to_bytes(12)
        sealed_message, aad = bytes.fromhex(message["ct"]), bytes.fromhex(message["aad"])
        assert message["nonce"] == own_nonce.hex()
        assert ChaCha20Poly1305(key).decrypt(own_nonce, sealed_message, aad).hex() == message["pt"]


@pytest.mark.parametrize("label", list(BoxLabel))
def test_what_the_library_seals_opens_with_the_second_readers_hpke(label: BoxLabel) -> None:
    seed = bytes(range(32))

    box = SealingPrivateKey(seed).public.seal(label, b"what it lies beside", b"what is sealed")

    assert second_reader.open_box(box, seed, label.value, b"what it lies beside") == b"what is sealed"
