"""Makes the scenarios of docs/formats/policy.md: `document`, `head`, `layer` and `acceptance`."""

import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from shared import canonical
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import KeyPurpose, Modality, PolicyDocument, SealingKey
from shared.policy.grading import Grading
from tests.vectors.given import Files, Scenario, as_file, b64, sealing_key, signer

_REFUSED = {"result": "refused", "error": "Malformed"}


def document(version: int = 3) -> PolicyDocument:
    purposes = (
        (KeyPurpose.DATA, "restricted", "data"), (KeyPurpose.INDEX, "", "index"), (KeyPurpose.AUDIT, "", "audit"),
    )  # fmt: skip
    return PolicyDocument(
        layer="organisation",
        version=version,
        modalities=(Modality("CT1", "CT, room 1.14"), Modality("MR 2", "")),
        keys=tuple(SealingKey(purpose, grade, 1, sealing_key(label).public) for purpose, grade, label in purposes),
        receipt_key=signer("vault").public,
        grading=Grading("restricted"),
        state_every_s=5,
        pull_every_s=30,
    )


def scenarios() -> Files:
    files = _documents() | _heads() | _layers() | _acceptance()
    return {f"policy/{name}.json": text for name, text in files.items()}


def _key_id(public: bytes) -> str:
    """Return the id of a key that our own code would not load."""
    return sha256(b"leadglass sealing key v1\x00" + public).hexdigest()[:32]


def parsing(kind: str, name: str, about: str, data: bytes, expect: Scenario | None = None) -> tuple[str, str]:
    given = {"bytes_base64": b64(data)}
    return f"{kind}-{name}", as_file({"about": about, "kind": kind, "given": given, "expect": expect or _REFUSED})


def _documents() -> Files:
    good = document().encode()

    def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
        value = json.loads(good)
        change(value)
        return canonical.encode(value)

    def with_(**members: canonical.Json) -> bytes:
        return changed(lambda value: value.update(members))

    def modality(**members: canonical.Json) -> bytes:
        return changed(lambda value: value["modalities"][0].update(members))

    def key(at: int, **members: canonical.Json) -> bytes:
        return changed(lambda value: value["keys"][at].update(members))

    data_key, index_key = json.loads(good)["keys"][:2]
    raw = sealing_key("data").public.raw
    # Twelve bits that say 4095 are no coefficient modulo 3329.
    no_mlkem, low_order = b"\xff" * 3 + raw[3:], raw[:1184] + bytes(32)
    parsed = {"result": "parsed", "data_key_id": data_key["key_id"]}
    crowd: list[canonical.Json] = [{"ae_title": str(number), "description": ""} for number in range(1001)]

    def timings(state: int, pull: int) -> bytes:
        return with_(timings={"state_every_s": state, "pull_every_s": pull})

    second = sealing_key("data, epoch 2").public
    second_key = {**data_key, "epoch": 2, "key_id": str(second.key_id), "public": b64(second.raw)}
    two_epochs = changed(lambda v: v["keys"].append(second_key))
    cases: list[tuple[str, str, bytes, Scenario | None]] = [
        ("ok", "A policy document.", good, parsed),
        ("ok-no-modalities", "A list of no modalities: nobody may send.", with_(modalities=[]), parsed),
        (
            "ok-two-epochs",
            "The key of the higher epoch is used.",
            two_epochs,
            {**parsed, "data_key_id": second_key["key_id"]},
        ),
        ("ok-longest-ae-title", "An AE title of 16 characters.", modality(ae_title="A" * 16), parsed),
    ]
    bad = [
        ("version", "Format version 2.", with_(v=2)),
        ("version-as-text", "Format version in quotes.", with_(v="1")),
        ("policy-version-zero", "Policies are numbered from 1.", with_(version=0)),
        ("layer-upper-case", "A layer in upper case.", with_(layer="Organisation")),
        ("layer-path", "A layer that is a path.", with_(layer="../organisation")),
        ("layer-too-long", "A layer of 33 characters.", with_(layer="a" * 33)),
        ("field-unknown", "A field that this version does not know.", with_(allow_all=True)),
        ("field-missing", "No receipt key.", changed(lambda v: v.pop("receipt_key"))),
        ("modalities-not-a-list", "Modalities as an object.", with_(modalities={})),
        ("modalities-too-many", "1,001 modalities.", with_(modalities=crowd)),
        ("ae-title-empty", "An empty AE title.", modality(ae_title="")),
        ("ae-title-too-long", "An AE title of 17 characters.", modality(ae_title="A" * 17)),
        ("ae-title-leading-space", "An AE title that begins with a space.", modality(ae_title=" CT1")),
        ("ae-title-trailing-space", "An AE title that ends with a space.", modality(ae_title="CT1 ")),
        ("ae-title-backslash", "An AE title with a backslash.", modality(ae_title="CT\\1")),
        ("ae-title-not-ascii", "An AE title beyond ASCII.", modality(ae_title="CTü")),
        ("ae-title-twice", "One AE title twice.", changed(lambda v: v["modalities"].append(v["modalities"][0]))),
        ("description-too-long", "A description of 101 characters.", modality(description="d" * 101)),
        ("description-line-break", "A line break in a description.", modality(description="a\nb")),
        ("modality-field-unknown", "A modality with a field more.", modality(port=104)),
        ("key-purpose", "A purpose that this version does not know.", key(0, purpose="backup")),
        ("key-grade-form", "A grade with a space.", key(0, grade="very restricted")),
        ("key-grade-missing", "A data key without a grade.", key(0, grade="")),
        ("key-grade-where-none-belongs", "An index key with a grade.", key(1, grade="restricted")),
        ("key-epoch-zero", "Epochs are numbered from 1.", key(0, epoch=0)),
        ("key-id", "A key id that is not that of the key.", key(0, key_id=index_key["key_id"])),
        ("key-short", "A public key of 1,215 bytes.", key(0, public=b64(raw[:-1]), key_id=_key_id(raw[:-1]))),
        ("key-no-mlkem-key", "The ML-KEM part is no key.", key(0, public=b64(no_mlkem), key_id=_key_id(no_mlkem))),
        ("key-low-order", "The X25519 part is of low order.", key(0, public=b64(low_order), key_id=_key_id(low_order))),
        ("key-not-base64", "A public key in hex.", key(0, public=raw.hex())),
        ("key-twice", "Two keys of one purpose, grade and epoch.", changed(lambda v: v["keys"].append(data_key))),
        (
            "key-for-two-purposes",
            "The index key as a data key too.",
            changed(lambda v: v["keys"].append({**index_key, "purpose": "data", "grade": "restricted", "epoch": 2})),
        ),
        ("no-data-key", "No data key.", changed(lambda v: v["keys"].pop(0))),
        ("no-index-key", "No index key.", changed(lambda v: v["keys"].pop(1))),
        ("no-audit-key", "No audit key.", changed(lambda v: v["keys"].pop(2))),
        ("no-key-for-the-default-grade", "The default grade has no key.", with_(grading={"default": "open"})),
        ("receipt-key", "A receipt key that is none.", with_(receipt_key=b64(raw[:91]))),
        ("grading-field-unknown", "Grading with a field more.", with_(grading={"default": "restricted", "x": 0})),
        ("timing-zero", "A report every 0 seconds.", timings(0, 30)),
        ("timing-too-long", "A report every 3,601 seconds.", timings(3601, 30)),
        ("timing-pull-too-long", "A pull every day and one second.", timings(5, 86_401)),
        ("not-canonical", "A line break at the end.", good + b"\n"),
        ("not-an-object", "A list.", b"[]"),
        ("empty", "No bytes.", b""),
    ]  # fmt: skip
    cases += [(f"bad-{name}", about, data, None) for name, about, data in bad]
    return dict(parsing("document", *case) for case in cases)


def _heads() -> Files:
    good = HeadBundle((b"{root 1}", b"{root 2}"), b"{timestamp}", b"{snapshot}", b"{targets}").encode()
    value = json.loads(good)

    def with_(**members: canonical.Json) -> bytes:
        return canonical.encode({**value, **members})

    parts = {
        "root": ["{root 1}", "{root 2}"],
        "timestamp": "{timestamp}",
        "snapshot": "{snapshot}",
        "targets": "{targets}",
    }
    cases: list[tuple[str, str, bytes, Scenario | None]] = [
        (
            "ok",
            "A head bundle. What is in it is verified as TUF metadata, and here is none.",
            good,
            {"result": "parsed", **parts},
        ),
        ("bad-kind", "A layer bundle's kind.", with_(kind="layer"), None),
        ("bad-version", "Version 2.", with_(v=2), None),
        ("bad-roots-too-many", "65 roots.", with_(root=[b64(b"{}")] * 65), None),
        ("bad-root-not-base64", "A root as an object.", with_(root=[{}]), None),
        ("bad-base64-stray-bits", "Base64 with stray bits in its last character.", with_(snapshot="e31="), None),
        ("bad-base64-no-padding", "Base64 without padding.", with_(snapshot="e3s"), None),
        ("bad-base64-line-break", "Base64 with a line break.", with_(snapshot="e30=\n"), None),
        ("bad-field-unknown", "A field more.", with_(x=0), None),
        ("bad-empty", "No bytes.", b"", None),
    ]
    return dict(parsing("head", *case) for case in cases)


def _layers() -> Files:
    good = LayerBundle("organisation", b"{metadata}", b"{policy}").encode()
    value = json.loads(good)

    def with_(**members: canonical.Json) -> bytes:
        return canonical.encode({**value, **members})

    parts = {"layer": "organisation", "metadata": "{metadata}", "policy": "{policy}"}
    cases: list[tuple[str, str, bytes, Scenario | None]] = [
        ("ok", "A layer bundle.", good, {"result": "parsed", **parts}),
        ("bad-kind", "A head bundle's kind.", with_(kind="head"), None),
        ("bad-layer", "A layer that is a topic filter.", with_(layer="#"), None),
        ("bad-version", "Version 2.", with_(v=2), None),
        ("bad-field-missing", "No policy.", canonical.encode({k: value[k] for k in value if k != "policy"}), None),
        ("bad-empty", "No bytes.", b"", None),
    ]
    return dict(parsing("layer", *case) for case in cases)


def _acceptance() -> Files:
    def offer(version: int, text: str = "", layer: str = "organisation") -> Scenario:
        digest = sha256(f"policy {version}{text}".encode()).hexdigest()
        return {"layer": layer, "version": version, "sha256_hex": digest}

    taken = {"result": "accepted"}
    rollback, two, other = (
        {"result": "refused", "error": e} for e in ("PolicyRollback", "PolicyEquivocation", "WrongLayer")
    )
    cases: dict[str, tuple[str, list[tuple[Scenario, Scenario]]]] = {
        "ok-rises": ("Versions that rise.", [(offer(1), taken), (offer(2), taken), (offer(7), taken)]),
        "ok-repeated": ("One policy again and again.", [(offer(2), taken), (offer(2), taken)]),
        "bad-rollback": (
            "An older policy after a newer one.",
            [(offer(3), taken), (offer(2), rollback), (offer(3), taken)],
        ),
        "bad-equivocation": (
            "Another policy under the same version.",
            [(offer(3), taken), (offer(3, "'"), two), (offer(4), taken)],
        ),
        "bad-layer": ("The policy of another layer.", [(offer(3), taken), (offer(9, layer="site-a"), other)]),
        "bad-rollback-to-first": (
            "The first policy after everything.",
            [(offer(1), taken), (offer(5), taken), (offer(1), rollback)],
        ),
    }
    return {
        f"acceptance-{name}": as_file({
            "about": about, "kind": "acceptance", "given": {"offered": [offered for offered, _ in steps]},
            "expect": {"each": [expected for _, expected in steps]},
        })
        for name, (about, steps) in cases.items()
    }  # fmt: skip
