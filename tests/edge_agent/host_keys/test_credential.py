"""The outside of a credential: read before systemd-creds is asked, and nothing else is let through."""

import base64

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge_agent.host_keys import credential
from shared.errors import Malformed


def made(
    kind: bytes = credential.BY_TPM_ALONE, mask: int = 1 << credential.STILL_PCR, nonce: bytes = bytes(12)
) -> bytes:
    sizes = b"".join(size.to_bytes(4, "little") for size in (32, 16, len(nonce), 16))
    padded = nonce + bytes(-len(nonce) % 8)
    return base64.b64encode(kind + sizes + padded + mask.to_bytes(8, "little") + b"the rest of it")


def test_one_of_the_tpm_alone_is_let_through() -> None:
    assert credential.parse(credential.armour(made())) == made()


@pytest.mark.parametrize(
    "data, why",
    [
        (
            made(kind=bytes.fromhex("5a1c6a86df9d4096b1d5a65e0862f19a")),
            "another key than the TPM's alone",
        ),  # the host's
        (made(kind=bytes.fromhex("93a8940948744490 90caf2fc93cab553")), "another key than the TPM's alone"),  # and both
        (made(kind=bytes.fromhex("058469daf6f5432480054 9da0f8ea2fb".replace(" ", ""))), "another key"),  # none
        (made(mask=1 << 7), "an update might end it"),
        (made(mask=0), "an update might end it"),
        (base64.b64encode(bytes(20)), "cut off"),
        (base64.b64encode(base64.b64decode(made())[:50]), "cut off"),
        (b"not base64!", "not base64"),
        (b"", "cut off"),
    ],
)
def test_any_other_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        credential.parse(credential.armour(data))


@pytest.mark.parametrize("block", [b"", b"-----BEGIN PRIVATE KEY-----\n", credential.armour(made()) + b"more"])
def test_what_is_no_block_is_refused(block: bytes) -> None:
    with pytest.raises(Malformed):
        credential.parse(block)


def test_one_that_is_too_large_is_refused() -> None:
    with pytest.raises(Malformed, match="more than"):
        credential.parse(credential.BEGIN + b"A" * credential.MAX_BYTES + b"\n" + credential.END)


@given(st.binary(max_size=200))
def test_whatever_lies_there_is_read_or_refused(data: bytes) -> None:
    for block in (data, credential.armour(data), credential.armour(base64.b64encode(data))):
        try:
            credential.parse(block)
        except Malformed:
            continue
        assert base64.b64decode(block[len(credential.BEGIN) :].split(b"\n")[0]).startswith(credential.BY_TPM_ALONE)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_what_stands_before_the_block_is_given_back_as_it_is(public: bytes, data: bytes) -> None:
    block = credential.armour(base64.b64encode(data))
    assume(credential.BEGIN not in public)

    assert credential.split(public + block) == (public, block)
