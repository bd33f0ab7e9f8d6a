"""Makes the scenarios of docs/formats/sealed-object.md: `open` (dataset and index, each by itself), `range`."""

import io
import json
import struct
from dataclasses import dataclass, replace
from hashlib import sha256

from shared import canonical
from shared.identity import HostId, ObjectId
from shared.sealing import object_file
from shared.sealing.binding import Binding, hash_sop_instance
from shared.sealing.hpke import BoxLabel
from shared.sealing.index import IndexEntry
from shared.sealing.record import CaptureRecord, sign_record
from shared.sealing.seal import ObjectSealer, Sealing, StreamSink
from shared.signing import Label, sign_statement
from tests.vectors.given import (
    HOST,
    OBJECT,
    OTHER_HOST,
    OTHER_OBJECT,
    TIME,
    Files,
    KeptBoxes,
    KeptKey,
    RepeatableRandom,
    RepeatableSigner,
    Scenario,
    as_file,
    b64,
    bytes_of,
    flip,
    sealing_key,
    seed,
    signer,
)
from tests.vectors.salted import salted, salted_body

CHUNK, SEALED_CHUNK, HEADER = 16_384, 16_400, 56
_SHOWN_BYTES = 64
ENTRY = IndexEntry(
    evaluated=True,
    patient_id="VECTOR-0001",
    patient_name="Vector^Test=向量",
    issuer_of_patient_id="",
    accession_number="A-17",
    study_instance_uid="1.2.826.0.1.3680043.8.498.1",
    series_instance_uid="1.2.826.0.1.3680043.8.498.2",
    sop_instance_uid="1.2.826.0.1.3680043.8.498.3",
    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
    modality="CT",
)


@dataclass(frozen=True)
class Made:
    """One sealed object in its parts, to be put together again, altered or not."""

    object_id: ObjectId
    binding: bytes
    body: bytes
    wrap: bytes
    index: bytes
    record: bytes
    dataset: bytes
    data_key: bytes

    def file(self) -> bytes:
        head = struct.pack(">6sHI", b"LGOBJT", 1, len(self.binding)) + self.binding
        return head + self.body + object_file.tail(
            len(self.body), wrap=self.wrap, index=self.index, record=self.record
        )  # fmt: skip

    def captured(self) -> CaptureRecord:
        return CaptureRecord.parse(self.record[28:-64])


def make(
    boxes: KeptBoxes,
    size: int,
    *,
    object_id: ObjectId = OBJECT,
    host_id: HostId = HOST,
    by: RepeatableSigner | None = None,
) -> Made:
    """Seal `size` bytes as an agent does, with fixed randomness."""
    label = f"object {object_id} of {size}"
    dataset = bytes_of(f"{label} dataset", size)
    sop_hash = hash_sop_instance(bytes_of("SOP hash key", 32), ENTRY.sop_instance_uid)
    binding = Binding(object_id, host_id, sop_hash, "1.2.840.10008.1.2.1")
    out = io.BytesIO()
    drawn = RepeatableRandom(label)
    sealer = ObjectSealer(StreamSink(out), binding, random_bytes=drawn, encryptor=salted(drawn))
    sealer.update(dataset)
    keys = KeptKey(sealing_key("data"), boxes), KeptKey(sealing_key("index"), boxes)
    sealer.finish(Sealing("restricted", *keys, policy_version=7, captured=TIME), ENTRY, by or signer("host"))
    parts = object_file.parse(out)
    body = out.getvalue()[parts.body_offset : parts.body_offset + parts.body_bytes]
    made = Made(
        object_id, binding.encode(), body, parts.wrap, parts.index, parts.record, dataset, RepeatableRandom(label)(32)
    )
    if made.file() != out.getvalue():
        raise AssertionError("the parts do not make up the file")
    return made


class _Scenarios:
    def __init__(self, boxes: KeptBoxes) -> None:
        self.files: Files = {}
        self.boxes = boxes
        self.small, self.three = make(boxes, 100), make(boxes, 32_800)
        self.other = make(boxes, 100, object_id=OTHER_OBJECT)

    def add(self, name: str, about: str, file: bytes, expect: Scenario, **more: object) -> None:
        given = {
            "object_id": str(OBJECT),
            "host_spki_base64": b64(signer("host").public.spki),
            "data_seed_hex": seed("data").hex(),
            "index_seed_hex": seed("index").hex(),
            **more,
            "file_base64": b64(file),
        }
        kind = "range" if "start" in more else "open"
        self.files[f"sealed-object/{name}.json"] = as_file(
            {"about": about, "kind": kind, "given": given, "expect": expect}
        )

    def verified(self, name: str, about: str, made: Made) -> None:
        self.add(name, about, made.file(), {"dataset": _opened(made), "index": _INDEX})

    def refused(self, name: str, about: str, made: Made | bytes, error: str, *, both: bool = False) -> None:
        """Add an object whose dataset is refused; its index too if `both`, else the index still opens."""
        refusal = {"result": "refused", "error": error}
        file = made if isinstance(made, bytes) else made.file()
        self.add(name, about, file, {"dataset": refusal, "index": refusal if both else _INDEX})

    def index_refused(self, name: str, about: str, made: Made, error: str) -> None:
        expect = {"dataset": _opened(made), "index": {"result": "refused", "error": error}}
        self.add(name, about, made.file(), expect)

    def range(self, name: str, about: str, made: Made, start: int, length: int, error: str = "") -> None:
        data = self.three.dataset[start : start + length]
        expect = {"result": "chunks authentic, object not evaluated", "bytes": len(data)}
        expect |= {"data_hex": data.hex()} if len(data) <= _SHOWN_BYTES else {"sha256": sha256(data).hexdigest()}
        if error:
            expect = {"result": "refused", "error": error}
        self.add(f"range-{name}", about, made.file(), expect, start=start, length=length)


_INDEX: Scenario = {"result": "verified", "entry": {**ENTRY.__dict__}}


def _opened(made: Made) -> Scenario:
    shown = {"data_hex": made.dataset.hex()} if len(made.dataset) <= _SHOWN_BYTES else {}
    digest = sha256(made.dataset).hexdigest()
    return {"result": "verified", "bytes": len(made.dataset), "sha256": digest, **shown}


def scenarios(boxes: KeptBoxes) -> Files:
    made = _Scenarios(boxes)
    for add in (_good, _file_and_binding, _body, _wrap, _index, _record, _swapped, _forged, _ranges):
        add(made)
    return made.files


def _good(to: _Scenarios) -> None:
    sizes = {
        "empty": 0, "one-byte": 1, "one-byte-short-of-a-chunk": 16_383, "exactly-one-chunk": 16_384,
        "one-byte-over-a-chunk": 16_385,
    }  # fmt: skip
    for name, size in sizes.items():
        to.verified(f"ok-{name}", f"A dataset of {size} bytes opens.", make(to.boxes, size))
    to.verified("ok-small", "A dataset of 100 bytes opens; the refused ones below alter this object.", to.small)
    to.verified("ok-three-chunks", "A dataset of 32,800 bytes, in three chunks, opens.", to.three)
    again = to.boxes.seal(sealing_key("data"), BoxLabel.DATA_KEY, to.small.binding, to.small.data_key, copy=2)
    to.verified(
        "ok-wrap-replaced", "The wrap may be made again from the same data key: it is not part of what is signed.",
        replace(to.small, wrap=again),
    )  # fmt: skip


def _file_and_binding(to: _Scenarios) -> None:
    file, binding = to.small.file(), to.small.binding
    bad_files = {
        "file-magic": ("A bit of the file's first six bytes is flipped.", flip(file, 0)),
        "file-version": ("The file says version 2.", file[:6] + b"\0\2" + file[8:]),
        "file-binding-length": ("The binding's length is one more than it is.", flip(file, 11)),
        "file-binding-length-huge": ("The binding claims 4 GiB.", file[:8] + b"\xff" * 4 + file[12:]),
        "file-tail-lost": ("The file ends before its footer, as when a copy was interrupted.", file[:-20]),
        "file-footer-magic": ("A bit of LGOEND is flipped.", flip(file, -8)),
        "file-footer-version": ("The footer says version 2.", file[:-2] + b"\0\2"),
        "file-footer-body-length": ("The footer's body length is one more than it is.", flip(file, -21, 0x01)),
        "file-footer-wrap-length-huge": ("The footer's wrap length is 4 GiB.", file[:-20] + b"\xff" * 4 + file[-16:]),
        "file-byte-after-the-end": ("One byte follows the footer.", file + b"\0"),
        "file-empty": ("A file of no bytes.", b""),
    }
    for name, (about, data) in bad_files.items():
        to.refused(f"bad-{name}", about, data, "Malformed", both=True)
    bad_bindings = {
        "magic": ("A bit of LGBIND is flipped.", flip(binding, 0), "Malformed"),
        "version": ("The binding says version 2.", binding[:6] + b"\0\2" + binding[8:], "Malformed"),
        "suite": ("The binding says suite 2.", binding[:8] + b"\0\2" + binding[10:], "Malformed"),
        "object-id": ("A bit of the binding's object id is flipped.", flip(binding, 10), "ObjectAltered"),
        "host-id": ("A bit of the binding's host id is flipped.", flip(binding, 26), "ObjectAltered"),
        "sop-hash": ("A bit of the SOP Instance UID hash is flipped.", flip(binding, 42), "ObjectAltered"),
        "uid-length": ("The length of the transfer syntax is one less.", flip(binding, 74), "Malformed"),
        "transfer-syntax": ("Another transfer syntax of the same length.", flip(binding, -1, 0x03), "ObjectAltered"),
        "transfer-syntax-form": ("The transfer syntax holds a letter.", flip(binding, -1, 0x50), "Malformed"),
    }
    for name, (about, data, error) in bad_bindings.items():
        to.refused(f"bad-binding-{name}", about, replace(to.small, binding=data), error, both=True)


def _body(to: _Scenarios) -> None:
    small, three = to.small.body, to.three.body
    header, chunks = three[:HEADER], [three[i : i + SEALED_CHUNK] for i in range(HEADER, len(three), SEALED_CHUNK)]
    cases: dict[str, tuple[str, Made, bytes, str]] = {
        "salt": ("A bit of the salt is flipped.", to.small, flip(small, 0), "CommitmentMismatch"),
        "commitment": ("A bit of the commitment is flipped.", to.small, flip(small, 24), "CommitmentMismatch"),
        "chunk": ("A bit of the only chunk is flipped.", to.small, flip(small, HEADER), "ChunkNotAuthentic"),
        "tag": ("A bit of the last chunk's tag is flipped.", to.small, flip(small, -1), "ChunkNotAuthentic"),
        "header-cut": ("The body ends inside its header.", to.small, small[:40], "Truncated"),
        "no-chunk": ("The body ends after its header.", to.small, small[:HEADER], "Truncated"),
        "shorter-than-a-tag": ("The only chunk is cut to 15 bytes.", to.small, small[: HEADER + 15], "Truncated"),
        "cut-mid-chunk": ("The body ends inside its last chunk.", to.three, three[:-10], "ChunkNotAuthentic"),
        "cut-at-a-chunks-end": (
            "The body ends exactly where its second full chunk ends.", to.three, three[: HEADER + 2 * SEALED_CHUNK],
            "Truncated",
        ),
        "cut-at-the-first-chunks-end": (
            "The body ends exactly where its first chunk ends.", to.three, three[: HEADER + SEALED_CHUNK], "Truncated",
        ),
        "chunks-reordered": (
            "The first two chunks have changed places.", to.three, header + chunks[1] + chunks[0] + chunks[2],
            "ChunkNotAuthentic",
        ),
        "chunk-repeated": (
            "The first chunk stands in place of the second.", to.three, header + chunks[0] + chunks[0] + chunks[2],
            "ChunkNotAuthentic",
        ),
        "chunk-left-out": (
            "The second of three chunks is gone.", to.three, header + chunks[0] + chunks[2], "ChunkNotAuthentic",
        ),
        "byte-added": ("One byte follows the last chunk.", to.three, three + b"\0", "ChunkNotAuthentic"),
        "chunk-added": ("The last chunk comes twice.", to.three, three + chunks[2], "ChunkNotAuthentic"),
    }  # fmt: skip
    for name, (about, made, body, error) in cases.items():
        to.refused(f"bad-body-{name}", about, replace(made, body=body), error)


def _wrap(to: _Scenarios) -> None:
    wrap, seal = to.small.wrap, to.boxes.seal
    bound, key = to.small.binding, to.small.data_key
    cases = {
        "magic": ("A bit of LGSBOX is flipped.", flip(wrap, 0), "Malformed"),
        "version": ("The wrap says version 2.", wrap[:6] + b"\0\2" + wrap[8:], "Malformed"),
        "suite": ("The wrap says suite 2.", wrap[:8] + b"\0\2" + wrap[10:], "Malformed"),
        "key-id": ("A bit of the wrap's key id is flipped.", flip(wrap, 10), "WrongKey"),
        "enc-mlkem": ("A bit of the ML-KEM part of enc is flipped.", flip(wrap, 28), "BoxNotAuthentic"),
        "enc-x25519": ("A bit of the X25519 part of enc is flipped.", flip(wrap, 1147), "BoxNotAuthentic"),
        "enc-low-order": (
            "The X25519 part of enc is all zero, a point of low order.", wrap[:1116] + bytes(32) + wrap[1148:],
            "BoxNotAuthentic",
        ),
        "ciphertext": ("A bit of the wrapped key is flipped.", flip(wrap, 1152), "BoxNotAuthentic"),
        "tag": ("A bit of the wrap's tag is flipped.", flip(wrap, -1), "BoxNotAuthentic"),
        "cut": ("The wrap is one byte short.", wrap[:-1], "Malformed"),
        "empty": ("The wrap is gone.", b"", "Malformed"),
        "to-another-key": (
            "The data key is wrapped to a key that this reader does not hold.",
            seal(sealing_key("stranger"), BoxLabel.DATA_KEY, bound, key), "WrongKey",
        ),
        "label": (
            "The data key is in a box labelled as a sealed index.",
            seal(sealing_key("data"), BoxLabel.INDEX, bound, key), "BoxNotAuthentic",
        ),
        "short-key": (
            "The wrap holds 16 bytes.", seal(sealing_key("data"), BoxLabel.DATA_KEY, bound, key[:16]), "ObjectAltered",
        ),
        "other-data-key": (
            "A wrap, well made, of another data key.",
            seal(sealing_key("data"), BoxLabel.DATA_KEY, bound, bytes_of("another data key", 32)), "CommitmentMismatch",
        ),
    }  # fmt: skip
    for name, (about, data, error) in cases.items():
        to.refused(f"bad-wrap-{name}", about, replace(to.small, wrap=data), error)


def _index(to: _Scenarios) -> None:
    index, seal = to.small.index, to.boxes.seal
    forged = bytes(32) + replace(ENTRY, patient_id="SOMEBODY-ELSE").encode()
    cases = {
        "key-id": ("A bit of the index's key id is flipped.", flip(index, 10), "WrongKey"),
        "enc": ("A bit of the index's enc is flipped.", flip(index, 28), "BoxNotAuthentic"),
        "ciphertext": ("A bit of the sealed values is flipped.", flip(index, -30), "BoxNotAuthentic"),
        "cut": ("The index is one byte short.", index[:-1], "Malformed"),
        "swapped": ("The index of another object lies here.", to.other.index, "BoxNotAuthentic"),
        "forged": (
            "Somebody with the public key sealed other values beside this binding.",
            seal(sealing_key("index"), BoxLabel.INDEX, to.small.binding, forged), "IndexMismatch",
        ),
    }  # fmt: skip
    for name, (about, data, error) in cases.items():
        to.index_refused(f"bad-index-{name}", about, replace(to.small, index=data), error)


def _record(to: _Scenarios) -> None:
    record, host = to.small.record, signer("host")
    captured = to.small.captured()
    cases: dict[str, tuple[str, bytes, str]] = {
        "magic": ("A bit of LGSIGN is flipped.", flip(record, 0), "Malformed"),
        "key-id": ("A bit of the record's key id is flipped.", flip(record, 8), "WrongSigner"),
        "payload": ("A bit of the record's text is flipped.", flip(record, 100), "SignatureInvalid"),
        "signature": ("A bit of the signature is flipped.", flip(record, -1), "SignatureInvalid"),
        "empty": ("The record is gone.", b"", "Malformed"),
        "other-label": (
            "The same text, signed by the host as a vault receipt.",
            sign_statement(host, Label.RECEIPT, captured.encode()), "SignatureInvalid",
        ),
        "not-canonical": (
            "The host signed the record with a space after a comma.",
            sign_statement(host, Label.CAPTURE, captured.encode().replace(b",", b", ", 1)), "Malformed",
        ),
        "field-unknown": (
            "The host signed a record with a field more.",
            sign_statement(host, Label.CAPTURE, captured.encode()[:-1] + b',"x":0}'), "Malformed",
        ),
        "version": (
            "The host signed a record of version 2.",
            sign_statement(host, Label.CAPTURE, captured.encode().replace(b'"v":1', b'"v":2')), "Malformed",
        ),
    }  # fmt: skip
    cases |= _options(to)
    lies: dict[str, tuple[str, CaptureRecord]] = {
        "object": ("names another object", replace(captured, object_id=OTHER_OBJECT)),
        "host": ("names another host than the binding", replace(captured, host_id=OTHER_HOST)),
        "binding-digest": ("has another digest of the binding", replace(captured, binding_sha256=bytes(32))),
    }
    for name, (about, lie) in lies.items():
        cases[f"names-{name}"] = f"The record, well signed, {about}.", sign_record(lie, host), "ObjectAltered"
    for name, (about, data, error) in cases.items():
        to.refused(f"bad-record-{name}", about, replace(to.small, record=data), error, both=True)
    sizes: dict[str, tuple[str, CaptureRecord]] = {
        "dataset-digest": ("another digest of the dataset", replace(captured, dataset_sha256=bytes(32))),
        "dataset-size": ("a dataset one byte longer", replace(captured, dataset_bytes=101)),
        "body-digest": ("another digest of the body", replace(captured, body_sha256=bytes(32))),
        "body-size": ("a body one byte longer", replace(captured, body_bytes=captured.body_bytes + 1)),
    }
    for name, (about, lie) in sizes.items():
        wrong = replace(to.small, record=sign_record(lie, host))
        to.refused(f"bad-record-{name}", f"The record, well signed, states {about}.", wrong, "ObjectAltered")


def _options(to: _Scenarios) -> dict[str, tuple[str, bytes, str]]:
    """Add records with the members that need not be there; return those that are malformed by one of them."""
    host, captured = signer("host"), to.small.captured()
    file_sha256 = bytes_of("whole file digest", 32)
    good = {
        "routes": ("names two routes", replace(captured, routes=("pacs-main", "pacs-old"))),
        "file-digest": (
            "has the digest of the file that the image came as",
            replace(captured, file_sha256=file_sha256),
        ),
        "everything": ("has both", replace(captured, routes=("pacs-main",), file_sha256=file_sha256)),
    }
    for name, (about, record) in good.items():
        to.verified(f"ok-record-{name}", f"The record {about}.", replace(to.small, record=sign_record(record, host)))

    def said(**members: canonical.Json) -> bytes:
        return sign_statement(host, Label.CAPTURE, canonical.encode({**json.loads(captured.encode()), **members}))

    return {
        "routes-empty": ("The record names no route, and says so.", said(routes=[]), "Malformed"),
        "routes-too-many": ("The record names 33 routes.", said(routes=[f"r{n}" for n in range(33)]), "Malformed"),
        "route-form": ("The record names a route in upper case.", said(routes=["PACS"]), "Malformed"),
        "routes-text": ("The record names a route outside a list.", said(routes="pacs-main"), "Malformed"),
        "file-digest-short": ("A file's digest of 31 bytes.", said(file_sha256="0" * 62), "Malformed"),
        "file-digest-null": ("A file's digest that is null.", said(file_sha256=None), "Malformed"),
    }


def _swapped(to: _Scenarios) -> None:
    small, other = to.small, to.other
    to.refused("bad-swapped-body", "The body of another object.", replace(small, body=other.body), "CommitmentMismatch")
    to.refused("bad-swapped-wrap", "The wrap of another object.", replace(small, wrap=other.wrap), "BoxNotAuthentic")
    to.refused(
        "bad-swapped-body-and-wrap", "Body and wrap of another object.",
        replace(small, body=other.body, wrap=other.wrap), "BoxNotAuthentic",
    )  # fmt: skip
    both = {
        "binding": ("The binding of another object.", replace(small, binding=other.binding)),
        "record": ("The capture record of another object.", replace(small, record=other.record)),
        "everything": ("Another object, whole and genuine, in this one's place.", other),
    }
    for name, (about, made) in both.items():
        to.refused(f"bad-swapped-{name}", about, made, "ObjectAltered", both=True)


def _forged(to: _Scenarios) -> None:
    """What somebody can make who holds every public key and none of the private ones."""
    forged = make(to.boxes, 101, by=signer("stranger"))
    about = "An object that is consistent in itself, signed with the forger's own key"
    to.refused("bad-forged-own-key", f"{about}.", forged, "WrongSigner", both=True)
    named = forged.record[:8] + signer("host").public.key_id.raw + forged.record[24:]
    to.refused(
        "bad-forged-host-named", f"{about} but naming the host's.", replace(forged, record=named), "SignatureInvalid",
        both=True,
    )  # fmt: skip
    to.refused(
        "bad-forged-body-and-wrap", "A forger's body and wrap, made for this binding, beside the genuine record.",
        replace(to.small, body=forged.body, wrap=forged.wrap), "ObjectAltered",
    )  # fmt: skip
    to.refused(
        "bad-forged-other-bytes", "The data key's holder sealed other bytes of the same length under it.",
        replace(to.small, body=_resealed(to.small, bytes(100))), "ObjectAltered",
    )  # fmt: skip


def _resealed(made: Made, dataset: bytes) -> bytes:
    return salted_body(made.data_key, bytes_of("another salt", 24), made.binding, dataset)


def _ranges(to: _Scenarios) -> None:
    good, cut = to.three, replace(to.three, body=to.three.body[: HEADER + 2 * SEALED_CHUNK])
    broken = replace(to.three, body=flip(to.three.body, HEADER + SEALED_CHUNK + 5))
    to.range("first-bytes", "The first 16 bytes.", good, 0, 16)
    to.range("across-a-boundary", "32 bytes across the first boundary.", good, 16_368, 32)
    to.range("across-three-chunks", "A range that touches every chunk.", good, 16_000, 16_790)
    to.range("last-byte", "The last byte.", good, 32_799, 1)
    to.range("runs-past-the-end", "A range that runs past the end gives what there is.", good, 32_790, 100)
    to.range(
        "behind-the-end", "A range behind the end gives nothing, once the last chunk proved the end.", good, 10**9, 5
    )
    to.range("of-nothing", "A range of no bytes.", good, 20_000, 0)
    to.range(
        "before-the-cut", "The cut lies behind the range and stays unseen: the object is not evaluated.", cut, 0, 16
    )
    to.range("at-the-cut", "The range needs the chunk that was cut off.", cut, 32_770, 16, "Truncated")
    to.range("behind-the-end-of-a-cut", "The end cannot be proved.", cut, 10**9, 5, "Truncated")
    to.range("beside-an-altered-chunk", "The altered chunk is not touched and stays unseen.", broken, 0, 16)
    to.range("in-an-altered-chunk", "The range lies in the altered chunk.", broken, 17_000, 16, "ChunkNotAuthentic")
