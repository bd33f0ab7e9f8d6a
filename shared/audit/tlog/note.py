r"""Signed notes: text that one or more keys signed (C2SP signed-note).

    note = text || "\n" || one or more of "— " name " " base64(key id (4) || signature) "\n"

The text ends in a newline. What nobody signed whose key is known says nothing at all.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from shared.audit.tlog.keys import NoteKey, NoteSigner, verify_name
from shared.errors import IntegrityFailure, Malformed
from shared.fields import decode_base64, encode_base64

MAX_BYTES = 128 << 10  # sixteen signatures of the largest kind that there is
_MAX_SIGNATURES = 64
_MAX_SIGNATURE_BYTES = 8192
_DASH = "\N{EM DASH} "


class NoteUnverified(IntegrityFailure):
    def __init__(self, why: str) -> None:
        super().__init__(f"the note proves nothing: {why}")
        self.why = why


@dataclass(frozen=True)
class NoteSignature:
    name: str
    key_id: bytes
    signature: bytes

    def line(self) -> str:
        return f"{_DASH}{self.name} {encode_base64(self.key_id + self.signature)}\n"


@dataclass(frozen=True)
class Note:
    text: str
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> str:
        return self.text + "\n" + "".join(signature.line() for signature in self.signatures)

    @classmethod
    def parse(cls, note: str) -> "Note":
        """Raises Malformed; nothing is verified yet."""
        if len(note.encode(errors="replace")) > MAX_BYTES:
            raise Malformed("note", f"larger than {MAX_BYTES} bytes")
        if any((char < " " and char != "\n") or "\ud800" <= char <= "\udfff" for char in note):
            raise Malformed("note", "it holds control characters, or is no text")
        text, blank, signed = note.rpartition("\n\n")
        if not blank or not text or not signed.endswith("\n"):
            raise Malformed("note", "expected text, an empty line, and lines of signatures")
        lines = signed[:-1].split("\n")
        if len(lines) > _MAX_SIGNATURES:
            raise Malformed("note", f"more than {_MAX_SIGNATURES} signatures")
        return cls(text + "\n", tuple(_signature(line) for line in lines))

    def verify(self, keys: Iterable[NoteKey]) -> tuple[tuple[NoteKey, NoteSignature], ...]:
        """Return by which of `keys` it is signed, with each one's signature, at least one. Raises NoteUnverified."""
        known = {(key.name, key.key_id): key for key in keys}
        found = [(known.get((one.name, one.key_id)), one) for one in self.signatures]
        verified = tuple((key, one) for key, one in found if key is not None)
        for key, one in verified:
            if not key.is_signature(self.text, one.signature):
                raise NoteUnverified(f"the signature of {key.name} is not over this text")
        if not verified:
            raise NoteUnverified("no key that is known signed it")
        return verified


def sign_note(text: str, *signers: NoteSigner, seconds: int = 0) -> Note:
    """Return `text`, which ends in a newline, signed by each of `signers`, cosignatures at `seconds`."""
    return Note(text, tuple(_signed(text, signer, seconds) for signer in signers))


def _signed(text: str, signer: NoteSigner, seconds: int) -> NoteSignature:
    return NoteSignature(signer.public.name, signer.public.key_id, signer.sign(text, seconds))


def _signature(line: str) -> NoteSignature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise Malformed("note signature", "expected an em dash, a name and base64")
    verify_name(name)
    raw = decode_base64(encoded, "note signature", _MAX_SIGNATURE_BYTES)
    if len(raw) < 5:
        raise Malformed("note signature", "too short")
    return NoteSignature(name, raw[:4], raw[4:])
