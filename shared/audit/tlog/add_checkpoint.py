r"""What a log sends to a witness: a checkpoint, and the proof that it goes on from an older one (C2SP tlog-witness).

request = "old " size "\n" hashes in base64, one a line "\n" checkpoint
answer  = 200: lines of signatures; 409: the size that the witness knows "\n", as text/x.tlog.size
"""

from dataclasses import dataclass

from shared.audit.tlog.checkpoint import number
from shared.audit.tlog.note import MAX_BYTES as MAX_NOTE_BYTES
from shared.audit.tlog.note import Note, NoteSignature
from shared.audit.tlog.proofs import MAX_HASHES
from shared.audit.tlog.tree import HASH_BYTES
from shared.errors import Malformed
from shared.fields import decode_base64, encode_base64

PATH = "/add-checkpoint"
SIZE_TYPE = "text/x.tlog.size"
MAX_REQUEST_BYTES = MAX_NOTE_BYTES + 4096
MAX_ANSWER_BYTES = 16_384
_OLD = "old "


@dataclass(frozen=True)
class AddCheckpoint:
    old: int
    proof: tuple[bytes, ...]
    checkpoint: str

    def encode(self) -> bytes:
        lines = [f"{_OLD}{self.old}", *(encode_base64(one) for one in self.proof)]
        return ("\n".join(lines) + "\n\n" + self.checkpoint).encode()

    @classmethod
    def parse(cls, data: bytes) -> "AddCheckpoint":
        """Raises Malformed; nothing is verified yet."""
        if len(data) > MAX_REQUEST_BYTES:
            raise Malformed("add-checkpoint", f"larger than {MAX_REQUEST_BYTES} bytes")
        try:
            head, blank, checkpoint = data.decode().partition("\n\n")
        except UnicodeDecodeError as exc:
            raise Malformed("add-checkpoint", "no UTF-8") from exc
        old, *hashes = head.split("\n")
        if not blank or not old.startswith(_OLD):
            raise Malformed("add-checkpoint", "expected an old size, a proof, an empty line and a checkpoint")
        if len(hashes) > MAX_HASHES:
            raise Malformed("add-checkpoint", f"more than {MAX_HASHES} hashes")
        proof = tuple(decode_base64(one, "add-checkpoint hash", HASH_BYTES) for one in hashes)
        if any(len(one) != HASH_BYTES for one in proof):
            raise Malformed("add-checkpoint hash", f"expected {HASH_BYTES} bytes")
        return cls(number(old.removeprefix(_OLD), "add-checkpoint size"), proof, checkpoint)


def parse_signatures(data: bytes, checkpoint: str) -> tuple[NoteSignature, ...]:
    """Return the signatures that a witness answered, which belong beside those of `checkpoint`. Raises Malformed."""
    if len(data) > MAX_ANSWER_BYTES:
        raise Malformed("cosignatures", f"larger than {MAX_ANSWER_BYTES} bytes")
    text, _, _ = checkpoint.rpartition("\n\n")
    return Note.parse(f"{text}\n\n{data.decode(errors='replace')}").signatures


def parse_size(data: bytes) -> int:
    """Read which size a witness knows. Raises Malformed."""
    if len(data) > 32 or not data.endswith(b"\n"):
        raise Malformed("size that a witness knows", "expected one number and a newline")
    return number(data[:-1].decode(errors="replace"), "size that a witness knows")
