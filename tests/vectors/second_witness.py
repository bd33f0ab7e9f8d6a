"""A second witness, and a second log that asks one, made from C2SP and docs/formats/log-checkpoint.md section 7 alone.

C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-witness 1.1.0; RFC 9162 section 2.1.4 for the proof.
"""

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tests.vectors.second_reader import Refusal, _base64, _need

_STATUS = {"Malformed": 400, "LogNotSigned": 403, "LogUnknown": 404, "SizeDiffers": 409, "NotConsistent": 422}
_LINE = re.compile(r"\u2014 ([^\s+]+) (\S+)")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Line:
    name: str
    key_id: bytes
    signature: bytes

    def text(self) -> str:
        return f"\N{EM DASH} {self.name} {base64.b64encode(self.key_id + self.signature).decode()}\n"


@dataclass(frozen=True)
class Key:
    name: str
    key_id: bytes
    kind: int
    public: bytes

    @classmethod
    def of(cls, vkey: str) -> "Key":
        name, key_id, encoded = vkey.split("+", 2)
        raw = base64.b64decode(encoded, validate=True)
        assert hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4].hex() == key_id
        return cls(name, bytes.fromhex(key_id), raw[0], raw[1:])

    def signed(self, text: str, line: Line) -> bool:
        message, signature = text.encode(), line.signature
        if self.kind == 4:
            time = int.from_bytes(signature[:8], "big")
            if len(signature) != 72 or time >= 1 << 63:
                return False
            message, signature = _cosigned(text, time), signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            return False
        return True


class Witness:
    """It keeps one head of each log, and forgets them when it is gone."""

    def __init__(self, logs: list[str], name: str, seed: bytes, vkey: str) -> None:
        self._logs = {key.name: key for key in map(Key.of, logs)}
        self._seed, self._key = Ed25519PrivateKey.from_private_bytes(seed), Key.of(vkey)
        assert (self._key.name, self._key.public) == (name, self._seed.public_key().public_bytes_raw())
        self._held = dict[str, tuple[int, bytes]]()

    def answer(self, request: bytes, time: int) -> Any:
        try:
            body = self._cosign(request, time)
        except Refusal as exc:
            said = {"result": "refused", "error": exc.name, "status": _STATUS[exc.name]}
            conflict = {"content_type": "text/x.tlog.size", "body": str(exc.__cause__ or "")}
            return said | (conflict if exc.name == "SizeDiffers" else {})
        return {"result": "cosigned", "status": 200, "body": body}

    def _cosign(self, request: bytes, time: int) -> str:
        try:
            head, blank, note = request.decode().partition("\n\n")
        except UnicodeDecodeError as exc:
            raise Refusal("Malformed", "UTF-8") from exc
        first, *hashes = head.split("\n")
        _need(bool(blank) and first.startswith("old ") and len(hashes) <= 63, "Malformed", "lines")
        old, proof = _size(first[4:]), [_hash(one) for one in hashes]
        text, lines = _note(note)
        origin, size, root = _head(text)
        _need(origin in self._logs, "LogUnknown")
        key = self._logs[origin]
        _need(bool(_verified(text, lines, [key], "LogNotSigned")), "LogNotSigned")
        _need(old <= size, "Malformed", "old above size")
        _need(size > 0 or root == hashlib.sha256(b"").digest(), "NotConsistent", "no root of none")
        held, held_root = self._held.get(origin, (0, b""))
        if old != held:
            raise Refusal("SizeDiffers") from ValueError(f"{held}\n")
        _need(_goes_on(old, size, held_root, root, proof), "NotConsistent")
        self._held[origin] = size, root
        message = _cosigned(text, time)
        return Line(self._key.name, self._key.key_id, time.to_bytes(8, "big") + self._seed.sign(message)).text()


def cosignatures(checkpoint: str, answer: bytes, vkeys: list[str]) -> Any:
    """Who cosigned a checkpoint that was sent, and the note with their lines beside the log's."""
    body = answer.decode()
    _need(body.endswith("\n"), "Malformed", "newline")
    lines, keys = [_line(one) for one in body[:-1].split("\n")], [Key.of(one) for one in vkeys]
    found = _verified(checkpoint.rpartition("\n\n")[0] + "\n", lines, keys, "NoteUnverified")
    _need(bool(found), "NoteUnverified", "nobody who is known")
    by = [{"name": one.name, "time": int.from_bytes(one.signature[:8], "big")} for one in found]
    return {"result": "cosigned", "by": by, "note": checkpoint + "".join(one.text() for one in found)}


def size(body: bytes) -> int:
    _need(body.endswith(b"\n"), "Malformed", "newline")
    return _size(body[:-1].decode())


def _cosigned(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _size(text: str) -> int:
    _need(bool(_SIZE.fullmatch(text)) and int(text) < 1 << 63, "Malformed", "size")
    return int(text)


def _hash(text: str) -> bytes:
    raw = _base64(text, 32)
    _need(len(raw) == 32, "Malformed", "hash")
    return raw


def _note(note: str) -> tuple[str, list[Line]]:
    text, blank, signed = note.rpartition("\n\n")
    _need(bool(blank) and bool(text) and signed.endswith("\n"), "Malformed", "note")
    _need(not any(one < " " and one != "\n" for one in note), "Malformed", "control character")
    return text + "\n", [_line(one) for one in signed[:-1].split("\n")]


def _line(text: str) -> Line:
    found = _LINE.fullmatch(text)
    if found is None:
        raise Refusal("Malformed", "signature line")
    raw = _base64(found[2], 8192)
    _need(len(raw) > 4, "Malformed", "signature")
    return Line(found[1], raw[:4], raw[4:])


def _head(text: str) -> tuple[str, int, bytes]:
    lines = text[:-1].split("\n")
    _need(len(lines) >= 3 and all(lines), "Malformed", "head")
    return lines[0], _size(lines[1]), _hash(lines[2])


def _verified(text: str, lines: list[Line], keys: list[Key], wrong: str) -> list[Line]:
    """The lines of keys that are known; one of them that does not hold is `wrong`, and so is the whole."""
    known = {(key.name, key.key_id): key for key in keys}
    found = [one for one in lines if (one.name, one.key_id) in known]
    for one in found:
        _need(known[one.name, one.key_id].signed(text, one), wrong, one.name)
    return found


def _goes_on(old: int, new: int, old_root: bytes, new_root: bytes, proof: list[bytes]) -> bool:
    """RFC 9162 section 2.1.4.2."""
    if old == 0:
        return not proof
    if old == new:
        return not proof and old_root == new_root
    if old & (old - 1) == 0:
        proof = [old_root, *proof]
    if not proof:
        return False
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = proof[0]
    for one in proof[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = _node(one, fr), _node(one, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = _node(sr, one)
        fn, sn = fn >> 1, sn >> 1
    return (fr, sr, sn) == (old_root, new_root, 0)


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
