"""Makes the scenarios of docs/formats/log-checkpoint.md section 7: `add-checkpoint`, `cosignatures` and `witness-size`.

They are C2SP tlog-witness and tlog-cosignature: whoever has a witness, or asks one, can be tried with them.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.audit.tlog.add_checkpoint import AddCheckpoint
from shared.audit.tlog.checkpoint import TreeHead
from shared.audit.tlog.keys import KeyType, NoteSigner
from shared.audit.tlog.note import Note, NoteSignature, sign_note
from shared.audit.tlog.proofs import make_consistency, root_of
from shared.audit.tlog.tree import leaf_hash, perfect_root
from tests.vectors.given import Files, Scenario, as_file, b64, bytes_of, flip

ORIGIN, SECONDS = "example.com/log", 1_769_846_400
WITNESS_SEED = bytes_of("witness", 32)


def _signer(label: str, name: str, key_type: KeyType = KeyType.ED25519) -> NoteSigner:
    return NoteSigner(name, Ed25519PrivateKey.from_private_bytes(bytes_of(label, 32)), key_type)


LOG, IMPOSTOR = _signer("witnessed log", ORIGIN), _signer("impostor", ORIGIN)
UNKNOWN = _signer("unknown log", "example.com/unknown")
WITNESS = _signer("witness", "witness.example/w1", KeyType.COSIGNATURE)
OTHER_WITNESS = _signer("other witness", "witness.example/w2", KeyType.COSIGNATURE)
STRANGER = _signer("strange witness", "witness.example/w1", KeyType.COSIGNATURE)
# What C2SP gives to ML-DSA-44: a reader that does not know the key passes over it, however long it is.
LONG = NoteSignature("witness.example/w3", bytes_of("long key id", 4), bytes_of("long signature", 2428))


@dataclass(frozen=True)
class _View:
    """A log that can be shown in several ways, as one that lies would."""

    name: str = ""

    def leaves(self, size: int) -> Sequence[bytes]:
        return [leaf_hash(f"{number}{self.name}".encode()) for number in range(size)]

    def head(self, size: int, origin: str = ORIGIN) -> TreeHead:
        leaves = self.leaves(size)
        root = root_of(size, lambda height, index: perfect_root(leaves[index << height : (index + 1) << height]))
        return TreeHead(origin, size, root)

    def proof(self, old: int, size: int) -> tuple[bytes, ...]:
        leaves = self.leaves(size)
        if old in (0, size):
            return ()
        return tuple(make_consistency(old, size, lambda h, i: perfect_root(leaves[i << h : (i + 1) << h])))


TRUE, OTHER = _View(), _View(" of another view")


def _note(head: TreeHead, *signers: NoteSigner) -> str:
    return sign_note(head.text(), *(signers or (LOG,)), seconds=SECONDS - 60).encode()


def _sent(old: int, size: int, view: _View = TRUE, *, proof: Sequence[bytes] | None = None, note: str = "") -> bytes:
    path = view.proof(old, size) if proof is None else tuple(proof)
    return AddCheckpoint(old, path, note or _note(view.head(size))).encode()


def scenarios() -> Files:
    made = _cosigned() | _refused() | _answers() | _sizes()
    return {f"log-checkpoint/{name}.json": as_file(scenario) for name, scenario in made.items()}


# ---- what a witness is sent


def _add(about: str, before: Sequence[bytes], request: bytes, expect: Scenario) -> Scenario:
    given = {
        "logs": [LOG.public.vkey],
        "witness": {"name": WITNESS.public.name, "seed_hex": WITNESS_SEED.hex(), "vkey": WITNESS.public.vkey},
        "time": SECONDS,
        "before_base64": [b64(one) for one in before],
        "request_base64": b64(request),
    }
    return {"about": about, "kind": "add-checkpoint", "given": given, "expect": expect}


def _cosigned() -> dict[str, Scenario]:
    five, head = _sent(0, 5), TRUE.head(9)
    noted = Note.parse(_note(head))
    strangers = (_signature(head, IMPOSTOR), _signature(head, STRANGER), LONG)
    extended = sign_note(head.text() + "an extension\n", LOG).encode()
    cases: dict[str, tuple[str, Sequence[bytes], bytes]] = {
        "first": ("The first checkpoint of a log.", [], five),
        "first-empty": ("The first checkpoint of a log, which has no entries.", [], _sent(0, 0)),
        "after-empty": ("From no entries nothing has to be proved.", [_sent(0, 0)], five),
        "goes-on": ("It goes on from 5 entries to 9.", [five], _sent(5, 9)),
        "goes-on-from-whole": (
            "It goes on from 4 entries to 9: the proof leaves out the root that the witness has.",
            [_sent(0, 4)],
            _sent(4, 9),
        ),
        "goes-on-twice": ("It goes on from what was cosigned last, not first.", [five, _sent(5, 9)], _sent(9, 21)),
        "again": ("The very checkpoint that was cosigned last.", [five], _sent(5, 5)),
        "signatures-of-strangers": (
            "Signatures of keys that the witness does not know stand beside the log's. One has the log's name.",
            [five],
            _sent(5, 9, note=Note(noted.text, (*strangers, *noted.signatures)).encode()),
        ),
        "extension": ("The checkpoint has a line more, which is cosigned too.", [five], _sent(5, 9, note=extended)),
    }
    return {
        f"add-ok-{name}": _add(about, before, request, {"result": "cosigned", "status": 200, "body": _line(request)})
        for name, (about, before, request) in cases.items()
    }


def _line(request: bytes) -> str:
    text = Note.parse(AddCheckpoint.parse(request).checkpoint).text
    return _over(text, WITNESS).line()


def _over(text: str, signer: NoteSigner, seconds: int = SECONDS) -> NoteSignature:
    return sign_note(text, signer, seconds=seconds).signatures[0]


def _signature(head: TreeHead, signer: NoteSigner, seconds: int = SECONDS) -> NoteSignature:
    return _over(head.text(), signer, seconds)


def _refused() -> dict[str, Scenario]:
    five = _sent(0, 5)
    made = {}
    for name, (about, before, request) in _malformed(five).items():
        made[name] = _add(about, before, request, {"result": "refused", "error": "Malformed", "status": 400})
    for name, (about, request) in _unsigned().items():
        made[name] = _add(about, [five], request, {"result": "refused", "error": "LogNotSigned", "status": 403})
    made["unknown-log"] = _add(
        "A log that this witness is not told of, signed by its own key.",
        [five],
        _sent(0, 5, note=_note(TRUE.head(5, UNKNOWN.public.name), UNKNOWN)),
        {"result": "refused", "error": "LogUnknown", "status": 404},
    )
    for name, (about, before, request, size) in _other_sizes(five).items():
        expect = {"error": "SizeDiffers", "status": 409, "content_type": "text/x.tlog.size", "body": f"{size}\n"}
        made[name] = _add(about, before, request, {"result": "refused", **expect})
    for name, (about, before, request) in _inconsistent(five).items():
        made[name] = _add(about, before, request, {"result": "refused", "error": "NotConsistent", "status": 422})
    return {f"add-bad-{name}": scenario for name, scenario in made.items()}


def _malformed(five: bytes) -> dict[str, tuple[str, Sequence[bytes], bytes]]:
    good = _sent(5, 9)
    first_hash = good.split(b"\n")[1]

    def changed(old: bytes, new: bytes) -> bytes:
        assert old in good
        return good.replace(old, new, 1)

    cases = {
        "empty": ("Nothing.", b""),
        "no-old": ("No size that it goes on from.", changed(b"old 5\n", b"")),
        "old-word": ("Another word than `old`.", changed(b"old 5", b"new 5")),
        "old-leading-zero": ("A size with a leading zero.", changed(b"old 5", b"old 05")),
        "old-sign": ("A size with a sign.", changed(b"old 5", b"old +5")),
        "old-nothing": ("No size behind `old`.", changed(b"old 5", b"old ")),
        "old-two-spaces": ("Two spaces.", changed(b"old 5", b"old  5")),
        "carriage-return": ("A line that ends in CR LF.", changed(b"old 5\n", b"old 5\r\n")),
        "hash-short": ("A hash of 31 bytes.", changed(first_hash, base64.b64encode(bytes(31)))),
        "hash-no-base64": ("A hash in hex.", changed(first_hash, bytes(32).hex().encode())),
        "hash-unpadded": ("A hash without its padding.", changed(first_hash, first_hash.rstrip(b"="))),
        "hashes-too-many": ("64 hashes.", _sent(5, 9, proof=[bytes(32)] * 64)),
        "no-empty-line": ("No empty line before the checkpoint.", changed(b"\n\nexample", b"\nexample")),
        "no-checkpoint": ("No checkpoint.", good.partition(b"\n\n")[0] + b"\n\n"),
        "no-signature": ("A checkpoint without signatures.", good.rpartition(b"\n\n")[0] + b"\n\n"),
        "cut": ("The last newline is missing.", good[:-1]),
        "size-leading-zero": ("The checkpoint's size has a leading zero.", changed(b"\n9\n", b"\n09\n")),
        "root-short": (
            "The checkpoint's root has 31 bytes.",
            changed(base64.b64encode(TRUE.head(9).root), base64.b64encode(TRUE.head(9).root[:31])),
        ),
        "no-utf-8": ("A byte that is no UTF-8.", changed(b"example.com/log\n9", b"example.com/l\xffg\n9")),
        "old-above-size": ("It would go on from more entries than it has.", _sent(5, 3, proof=())),
    }
    return {name: (about, [five], request) for name, (about, request) in cases.items()}


def _unsigned() -> dict[str, tuple[str, bytes]]:
    head, good = TRUE.head(9), Note.parse(_note(TRUE.head(9)))
    (own,) = good.signatures
    flipped = NoteSignature(own.name, own.key_id, flip(own.signature, 10))
    as_witness = _signer("witnessed log", ORIGIN, KeyType.COSIGNATURE)
    return {
        "signature-impostor": (
            "Signed by another key of the log's name.", _sent(5, 9, note=_note(head, IMPOSTOR)),
        ),
        "signature-flipped": (
            "A bit of the log's signature is flipped.", _sent(5, 9, note=Note(good.text, (flipped,)).encode()),
        ),
        "signature-over-another": (
            "The size was changed after it was signed.", _sent(5, 9).replace(b"\n9\n", b"\n10\n", 1),
        ),
        "signature-as-cosignature": (
            "The log's own key signed, but as a witness does (type 0x04).", _sent(5, 9, note=_note(head, as_witness)),
        ),
    }  # fmt: skip


def _other_sizes(five: bytes) -> dict[str, tuple[str, Sequence[bytes], bytes, int]]:
    return {
        "size-lower": ("From fewer entries than were cosigned.", [five], _sent(3, 9), 5),
        "size-none": ("As if nothing had been cosigned: how a log learns the size.", [five], _sent(0, 9), 5),
        "size-higher": ("From more entries than were cosigned.", [five], _sent(7, 9), 5),
        "size-at-first": ("From entries, and nothing was ever cosigned.", [], _sent(5, 9), 0),
        "rolled-back": ("Yesterday's log: fewer entries than were cosigned.", [five, _sent(5, 9)], _sent(3, 7), 9),
        "rolled-back-from-none": ("Yesterday's log, begun anew.", [five, _sent(5, 9)], _sent(0, 5), 9),
        "size-wrong-and-another-view": (
            "The size differs, so nothing is said of the root yet.", [five], _sent(0, 9, OTHER), 5,
        ),
    }  # fmt: skip


def _inconsistent(five: bytes) -> dict[str, tuple[str, Sequence[bytes], bytes]]:
    proof = TRUE.proof(5, 9)
    empty = TreeHead(ORIGIN, 0, TRUE.head(1).root)
    return {
        "another-view": ("Another log, with its own proof, by the same key.", [five], _sent(5, 9, OTHER)),
        "another-root": ("As many entries as were cosigned, and another root.", [five], _sent(5, 5, OTHER)),
        "proof-none": ("No proof.", [five], _sent(5, 9, proof=())),
        "proof-flipped": ("A bit of the proof is flipped.", [five], _sent(5, 9, proof=[flip(proof[0], 0), *proof[1:]])),
        "proof-reordered": ("The proof is turned around.", [five], _sent(5, 9, proof=proof[::-1])),
        "proof-short": ("The last hash of the proof is missing.", [five], _sent(5, 9, proof=proof[:-1])),
        "proof-long": ("A hash too many.", [five], _sent(5, 9, proof=[*proof, bytes(32)])),
        "proof-of-another-size": ("The proof from 4 entries.", [five], _sent(5, 9, proof=TRUE.proof(4, 9))),
        "proof-of-the-same": ("A proof where nothing was added.", [five], _sent(5, 5, proof=[bytes(32)])),
        "proof-from-none": ("A proof from no entries.", [], _sent(0, 5, proof=[bytes(32)])),
        "proof-from-empty": ("The same, after the empty log was cosigned.", [_sent(0, 0)], _sent(0, 5, proof=proof)),
        "empty-with-a-root": (
            "No entries, and not the root of none, which is SHA-256 of nothing.", [], _sent(0, 0, note=_note(empty)),
        ),
    }  # fmt: skip


# ---- what a witness answers


def _answers() -> dict[str, Scenario]:
    head, note = TRUE.head(9), _note(TRUE.head(9))
    own, other = _signature(head, WITNESS), _signature(head, OTHER_WITNESS)
    stranger, line = _signature(head, STRANGER), _signature(head, WITNESS).line()
    plain = _over(head.text(), _signer("witness", WITNESS.public.name))
    timed = (SECONDS + 1).to_bytes(8) + own.signature[8:]
    ok = {
        "one": ("One witness.", line, (own,)),
        "two": ("Two witnesses behind one address.", line + other.line(), (own, other)),
        "strangers-beside": (
            "Lines of keys that are not known stand beside; they are left there.",
            stranger.line() + line + LONG.line(),
            (own,),
        ),
        "of-1970": ("At time 0.", _signature(head, WITNESS, 0).line(), (_signature(head, WITNESS, 0),)),
    }
    bad = {
        "empty": ("Nothing.", "", "Malformed"),
        "cut": ("The last newline is missing.", line[:-1], "Malformed"),
        "hyphen": ("A hyphen for the em dash.", line.replace("\N{EM DASH}", "-"), "Malformed"),
        "text-before": ("A line of text before it.", "Cosigned:\n" + line, "Malformed"),
        "no-base64": ("A character that is none of base64.", line[:-3] + "*" + line[-2:], "Malformed"),
        "name-with-plus": ("A name with a plus.", line.replace("w1", "w+1"), "Malformed"),
        "stranger": ("Another key of the witness's name.", stranger.line(), "NoteUnverified"),
        "plain": ("The witness's key signed the checkpoint as a log does.", plain.line(), "NoteUnverified"),
        "flipped": ("A bit is flipped.", _put(own, flip(own.signature, 20)), "NoteUnverified"),
        "time-changed": ("The time was changed.", _put(own, timed), "NoteUnverified"),
        "time-missing": ("No time before the signature.", _put(own, own.signature[8:]), "NoteUnverified"),
        "time-too-large": (
            "A time of 2^63 seconds.", _signature(head, WITNESS, 1 << 63).line(), "NoteUnverified",
        ),
        "of-another-size": ("Over 5 entries.", _signature(TRUE.head(5), WITNESS).line(), "NoteUnverified"),
        "of-another-view": ("Over another root.", _signature(OTHER.head(9), WITNESS).line(), "NoteUnverified"),
        "one-of-two-flipped": (
            "Of two that are known one does not hold, so nothing of it does.",
            line + _put(other, flip(other.signature, 20)),
            "NoteUnverified",
        ),
    }  # fmt: skip
    made = {}
    for name, (about, answer, found) in ok.items():
        cosigned = [{"name": one.name, "time": int.from_bytes(one.signature[:8])} for one in found]
        merged = note + "".join(one.line() for one in found)
        made[f"answer-ok-{name}"] = _answer(about, note, answer, {"result": "cosigned", "by": cosigned, "note": merged})
    for name, (about, answer, error) in bad.items():
        made[f"answer-bad-{name}"] = _answer(about, note, answer, {"result": "refused", "error": error})
    return made


def _put(one: NoteSignature, signature: bytes) -> str:
    return NoteSignature(one.name, one.key_id, signature).line()


def _answer(about: str, note: str, answer: str, expect: Scenario) -> Scenario:
    known = [WITNESS.public.vkey, OTHER_WITNESS.public.vkey]
    given = {"witnesses": known, "checkpoint": note, "answer_base64": b64(answer.encode())}
    return {"about": about, "kind": "cosignatures", "given": given, "expect": expect}


def _sizes() -> dict[str, Scenario]:
    ok = {"ok": ("What a 409 says.", b"5\n", 5), "ok-none": ("Nothing was cosigned.", b"0\n", 0)}
    bad = {
        "empty": ("Nothing.", b""),
        "no-newline": ("No newline.", b"5"),
        "two-newlines": ("An empty line behind it.", b"5\n\n"),
        "carriage-return": ("CR LF.", b"5\r\n"),
        "leading-zero": ("A leading zero.", b"05\n"),
        "sign": ("A sign.", b"+5\n"),
        "space": ("A space.", b" 5\n"),
        "words": ("Words.", b"conflict\n"),
        "too-large": ("More than any tree has.", b"9223372036854775808\n"),
    }
    made = {
        f"size-{name}": _size(about, body, {"result": "parsed", "size": n}) for name, (about, body, n) in ok.items()
    }
    refused = {"result": "refused", "error": "Malformed"}
    return made | {f"size-bad-{name}": _size(about, body, refused) for name, (about, body) in bad.items()}


def _size(about: str, body: bytes, expect: Scenario) -> Scenario:
    return {"about": about, "kind": "witness-size", "given": {"body_base64": b64(body)}, "expect": expect}
