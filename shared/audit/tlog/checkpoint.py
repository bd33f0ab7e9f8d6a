r"""Checkpoints: a signed note that says how large a log is and what its root is (C2SP tlog-checkpoint).

text = origin "\n" size "\n" base64(root) "\n", then lines of which nothing is made here
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from shared.audit.tlog.keys import KeyType, NoteKey, NoteSigner
from shared.audit.tlog.note import Note, NoteUnverified, sign_note
from shared.audit.tlog.tree import EMPTY_ROOT, HASH_BYTES, MAX_SIZE
from shared.errors import Malformed
from shared.fields import decode_base64, encode_base64

NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


class EmptyRootWrong(Malformed):
    def __init__(self) -> None:
        super().__init__("checkpoint root", "a tree of no entries has another one")


@dataclass(frozen=True)
class TreeHead:
    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> "TreeHead":
        """Raises Malformed."""
        *lines, last = text.split("\n")
        if last or len(lines) < 3 or not all(lines):
            raise Malformed("checkpoint", "expected an origin, a size and a root, each on a line")
        origin, size, root, *_ = lines
        head = cls(origin, number(size, "checkpoint size"), decode_base64(root, "checkpoint root", HASH_BYTES))
        if len(head.root) != HASH_BYTES:
            raise Malformed("checkpoint root", f"expected {HASH_BYTES} bytes")
        return head


def sign_checkpoint(head: TreeHead, signer: NoteSigner) -> str:
    return sign_note(head.text(), signer).encode()


def verify_checkpoint(note: str, keys: Iterable[NoteKey]) -> TreeHead:
    """Return what the log that its origin names says of itself, once a key of `keys` with that name signed it.

    Raises Malformed, NoteUnverified, EmptyRootWrong.
    """
    parsed, keys = Note.parse(note), tuple(keys)
    head = TreeHead.parse(parsed.text)
    own = (head.origin, KeyType.ED25519)  # a cosignature is a witness's, whatever it is called
    if all((key.name, key.type) != own for key, _ in parsed.verify(keys)):
        raise NoteUnverified(f"{head.origin}, whose checkpoint it is, did not sign it")
    if head.size == 0 and head.root != EMPTY_ROOT:
        raise EmptyRootWrong
    return head


def claimed_head(note: str) -> TreeHead:
    """Return what a checkpoint says, before anything is believed. Raises Malformed."""
    return TreeHead.parse(Note.parse(note).text)


def number(text: str, what: str) -> int:
    """Read a decimal without leading zeros. Raises Malformed."""
    if not NUMBER.fullmatch(text) or int(text) > MAX_SIZE:
        raise Malformed(what, f"expected a whole number up to {MAX_SIZE}, without leading zeros")
    return int(text)
