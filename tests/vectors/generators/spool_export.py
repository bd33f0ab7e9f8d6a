"""Makes the scenarios of docs/formats/spool-export.md: `export-manifest` and `export-list`."""

import json
from hashlib import sha256
from typing import Any

from edge_agent.moving.manifest import (
    MAX_ENTRIES,
    ExportId,
    Left,
    LeftObject,
    ListedBatch,
    ListedObject,
    Manifest,
    PartList,
    sign_manifest,
)
from shared import canonical
from shared.audit.batch import ChainHead
from shared.signing import Label, sign_statement
from tests.vectors.given import (
    HOST,
    OBJECT,
    OTHER_HOST,
    OTHER_OBJECT,
    TIME,
    Files,
    as_file,
    b64,
    bytes_of,
    flip,
    signer,
)

_LIST = PartList(
    objects=(ListedObject(1, OBJECT, 3598, sha256(b"a file").digest(), sha256(b"a record").digest()),),
    left=(LeftObject(OTHER_OBJECT, Left.DAMAGED),),
    batches=(
        ListedBatch(HOST, 21, 24, 4096, sha256(b"a batch").digest()),
        ListedBatch(OTHER_HOST, 7, 7, 900, sha256(b"another batch").digest()),
    ),
)
_MANIFEST = Manifest(
    export_id=ExportId(bytes_of("spool export", 16)),
    host_id=HOST,
    exported=TIME,
    objects=1,
    object_bytes=3598,
    left=1,
    head=ChainHead(24, sha256(b"a leaf").digest()),
    parts=(sha256(_LIST.encode()).digest(),),
)


def scenarios() -> Files:
    return {f"spool-export/{name}.json": text for name, text in (_manifests() | _lists()).items()}


def _manifests() -> Files:
    host, good, payload = signer("host"), sign_manifest(_MANIFEST, signer("host")), json.loads(_MANIFEST.encode())

    def said(**changes: canonical.Json) -> bytes:
        return sign_statement(host, Label.SPOOL_EXPORT, canonical.encode({**payload, **changes}))

    without = canonical.encode({name: payload[name] for name in payload if name != "left"})
    digest = payload["parts"][0]
    cases = {
        "ok": ("A manifest.", good, ""),
        "ok-empty": ("A host that had nothing but its journal.", said(objects=0, object_bytes=0, left=0), ""),
        "ok-two-parts": ("Two parts.", said(parts=[digest, digest]), ""),
        "bad-signer": ("Signed by another host.", sign_manifest(_MANIFEST, signer("stranger")), "WrongSigner"),
        "bad-bit": ("A bit of the text is flipped.", flip(good, 60), "SignatureInvalid"),
        "bad-label": (
            "The text, signed as an audit batch.", sign_statement(host, Label.AUDIT_BATCH, _MANIFEST.encode()),
            "SignatureInvalid",
        ),
        "bad-version": ("Version 2.", said(v=2), "Malformed"),
        "bad-export": ("An export id with a prefix.", said(export=str(HOST)), "Malformed"),
        "bad-host": ("A host id without its prefix.", said(host=str(HOST)[5:]), "Malformed"),
        "bad-time": ("A time without six fractional digits.", said(exported="2026-01-31T08:00:00Z"), "Malformed"),
        "bad-number": ("A number below zero.", said(objects=-1), "Malformed"),
        "bad-audit-seq": ("Records are numbered from 1.", said(audit={**payload["audit"], "seq": 0}), "Malformed"),
        "bad-audit-field": ("A field more.", said(audit={**payload["audit"], "x": 0}), "Malformed"),
        "bad-part": ("A digest in upper case.", said(parts=[digest.upper()]), "Malformed"),
        "bad-field-unknown": ("A field more.", said(x=0), "Malformed"),
        "bad-field-missing": ("A field less.", sign_statement(host, Label.SPOOL_EXPORT, without), "Malformed"),
    }  # fmt: skip
    return {
        f"manifest-{name}": as_file({
            "about": about, "kind": "export-manifest",
            "given": {"spki_base64": b64(host.public.spki), "signed_base64": b64(data)},
            "expect": _refused(error) if error else {"result": "verified", "payload": json.loads(data[28:-64])},
        })
        for name, (about, data, error) in cases.items()
    }  # fmt: skip


def _lists() -> Files:
    good = _LIST.encode()
    payload: Any = json.loads(good)
    one, left, batch = payload["objects"][0], payload["left"][0], payload["batches"][0]

    def said(**changes: canonical.Json) -> bytes:
        return canonical.encode({**payload, **changes})

    nothing: dict[str, canonical.Json] = {"objects": [], "left": [], "batches": []}
    cases = {
        "ok": ("A list.", good, ""),
        "ok-objects": ("Objects alone.", said(left=[], batches=[]), ""),
        "bad-empty": ("Nothing is listed.", said(**nothing), "Malformed"),
        "bad-too-many": ("1,001 entries.", said(**{**nothing, "left": [left] * (MAX_ENTRIES + 1)}), "Malformed"),
        "bad-too-many-together": (
            "1,000 of one kind and one of another.",
            said(**{**nothing, "left": [left] * MAX_ENTRIES, "objects": [one]}), "Malformed",
        ),
        "bad-version": ("Version 2.", said(v=2), "Malformed"),
        "bad-number": ("Objects are numbered from 1.", said(objects=[{**one, "number": 0}]), "Malformed"),
        "bad-object": ("An object id that is a path.", said(objects=[{**one, "object": "../manifest"}]), "Malformed"),
        "bad-digest": ("A digest of 31 bytes.", said(objects=[{**one, "sha256": "00" * 31}]), "Malformed"),
        "bad-object-field": ("A field more.", said(objects=[{**one, "x": 0}]), "Malformed"),
        "bad-why": ("A reason of no known kind.", said(left=[{**left, "why": "lost"}]), "Malformed"),
        "bad-source": ("A batch of the control plane.", said(batches=[{**batch, "source": "control-plane"}]),
                       "Malformed"),
        "bad-backwards": ("It ends before it begins.", said(batches=[{**batch, "last": 20}]), "Malformed"),
        "bad-batch-bytes": ("A batch that is too large.", said(batches=[{**batch, "bytes": (16 << 20) + 1}]),
                            "Malformed"),
        "bad-field-unknown": ("A field more.", said(x=0), "Malformed"),
        "bad-white-space": ("White space.", good.replace(b'"v":1', b'"v": 1'), "Malformed"),
        "bad-cut": ("Cut off.", good[:-1], "Malformed"),
    }  # fmt: skip
    return {
        f"list-{name}": as_file({
            "about": about, "kind": "export-list", "given": {"bytes_base64": b64(data)},
            "expect": _refused(error) if error else {"result": "parsed", "payload": json.loads(data)},
        })
        for name, (about, data, error) in cases.items()
    }  # fmt: skip


def _refused(error: str) -> dict[str, str]:
    return {"result": "refused", "error": error}
