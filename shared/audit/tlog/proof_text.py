r"""A proof that needs nothing else: an entry's place in a log, and the log's checkpoint (C2SP tlog-proof).

    proof = "c2sp.org/tlog-proof@v1\n" ["extra " base64 "\n"] "index " number "\n" hashes in base64, one a line
            "\n" checkpoint

`extra` is ours: by whom the log's key is vouched for (shared.audit.tlog.log_key). Other readers pass over it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from shared.audit.tlog.checkpoint import TreeHead, number, verify_checkpoint
from shared.audit.tlog.keys import NoteKey
from shared.audit.tlog.note import MAX_BYTES as MAX_NOTE_BYTES
from shared.audit.tlog.proofs import MAX_HASHES
from shared.audit.tlog.proofs import verify_inclusion as verify_path
from shared.audit.tlog.tree import HASH_BYTES
from shared.errors import Malformed
from shared.fields import decode_base64, encode_base64

HEADER = "c2sp.org/tlog-proof@v1"
MAX_EXTRA_BYTES = 64 << 10
MAX_CHARS = MAX_NOTE_BYTES + 2 * MAX_EXTRA_BYTES


@dataclass(frozen=True)
class ProofText:
    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    extra: bytes = b""

    def encode(self) -> str:
        extra = [f"extra {encode_base64(self.extra)}"] if self.extra else []
        lines = [HEADER, *extra, f"index {self.index}", *(encode_base64(one) for one in self.path)]
        return "\n".join(lines) + "\n\n" + self.checkpoint

    @classmethod
    def parse(cls, text: str) -> "ProofText":
        """Raises Malformed; nothing is verified yet."""
        if len(text) > MAX_CHARS:
            raise Malformed("log proof", f"longer than {MAX_CHARS} characters")
        head, blank, checkpoint = text.partition("\n\n")
        lines = head.split("\n")
        if not blank or lines.pop(0) != HEADER or not lines:
            raise Malformed("log proof", f"expected {HEADER}, an index and a checkpoint after an empty line")
        extra = b""
        if lines[0].startswith("extra "):
            extra = decode_base64(lines.pop(0).removeprefix("extra "), "log proof extra", MAX_EXTRA_BYTES)
        if not lines or not lines[0].startswith("index "):
            raise Malformed("log proof", "expected an index")
        index = number(lines.pop(0).removeprefix("index "), "log proof index")
        if len(lines) > MAX_HASHES:
            raise Malformed("log proof", f"more than {MAX_HASHES} hashes")
        path = tuple(decode_base64(line, "log proof hash", HASH_BYTES) for line in lines)
        if any(len(one) != HASH_BYTES for one in path):
            raise Malformed("log proof hash", f"expected {HASH_BYTES} bytes")
        return cls(index, path, checkpoint, extra)


@dataclass(frozen=True)
class Included:
    """An entry is number `index`, counted from 0, of the log that `head` is of."""

    index: int
    head: TreeHead


def verify_inclusion(text: str, leaf: bytes, keys: Iterable[NoteKey]) -> Included:
    """Return where in which log `leaf` is proved to be, under a checkpoint that one of `keys` signed.

    Raises Malformed, NoteUnverified, ProofWrong.
    """
    proof = ProofText.parse(text)
    head = verify_checkpoint(proof.checkpoint, keys)
    verify_path(leaf, proof.index, head.size, proof.path, head.root)
    return Included(proof.index, head)
