"""Recovery shares: the root key split 2 of 3, as words on paper (SLIP-0039, which carries its own checksum)."""

from collections.abc import Sequence

from shamir_mnemonic import MnemonicError, combine_mnemonics, generate_mnemonics

from control_plane.keys.root import RootKey
from shared.errors import Refused

THRESHOLD, SHARES = 2, 3


class SharesRefused(Refused):
    """The words given do not make the root key. Never quotes them."""

    def __init__(self, why: str) -> None:
        super().__init__(f"these shares do not recover the root key: {why}")
        self.why = why


def split(root: RootKey) -> tuple[str, ...]:
    """Return three shares of 33 words, any two of which recover the root key and one of which says nothing."""
    return tuple(generate_mnemonics(1, [(THRESHOLD, SHARES)], root.raw)[0])


def combine(shares: Sequence[str]) -> RootKey:
    """Raises SharesRefused: fewer than two, the same one twice, a mistyped word, shares of different sets."""
    words = [" ".join(share.split()).lower() for share in shares]
    if len(set(words)) < THRESHOLD:
        raise SharesRefused(f"{THRESHOLD} different shares are needed, {len(set(words))} given")
    try:
        return RootKey(combine_mnemonics(words[:THRESHOLD]))
    except MnemonicError as exc:
        # The library's messages quote no words but "invalid mnemonic word", so only the kind of fault is passed on.
        raise SharesRefused("a word was mistyped, or they are not of one set") from exc
