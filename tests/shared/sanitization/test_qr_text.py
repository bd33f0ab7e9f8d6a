"""A ticket as text for QR codes: what is read is what was written, or nothing."""

import random
import zlib
from base64 import b32encode
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.envelope import MAX_ENVELOPE_BYTES
from shared.errors import Malformed
from shared.sanitization.envelope import sign_ticket
from shared.sanitization.qr_text import TooLongForCodes, from_lines, is_qr_text, to_lines
from tests.shared.sanitization.tickets import BEA, CAI, ticket

ENVELOPE = sign_ticket(ticket(), [BEA, CAI]).encode()
LINES = to_lines(ENVELOPE)


@given(st.binary(min_size=1, max_size=5000), st.randoms())
def test_lines_in_any_order_give_the_same_bytes(data: bytes, random: object) -> None:
    lines = to_lines(data)
    random.shuffle(lines)  # type: ignore[attr-defined]

    assert from_lines([*lines, lines[0], ""]) == data


def test_a_ticket_takes_a_few_codes_of_the_alphanumeric_mode() -> None:
    assert 1 < len(LINES) <= 3
    assert all(set(line) <= set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:") for line in LINES)
    assert is_qr_text("\n".join(LINES).encode())


@pytest.mark.parametrize(
    "lines",
    [
        [],
        LINES[1:],
        ["LGW2" + LINES[0][4:], *LINES[1:]],
        [LINES[0], *to_lines(sign_ticket(ticket(asset="CT 3"), [BEA, CAI]).encode())[1:]],
        [LINES[0].lower(), *LINES[1:]],
        [LINES[0][:-2], *LINES[1:]],
        [f"{LINES[0][:60]}{'A' if LINES[0][60] != 'A' else 'B'}{LINES[0][61:]}", *LINES[1:]],
        LINES * 40,
    ],
)
def test_what_is_not_whole_is_refused(lines: list[str]) -> None:
    with pytest.raises(Malformed):
        from_lines(lines)


def test_what_would_unpack_to_more_than_a_ticket_is_refused() -> None:
    bomb = bytes(MAX_ENVELOPE_BYTES + 1)
    text = b32encode(zlib.compress(bomb, 9)).decode().rstrip("=")

    with pytest.raises(Malformed):
        from_lines([f"LGW1:1/1:{sha256(bomb).hexdigest()[:8].upper()}:{text}"])


@pytest.mark.parametrize("size", [MAX_ENVELOPE_BYTES + 1, 40_000])
def test_what_no_reader_would_take_is_not_made_codes_of(size: int) -> None:
    with pytest.raises(TooLongForCodes, match="--out"):
        to_lines(random.Random(size).randbytes(size), 480)


@given(st.text())
def test_nothing_but_our_own_refusal_comes_out(text: str) -> None:
    try:
        from_lines(text.splitlines())
    except Malformed:
        return
    raise AssertionError(text)
