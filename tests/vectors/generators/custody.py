"""Makes the scenarios of docs/formats/custody.md sections 1 and 3: `custody`, `log-proof` and `frames`."""

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

from shared import canonical
from shared.audit.batch import Statement
from shared.audit.record import GENESIS, leaf_hash
from shared.canonical import Json
from shared.custody.frames import sign_frames
from shared.custody.statement import CustodyStatement, LogProof
from shared.signing import Label, sign_statement
from tests.vectors.generators import custody_story as story
from tests.vectors.given import HOST, OTHER_HOST, Files, Scenario, as_file, b64, flip, signer

_MALFORMED = "Malformed"


def scenarios() -> Files:
    return {f"custody/{name}.json": text for name, text in (_statements() | _proofs() | _frames()).items()}


def _statements() -> Files:
    whole, plain = story.with_frames(), story.statement()
    value: dict[str, Any] = json.loads(whole.encode())
    proof, certificate = value["log"][0], value["certificates"][0]

    def said(**members: Json) -> bytes:
        return canonical.encode({**value, **members})

    def proved(**members: Json) -> bytes:
        return said(log=[{**proof, **members}])

    good = {
        "ok": ("A custody statement with frame digests.", whole),
        "ok-without-frames": ("One without.", plain),
        "ok-of-nothing": (
            "No certificates and no log: a statement has a form before it is judged.",
            replace(plain, certificates=(), log=()),
        ),
        "ok-any-certificate": (
            "What stands for a certificate is any text of 16,384 characters until it is judged.",
            replace(plain, certificates=(replace(plain.certificates[0], pem="\n\t\u00e9" + "x" * 16_381),)),
        ),
    }
    bad = {
        "version": ("Version 2.", said(v=2)),
        "kind": ("The kind of an audit export.", said(kind="leadglass audit export")),
        "field-unknown": ("A field more.", said(x=0)),
        "frames-missing": ("No frames, and it does not say so.", _without(value, "frames")),
        "object": ("An object id with a prefix.", said(object=f"host-{value['object']}")),
        "written-zone": ("A time in another zone.", said(written="2026-02-01T09:00:00.123456+01:00")),
        "record-null": ("No record.", said(record=None)),
        "record-not-base64": ("A record in hex.", said(record="0g")),
        "binding-too-large": ("A binding of 257 bytes.", said(binding=b64(bytes(257)))),
        "receipt-base64-stray-bits": ("Base64 with stray bits in its last character.", said(receipt="AB==")),
        "frames-empty-object": ("Frames as an object.", said(frames={})),
        "certificates-too-many": ("65 certificates.", said(certificates=[certificate] * 65)),
        "certificate-source": ("A certificate of somebody.", said(certificates=[{**certificate, "source": "me"}])),
        "certificate-too-long": (
            "A certificate of 16,385 characters.", said(certificates=[{**certificate, "pem": "x" * 16_385}]),
        ),
        "certificate-field-unknown": (
            "A certificate with a field more.", said(certificates=[{**certificate, "x": 0}]),
        ),
        "log-too-long": ("65 log proofs.", said(log=[{"records": ["x"], "statement": ""}] * 65)),
        "log-proof-empty": ("A log proof that shows no record.", proved(records=[])),
        "log-proof-too-long": ("1,001 records.", proved(records=["x"] * 1001)),
        "log-proof-record-too-large": ("A record of 16,385 characters.", proved(records=["x" * 16_385])),
        "log-proof-record-object": ("A record that is not text.", proved(records=[{}])),
        "log-proof-statement-too-large": ("A statement of 4,097 bytes.", proved(statement=b64(bytes(4097)))),
        "log-proof-field-unknown": ("A log proof with a field more.", proved(sealed=None)),
        "white-space": ("A line break at the end.", whole.encode() + b"\n"),
        "cut": ("The last byte is missing.", whole.encode()[:-1]),
        "not-an-object": ("A list.", b"[]"),
        "empty": ("No bytes.", b""),
    }  # fmt: skip
    files = {
        f"statement-{name}": _statement(about, one.encode(), _described(one)) for name, (about, one) in good.items()
    }
    files |= {
        f"statement-bad-{name}": _statement(about, data, _refused(_MALFORMED)) for name, (about, data) in bad.items()
    }
    return files


def _without(value: dict[str, Any], name: str) -> bytes:
    return canonical.encode({member: value[member] for member in value if member != name})


def _refused(error: str) -> Scenario:
    return {"result": "refused", "error": error}


def _described(one: CustodyStatement) -> Scenario:
    parts = {"record": one.record, "binding": one.binding, "receipt": one.receipt, "frames": one.frames}
    return {
        "result": "parsed",
        "object": str(one.object_id),
        **{f"{name}_sha256_hex": None if data is None else sha256(data).hexdigest() for name, data in parts.items()},
        "certificates": [certificate.source for certificate in one.certificates],
        "log": [len(proof.records) for proof in one.log],
    }


def _statement(about: str, data: bytes, expect: Scenario) -> str:
    return as_file({"about": about, "kind": "custody", "given": {"bytes_base64": b64(data)}, "expect": expect})


def _proofs() -> Files:
    """Proofs out of a log of six records, which its source signed in batches of its choice."""
    told = [story.HOST_TELLS[0], story.CAPTURED, *[story.HOST_TELLS[0]] * 4]
    host, source = signer("host"), str(HOST)
    publics = story.log(source, told)
    others = story.log(source, [*told[:3], story.CAPTURED, *told[4:]])

    def proof(seq: int, first: int = 1, last: int = 6) -> LogProof:
        return story.proof(host, source, publics, seq, first, last)

    def stated(first: int, last: int, head: bytes = leaf_hash(publics[5]), of: str = source) -> bytes:
        return sign_statement(host, Label.AUDIT_BATCH, Statement(of, first, last, GENESIS, head).encode())

    good, elsewhere = proof(2), story.log(str(OTHER_HOST), told)
    second = publics[1]
    edited = second.replace(b'"outcome":0', b'"outcome":8')
    shown = {
        "ok": ("The second record of six.", good),
        "ok-last": ("The last record of a batch.", proof(6)),
        "ok-alone": ("A batch of one record.", proof(3, 3, 3)),
        "ok-later-batch": ("A record of a batch that does not begin the log.", proof(4, 3, 5)),
    }
    bad = {
        "edited": (
            "A word of the record is changed.", replace(good, records=(edited, *good.records[1:])), "AuditAltered",
        ),
        "later-edited": (
            "A word of a record after it is changed.",
            replace(good, records=(*good.records[:3], good.records[3].replace(b":05.1", b":06.1"), good.records[4])),
            "AuditAltered",
        ),
        "last-edited": (
            "A word of the last is changed.",
            replace(good, records=(*good.records[:4], good.records[4].replace(b":06.1", b":07.1"))), "AuditAltered",
        ),
        "cut": ("It ends before the signed head.", replace(good, records=good.records[:3]), "AuditAltered"),
        "left-out": (
            "One record is left out.", replace(good, records=(second, *good.records[2:])), "AuditAltered",
        ),
        "doubled": ("The last stands twice.", replace(good, records=(publics[5], publics[5])), "AuditAltered"),
        "another-story": (
            "A record of a second story.", replace(good, records=(*good.records[:2], others[3], *good.records[3:])),
            "AuditAltered",
        ),
        "before-what-was-signed": (
            "The record is before the first that the statement names.",
            LogProof(tuple(publics[1:3]), proof(3, 3, 3).statement), "AuditAltered",
        ),
        "numbers": (
            "The statement numbers the records otherwise.", replace(good, statement=stated(1, 7)), "AuditAltered",
        ),
        "head": ("The statement has another head.", replace(good, statement=stated(1, 6, bytes(32))), "AuditAltered"),
        "source-of-statement": (
            "The statement is about another source.", replace(good, statement=stated(1, 6, of=str(OTHER_HOST))),
            "AuditAltered",
        ),
        "source-of-records": (
            "The records are another source's.",
            LogProof(tuple(elsewhere[1:]), stated(1, 6, leaf_hash(elsewhere[5]))), "AuditAltered",
        ),
        "record-not-canonical": (
            "A record with white space.", replace(good, records=(second.replace(b",", b", ", 1), *good.records[1:])),
            _MALFORMED,
        ),
        "record-code": (
            "Event and DICOM code disagree.",
            replace(good, records=(second.replace(b"110107", b"110100"), *good.records[1:])), _MALFORMED,
        ),
        "record-too-large": (
            "A record of 16,384 characters and more bytes.",
            replace(good, records=("\u00e9".encode() * 16_384, *good.records[1:])), _MALFORMED,
        ),
        "statement-backwards": (
            "The statement's last number is below its first.", replace(good, statement=stated(6, 5)), _MALFORMED,
        ),
        "statement-signature": (
            "A bit of the signature is flipped.", replace(good, statement=flip(good.statement, -1)), "SignatureInvalid",
        ),
        "statement-label": (
            "The statement is signed as a receipt.",
            replace(good, statement=sign_statement(host, Label.RECEIPT, good.statement[28:-64])), "SignatureInvalid",
        ),
        "statement-signer": (
            "Another key signed.", story.proof(signer("stranger"), source, publics, 2, 1, 6), "WrongSigner",
        ),
        "no-records": ("It shows no record.", replace(good, records=()), _MALFORMED),
    }  # fmt: skip
    files = {}
    for name, (about, one) in shown.items():
        files[f"log-proof-{name}"] = _proof(about, one, {"result": "shown", "record": json.loads(one.records[0])})
    for name, (about, one, error) in bad.items():
        files[f"log-proof-bad-{name}"] = _proof(about, one, _refused(error))
    return files


def _proof(about: str, proof: LogProof, expect: Scenario) -> str:
    given = {"source": str(HOST), "spki_base64": b64(signer("host").public.spki), "proof": proof.json()}
    return as_file({"about": about, "kind": "log-proof", "given": given, "expect": expect})


def _frames() -> Files:
    vault = story.RECEIPTS
    payload: dict[str, Any] = json.loads(story.FRAMES.encode())
    good = sign_frames(story.FRAMES, vault)

    def said(**members: Json) -> bytes:
        return sign_statement(vault, Label.FRAMES, canonical.encode({**payload, **members}))

    digest = payload["frames"][0]
    lossy = said(transfer_syntax="1.2.840.10008.1.2.4.50", lossy=True, decoder="gdcm 3.2.6 with pydicom 3.0.2",
                 samples=3, bits_allocated=8, bits_stored=8, colour="YBR_FULL")  # fmt: skip
    cases = {
        "ok": ("Digests of one frame.", good, ""),
        "ok-largest": (
            "Each number at its limit.",
            said(rows=65_535, columns=65_535, samples=4, bits_allocated=32, bits_stored=32, decoder="d" * 100), "",
        ),
        "ok-single-bits": ("Single bits.", said(bits_allocated=1, bits_stored=1), ""),
        "ok-lossy": ("Of an image that was captured with loss.", lossy, ""),
        "bad-signer": ("By somebody else.", sign_frames(story.FRAMES, signer("stranger")), "WrongSigner"),
        "bad-bit": ("A bit of the text is flipped.", flip(good, 60), "SignatureInvalid"),
        "bad-label": (
            "The text, signed as a capture record.", sign_statement(vault, Label.CAPTURE, story.FRAMES.encode()),
            "SignatureInvalid",
        ),
        "bad-version": ("Version 2.", said(v=2), _MALFORMED),
        "bad-field-unknown": ("A field more.", said(x=0), _MALFORMED),
        "bad-field-missing": (
            "No word on loss.", sign_statement(vault, Label.FRAMES, _without(payload, "lossy")), _MALFORMED,
        ),
        "bad-object": ("An object id with a prefix.", said(object=f"host-{payload['object']}"), _MALFORMED),
        "bad-record-short": ("A digest of 31 bytes.", said(record_sha256="0" * 62), _MALFORMED),
        "bad-dataset-upper-case": ("A digest in upper case.", said(dataset_sha256="A" * 64), _MALFORMED),
        "bad-transfer-syntax": ("A transfer syntax by name.", said(transfer_syntax="explicit"), _MALFORMED),
        "bad-transfer-syntax-too-long": ("65 characters.", said(transfer_syntax="1." * 32 + "1"), _MALFORMED),
        "bad-made": ("A time without six fractional digits.", said(made="2026-01-31T08:00:09Z"), _MALFORMED),
        "bad-rows-zero": ("No rows.", said(rows=0), _MALFORMED),
        "bad-columns-too-many": ("65,536 columns.", said(columns=65_536), _MALFORMED),
        "bad-samples": ("Five samples.", said(samples=5), _MALFORMED),
        "bad-bits-allocated": ("12 bits allocated.", said(bits_allocated=12), _MALFORMED),
        "bad-bits-stored": ("17 bits stored in 16.", said(bits_stored=17), _MALFORMED),
        "bad-bits-stored-zero": ("No bits stored.", said(bits_stored=0), _MALFORMED),
        "bad-signed": ("A flag given as 0.", said(signed=0), _MALFORMED),
        "bad-lossy": ("A flag given as 01.", said(lossy="01"), _MALFORMED),
        "bad-colour": ("A colour that is none.", said(colour="CMYK"), _MALFORMED),
        "bad-colour-transformed": ("A colour that decoders undo.", said(colour="YBR_RCT"), _MALFORMED),
        "bad-decoder-empty": ("A decoder without a name.", said(decoder=""), _MALFORMED),
        "bad-decoder-too-long": ("101 characters of decoder.", said(decoder="d" * 101), _MALFORMED),
        "bad-decoder-not-ascii": ("A decoder beyond ASCII.", said(decoder="d\u00e9codeur"), _MALFORMED),
        "bad-frames-none": ("No frames.", said(frames=[]), _MALFORMED),
        "bad-frame-short": ("A digest of 31 bytes.", said(frames=[digest[2:]]), _MALFORMED),
        "bad-frame-null": ("A frame without a digest.", said(frames=[digest, None]), _MALFORMED),
        "bad-not-canonical": (
            "A space after a comma.",
            sign_statement(vault, Label.FRAMES, story.FRAMES.encode().replace(b",", b", ", 1)), _MALFORMED,
        ),
    }  # fmt: skip
    spki = b64(vault.public.spki)
    return {
        f"frames-{name}": as_file({
            "about": about, "kind": "frames", "given": {"spki_base64": spki, "signed_base64": b64(data)},
            "expect": _refused(error) if error else {"result": "verified", "payload": json.loads(data[28:-64])},
        })
        for name, (about, data, error) in cases.items()
    }  # fmt: skip
