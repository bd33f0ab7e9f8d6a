"""A second reader of our formats, written from docs/formats/ and from nothing else of ours.

It imports nothing of `shared`: only the standard library and the primitives of `cryptography`. HPKE and its KEM are
put together here from their own specifications. It reads whole files, and exists to show that the pages are enough.
"""

import base64
import hashlib
import hmac
import ipaddress
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import NameOID


class Refusal(Exception):
    """`name` is the refusal's name on the format's page."""

    def __init__(self, name: str, why: str = "") -> None:
        super().__init__(f"{name}: {why}")
        self.name = name


def _need(holds: bool, name: str, why: str = "") -> None:
    if not holds:
        raise Refusal(name, why)


# ---- canonical-json.md


def canonical(data: bytes) -> Any:
    """Section 2: parse, print, compare."""
    try:
        value = json.loads(data.decode("utf-8"), parse_float=_no_number, parse_constant=_no_number)
        printed = _print(value, 0)
    except (ValueError, RecursionError) as exc:
        raise Refusal("Malformed", "not JSON") from exc
    _need(printed == data, "Malformed", "not canonical")
    return value


def _no_number(literal: str) -> Any:
    raise ValueError(literal)


_SHORT = {8: "\\b", 9: "\\t", 10: "\\n", 12: "\\f", 13: "\\r", 0x22: '\\"', 0x5C: "\\\\"}


def _print(value: Any, inside: int) -> bytes:
    if inside > 32:
        raise ValueError("nested too deep")
    if value is None or isinstance(value, bool):
        return {None: b"null", True: b"true", False: b"false"}[value]
    if isinstance(value, int):
        if abs(value) >= 2**53:
            raise ValueError("number too large")
        return str(value).encode()
    if isinstance(value, str):
        escaped = (_SHORT.get(ord(c)) or (f"\\u{ord(c):04x}" if ord(c) < 32 else c) for c in value)
        return ('"' + "".join(escaped) + '"').encode("utf-8")
    if isinstance(value, list):
        return b"[" + b",".join(_print(item, inside + 1) for item in value) + b"]"
    if not all(key.isascii() for key in value):
        raise ValueError("key beyond ASCII")
    members = (_print(key, inside) + b":" + _print(value[key], inside + 1) for key in sorted(value))
    return b"{" + b",".join(members) + b"}"


# Section 3: each form as a test of one value.
Form = Callable[[Any], bool]


def _matching(pattern: str, most: int = 1024) -> Form:
    return lambda value: isinstance(value, str) and len(value) <= most and re.fullmatch(pattern, value) is not None


def _text(most: int = 1024) -> Form:
    return _matching(r"[^\x00-\x1f\x7f]*", most)


def _integer(least: int = 0, most: int = 2**53 - 1) -> Form:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _one_of(*values: object) -> Form:
    return lambda value: any(value == one and type(value) is type(one) for one in values)


def _is_time(value: Any) -> bool:
    if not _matching(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z")(value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _list_of(form: Form, most: int) -> Form:
    return lambda value: isinstance(value, list) and len(value) <= most and all(form(item) for item in value)


def _object_of(optional: dict[str, Form] | None = None, /, **members: Form) -> Form:
    forms = {**members, **(optional or {})}

    def holds(value: Any) -> bool:
        return isinstance(value, dict) and members.keys() <= value.keys() <= forms.keys() and all(
            forms[name](member) for name, member in value.items()
        )  # fmt: skip

    return holds


def _some_of(form: Form, most: int, least: int = 1) -> Form:
    return lambda value: _list_of(form, most)(value) and len(value) >= least


def _or_null(form: Form) -> Form:
    return lambda value: value is None or form(value)


_HEX32 = _matching(r"[0-9a-f]{64}")
_OBJECT_ID = _matching(r"[0-9a-f]{32}")
_HOST_ID = _matching(r"host-[0-9a-f]{32}")
_SOURCE = _matching(r"host-[0-9a-f]{32}|control-plane")


def _read(data: bytes, form: Form) -> Any:
    value = canonical(data)
    _need(form(value), "Malformed", "members")
    return value


def _base64(value: Any, most: int) -> bytes:
    _need(isinstance(value, str), "Malformed", "base64")
    try:
        data = base64.b64decode(value, validate=True)
    except ValueError as exc:
        raise Refusal("Malformed", "base64") from exc
    _need(base64.b64encode(data).decode() == value and len(data) <= most, "Malformed", "base64")
    return data


# ---- signed-statement.md

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def public_key(spki: bytes) -> tuple[ec.EllipticCurvePublicKey, bytes]:
    """Section 2: the key and its id."""
    _need(len(spki) == 91, "Malformed", "public key")
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise Refusal("Malformed", "public key") from exc
    if not (isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)):
        raise Refusal("Malformed", "public key")
    _need(spki[26] == 4, "Malformed", "compressed point")
    return key, hashlib.sha256(b"leadglass evidence key v1\x00" + spki).digest()[:16]


def statement(signed: bytes, label: str, spki: bytes) -> bytes:
    """Section 4: the payload, once the signature holds."""
    _need(len(signed) >= 92 and signed[:8] == b"LGSIGN\x00\x01", "Malformed", "statement")
    size = int.from_bytes(signed[24:28], "big")
    _need(size <= 1 << 20 and len(signed) == 92 + size, "Malformed", "statement length")
    key, key_id = public_key(spki)
    _need(signed[8:24] == key_id, "WrongSigner")
    payload = signed[28 : 28 + size]
    r, s = int.from_bytes(signed[-64:-32], "big"), int.from_bytes(signed[-32:], "big")
    _need(1 <= r < _ORDER and 1 <= s <= _ORDER // 2, "SignatureInvalid")
    try:
        key.verify(encode_dss_signature(r, s), label.encode() + b"\x00" + payload, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as exc:
        raise Refusal("SignatureInvalid") from exc
    return payload


# ---- sealed-object.md section 3: boxes

DATA_KEY, INDEX = "leadglass data-key wrap v1", "leadglass sealed index v1"
AUDIT_PRIVATE = "leadglass audit private part v1"


@dataclass(frozen=True)
class KemKey:
    """A private key of KEM 0x647A, from its seed."""

    decapsulation: mlkem.MLKEM768PrivateKey
    exchange: x25519.X25519PrivateKey

    @classmethod
    def from_seed(cls, seed: bytes) -> "KemKey":
        expanded = hashlib.shake_256(seed).digest(96)
        return cls(
            mlkem.MLKEM768PrivateKey.from_seed_bytes(expanded[:64]),
            x25519.X25519PrivateKey.from_private_bytes(expanded[64:]),
        )

    @property
    def public(self) -> bytes:
        return self.decapsulation.public_key().public_bytes_raw() + self.exchange.public_key().public_bytes_raw()

    @property
    def key_id(self) -> bytes:
        return hashlib.sha256(b"leadglass sealing key v1\x00" + self.public).digest()[:16]

    def shared_secret(self, enc: bytes) -> bytes:
        """Raises ValueError: the X25519 exchange gives zero."""
        mlkem_secret = self.decapsulation.decapsulate(enc[:1088])
        ecdh_secret = self.exchange.exchange(x25519.X25519PublicKey.from_public_bytes(enc[1088:]))
        parts = mlkem_secret + ecdh_secret + enc[1088:] + self.public[1184:] + bytes.fromhex("5c2e2f2f5e5c")
        return hashlib.sha3_256(parts).digest()


def key_schedule(secret: bytes, info: bytes, aead_id: int) -> tuple[bytes, bytes]:
    """RFC 9180 section 5.1 in base mode with HKDF-SHA256: an AEAD's 32-byte key and base nonce."""
    suite = b"HPKE" + bytes.fromhex("647a0001") + aead_id.to_bytes(2, "big")

    def extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return hmac.digest(salt or bytes(32), b"HPKE-v1" + suite + label + ikm, "sha256")

    def expand(prk: bytes, label: bytes, text: bytes, size: int) -> bytes:
        return hmac.digest(prk, size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + text + b"\x01", "sha256")[:size]

    context = b"\x00" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    scheduled = extract(secret, b"secret", b"")
    return expand(scheduled, b"key", context, 32), expand(scheduled, b"base_nonce", context, 12)


def open_box(box: bytes, seed: bytes, label: str, bound: bytes) -> bytes:
    _need(len(box) >= 1168 and box[:10] == b"LGSBOX\x00\x01\x00\x01", "Malformed", "box")
    size = int.from_bytes(box[1148:1152], "big")
    _need(box[26:28] == (1120).to_bytes(2, "big"), "Malformed", "enc length")
    _need(16 <= size <= 1 << 20 and len(box) == 1152 + size, "Malformed", "ct length")
    key = KemKey.from_seed(seed)
    _need(box[10:26] == key.key_id, "WrongKey")
    info = label.encode() + b"\x00" + b"\x00\x01" + key.key_id + hashlib.sha256(bound).digest()
    try:
        aead_key, nonce = key_schedule(key.shared_secret(box[28:1148]), info, 2)
        return AESGCM(aead_key).decrypt(nonce, box[1152:], None)
    except (InvalidTag, ValueError) as exc:
        raise Refusal("BoxNotAuthentic") from exc


# ---- sealed-object.md: the object

_ROUTE = _matching(r"[a-z][a-z0-9-]{0,31}")
_RECORD = _object_of(
    {"routes": _some_of(_ROUTE, 32), "file_sha256": _HEX32},
    v=_one_of(1), object=_OBJECT_ID, host=_HOST_ID, captured=_is_time, binding_sha256=_HEX32, dataset_sha256=_HEX32,
    dataset_bytes=_integer(), body_sha256=_HEX32, body_bytes=_integer(), index_commitment=_HEX32,
    grade=_matching(r"[a-z][a-z0-9-]{0,31}"), policy_version=_integer(1),
)  # fmt: skip
_ATTRIBUTES = (
    "patient_id", "patient_name", "issuer_of_patient_id", "accession_number", "study_instance_uid",
    "series_instance_uid", "sop_instance_uid", "sop_class_uid", "modality",
)  # fmt: skip
_INDEX = _object_of(v=_one_of(1), evaluated=_is_flag, **dict.fromkeys(_ATTRIBUTES, _matching(r"(?s:.*)", 324)))


@dataclass(frozen=True)
class Parts:
    binding: bytes
    body: bytes
    wrap: bytes
    index: bytes
    record: bytes


@dataclass(frozen=True)
class Asked:
    """What whoever opens brings along (section 8)."""

    object_id: str
    host_spki: bytes
    data_seed: bytes
    index_seed: bytes


def check_binding(binding: bytes) -> None:
    """Section 2."""
    _need(len(binding) >= 75 and binding[:10] == b"LGBIND\x00\x01\x00\x01", "Malformed", "binding")
    uid = binding[75:]
    _need(len(uid) == binding[74] and 1 <= len(uid) <= 64, "Malformed", "binding length")
    _need(re.fullmatch(rb"[0-9]+(\.[0-9]+)*", uid) is not None, "Malformed", "transfer syntax")


def split_file(file: bytes) -> Parts:
    """Section 7."""
    _need(len(file) >= 40 and file[:8] == b"LGOBJT\x00\x01" and file[-8:] == b"LGOEND\x00\x01", "Malformed", "file")
    sizes = [int.from_bytes(file[8:12], "big"), int.from_bytes(file[-28:-20], "big")]
    sizes += [int.from_bytes(file[at : at + 4], "big") for at in range(len(file) - 20, len(file) - 8, 4)]
    _need(sizes[0] <= 139 and max(sizes[2:]) <= 1 << 20, "Malformed", "limits")
    _need(12 + sum(sizes) + 28 == len(file), "Malformed", "lengths")
    parts, at = [], 12
    for size in sizes:
        parts.append(file[at : at + size])
        at += size
    check_binding(parts[0])
    return Parts(*parts)


def verified_record(parts: Parts, asked: Asked) -> Any:
    """Section 8, steps 2 to 6."""
    record = _read(statement(parts.record, "leadglass capture record v1", asked.host_spki), _RECORD)
    _need(record["object"] == asked.object_id, "ObjectAltered", "record")
    _need(hashlib.sha256(parts.binding).hexdigest() == record["binding_sha256"], "ObjectAltered", "binding")
    check_binding(parts.binding)
    _need(parts.binding[10:26].hex() == record["object"], "ObjectAltered", "binding's object")
    _need("host-" + parts.binding[26:42].hex() == record["host"], "ObjectAltered", "binding's host")
    return record


class _Body:
    """Section 4."""

    def __init__(self, body: bytes, data_key: bytes, binding: bytes) -> None:
        _need(len(body) >= 56, "Truncated")
        info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00" + body[:24] + binding
        okm, block = b"", b""
        for number in (1, 2):
            block = hmac.digest(data_key, block + info + bytes([number]), "sha512")
            okm += block
        _need(hmac.compare_digest(okm[44:76], body[24:56]), "CommitmentMismatch")
        self._aead, self._nonce, self._body = AESGCM(okm[:32]), int.from_bytes(okm[32:44], "big"), body

    def chunk(self, number: int) -> tuple[bytes, bool]:
        """Return the plaintext of a chunk, and whether it is the last."""
        sealed = self._body[56 + number * 16_400 :][:16_400]
        _need(len(sealed) >= 16, "Truncated")
        try:
            plain = self._aead.decrypt((self._nonce ^ number).to_bytes(12, "big"), sealed, None)
        except InvalidTag as exc:
            raise Refusal("ChunkNotAuthentic") from exc
        return plain, len(sealed) < 16_400


def _data_key(parts: Parts, asked: Asked) -> bytes:
    data_key = open_box(parts.wrap, asked.data_seed, DATA_KEY, parts.binding)
    _need(len(data_key) == 32, "ObjectAltered", "wrap")
    return data_key


def open_dataset(parts: Parts, asked: Asked) -> bytes:
    """Section 8."""
    record = verified_record(parts, asked)
    body = _Body(parts.body, _data_key(parts, asked), parts.binding)
    dataset, number, last = bytearray(), 0, False
    while not last:
        plain, last = body.chunk(number)
        dataset += plain
        number += 1
    _need(len(parts.body) == record["body_bytes"], "ObjectAltered", "body size")
    _need(hashlib.sha256(parts.body).hexdigest() == record["body_sha256"], "ObjectAltered", "body")
    _need(len(dataset) == record["dataset_bytes"], "ObjectAltered", "dataset size")
    _need(hashlib.sha256(dataset).hexdigest() == record["dataset_sha256"], "ObjectAltered", "dataset")
    return bytes(dataset)


def open_index(parts: Parts, asked: Asked) -> Any:
    """Section 5."""
    record = verified_record(parts, asked)
    salted = open_box(parts.index, asked.index_seed, INDEX, parts.binding)
    _need(hashlib.sha256(salted).hexdigest() == record["index_commitment"], "IndexMismatch")
    return _read(salted[32:], _INDEX)


def open_range(parts: Parts, asked: Asked, start: int, length: int) -> bytes:
    """Section 8, range reads."""
    record = verified_record(parts, asked)
    data_key = _data_key(parts, asked)
    _need(record["body_bytes"] >= 56, "Truncated")
    body, last = _Body(parts.body, data_key, parts.binding), (record["body_bytes"] - 56) // 16_400
    first, end = start // 16_384, (start + max(length, 1) - 1) // 16_384
    begin = min(first, last)
    opened = b"".join(body.chunk(number)[0] for number in range(begin, min(end, last) + 1))
    return opened[start - begin * 16_384 :][:length]


# ---- audit-record.md

_CODES = {
    "110100": "agent.started agent.stopped server.started server.stopped guard.started guard.stopped",
    "110101": "audit.read",
    "110103": "custody.frames-digested custody.frames-refused vault.object-opened vault.open-refused "
    "vault.self-test-compared",
    "110104": "capture.image-delivered capture.delivery-refused capture.delivery-retried "
    "capture.commitment-requested capture.commitment-reported capture.commitment-refused capture.file-released "
    "route.delivered route.failed route.retried route.dropped vault.object-stored vault.object-refused",
    "110106": "capture.spool-export-begun capture.spool-exported backup.made",
    "110107": "capture.image-captured capture.image-refused capture.image-repeated capture.image-conflicts "
    "capture.file-refused capture.object-damaged capture.spool-import-begun capture.spool-imported "
    "backup.centre-restored",
    "110112": "coverage.compared coverage.comparison-failed vault.looked-up",
    "110113": "keys.created keys.recovery-drilled enrolment.code-issued enrolment.host-enrolled enrolment.refused "
    "enrolment.certificate-renewed enrolment.renewal-refused capture.association-refused "
    "capture.interception-attempted capture.object-discarded coverage.gap-found vault.move-allowed vault.move-ended "
    "policy.published policy.refused policy.accepted policy.failed-here audit.batch-refused audit.records-unwritten "
    "vault.conflict-settled "
    "vault.object-lost vault.loss-over vault.loss-settled "
    "policy.rollout-started policy.rollout-widened policy.rollout-paused policy.rollout-resumed "
    "policy.rollout-reverted policy.rollout-finished "
    "guard.policy-accepted guard.policy-refused guard.peer-refused guard.chain-broken guard.console-pinned "
    "guard.rescue-used guard.rescue-ended device.attached device.decided device.enforced device.detached "
    "device.detected device.gap device.storage-judged host.finding fleet.host-restored fleet.host-cloned "
    "fleet.host-settled people.added people.removed enrolment.host-revoked fleet.command-issued fleet.command-begun "
    "enrolment.root-followed authority.issuing-requested authority.issuing-installed authority.root-installed "
    "fleet.command-ended fleet.command-refused fleet.command-answered certificate.issued log.loss-found "
    "log.loss-accepted log.checkpoint-refused log.not-continued log.loss-followed fleet.standing-put-right "
    "log.witness-known log.cosignature-refused log.witness-disagrees log.other-log-refused audit.host-silent "
    "enrolment.code-cancelled enrolment.code-reused enrolment.code-settled enrolment.tombstone-lifted "
    "enrolment.host-quarantined enrolment.host-rekeyed enrolment.host-asked enrolment.ask-approved "
    "enrolment.ask-refused enrolment.certificate-regained enrolment.host-decommissioned enrolment.host-renamed "
    "enrolment.host-replaced people.request-made people.request-approved people.request-refused enrolment.keys-moved "
    "enrolment.host-moved "
    "keys.destroyed backup.forgotten backup.restore-settled people.changed people.password-set people.factor-added "
    "people.factor-removed people.token-made people.token-ended people.link-made people.provider-set "
    "people.not-permitted people.action-failed",
    "110114": "people.signed-in people.sign-in-refused people.session-ended",
}
_CODE_OF = {event: code for code, events in _CODES.items() for event in events.split()}
_NAME = _matching(r"[^\x00-\x1f\x7f]{1,200}")
_PUBLIC = _object_of(
    v=_one_of(1), source=_SOURCE, seq=_integer(1), prev=_HEX32, time=_is_time, event=_text(), code=_text(),
    action=_one_of(*"CRUDE"), outcome=_one_of(0, 4, 8, 12),
    who=_list_of(_object_of(kind=_one_of("person", "host", "service", "ae"), name=_NAME, requestor=_is_flag), 16),
    what=_list_of(_object_of(kind=_matching(r"[a-z]{1,32}"), name=_NAME), 64),
    reason=_text(), private=_or_null(_HEX32),
)  # fmt: skip
_STATEMENT = _object_of(
    v=_one_of(1), source=_SOURCE, first=_integer(1), last=_integer(1), prev=_HEX32, head=_HEX32
)  # fmt: skip
_BATCH = _object_of(
    records=_list_of(_object_of(public=_matching(r"(?s:.*)", 32_768), sealed=lambda _: True), 1000),
    statement=lambda _: True,
)


def audit_public(public: bytes) -> Any:
    """Section 1."""
    _need(len(public) <= 16_384, "Malformed", "record size")
    record = _read(public, _PUBLIC)
    event, code = record["event"], record["code"]
    if event in _CODE_OF:
        _need(code == _CODE_OF[event], "Malformed", "code")
    else:
        _need(record["source"] != "control-plane", "Malformed", "an event that the centre's own log may not have")
        name = r"[a-z]+(-[a-z]+)*\.[a-z]+(-[a-z]+)*"
        _need(len(event) <= 40 and re.fullmatch(name, event) is not None, "Malformed", "event")
        _need(re.fullmatch("[0-9]{6}", code) is not None, "Malformed", "code")
    return record


def audit_leaf(public: bytes) -> str:
    return hashlib.sha256(b"\x00" + public).hexdigest()


def _written_batch(data: bytes) -> tuple[list[tuple[bytes, bool]], bytes]:
    batch = _read(data, _BATCH)
    records = []
    for item in batch["records"]:
        if item["sealed"] is not None:
            _base64(item["sealed"], 32_768)
        records.append((item["public"].encode(), item["sealed"] is not None))
    return records, _base64(batch["statement"], 4096)


def _packed_batch(data: bytes) -> tuple[list[tuple[bytes, bool]], bytes]:
    def number(at: int) -> int:
        _need(at + 2 <= len(data), "Malformed", "cut")
        return data[at] << 8 | data[at + 1]

    version, count, statement_bytes = number(6), number(8), number(10)
    _need(version == 1 and count <= 1000 and statement_bytes <= 4096, "Malformed", "head of a packed batch")
    lengths = 12 + statement_bytes
    sizes = [(number(lengths + 4 * nth), number(lengths + 4 * nth + 2)) for nth in range(count)]
    at, records = lengths + 4 * count, []
    for public_bytes, sealed_bytes in sizes:
        _need(sealed_bytes <= 32_768, "Malformed", "sealed part")
        records.append((data[at : at + public_bytes], sealed_bytes > 0))
        at += public_bytes + sealed_bytes
    _need(at == len(data), "Malformed", "length")
    return records, data[12:lengths]


def audit_batch(data: bytes, source: str, spki: bytes, held_seq: int, held_leaf: str) -> list[str]:
    """Sections 5 and 6: the leaves of the records that are new."""
    _need(len(data) <= 16_777_216, "Malformed", "batch size")
    records, signed = _packed_batch(data) if data[:6] == b"LGPACK" else _written_batch(data)
    stated = _read(statement(signed, "leadglass audit batch v1", spki), _STATEMENT)
    _need(stated["first"] <= stated["last"], "Malformed", "backwards")
    first, last = stated["first"], stated["last"]
    _need(stated["source"] == source and len(records) == last - first + 1, "Malformed", "not about these")
    parents, leaves = [], []
    leaf = stated["prev"]
    for seq, (public, has_sealed) in enumerate(records, first):
        try:
            record = audit_public(public)
        except Refusal as exc:
            raise Refusal("AuditAltered", str(exc)) from exc
        _need(record["source"] == source and record["seq"] == seq, "AuditAltered", "number")
        _need(record["prev"] == leaf, "AuditAltered", "chain")
        _need(has_sealed == (record["private"] is not None), "AuditAltered", "private part")
        parents.append(leaf)
        leaf = audit_leaf(public)
        leaves.append(leaf)
    _need(leaf == stated["head"], "AuditAltered", "head")
    _need(first <= held_seq + 1, "AuditGap")
    if last < held_seq:
        return []
    if last == held_seq:
        _need(leaf == held_leaf, "AuditForked")
        return []
    seam = held_seq + 1 - first
    _need(parents[seam] == held_leaf, "AuditForked")
    return leaves[seam:]


def audit_private(public: bytes, sealed: bytes | None, seed: bytes) -> Any:
    """Section 3."""
    record = audit_public(public)
    if record["private"] is None:
        return None
    if sealed is None:
        raise Refusal("PrivatePartMismatch")
    commitment = bytes.fromhex(record["private"])
    salted = open_box(sealed, seed, AUDIT_PRIVATE, commitment)
    _need(hashlib.sha256(salted).digest() == commitment, "PrivatePartMismatch")
    return canonical(salted[32:])


# ---- policy.md section 2

_AE_TITLE = _matching(r"[ -\[\]-~]{1,16}")
_HOST_NAME = r"[0-9A-Za-z]([0-9A-Za-z.:-]{0,251}[0-9A-Za-z])?"
_PEM = _matching(r"(-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n)+", 16_384)
_GRADE = _matching(r"[a-z][a-z0-9-]{0,31}")


def _is_ae_title(value: Any) -> bool:
    return _AE_TITLE(value) and value.strip(" ") == value


def _is_address(value: Any) -> bool:
    if not _matching(r"[0-9a-f.:]+(/[0-9]+)?")(value):
        return False
    try:
        network = ipaddress.ip_network(value)
    except ValueError:
        return False
    mapped = network.version == 6 and network.network_address in ipaddress.ip_network("::ffff:0:0/96")
    return value in (str(network), str(network.network_address)) and not (mapped and "/" not in value)


def _distinct(form: Form) -> Form:
    return lambda value: form(value) and len({json.dumps(item) for item in value}) == len(value)


_PEER = _object_of(
    {"tls": _object_of(trust=_PEM, name=_matching(f"({_HOST_NAME})?"))},
    ae_title=_is_ae_title, host=_matching(_HOST_NAME), port=_integer(1, 65_535),
)  # fmt: skip
_MODALITY = _object_of(
    {
        "addresses": _distinct(_some_of(_is_address, 16)),
        "certificates": _distinct(_some_of(_HEX32, 4)),
        "commitment": _PEER,
        "export_folder": _one_of("keep", "move", "delete"),
        "station": _object_of(modality=_matching(r"[A-Z0-9_ ]{1,16}"), station_name=_text(16)),
    },
    ae_title=_is_ae_title, description=_text(100),
)  # fmt: skip
_WHEN = {
    name: _some_of(_matching(r"[^\x00-\x1f\x7f]+", 64), 50)
    for name in (
        "calling_ae_title", "sop_class_uid", "modality", "institution_name", "referring_physician", "station_name",
        "study_description", "series_description", "department_name", "patient_name", "patient_id", "body_part",
        "protocol_name", "burned_in_annotation",
    )
}  # fmt: skip
_ROUTE_NAMES = _distinct(_some_of(_ROUTE, 32))
_RULE = _object_of(when=_object_of(_WHEN), grade=_GRADE, routes=_distinct(_list_of(_ROUTE, 32)))
_GRADING = _object_of(
    {
        "grades": _distinct(_some_of(_GRADE, 16)),
        "rules": _some_of(_RULE, 200),
        "routes": _ROUTE_NAMES,
        "ungraded_routes": _ROUTE_NAMES,
    },
    default=_GRADE,
)
_INTERFACE = _matching(r"[0-9a-f]{2}(:[0-9a-f]{2}){2}")
_PROGRAMS = _distinct(_some_of(_matching(r"[^\x00-\x1f\x7f]+", 100), 64))
_FOLDER = _matching(r"/|(/(?!\.{1,2}(/|$))[^/\x00-\x1f\x7f]+)+", 200)
_DEVICES = _object_of(
    {
        "default": _one_of("allow", "reject"),
        "observe_until": _is_time,
        "suspicious": _one_of("allow", "reject"),
        "rescue": _object_of(port=_matching(r"[0-9]{1,3}-[0-9]{1,3}(\.[0-9]{1,3}){0,6}"), minutes=_integer(1, 60)),
        "contact": _matching(r"[^\x00-\x1f\x7f]+", 200),
        "language": _one_of("zh"),
        "others": _object_of(
            dict.fromkeys(
                ("block", "input", "net", "optical", "pci", "sd", "thunderbolt"), _one_of("allow", "block")
            )
        ),
    },
    rules=_list_of(
        _object_of(
            {
                "not_before": _is_time,
                "not_after": _is_time,
                "observe_until": _is_time,
                "access": _one_of("read-only"),
                "only_encrypted": _one_of(True),
                "hardware_encrypted": _one_of(True),
                "interfaces": lambda value: _some_of(_INTERFACE, 16)(value) and value == sorted(set(value)),
            },
            # The language within is on a page, and in vectors, of its own.
            rule=_matching(r"(allow|block|reject)( [ -~]+)?", 8192),
        ),
        10_000,
    ),
)  # fmt: skip
_WATCH = _object_of(
    {
        "processes": _PROGRAMS,
        "peers": _distinct(_some_of(_object_of({"port": _integer(1, 65_535)}, addresses=_is_address), 64)),
        "forbidden": _PROGRAMS,
        "encrypted": _distinct(_some_of(_FOLDER, 16)),
        "encrypted_swap": _one_of(True),
        "free": _some_of(_object_of(folder=_FOLDER, mib=_integer(1, 1 << 30)), 16),
        "most_drift_ms": _integer(1, 86_400_000),
    },
    every_s=_integer(10, 86_400),
)
_WIPE = _object_of(
    least=_one_of("clear", "purge"), read_back=_one_of("samples", "whole"), approvals=_integer(1, 5),
    ticket_hours=_integer(1, 168),
)  # fmt: skip
_POLICY = _object_of(
    {
        "routes": _some_of(
            _object_of(name=_ROUTE, via=_one_of("centre", "host"), calling_ae_title=_is_ae_title, peer=_PEER), 32
        ),
        "dicom_trust": _PEM,
        "coverage": _object_of(calling_ae_title=_is_ae_title, peer=_PEER),
        "spool_quota_bytes": _integer(1),
        "frame_digests": _one_of(True),
        "devices": _DEVICES,
        "watch": _WATCH,
        "wipe": _WIPE,
    },
    v=_one_of(1), layer=_GRADE, version=_integer(1), modalities=_list_of(_MODALITY, 1000),
    keys=_list_of(
        _object_of(
            purpose=_one_of("data", "index", "audit"), grade=_text(), epoch=_integer(1), key_id=_OBJECT_ID,
            public=lambda _: True,
        ),
        100,
    ),
    receipt_key=lambda _: True, grading=_GRADING,
    timings=_object_of(state_every_s=_integer(1, 3600), pull_every_s=_integer(1, 86_400)),
)  # fmt: skip


def policy_document(data: bytes) -> Any:
    _need(len(data) <= 262_144, "Malformed", "size")
    policy = _read(data, _POLICY)
    public_key(_base64(policy["receipt_key"], 1024))
    for key in policy["keys"]:
        _sealing_key(key)
    _no_two([m["ae_title"] for m in policy["modalities"]], "AE titles")
    _no_two([route["name"] for route in policy.get("routes", [])], "routes")
    _no_two([(key["purpose"], key["grade"], key["epoch"]) for key in policy["keys"]], "keys")
    _no_two([key["public"] for key in policy["keys"]], "public keys")
    _routes_and_trust(policy)
    _devices_and_watch(policy)
    grading = policy["grading"]
    grades = grading.get("grades", [grading["default"]])
    used = [grading["default"], *(rule["grade"] for rule in grading.get("rules", []))]
    _need(set(used) <= set(grades), "Malformed", "grades")
    held = {(key["purpose"], key["grade"]) for key in policy["keys"]}
    needed = {("data", grade) for grade in grades} | {("index", ""), ("audit", "")}
    _need(needed <= held, "Malformed", "no key for a grade or purpose")
    return policy


def _sealing_key(key: Any) -> None:
    _need(_GRADE(key["grade"]) if key["purpose"] == "data" else key["grade"] == "", "Malformed", "grade of a key")
    raw = _base64(key["public"], 1216)
    _need(len(raw) == 1216, "Malformed", "size of a key")
    _need(
        hashlib.sha256(b"leadglass sealing key v1\x00" + raw).hexdigest()[:32] == key["key_id"], "Malformed", "key id"
    )
    try:
        mlkem.MLKEM768PublicKey.from_public_bytes(raw[:1184])
        x25519.X25519PrivateKey.generate().exchange(x25519.X25519PublicKey.from_public_bytes(raw[1184:]))
    except ValueError as exc:
        raise Refusal("Malformed", "no key") from exc


def _routes_and_trust(policy: Any) -> None:
    routes, grading = policy.get("routes", []), policy["grading"]
    for route in routes:
        host = route["peer"]["host"]
        octets = host.split(".")
        local = host == "localhost" or (
            len(octets) == 4 and octets[0] == "127" and all(one in map(str, range(256)) for one in octets)
        )
        _need(local or "tls" in route["peer"], "Malformed", "a route in clear")
    named = [*grading.get("routes", []), *grading.get("ungraded_routes", [])]
    named += [name for rule in grading.get("rules", []) for name in rule["routes"]]
    _need(set(named) <= {route["name"] for route in routes}, "Malformed", "a route there is not")
    if any("certificates" in modality for modality in policy["modalities"]):
        _need("dicom_trust" in policy, "Malformed", "certificates that nobody issues")


def _devices_and_watch(policy: Any) -> None:
    _need(policy.get("devices", {}).get("others") != {}, "Malformed", "others that says nothing")
    for rule in policy.get("devices", {}).get("rules", []):
        allows = rule["rule"].startswith("allow")
        limits = {"access", "only_encrypted", "interfaces"} & rule.keys()
        _need("observe_until" not in rule if allows else not limits, "Malformed", "what says nothing of the target")
        of_a_device = "only_encrypted" in rule and rule["rule"].startswith("allow id ")
        _need(of_a_device or "hardware_encrypted" not in rule, "Malformed", "an assertion about no device")
        _need(rule.get("not_before", "") < rule.get("not_after", "9"), "Malformed", "a rule that is never in its time")
    watch = policy.get("watch", {})
    _need("peers" not in watch or "processes" in watch, "Malformed", "peers of no process")
    _no_two([free["folder"] for free in watch.get("free", [])], "folders")


def _no_two(values: list[Any], what: str) -> None:
    _need(len(set(values)) == len(values), "Malformed", f"{what}: one twice")


def data_key_id(policy: Any) -> str:
    """The key that an image of the default grade is sealed to."""
    mine = [key for key in policy["keys"] if (key["purpose"], key["grade"]) == ("data", policy["grading"]["default"])]
    return str(max(mine, key=lambda key: key["epoch"])["key_id"])


# ---- policy.md section 8

_PART_SAYS: dict[str, Form] = {
    "modalities": _some_of(_MODALITY, 1000),
    "grading": _GRADING,
    "state_every_s": _integer(1, 3600),
    "pull_every_s": _integer(1, 86_400),
    "spool_quota_bytes": _integer(1),
    "devices": _DEVICES,
    "watch": _WATCH,
    "wipe": _WIPE,
}
_PART = _object_of(
    {**_PART_SAYS, "hosts": lambda _: True},
    v=_one_of(1), version=_integer(1), layer=_matching(r"(site|modality)-[a-z0-9][a-z0-9-]{0,22}"),
)  # fmt: skip
_EXCEPTION = _object_of(_PART_SAYS)
_STRICTER = ["allow", "block", "reject"]


def policy_part(data: bytes) -> Any:
    _need(len(data) <= 262_144, "Malformed", "size")
    part = _read(data, _PART)
    hosts = part.get("hosts", {"": {}})
    _need(isinstance(hosts, dict) and 1 <= len(hosts) <= 1000, "Malformed", "hosts")
    if "hosts" in part:
        _need(part["layer"].startswith("site-"), "Malformed", "exceptions of what is no site")
        _need(all(_HOST_ID(host) and _EXCEPTION(said) for host, said in hosts.items()), "Malformed", "an exception")
    for said in (part, *hosts.values()):
        _devices_and_watch(said)
    return part


def put_together(organisation: Any, parts: list[Any], host: str) -> Any:
    """The policy that a host acts by which has these parts."""
    kinds = [part["layer"].partition("-")[0] for part in parts]
    _no_two(kinds, "parts of one kind")
    policy = json.loads(json.dumps(organisation))
    for part in sorted(parts, key=lambda part: ["modality", "site"].index(part["layer"].partition("-")[0])):
        for said in (part, part.get("hosts", {}).get(host, {})):
            _say(policy, said)
    return policy_document(_print(policy, 0))


def _say(policy: Any, said: Any) -> None:
    policy["modalities"] = policy["modalities"] + said.get("modalities", [])
    for name in ("grading", "spool_quota_bytes", "watch"):
        if name in said:
            policy[name] = said[name]
    for name in ("state_every_s", "pull_every_s"):
        policy["timings"][name] = said.get(name, policy["timings"][name])
    if "devices" in said:
        above = policy.get("devices")
        policy["devices"] = said["devices"] if above is None else _devices_below(above, said["devices"])
    if "wipe" in said and "wipe" in policy:
        policy["wipe"] = _stricter_wipe(policy["wipe"], said["wipe"])


def _stricter_wipe(one: Any, other: Any) -> Any:
    return {
        "least": "purge" if "purge" in (one["least"], other["least"]) else "clear",
        "read_back": "whole" if "whole" in (one["read_back"], other["read_back"]) else "samples",
        "approvals": max(one["approvals"], other["approvals"]),
        "ticket_hours": min(one["ticket_hours"], other["ticket_hours"]),
    }


def _devices_below(above: Any, below: Any) -> Any:
    both = {**above, **{name: below[name] for name in ("rescue", "contact", "language") if name in below}}
    both["rules"] = above["rules"] + below["rules"]
    for name in ("default", "suspicious"):
        strictest = max(above.get(name, "block"), below.get(name, "block"), key=_STRICTER.index)
        both.pop(name, None)
        both.update({} if strictest == "block" else {name: strictest})
    if "observe_until" in above and "observe_until" in below:
        both["observe_until"] = min(above["observe_until"], below["observe_until"])
    others = [each.get("others", {}) for each in (above, below)]
    if any(others):
        both["others"] = {kind: "allow" for each in others for kind in each}
        both["others"].update({kind: "block" for each in others for kind in each if each[kind] == "block"})
    return both


# ---- policy.md section 7


def graded(grading: Any, calling_ae_title: str, attributes: dict[str, str] | None) -> tuple[str, list[str]]:
    if attributes is None:
        return grading.get("grades", [grading["default"]])[-1], grading.get("ungraded_routes", [])
    known = {**attributes, "calling_ae_title": calling_ae_title}
    for rule in grading.get("rules", []):
        if all(_one_matches(name, known[name], patterns) for name, patterns in rule["when"].items()):
            return rule["grade"], rule["routes"]
    return grading["default"], grading.get("routes", [])


def _one_matches(name: str, text: str, patterns: list[str]) -> bool:
    values = text.split("\\")
    if name in ("patient_name", "referring_physician"):
        values = [re.sub(r"[ ^]*$", "", group) for value in values for group in value.split("=")]
    return any(_matches(pattern.upper(), value.strip(" ").upper()) for pattern in patterns for value in values)


def _matches(pattern: str, value: str) -> bool:
    """Whether the pattern is the whole value, by the lengths of the value that each beginning of it can be."""
    reached = {0}
    for char in pattern:
        if char == "*":
            reached = set(range(min(reached), len(value) + 1)) if reached else set()
        else:
            reached = {at + 1 for at in reached if at < len(value) and char in ("?", value[at])}
    return len(value) in reached


# ---- enrolment.md sections 5 and 6

_BETWEEN = 8
_KNOWN_EXTENSIONS = {"basicConstraints", "keyUsage", "extendedKeyUsage", "nameConstraints", "subjectAltName"}


def chain_to(
    leaf: x509.Certificate, above: list[x509.Certificate], root: x509.Certificate, at: datetime | None = None
) -> list[x509.Certificate]:
    """Return the first way from `leaf` up to `root` that holds."""
    _need(not _is_ca(leaf), "ChainBroken", "a CA itself")
    for way in _ways([leaf], above, root):
        if _holds(way) and (at is None or _dates_hold(way, at)):
            return way
    raise Refusal("ChainBroken", "no way holds")


def _ways(
    way: list[x509.Certificate], above: list[x509.Certificate], root: x509.Certificate
) -> Iterator[list[x509.Certificate]]:
    if _issues(root, way[-1]):
        yield [*way, root]
    if len(way) <= _BETWEEN:
        for one in above:
            if one not in way and _issues(one, way[-1]):
                yield from _ways([*way, one], above, root)


def _issues(issuer: x509.Certificate, issued: x509.Certificate) -> bool:
    key = issuer.public_key()
    if issued.issuer != issuer.subject or not isinstance(key, ec.EllipticCurvePublicKey):
        return False
    try:
        key.verify(issued.signature, issued.tbs_certificate_bytes, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _said(one: x509.Certificate, name: str) -> Any:
    return next((extension.value for extension in one.extensions if extension.oid._name == name), None)


def _is_ca(one: x509.Certificate) -> bool:
    said = _said(one, "basicConstraints")
    return said is not None and bool(said.ca)


def _holds(way: list[x509.Certificate]) -> bool:
    for place, issuer in enumerate(way[1:], 1):
        said, usage, limits = (_said(issuer, name) for name in ("basicConstraints", "keyUsage", "nameConstraints"))
        if not _is_ca(issuer) or (usage is not None and not usage.key_cert_sign):
            return False
        counted = [one for one in way[1:place] if one.subject != one.issuer]
        if said.path_length is not None and len(counted) > said.path_length:
            return False
        limited = [way[0], *counted]
        if limits is not None and not all(_within_limits(limits, one) for one in limited):
            return False
    centre = _organisation(way[-1])
    known = all(
        extension.oid._name in _KNOWN_EXTENSIONS for one in way for extension in one.extensions if extension.critical
    )
    return known and (centre is None or {_organisation(one) for one in way} == {centre})


def _organisation(one: x509.Certificate) -> Any:
    first: Any = one.subject.rdns[:1]
    return next(
        (attribute.value for rdn in first for attribute in rdn if attribute.oid == NameOID.ORGANIZATION_NAME), None
    )


def _within_limits(limits: Any, one: x509.Certificate) -> bool:
    for name in _said(one, "subjectAltName") or ():
        for kind, permitted in ((limits.permitted_subtrees, True), (limits.excluded_subtrees, False)):
            bases = [base.value for base in kind or () if type(base) is type(name)]
            inside = any(_is_inside(name.value, base) for base in bases)
            if bases and inside is not permitted:
                return False
    return True


def _is_inside(name: Any, base: Any) -> bool:
    if isinstance(name, str):
        below = base.lower().strip(".")
        return not below or f".{name}".lower().rstrip(".").endswith(f".{below}")
    return name in base


def _dates_hold(way: list[x509.Certificate], at: datetime) -> bool:
    instants = [at] + [one.not_valid_before_utc for one in way[:-1]]
    return all(
        one.not_valid_before_utc <= instant <= one.not_valid_after_utc
        for one, instant, below in zip(way, instants, [None, *way], strict=False)
        if below is None or below.subject != below.issuer
    )


def follow(pinned: x509.Certificate, offered: list[x509.Certificate]) -> x509.Certificate | None:
    """Return the last root that `pinned` leads to, None where nothing later is shown."""
    roots = [one for one in offered if _is_ca(one) and _issues(one, one)]
    later = [one for one in roots if one.not_valid_before_utc > pinned.not_valid_before_utc]
    at, moved = pinned, True
    while moved:
        moved = False
        for root in later:
            after = root.subject == at.subject and root.not_valid_before_utc > at.not_valid_before_utc
            links = [one for one in offered if _is_ca(one) and one.subject == root.subject and _issues(at, one)]
            if after and any(one.public_key() == root.public_key() for one in links):
                at, moved = root, True
                break
    _need(at is not pinned or not later, "ChainBroken", "it leads to none of them")
    return None if at is pinned else at


# ---- enrolment.md section 1

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def enrolment_code(text: str) -> tuple[bytes, bytes]:
    """Return secret and CA digest."""
    compact = re.sub(r"[\s-]", "", text.upper())
    _need(compact.startswith("LG1"), "CodeUnreadable")
    chars = compact[3:].replace("O", "0").replace("I", "1").replace("L", "1")
    _need(len(chars) == 80 and set(chars) <= set(_ALPHABET), "CodeUnreadable")
    bits = "".join(f"{_ALPHABET.index(char):05b}" for char in chars)
    payload = bytes(int(bits[at : at + 8], 2) for at in range(0, 400, 8))
    _need(hashlib.sha256(payload[:48]).digest()[:2] == payload[48:], "CodeUnreadable")
    return payload[:16], payload[16:48]


def written_code(secret: bytes, ca_sha256: bytes) -> str:
    payload = secret + ca_sha256
    bits = "".join(f"{byte:08b}" for byte in payload + hashlib.sha256(payload).digest()[:2])
    chars = "".join(_ALPHABET[int(bits[at : at + 5], 2)] for at in range(0, 400, 5))
    return "LG1-" + "-".join(chars[at : at + 6] for at in range(0, 80, 6))


# ---- enrolment.md section 7

_ASK = _object_of(v=_one_of(1), host=_HOST_ID, tls_csr_sha256=_HEX32, time=_is_time)
_CSR = r"-----BEGIN [A-Z ]+-----\n[A-Za-z0-9+/=\n]+-----END [A-Z ]+-----\n"
_LAPSED = _object_of(v=_one_of(1), ask=_text(1400), tls_csr=_matching(_CSR, 8192))


def lapsed(data: bytes, spki: bytes) -> tuple[Any, str]:
    """Return what was signed, and the fingerprint of the fresh key."""
    _need(len(data) <= 262_144, "Malformed", "too large")
    request = _read(data, _LAPSED)
    said = _read(statement(_base64(request["ask"], 1024), "leadglass lapsed ask v1", spki), _ASK)
    csr = request["tls_csr"].encode()
    _need(said["tls_csr_sha256"] == hashlib.sha256(csr).hexdigest(), "Malformed", "another request")
    public = x509.load_pem_x509_csr(csr).public_key()
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    digest = hashlib.sha256(b"leadglass fresh key v1\0" + der).digest()[:10]
    bits = "".join(f"{byte:08b}" for byte in digest)
    chars = "".join(_ALPHABET[int(bits[at : at + 5], 2)] for at in range(0, 80, 5))
    return said, "-".join(chars[at : at + 4] for at in range(0, 16, 4))


# ---- host-state.md

_FOLDER_STATE = _object_of(
    ae_title=_text(16), lies_on=_one_of("memory", "encrypted disk", "plain disk", "unknown", "missing"),
    waiting=_integer(),
)  # fmt: skip
_CAPTURE_STATE = _object_of(
    spool_bytes=_integer(), spool_quota_bytes=_integer(), openable_here=_integer(), senders_refused=_integer(),
    commitments_waiting=_integer(), damaged=_integer(), folders=_list_of(_FOLDER_STATE, 16),
    routes=_list_of(_object_of(name=_text(32), waiting=_integer(), error=_text(200)), 32),
)  # fmt: skip
_TARGET, _SEEN = _one_of("allow", "block", "reject"), _one_of("now", "while-down", "before")
_DEVICE_STATE = _object_of(
    port=_matching(r"[0-9a-z.-]{1,31}"), parent=_matching(r"[0-9a-z.-]{0,31}"),
    id=_matching(r"[0-9a-f]{4}:[0-9a-f]{4}"), name=_text(126), serial=_text(126), identity=_HEX32,
    interfaces=_matching(r"(([0-9a-f]{2}:){2}[0-9a-f]{2}( |$)){0,16}"), seen=_SEEN, since=_is_time, target=_TARGET,
    would_be=_TARGET, rule=_integer(0, 1_000_000), detail=_text(300), access=_one_of("read-write", "read-only"),
    cause=_one_of(
        "rule", "default", "no-policy", "root-hub", "pinned-console", "rescue", "lapsed", "suspicious",
        "not-encrypted", "not-read-only", "unrecorded", "unreadable",
    ),
    authorized=_one_of("yes", "no", "unknown"),
)  # fmt: skip
_PART_NAME = _matching(r"(site|modality)-[a-z0-9][a-z0-9-]{0,22}")
_GUARD_STATE = _object_of(
    {"layers": _list_of(_object_of(layer=_PART_NAME, in_force=_integer()), 2)},
    software=_text(64), policy=_integer(), policy_error=_text(500), clock_sure=_is_flag,
    default_deny=_one_of("boot", "late", "no"), sidecar=_is_flag, gaps=_integer(), records=_integer(),
    devices=_list_of(_DEVICE_STATE, 100),
    others=_list_of(
        _object_of(
            kind=_matching(r"[a-z0-9-]{1,32}"), name=_text(126), detail=_text(300), seen=_SEEN, since=_is_time,
            state=_one_of("allowed", "not allowed", "not evaluated", "judged with its USB device"),
        ),
        100,
    ),
    findings=_list_of(
        _object_of(
            check=_matching(r"[a-z0-9-]{1,40}"), state=_one_of("fine", "found", "not evaluated"), detail=_text(300),
            time=_is_time,
        ), 50,
    ),
    left_out=_integer(),
)  # fmt: skip
_SPENT = _object_of(cpu_ms=_integer(), over_ms=_integer(1), images=_integer(), dataset_bytes=_integer())
_COUNTED = _object_of(
    {
        "guard_bytes": _integer(), "capturing": _SPENT, "idle": _SPENT,
        "stalled": _object_of(cpu_ms=_integer(), io_ms=_integer(), memory_ms=_integer()),
    },
    memory_bytes=_integer(), most_bytes=_integer(), peak_bytes=_integer(), limit_bytes=_integer(),
    agent_bytes=_integer(), held_back=_integer(), killed=_integer(),
)  # fmt: skip
_NOT_COUNTED = _object_of(not_counted=_matching(r"[^\x00-\x1f\x7f]+", 200))
_STATE = _object_of(
    {
        "budget": lambda value: _COUNTED(value) or _NOT_COUNTED(value),
        "capture": _CAPTURE_STATE, "guard": _GUARD_STATE, "run": _matching(r"[0-9a-f]{32}"),
        "isolated": _one_of(True), "centre_log": _matching(r"[^\x00-\x1f\x7f]+", 300),
        "renewal_error": _matching(r"[^\x00-\x1f\x7f]+", 300),
        "keys": _one_of("tpm"),
        "failed": _list_of(_object_of(layer=_GRADE, version=_integer(1)), 3),
        "layers": _list_of(_object_of(layer=_PART_NAME, accepted=_integer(), in_force=_integer()), 2),
    },
    v=_one_of(1), host=_HOST_ID, number=_integer(1), time=_is_time, software=_text(64), policy_accepted=_integer(),
    policy_in_force=_integer(), policy_error=_text(500), listening=_is_flag, waiting=_integer(), captured=_integer(),
    delivered=_integer(), refused=_integer(), audit_waiting=_integer(),
)  # fmt: skip
_RECEIPT = _object_of(v=_one_of(1), object=_OBJECT_ID, record_sha256=_HEX32, received=_is_time)


def host_state(signed: bytes, spki: bytes) -> Any:
    state = _read(statement(signed, "leadglass host state v1", spki), _STATE)
    _need("capture" not in state or any(state["capture"].values()), "Malformed", "capture that says nothing")
    _need([] not in (state.get("layers"), state.get("failed")), "Malformed", "a list that says nothing")
    of_guard = [each["layer"] for each in state.get("guard", {}).get("layers", [{"layer": ""}])]
    _need(0 < len(of_guard) == len(set(of_guard)), "Malformed", "layers of a guard that say nothing, or one twice")
    kinds = [layer["layer"].partition("-")[0] for layer in state.get("layers", [])]
    _need(len(kinds) == len(set(kinds)), "Malformed", "two layers of one kind")
    return state


def receipt(signed: bytes, spki: bytes, object_id: str, record_sha256: str) -> Any:
    value = _read(statement(signed, "leadglass vault receipt v1", spki), _RECEIPT)
    _need((value["object"], value["record_sha256"]) == (object_id, record_sha256), "ReceiptMismatch")
    return value


# ---- self-test.md

_QUESTION = _object_of(v=_one_of(1), host=_HOST_ID, object=_OBJECT_ID, dataset_sha256=_HEX32, nonce=_HEX32)
_COMPARED = _object_of(
    v=_one_of(1), question_sha256=_HEX32, host=_HOST_ID, object=_OBJECT_ID, record_sha256=_HEX32, opened=_is_time,
    comparison=_one_of("equal", "differs"),
)  # fmt: skip


def self_test_question(signed: bytes, spki: bytes) -> Any:
    return _read(statement(signed, "leadglass self-test question v1", spki), _QUESTION)


def self_test_answer(signed: bytes, spki: bytes, question: bytes) -> Any:
    value = _read(statement(signed, "leadglass self-test answer v1", spki), _COMPARED)
    asked = json.loads(question[28:-64])
    of_it = value["host"] == asked["host"] and value["object"] == asked["object"]
    _need(of_it and value["question_sha256"] == hashlib.sha256(question).hexdigest(), "NotTheAnswer")
    return value


# ---- hand-over.md

_FINDING = _object_of(
    check=_matching(r"[a-z0-9]+(-[a-z0-9]+)*", 64), verdict=_one_of("pass", "fail", "not evaluated"),
    reason=_text(), fix=_text(),
)  # fmt: skip
_PEMS = r"(-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=]{1,64}\n)+-----END CERTIFICATE-----\n){1,8}"
_STEP = _object_of(
    {"centres_word": _object_of(statement=_text(4096), certificate=_matching(_PEMS, 8192))},
    step=_text(), at=_or_null(_is_time), findings=_list_of(_FINDING, 200),
)  # fmt: skip
_A_NAME = _matching(r"[^\x00-\x1f\x7f]+", 100)


def _keyed(name: str, form: Form) -> Form:
    return lambda value: isinstance(value, dict) and len(value) <= 8 and all(
        re.fullmatch(name, key) is not None and form(value[key]) for key in value
    )  # fmt: skip


_HAND_OVER = _object_of(
    v=_one_of(1), host=_HOST_ID, asset=_A_NAME, made=_is_time, engineer=_A_NAME, received_by=_A_NAME,
    software=_keyed(r"[a-z]{1,32}", _text(64)), keys=_one_of("file", "tpm"), certificate_until=_is_time,
    policy=_keyed(r"[a-z][a-z0-9-]{0,31}", _integer()), steps=_list_of(_STEP, 5),
)  # fmt: skip
_SIGNED_FILE = _object_of(
    v=_one_of(1), report=_HAND_OVER, key=_OBJECT_ID, signature=_text(), certificate=_matching(_PEMS, 65_536)
)
_STEPS = ["preflight", "install", "enrol", "pin-console", "self-test"]


def hand_over(data: bytes, spki: bytes) -> Any:
    _need(len(data) <= 524_288, "Malformed", "too large")
    file = _read(data, _SIGNED_FILE)
    report, signature = file["report"], _base64(file["signature"], 64)
    _need(len(signature) == 64 and [step["step"] for step in report["steps"]] == _STEPS, "Malformed", "steps")
    for step in report["steps"]:
        made = step["at"] is not None
        _need(made or (not step["findings"] and "centres_word" not in step), "Malformed", "found by nobody")
        if "centres_word" in step:
            _base64(step["centres_word"]["statement"], 2048)
    payload = _print(report, 0)
    head = b"LGSIGN\x00\x01" + bytes.fromhex(file["key"]) + len(payload).to_bytes(4, "big")
    statement(head + payload + signature, "leadglass hand-over v1", spki)
    return report


# ---- command.md

_FLAT = (_is_flag, _integer(-(2**53) + 1), _text(300))
_PART_NAME = _matching(r"([a-z0-9][a-z0-9-]{0,22})?")
_ARGUMENTS = {
    "diagnostics": _object_of(events=_integer(0, 100)),
    "rotate-certificate": _object_of(),
    "rescan": _object_of(ae_title=_text(16)),
    "isolate": _object_of(),
    "rejoin": _object_of(),
    "set-layers": _object_of(site=_PART_NAME, modality_type=_PART_NAME),
}


def _flat_object(most: int, *forms: Form) -> Form:
    def holds(value: Any) -> bool:
        return isinstance(value, dict) and len(value) <= most and all(
            re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name) and any(form(member) for form in forms)
            for name, member in value.items()
        )  # fmt: skip

    return holds


_COMMAND = _object_of(
    v=_one_of(1), command=_OBJECT_ID, host=_HOST_ID, action=_matching(r"[a-z][a-z0-9-]{0,39}"),
    arguments=_flat_object(16, *_FLAT), issued=_is_time, expires=_is_time,
    person=_matching(r"[^\x00-\x1f\x7f]{1,80}"),
)  # fmt: skip
_RESULT = _object_of(
    v=_one_of(1), command=_OBJECT_ID, command_sha256=_HEX32, host=_HOST_ID,
    outcome=_one_of("done", "failed", "refused", "unknown"), detail=_text(500), time=_is_time,
    facts=_flat_object(64, *_FLAT, _list_of(_text(300), 100)),
)  # fmt: skip


def _signed_by_people(envelope: bytes) -> tuple[list[bytes], bytes]:
    """Return the statements of an envelope and what they are over."""
    _need(len(envelope) <= 65_536, "Malformed", "too large")
    listed = _read(envelope, _object_of(v=_one_of(1), signed=_list_of(_text(87_384), 8)))["signed"]
    statements = [_base64(one, 65_536) for one in listed]
    for one in statements:
        _need(len(one) >= 92 and one[:8] == b"LGSIGN\x00\x01", "Malformed", "no statement")
        _need(len(one) == 92 + int.from_bytes(one[24:28]), "Malformed", "length")
    ids, payloads = [one[8:24] for one in statements], {one[28:-64] for one in statements}
    _need(bool(ids) and ids == sorted(set(ids)) and len(payloads) == 1, "Malformed", "order")
    payload = payloads.pop()
    _need(len(payload) <= 4096, "Malformed", "too large")
    return statements, payload


def command(envelope: bytes, keys: list[bytes], threshold: int) -> Any:
    """Sections 1 to 3, without what only a host knows."""
    statements, payload = _signed_by_people(envelope)
    value = _read(payload, _COMMAND)
    life = datetime.fromisoformat(value["expires"]) - datetime.fromisoformat(value["issued"])
    _need(0 < life.total_seconds() <= 86_400, "Malformed", "life")
    known = {hashlib.sha256(b"leadglass evidence key v1\x00" + spki).digest()[:16]: spki for spki in keys}
    for one in statements:
        _need(one[8:24] in known, "SignerUnknown")
        statement(one, "leadglass command v1", known[one[8:24]])
    _need(len(statements) >= threshold, "TooFewSignatures")
    _need(value["action"] in _ARGUMENTS, "ActionUnknown")
    _need(_ARGUMENTS[value["action"]](value["arguments"]), "Malformed", "arguments")
    return value


def command_result(signed: bytes, spki: bytes) -> Any:
    payload = statement(signed, "leadglass command result v1", spki)
    _need(len(payload) <= 65_536, "Malformed", "too large")
    return _read(payload, _RESULT)


# ---- wipe.md

_DRIVE_TEXT = _matching(r"[ -~]*", 80)
_SHOWN = r"[^\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb]"
_PERSON = _matching(_SHOWN + "{1,80}")
_TECHNIQUES = (
    "overwrite", "ata-sanitize-block", "ata-sanitize-crypto", "ata-sanitize-overwrite", "ata-secure-erase",
    "ata-secure-erase-enhanced", "nvme-sanitize-block", "nvme-sanitize-crypto", "nvme-sanitize-overwrite",
    "nvme-format-user", "nvme-format-crypto", "scsi-sanitize-block", "scsi-sanitize-crypto",
    "scsi-sanitize-overwrite", "mmc-sanitize", "discard", "luks-erase", "destruction",
)  # fmt: skip
_SEQUENCES = ("random", "zero", "three-pass", "bmb21-2019", "dod-5220.22-m-short", "custom")
_LEAST, _READ_AGAIN = ["clear", "purge"], ["samples", "whole"]
_WIPE_TICKET = _object_of(
    v=_one_of(1), ticket=_OBJECT_ID, host=_HOST_ID, evidence_key=_OBJECT_ID, asset=_PERSON,
    drive=_object_of(
        serial=_matching(r"[!-~]([ -~]*[!-~])?", 80), wwn=_DRIVE_TEXT, model=_DRIVE_TEXT, size_bytes=_integer(1),
    ),
    method=_object_of(
        least=_one_of(*_LEAST), techniques=_list_of(_one_of(*_TECHNIQUES), 18), sequence=_one_of(*_SEQUENCES),
        passes=_list_of(_matching(r"random|[0-9a-f]{2}"), 16), read_back=_one_of(*_READ_AGAIN),
    ),
    reason=_one_of("disposal", "return", "repair", "reuse", "incident", "other"), requester=_PERSON, person=_PERSON,
    overrides=_list_of(_one_of("incident-hold", "undelivered-images"), 2), issued=_is_time, expires=_is_time,
)  # fmt: skip


def wipe_ticket(envelope: bytes, keys: list[tuple[str, bytes]], threshold: int, policy: Any) -> Any:
    """Sections 1 and 2."""
    statements, payload = _signed_by_people(envelope)
    value = _read(payload, _WIPE_TICKET)
    method, overrides = value["method"], value["overrides"]
    life = datetime.fromisoformat(value["expires"]) - datetime.fromisoformat(value["issued"])
    hours = life.total_seconds() / 3600
    _need(0 < hours <= 168, "Malformed", "life")
    _need(bool(method["techniques"]) and len(set(method["techniques"])) == len(method["techniques"]), "Malformed")
    _need((method["sequence"] == "custom") == bool(method["passes"]), "Malformed", "passes")
    _need(overrides == sorted(set(overrides)), "Malformed", "overrides")
    _need(policy is not None, "NoWipes")
    _need(_LEAST.index(method["least"]) >= _LEAST.index(policy["least"]), "LaxerThanPolicy")
    _need(_READ_AGAIN.index(method["read_back"]) >= _READ_AGAIN.index(policy["read_back"]), "LaxerThanPolicy")
    _need(hours <= policy["ticket_hours"], "HoldsTooLong")
    known = {hashlib.sha256(b"leadglass evidence key v1\x00" + spki).digest()[:16]: (name, spki) for name, spki in keys}
    for one in statements:
        _need(one[8:24] in known, "SignerUnknown")
        statement(one, "leadglass wipe ticket v1", known[one[8:24]][1])
    names = [known[one[8:24]][0] for one in statements]
    for name in names:
        _need(bool(name), "SignerUnnamed")
        _need(name.strip().casefold() != value["requester"].strip().casefold(), "OwnTicket")
    needed = max(policy["approvals"], threshold, 2 if overrides else 1)
    _need(len({name.strip().casefold() for name in names}) >= needed, "TooFewSignatures")
    return value


def wipe_qr_text(lines: list[str]) -> bytes:
    """Section 2, the text for QR codes."""
    found = [re.fullmatch(r"LGW1:([1-9]\d?)/([1-9]\d?):([0-9A-F]{8}):([A-Z2-7]{1,1000})", line) for line in lines]
    _need(0 < len(found) <= 64 and all(found), "Malformed")
    matches = [one for one in found if one]
    _need(len({(one[2], one[3]) for one in matches}) == 1, "Malformed", "mixed")
    parts = {int(one[1]): one[4] for one in matches}
    _need(sorted(parts) == list(range(1, int(matches[0][2]) + 1)), "Malformed", "missing")
    text = "".join(parts[number] for number in sorted(parts))
    try:
        envelope = zlib.decompress(base64.b32decode(text + "=" * (-len(text) % 8)))
    except (ValueError, zlib.error):
        raise Refusal("Malformed") from None
    _need(len(envelope) <= 65_536, "Malformed", "too large")
    _need(hashlib.sha256(envelope).hexdigest()[:8].upper() == matches[0][3], "Malformed", "digest")
    return envelope


# ---- spool-export.md

_LISTED_OBJECT = _object_of(
    number=_integer(1), object=_OBJECT_ID, bytes=_integer(), sha256=_HEX32, record_sha256=_HEX32
)  # fmt: skip
_LEFT = _object_of(object=_OBJECT_ID, why=_one_of("damaged", "unreadable"))
_LISTED_BATCH = _object_of(
    source=_HOST_ID, first=_integer(1), last=_integer(1), bytes=_integer(0, 16_777_216), sha256=_HEX32
)  # fmt: skip
_EXPORT_LIST = _object_of(
    v=_one_of(1), objects=_list_of(_LISTED_OBJECT, 1000), left=_list_of(_LEFT, 1000),
    batches=_list_of(_LISTED_BATCH, 1000),
)  # fmt: skip
_EXPORT_MANIFEST = _object_of(
    v=_one_of(1), export=_OBJECT_ID, host=_HOST_ID, exported=_is_time, objects=_integer(), object_bytes=_integer(),
    left=_integer(), audit=_object_of(seq=_integer(1), leaf=_HEX32), parts=_list_of(_HEX32, 10_000),
)  # fmt: skip


def export_manifest(signed: bytes, spki: bytes) -> Any:
    return _read(statement(signed, "leadglass spool export v1", spki), _EXPORT_MANIFEST)


def export_list(data: bytes) -> Any:
    value = _read(data, _EXPORT_LIST)
    entries = sum(len(value[name]) for name in ("objects", "left", "batches"))
    _need(1 <= entries <= 1000, "Malformed", "entries")
    _need(all(one["first"] <= one["last"] for one in value["batches"]), "Malformed", "backwards")
    return value


# ---- custody.md section 1

_LARGEST = 1_049_600
_LOG_PROOF = _object_of(
    records=_some_of(_matching(r"(?s:.*)", 16_384), 1000), statement=lambda _: True,
)  # fmt: skip
_CUSTODY = _object_of(
    v=_one_of(1), kind=_one_of("leadglass custody statement"), object=_OBJECT_ID, written=_is_time,
    record=lambda _: True, binding=lambda _: True, receipt=lambda _: True, frames=lambda _: True,
    certificates=_list_of(_object_of(pem=_matching(r"(?s:.*)", 16_384), source=_SOURCE), 64),
    log=_list_of(_LOG_PROOF, 64),
)  # fmt: skip


@dataclass(frozen=True)
class Custody:
    object_id: str
    record: bytes
    binding: bytes
    receipt: bytes
    frames: bytes | None
    certificates: list[Any]
    log: list[Any]


def custody(data: bytes) -> Custody:
    _need(len(data) <= 64 << 20, "Malformed", "size")
    value = _read(data, _CUSTODY)
    for proof in value["log"]:
        _base64(proof["statement"], 4096)
    return Custody(
        value["object"],
        _base64(value["record"], _LARGEST),
        _base64(value["binding"], 256),
        _base64(value["receipt"], _LARGEST),
        None if value["frames"] is None else _base64(value["frames"], _LARGEST),
        value["certificates"],
        value["log"],
    )


def log_proof(proof: Any, source: str, spki: bytes) -> Any:
    """Return the record that it shows."""
    _need(_LOG_PROOF(proof), "Malformed", "log proof")
    stated = _read(statement(_base64(proof["statement"], 4096), "leadglass audit batch v1", spki), _STATEMENT)
    _need(stated["first"] <= stated["last"], "Malformed", "backwards")
    publics = [text.encode() for text in proof["records"]]
    records = [audit_public(public) for public in publics]
    leaves = [audit_leaf(public) for public in publics]
    _need([record["prev"] for record in records[1:]] == leaves[:-1], "AuditAltered", "chain")
    _need(leaves[-1] == stated["head"], "AuditAltered", "head")
    numbers = [record["seq"] for record in records]
    _need(numbers == list(range(stated["last"] - len(numbers) + 1, stated["last"] + 1)), "AuditAltered", "numbers")
    _need(numbers[0] >= stated["first"], "AuditAltered", "before the batch")
    _need({stated["source"], *(record["source"] for record in records)} == {source}, "AuditAltered", "source")
    return records[0]


# ---- custody.md section 2


@dataclass
class _Judge:
    """Steps 1 to 6; `failed` names the steps that failed, `record` and `frames` what holds."""

    given: Custody
    authority: x509.Certificate
    failed: list[str]
    record: Any = None
    syntax: str | None = None
    frames: Any = None

    def judge(self) -> None:
        self.certified: list[tuple[str, bytes, list[x509.Certificate]]] = []
        bad = [one for one in self.given.certificates if not self._is_good(one)]
        if bad or not self.certified:
            self.failed.append("certificates")
        try:
            self._judge_record()
        except Refusal:
            self.failed.append("record")
            return
        self.digest = hashlib.sha256(self.given.record).hexdigest()
        if not self._is_valid(self.given.record, self.record["captured"], self.record["host"]):
            self.failed.append("record")
        for name, step in (
            ("binding", self._judge_binding), ("receipt", self._judge_receipt), ("log", self._judge_log),
            ("frame digests", self._judge_frames),
        ):  # fmt: skip
            try:
                step()
            except Refusal:
                self.failed.append(name)

    def _is_good(self, offered: Any) -> bool:
        try:
            certificate, *above = x509.load_pem_x509_certificates(offered["pem"].encode())
            chain = chain_to(certificate, above, self.authority)
            spki = certificate.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            public_key(spki)
            usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        except (ValueError, InvalidSignature, x509.ExtensionNotFound, Refusal):
            return False
        names = [[a.value for a in certificate.subject.get_attributes_for_oid(oid)] for oid in _NAMED]
        good = names == [[offered["source"]], ["evidence"]] and usage.digital_signature
        if good:
            self.certified.append((offered["source"], spki, chain))
        return good

    def _keys(self, signed: bytes, source: str | None) -> list[tuple[str, bytes, list[x509.Certificate]]]:
        found = [one for one in self.certified if public_key(one[1])[1] == signed[8:24] and source in (None, one[0])]
        _need(bool(found), "WrongSigner", "nobody is certified for it")
        return found

    def _is_valid(self, signed: bytes, time: str, source: str) -> bool:
        """The certificate at that time, and each authority when what it certified began."""
        at = datetime.fromisoformat(time)
        for _, _, chain in self._keys(signed, source):
            instants = (at, *(one.not_valid_before_utc for one in chain))
            periods = [(one.not_valid_before_utc, one.not_valid_after_utc) for one in chain]
            if all(since <= then <= until for then, (since, until) in zip(instants, periods, strict=False)):
                return True
        return False

    def _judge_record(self) -> None:
        source, spki, _ = self._keys(self.given.record, None)[0]
        record = _read(statement(self.given.record, "leadglass capture record v1", spki), _RECORD)
        _need((record["host"], record["object"]) == (source, self.given.object_id), "ObjectAltered")
        self.record = record

    def _judge_binding(self) -> None:
        binding = self.given.binding
        _need(hashlib.sha256(binding).hexdigest() == self.record["binding_sha256"], "ObjectAltered")
        check_binding(binding)
        named = binding[10:26].hex(), "host-" + binding[26:42].hex()
        _need(named == (self.record["object"], self.record["host"]), "ObjectAltered")
        self.syntax = binding[75:].decode()

    def _judge_receipt(self) -> None:
        spki = self._keys(self.given.receipt, "control-plane")[0][1]
        received = receipt(self.given.receipt, spki, self.record["object"], self.digest)["received"]
        _need(self._is_valid(self.given.receipt, received, "control-plane"), "WrongSigner", "period")

    def _judge_log(self) -> None:
        self.shown: list[Any] = []
        refused = None
        for proof in self.given.log:
            try:
                source, spki, _ = self._keys(_base64(proof["statement"], 4096), None)[0]
                self.shown.append(log_proof(proof, source, spki))
            except Refusal as exc:
                refused = exc
        stored = self._about("vault.object-stored", "control-plane", "object", self.record["object"])
        _need(any(self.digest in _names(one, "record") for one in stored), "ObjectAltered", "never stored")
        captured = self._about("capture.image-captured", self.record["host"], "object", self.record["object"])
        ours = [one for one in captured if self.digest in _names(one, "record")]
        others = [one for one in captured if _names(one, "record") - {self.digest} and one not in ours]
        _need(not captured or (bool(ours) and not others), "ObjectAltered", "captured otherwise")
        if refused is not None:
            raise refused

    def _about(self, event: str, source: str, kind: str, name: str) -> list[Any]:
        return [
            one for one in self.shown if (one["event"], one["source"]) == (event, source) and name in _names(one, kind)
        ]

    def _judge_frames(self) -> None:
        signed = self.given.frames
        if signed is None:
            return
        frames = frame_digests(signed, self._keys(signed, "control-plane")[0][1])
        about = frames["object"], frames["record_sha256"], frames["dataset_sha256"], frames["transfer_syntax"]
        ours = self.record["object"], self.digest, self.record["dataset_sha256"], self.syntax
        _need(about == ours, "ObjectAltered", "another image's")
        _need(self._is_valid(signed, frames["made"], "control-plane"), "WrongSigner", "period")
        logged = self._about("custody.frames-digested", "control-plane", "object", self.record["object"])
        digest = hashlib.sha256(signed).hexdigest()
        _need(any(digest in _names(one, "frames") for one in logged), "ObjectAltered", "not logged")
        self.frames = frames


_NAMED = (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME)


def _names(record: Any, kind: str) -> set[str]:
    return {one["name"] for one in record["what"] if one["kind"] == kind}


def image(file: bytes, custody_statement: bytes, authority: bytes) -> tuple[str, list[str]]:
    """Return the state of the image and the steps that failed."""
    judge = _Judge(custody(custody_statement), x509.load_pem_x509_certificate(authority), [])
    judge.judge()
    if judge.failed:
        return "not proven", judge.failed
    dataset, syntax = split_part10(file)
    wanted = judge.record["dataset_sha256"]
    if hashlib.sha256(dataset).hexdigest() == wanted:
        named_right = syntax in (None, judge.syntax)
        return "data set unchanged" + ", named in a wrong transfer syntax" * (not named_right), []
    near = [dataset + b"\0"] + [dataset[:-1]] * (dataset[-1:] == b"\0")
    if any(hashlib.sha256(one).hexdigest() == wanted for one in near):
        return "data set unchanged but for a zero byte at its end", []
    compared = _compared(dataset, syntax, judge)
    if compared == "same" and syntax != judge.syntax:
        return "pixel data unchanged, data set encoded anew", []
    return {"lossy": "lossy change", "altered": "pixels altered"}.get(compared, "data set altered"), []


def _compared(dataset: bytes, syntax: str | None, judge: _Judge) -> str:
    if syntax is None:
        return "not evaluated"
    lossy_by_name = is_lossy(syntax) and syntax != judge.syntax
    if judge.frames is None:
        return "lossy" if lossy_by_name else "not evaluated"
    try:
        found, _ = pixels(dataset, syntax)
    except Refusal:
        return "lossy" if lossy_by_name else "not evaluated"
    return compare_frames(judge.frames, judge.frames["transfer_syntax"], {**found, "decoder": "this one"}, syntax)


# ---- custody.md section 3

_COLOURS = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422")
_FRAMES = _object_of(
    v=_one_of(1), object=_OBJECT_ID, record_sha256=_HEX32, dataset_sha256=_HEX32,
    transfer_syntax=_matching(r"[0-9]+(\.[0-9]+)*", 64), made=_is_time, rows=_integer(1, 65_535),
    columns=_integer(1, 65_535), samples=_integer(1, 4), bits_allocated=_one_of(1, 8, 16, 32),
    bits_stored=_integer(1, 32), signed=_is_flag, colour=_one_of(*_COLOURS), lossy=_is_flag,
    decoder=_matching(r"[ -~]{1,100}"), frames=_some_of(_HEX32, 10_000),
)  # fmt: skip


def frame_digests(signed: bytes, spki: bytes) -> Any:
    value = _read(statement(signed, "leadglass frame digests v1", spki), _FRAMES)
    _need(value["bits_stored"] <= value["bits_allocated"], "Malformed", "bits stored")
    return value


# ---- custody.md sections 3 and 4: what is not encapsulated, one sample after the other

_IMPLICIT, _EXPLICIT, _BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
# Those with a length of four bytes: PS3.5 section 7.1.2.
_WIDE = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")


def pixels(dataset: bytes, syntax: str) -> tuple[Any, list[bytes]]:
    """Return the description with the digests, and the canonical form of each frame."""
    _need(syntax in (_IMPLICIT, _EXPLICIT, _BIG_ENDIAN), "NotDecoded", "transfer syntax")
    order = "big" if syntax == _BIG_ENDIAN else "little"
    elements = _elements(dataset, syntax)
    _need((0x7FE0, 0x0010) in elements, "NotDecoded", "no pixel data")
    vr, data = elements[0x7FE0, 0x0010]

    def number(element: int, absent: int | None = None) -> int:
        value = elements.get((0x0028, element), ("", b""))[1]
        if not value and absent is not None:
            return absent
        _need(len(value) == 2, "NotDecoded", "description")
        return int.from_bytes(value, order)  # type: ignore[arg-type]

    def text(element: int) -> str:
        return elements.get((0x0028, element), ("", b""))[1].decode("latin-1").strip(" \0")

    samples, rows, columns, allocated = number(0x0002), number(0x0010), number(0x0011), number(0x0100)
    stored, colour, planar = number(0x0101), text(0x0004), number(0x0006, 0) == 1 and number(0x0002) > 1
    count = int(text(0x0008) or 1)
    _need(allocated in ((8, 16) if order == "big" else (1, 8, 16, 32)), "NotDecoded", "bits allocated")
    _need(colour in _COLOURS and rows > 0 and columns > 0 and 1 <= count <= 10_000, "NotDecoded", "description")
    _need(samples == (3 if colour in ("RGB", "YBR_FULL", "YBR_FULL_422") else 1), "NotDecoded", "samples")
    _need(1 <= stored <= allocated and number(0x0102) == stored - 1 and number(0x0103) < 2, "NotDecoded", "bits")
    _need(allocated > 1 or samples == 1, "NotDecoded", "bits of several samples")
    halved = colour == "YBR_FULL_422"
    _need(not halved or (columns % 2 == 0 and not planar), "NotDecoded", "half the colour")
    if order == "big" and allocated == 8 and vr == "OW":
        data = b"".join(data[at : at + 2][::-1] for at in range(0, len(data), 2))
    a_frame = rows * columns * (2 if halved else samples)
    _need(len(data) * 8 >= a_frame * count * allocated, "NotDecoded", "too short")
    frames = []
    for frame in range(count):
        places = range(frame * a_frame, (frame + 1) * a_frame)
        values = [_sample(data, at, allocated, order) % 2**stored for at in places]
        if planar:
            values = [values[plane * rows * columns + pixel] for pixel in range(rows * columns) for plane in range(3)]
        wide = 1 if stored <= 8 else 2 if stored <= 16 else 4
        frames.append(b"".join(value.to_bytes(wide, "little") for value in values))
    described = {
        "rows": rows, "columns": columns, "samples": samples, "bits_allocated": allocated, "bits_stored": stored,
        "signed": number(0x0103) == 1, "colour": colour, "lossy": text(0x2110) == "01",
        "frames": [hashlib.sha256(frame).hexdigest() for frame in frames],
    }  # fmt: skip
    return described, frames


def _sample(data: bytes, at: int, allocated: int, order: str) -> int:
    if allocated == 1:
        return data[at // 8] >> at % 8 & 1
    wide = allocated // 8
    return int.from_bytes(data[at * wide : (at + 1) * wide], order)  # type: ignore[arg-type]


def _elements(dataset: bytes, syntax: str) -> dict[tuple[int, int], tuple[str, bytes]]:
    """PS3.5 section 7.1, for data sets without sequences."""
    order, at, found = "big" if syntax == _BIG_ENDIAN else "little", 0, {}

    def taken(size: int) -> int:
        nonlocal at
        _need(at + size <= len(dataset), "NotDecoded", "cut")
        at += size
        return int.from_bytes(dataset[at - size : at], order)  # type: ignore[arg-type]

    while at < len(dataset):
        tag, vr, wide = (taken(2), taken(2)), "", 4
        if syntax != _IMPLICIT:
            taken(2)
            vr = dataset[at - 2 : at].decode("latin-1")
            if vr in _WIDE:
                taken(2)
            else:
                wide = 2
        size = taken(wide)
        taken(size)
        found[tag] = vr, dataset[at - size : at]
    return found


# ---- custody.md section 5


def is_lossy(syntax: str) -> bool:
    family, _, last = syntax.partition("1.2.840.10008.1.2.4.")
    ranges = [*range(50, 57), *range(59, 65), 81, 91, 93, *range(100, 109), 112, 203]
    return family == "" and last in (*map(str, ranges), *(f"{number}.1" for number in range(100, 107)))


def compare_frames(captured: Any, captured_syntax: str, found: Any, syntax: str) -> str:
    def differ(*members: str) -> bool:
        return any(captured[member] != found[member] for member in members)

    shape, description = ("rows", "columns"), ("samples", "bits_stored", "signed", "colour")
    if differ(*shape) or len(captured["frames"]) != len(found["frames"]):
        return "altered"
    if not differ(*description, "frames"):
        return "same"
    if found["lossy"] and not captured["lossy"]:
        return "lossy"
    if is_lossy(syntax) and syntax != captured_syntax:
        return "lossy"
    if differ(*description) or (captured["lossy"] and differ("decoder")):
        return "not evaluated"
    return "altered"


# ---- custody.md section 6


def split_part10(file: bytes) -> tuple[bytes, str | None]:
    """Return the data set and the transfer syntax that the file names for it."""
    start = file[: 1 << 20]
    begin = 132 if start[128:132] == b"DICM" else 0
    if begin == 0 and not re.match(rb"\x02\x00(?s:..)[A-Z]{2}", start):
        return file, None
    number, value, after = _meta_element(start, begin)
    if number == 0 and len(value) == 4:
        end = after + int.from_bytes(value, "little")
        try:
            _need(end <= len(start), "Malformed", "group length")
            return file[end:], _meta_syntax(start[:end], begin)
        except Refusal:
            pass
    end = begin
    while re.match(rb"\x02\x00(?s:..)[A-Z]{2}", start[end : end + 6]):
        end = _meta_element(start, end)[2]
    return file[end:], _meta_syntax(start[:end], begin)


def _meta_element(data: bytes, at: int) -> tuple[int, bytes, int]:
    _need(re.match(rb"\x02\x00(?s:..)[A-Z]{2}", data[at : at + 6]) is not None, "Malformed", "group 0002")
    wide = data[at + 4 : at + 6].decode() in _WIDE
    body = at + (12 if wide else 8)
    size = int.from_bytes(data[at + (8 if wide else 6) : body], "little")
    _need(body + size <= len(data), "Malformed", "group 0002 is cut")
    return int.from_bytes(data[at + 2 : at + 4], "little"), data[body : body + size], body + size


def _meta_syntax(data: bytes, at: int) -> str:
    found = ""
    while at < len(data):
        number, value, at = _meta_element(data, at)
        if number == 0x0010:
            found = value.decode("latin-1").rstrip("\0 ")
    _need(re.fullmatch(r"[0-9]+(\.[0-9]+)*", found) is not None, "Malformed", "transfer syntax")
    return found


# ---- wipe-stream.md


def pass_content(content: Any, offset: int, size: int) -> tuple[str | None, bytes]:
    """Section 1: the commitment, and what stands on the medium from `offset` on."""
    _need(isinstance(content, dict) and content.keys() == {"pattern", "seed"}, "Malformed", "members")
    pattern, seed = content["pattern"], content["seed"]
    if pattern != "random":
        is_byte = isinstance(pattern, str) and re.fullmatch(r"[0-9a-f]{2}", pattern) is not None
        _need(is_byte and seed is None, "Malformed", "a byte")
        return None, bytes.fromhex(pattern) * size
    _need(isinstance(seed, str) and re.fullmatch(r"[0-9a-f]{64}", seed) is not None, "Malformed", "seed")
    raw = bytes.fromhex(seed)
    return hashlib.sha256(raw).hexdigest(), _wipe_stream(raw, offset, size)


def _wipe_stream(seed: bytes, offset: int, size: int) -> bytes:
    extracted = hmac.digest(bytes(32), seed, "sha256")
    key = hmac.digest(extracted, b"leadglass wipe stream v1\x01", "sha256")
    blocks = range(offset // 16, (offset + size + 15) // 16)
    one_by_one = Cipher(algorithms.AES(key), modes.ECB()).encryptor()  # noqa: S305 (counter mode, put together)
    stream = one_by_one.update(b"".join(number.to_bytes(16, "big") for number in blocks))
    return stream[offset % 16 :][:size]


def samples(seed: bytes, sectors: int) -> list[list[int]]:
    """Section 3."""
    if sectors < 22:
        return [[0, sectors]]
    m = sectors - 2
    k = min(1000, m // 20)
    found = [[0, 1]]
    for i in range(k):
        start, end = 1 + i * m // k, 1 + (i + 1) * m // k
        sample = (end - start + 19) // 20
        drawn = _wipe_stream(seed, 16 * i, 16)
        a, b = (int.from_bytes(half, "big") % (end - start - 2 * sample + 1) for half in (drawn[:8], drawn[8:]))
        found += [[start + min(a, b), sample], [start + max(a, b) + sample, sample]]
    return [*found, [sectors - 1, 1]]


# ---- wipe-certificate.md

_WIPE_TEXT, _PRINTABLE = _matching(_SHOWN + "*", 300), _matching(r"[\x20-\x7e]*", 80)
_PATTERN = _matching(r"random|[0-9a-f]{2}|")
_MEDIUM = _object_of(
    kind=_one_of("ata-disk", "ata-ssd", "nvme", "scsi-disk", "scsi-ssd", "usb", "mmc", "virtual"),
    vendor=_PRINTABLE, model=_PRINTABLE, firmware=_PRINTABLE, serial=_PRINTABLE, wwn=_PRINTABLE,
    serial_source=_text(), size_bytes=_integer(), logical_sector_bytes=_integer(1, 1 << 20),
    physical_sector_bytes=_integer(1, 1 << 20), rotational=_is_flag,
    partitions=_list_of(_object_of(type=_PRINTABLE, count=_integer(1, 4096)), 64),
)  # fmt: skip
_SECTORS = _object_of(sectors=_integer(), listed=_list_of(_list_of(_integer(), 2), 500))
_HEALTH = _flat_object(64, _is_flag, _integer(-(2**53) + 1), _WIPE_TEXT)
_WIPE_STEP = _object_of(
    technique=_text(), part=_WIPE_TEXT, tool=_WIPE_TEXT,
    outcome=_one_of("done", "failed", "refused", "interrupted", "unknown"), accepted=_is_flag, progress_seen=_is_flag,
    completed=_is_flag, pattern=_PATTERN, commitment=_or_null(_HEX32), seed=_or_null(_HEX32), bytes_total=_integer(),
    bytes_written=_integer(), retries=_integer(), unwritable=_SECTORS, resumed=_integer(), started=_is_time,
    ended=_or_null(_is_time), detail=_WIPE_TEXT, facts=_HEALTH,
)  # fmt: skip
_WIPE_CHECK = _object_of(
    amount=_one_of("whole", "samples"), expected=_one_of("stream", "pattern", "changed"), pattern=_PATTERN,
    stream_seed=_or_null(_HEX32), sample_seed=_or_null(_HEX32), bytes_to_read=_integer(), bytes_read=_integer(),
    bytes_equal=_integer(), different=_SECTORS, unreadable=_SECTORS, tool=_WIPE_TEXT, started=_is_time,
    ended=_or_null(_is_time),
)  # fmt: skip
_WIPE_REPORT = _object_of(
    v=_one_of(1), ticket=_OBJECT_ID, ticket_sha256=_HEX32, host=_text(), software=_WIPE_TEXT,
    typed_person=_text(80), clock_sure=_is_flag, started=_is_time, ended=_is_time, interruptions=_integer(),
    ending=_one_of("completed", "refused", "failed", "aborted", "unknown"), detail=_WIPE_TEXT, medium=_MEDIUM,
    medium_after=_or_null(_MEDIUM),
    considered=_list_of(_object_of(technique=_text(), available=_text(), why=_WIPE_TEXT), 18),
    hidden=_list_of(_object_of(kind=_text(), state=_text(), sectors=_integer(), detail=_WIPE_TEXT), 16),
    steps=_list_of(_WIPE_STEP, 32), checks=_list_of(_WIPE_CHECK, 32), health_before=_HEALTH, health_after=_HEALTH,
    overridden=_list_of(_one_of("incident-hold", "undelivered-images"), 2), undelivered=_integer(-1),
)  # fmt: skip
_WORST = ("unknown", "failed", "aborted", "completion-not-proven", "logical-delete-only", "partial", "refused")
_CERTIFIED = ("purged-verified", "cleared-verified", "cleared-hidden-area-unknown", "crypto-shredded", "destroyed")
_REACHED = ("none", "clear", "purge", "destroy")
_MAY_HIDE = {
    "ata-disk": ("hpa", "dco"), "ata-ssd": ("hpa", "dco"), "usb": ("hpa",), "nvme": ("namespaces",),
    "mmc": ("boot-partitions",),
}  # fmt: skip
_WIPE_PASSES = {
    "random": ["random"], "zero": ["00"], "three-pass": ["00", "ff", "random"],
    "bmb21-2019": ["ff", "00", "random", "random", "random", "ff"],
}  # fmt: skip


class _WipeJudge:
    """Section 2, over the objects as they are."""

    def __init__(self, ticket: Any, ticket_bytes: bytes, report: Any) -> None:
        self.ticket, self.report, self.faults = ticket, report, list[tuple[str, str]]()
        self.digest = hashlib.sha256(ticket_bytes).hexdigest()
        self.medium = report["medium"]
        self.size = (report["medium_after"] or self.medium)["size_bytes"]
        spoken_of = [area["kind"] for area in report["hidden"]]
        unasked = [kind for kind in _MAY_HIDE.get(self.medium["kind"], ()) if kind not in spoken_of]
        self.hidden = report["hidden"] + [{"kind": kind, "state": "indeterminate", "sectors": 0} for kind in unasked]
        self.unknown = any(
            area["state"] == "indeterminate" or (area["state"], area["kind"]) == ("present", "boot-partitions")
            for area in self.hidden
        )
        self.runs = self._runs()
        reached = max((_REACHED.index(self._best(run)) for run in self.runs), default=0)
        self.reached = _REACHED[min(reached, 1) if self.unknown and reached == 2 else reached]

    def _runs(self) -> list[Any]:
        runs: list[Any] = []
        for step in self.report["steps"]:
            if step["outcome"] == "done":
                if not runs or runs[-1]["technique"] != step["technique"]:
                    runs.append({"technique": step["technique"], "steps": [], "checks": []})
                runs[-1]["steps"].append(step)
        for number, run in enumerate(runs):
            end = run["steps"][-1]["ended"] or self.report["ended"]
            until = runs[number + 1]["steps"][0]["started"] if number + 1 < len(runs) else "~"
            run["checks"] = [
                one for one in self.report["checks"]
                if end <= one["started"] < until and (one["expected"] != "changed" or one["bytes_to_read"])
            ]  # fmt: skip
        return runs

    def _best(self, run: Any) -> str:
        technique = run["technique"]
        if technique == "luks-erase" or not run["checks"]:
            return "none"  # the vectors have no LUKS erase that proves anything
        purges = ("-sanitize-" in technique and technique != "mmc-sanitize") or technique == "nvme-format-crypto"
        if technique == "ata-sanitize-overwrite" and self.medium["kind"] not in ("ata-disk", "scsi-disk"):
            return "clear"
        return "purge" if purges else "clear"

    def judged(self) -> Any:
        self._all()
        why = list(dict.fromkeys(one for _, one in self.faults))
        if why:
            result = min((one for one, _ in self.faults), key=_WORST.index)
            reached = self.reached if why == ["below-least"] else "none"
        else:
            result = "cleared-hidden-area-unknown" if self.unknown else "cleared-verified"
            result = "purged-verified" if self.reached == "purge" else result
            reached, why = self.reached, self._grounds()
        return {"result": result, "reached": reached, "not_reached": list(self._places()), "why": why}

    def fault(self, holds: bool, result: str, why: str) -> None:
        if not holds:
            self.faults.append((result, why))

    def _all(self) -> None:
        ticket, report = self.ticket, self.report
        same = (report["ticket"], report["ticket_sha256"], report["host"]) == (
            ticket["ticket"], self.digest, ticket["host"],
        )  # fmt: skip
        self.fault(same, "unknown", "not-this-ticket")
        if report["ending"] == "refused":
            touched = any(s["accepted"] or s["bytes_written"] or s["outcome"] == "done" for s in report["steps"])
            self.faults.append(("unknown", "refused-yet-written") if touched else ("refused", "refused"))
            return
        if report["ending"] != "completed":
            self.faults.append((report["ending"], f"ended-{report['ending']}"))
        self._times()
        self._drive()
        self._steps()
        for area in report["hidden"]:
            left = area["state"] == "present" and area["kind"] != "boot-partitions"
            self.fault(not left, "partial", "hidden-area-left")
        self.fault(not self._unseen(), "partial", "hidden-area-left")
        self._read_back()
        least = _REACHED.index(ticket["method"]["least"])
        self.fault(_REACHED.index(self.reached) >= least, "partial", "below-least")

    def _times(self) -> None:
        ticket, report = self.ticket, self.report
        earliest = (datetime.fromisoformat(ticket["issued"]) - timedelta(minutes=5)).isoformat(timespec="microseconds")
        in_time = earliest.replace("+00:00", "Z") <= report["started"] <= ticket["expires"]
        self.fault(in_time, "unknown", "out-of-time")
        self.fault(report["clock_sure"], "unknown", "clock-unsure")
        for one in (*report["steps"], *report["checks"]):
            ended = one["ended"] or one["started"]
            within = report["started"] <= one["started"] <= ended <= report["ended"]
            self.fault(within, "unknown", "times-contradict")
        self.fault(report["started"] <= report["ended"], "unknown", "times-contradict")
        self.fault(set(report["overridden"]) <= set(ticket["overrides"]), "failed", "not-allowed")

    def _removed(self) -> list[Any]:
        cuts = ("hpa", "dco", "accessible-max-address")
        return [one for one in self.report["hidden"] if one["state"] == "removed" and one["kind"] in cuts]

    def _unseen(self) -> list[Any]:
        sectors = sum(one["sectors"] for one in self._removed())
        larger = self.medium["size_bytes"] + sectors * self.medium["logical_sector_bytes"]
        return self._removed() if self.size < larger else []

    def _drive(self) -> None:
        before, after, asked = self.medium, self.report["medium_after"], self.ticket["drive"]
        self.fault(all(before[name] == asked[name] for name in asked), "unknown", "not-this-drive")
        self.fault(before["serial_source"] != "none", "unknown", "serial-unknown")
        if after is None:
            self.faults.append(("completion-not-proven", "drive-not-seen-again"))
            return
        removed = sum(area["sectors"] for area in self._removed())
        larger = before["size_bytes"] + removed * before["logical_sector_bytes"]
        same = all(before[n] == after[n] for n in before if n not in ("partitions", "size_bytes"))
        self.fault(same and after["size_bytes"] in (before["size_bytes"], larger), "unknown", "drive-changed")

    def _steps(self) -> None:
        self.fault(bool(self.runs), "completion-not-proven", "nothing-done")
        results = {"failed": "failed", "interrupted": "aborted", "unknown": "completion-not-proven"}
        for step in self.report["steps"]:
            if step["outcome"] in results:
                self.faults.append((results[step["outcome"]], f"step-{step['outcome']}"))
            contradicts = step["outcome"] == "refused" and (step["accepted"] or step["bytes_written"])
            contradicts = contradicts or (step["outcome"] == "done" and step["ended"] is None)
            self.fault(not contradicts, "unknown", "step-contradicts")
            self.fault(not step["unwritable"]["sectors"], "partial", "sectors-unwritable")
            self.fault(step["technique"] in self.ticket["method"]["techniques"], "failed", "not-allowed")
        for run in self.runs:
            if run["technique"] == "overwrite":
                self._overwritten(run)
            elif run["technique"] == "luks-erase":
                self.faults.append(("logical-delete-only", "keys-not-proved"))
            else:
                self._commanded(run)

    def _overwritten(self, run: Any) -> None:
        method, patterns = self.ticket["method"], [step["pattern"] for step in run["steps"]]
        wanted = method["passes"] if method["sequence"] == "custom" else _WIPE_PASSES[method["sequence"]]
        self.fault(patterns == wanted, "completion-not-proven", "passes-differ")
        seeds = [step["seed"] for step in run["steps"] if step["seed"] is not None]
        self.fault(len(set(seeds)) == len(seeds), "completion-not-proven", "seed-twice")
        for step in run["steps"]:
            whole = step["completed"] and step["bytes_written"] == step["bytes_total"] == self.size
            self.fault(whole, "partial", "not-all-written")
            if step["pattern"] == "random":
                both = step["seed"] is not None and step["commitment"] is not None
                self.fault(both, "completion-not-proven", "seed-missing")
                committed = not both or hashlib.sha256(bytes.fromhex(step["seed"])).hexdigest() == step["commitment"]
                self.fault(committed, "unknown", "seed-not-committed")

    def _commanded(self, run: Any) -> None:
        for step in run["steps"]:
            self.fault(step["accepted"], "completion-not-proven", "command-not-accepted")
            self.fault(step["completed"], "completion-not-proven", "command-not-completed")
            self.fault(step["facts"].get("password_left") is not True, "failed", "password-left")
            is_format = step["technique"].startswith("nvme-format")
            covered = not is_format or step["facts"].get("namespaces_covered") is True
            self.fault(covered, "partial", "hidden-area-left")
        changed = any(one["expected"] == "changed" and one["bytes_equal"] for one in run["checks"])
        shown = all(s["progress_seen"] or s["facts"].get("log_names_run") is True for s in run["steps"])
        seen = changed or shown or run["technique"] == "discard"
        self.fault(seen, "completion-not-proven", "command-not-seen")

    def _read_back(self) -> None:
        for one in self.report["checks"]:
            self.fault(not one["different"]["sectors"], "partial", "read-back-differs")
            self.fault(not one["unreadable"]["sectors"], "partial", "sectors-unreadable")
        for run in self.runs:
            unproved = "logical-delete-only" if run["technique"] == "discard" else "completion-not-proven"
            for one in run["checks"]:
                self.fault(self._is_of(run, one), unproved, "read-back-of-another")
                whole = self._is_whole(one)
                self.fault(whole, unproved, "read-back-incomplete")
                self.fault(not whole or one["bytes_equal"] == one["bytes_read"], "partial", "read-back-differs")
            if run is not self.runs[-1]:
                continue
            if not run["checks"] and run["technique"] != "luks-erase":
                self.faults.append((unproved, "not-read-back"))
                continue
            must = run["technique"] == "discard" or self.ticket["method"]["read_back"] == "whole"
            must = must or any(step["resumed"] for step in run["steps"])
            must = must or (run["technique"] == "overwrite" and self.report["interruptions"] > 0)
            any_whole = any(one["amount"] == "whole" for one in run["checks"])
            self.fault(any_whole or not must, unproved, "read-back-too-little")

    def _is_of(self, run: Any, one: Any) -> bool:
        last, technique = run["steps"][-1], run["technique"]
        if one["expected"] == "stream":
            return technique == "overwrite" and last["seed"] is not None and one["stream_seed"] == last["seed"]
        if one["expected"] == "changed":
            return technique not in ("overwrite", "discard")
        if technique == "overwrite":
            return bool(one["pattern"] == last["pattern"] != "random")
        return one["pattern"] == "00" if technique == "discard" else one["pattern"] not in ("", "random")

    def _is_whole(self, one: Any) -> bool:
        if one["ended"] is None or one["bytes_read"] != one["bytes_to_read"] or not one["bytes_read"]:
            return False
        if one["amount"] == "whole":
            is_plain = one["sample_seed"] is None and one["expected"] != "changed"
            return bool(is_plain and one["bytes_read"] == self.size)
        sector = self.medium["logical_sector_bytes"]
        meant = sum(count for _, count in samples(bytes(32), self.size // sector)) * sector
        fits = one["bytes_read"] <= meant if one["expected"] == "changed" else one["bytes_read"] == meant
        return one["sample_seed"] is not None and bool(fits)

    def _places(self) -> Iterator[Any]:
        def place(name: str, sectors: int | None = None, listed: Any = (), detail: str = "") -> Any:
            return {"place": name, "sectors": sectors, "listed": [*listed], "detail": detail}

        if self.report["ending"] == "refused":
            return
        for area in self.hidden:
            if area["state"] == "indeterminate":
                yield place("hidden-area-unknown", None, (), area["kind"])
            elif area["state"] == "present" and area["kind"] == "boot-partitions":
                yield place("boot-partitions", area["sectors"] or None)
            elif area["state"] == "present":
                yield place("hidden-area", area["sectors"] or None, (), area["kind"])
        for area in self._unseen():
            yield place("hidden-area", area["sectors"] or None, (), area["kind"])
        if self.reached != "purge":
            yield from self._beneath(place)
        for step in self.report["steps"]:
            if step["unwritable"]["sectors"]:
                yield place("unwritable", step["unwritable"]["sectors"], step["unwritable"]["listed"])
        for one in self.report["checks"]:
            for name in ("different", "unreadable"):
                if one[name]["sectors"]:
                    yield place(name, one[name]["sectors"], one[name]["listed"])
        read = max((one["bytes_read"] for one in self.runs[-1]["checks"]), default=0) if self.runs else 0
        sector = self.medium["logical_sector_bytes"]
        if read < self.size:
            yield place("not-read-back", (self.size - read + sector - 1) // sector)

    def _beneath(self, place: Callable[..., Any]) -> Iterator[Any]:
        kind = self.medium["kind"]
        if kind == "virtual":
            yield place("beneath-virtual")
            return
        if kind == "usb":
            yield place("behind-bridge")
        elif kind not in ("ata-disk", "scsi-disk"):
            yield place("spare-area")
        remapped = self.report["health_after"].get("reallocated_sectors")
        if not isinstance(remapped, int) or isinstance(remapped, bool):
            yield place("remapped-sectors-unknown")
        elif remapped > 0:
            yield place("remapped-sectors", remapped)

    def _grounds(self) -> list[str]:
        by = {"overwrite": "all-passes-written", "luks-erase": "keys-destroyed"}
        why = list(dict.fromkeys(by.get(run["technique"], "command-ran") for run in self.runs))
        if all(run["technique"] == "overwrite" for run in self.runs):
            why.append("overwrite-is-clear")
        if checks := self.runs[-1]["checks"]:
            whole = any(one["amount"] == "whole" for one in checks)
            why.append("read-back-whole" if whole else "read-back-samples")
        if self.unknown:
            why.append("hidden-area-unknown")
        if self.report["interruptions"] or any(step["resumed"] for step in self.report["steps"]):
            why.append("went-on")
        sources = {
            "usb-descriptor": "serial-from-bridge",
            "kernel": "serial-from-bridge",
            "label": "serial-from-person",
        }
        if self.medium["serial_source"] in sources:
            why.append(sources[self.medium["serial_source"]])
        if self.report["typed_person"] != self.ticket["person"]:
            why.append("person-differs")
        return why


def wipe_judgement(ticket: bytes, report: bytes) -> Any:
    return _WipeJudge(canonical(ticket), ticket, _read(report, _WIPE_REPORT)).judged()


_WIPE_FACTS = _object_of(**dict.fromkeys((
    "organisation", "property_number", "media_source", "confidentiality_before", "confidentiality_after", "backup",
    "destination", "owner_consent", "location", "contact", "technician_role", "verifier_role",
), _text(200)))  # fmt: skip
_WIPE_JUDGED = _object_of(
    result=_one_of(*_WORST, *_CERTIFIED), reached=_one_of(*_REACHED),
    not_reached=_list_of(_object_of(place=_text(), sectors=_or_null(_integer()),
                                    listed=_list_of(_list_of(_integer(), 2), 500), detail=_text(300)), 256),
    why=_list_of(_text(), 64),
)  # fmt: skip
_WIPE_STATEMENT = _object_of(
    v=_one_of(1), ticket=lambda value: isinstance(value, dict),
    approvals=_list_of(_object_of(name=_text(80), key=_text(), signature=_text()), 8),
    reported=_or_null(_object_of(report=_WIPE_REPORT, signature=_text())),
    destruction=_or_null(_object_of(v=_one_of(1), recorded_by=_text(80), witness=_text(80), means=_text(200),
                                    photographs=_list_of(_HEX32, 20), time=_is_time)),
    judged=_WIPE_JUDGED, rules=_integer(), facts=_WIPE_FACTS, certified_by=_text(80), made=_is_time, software=_text(80),
)  # fmt: skip
_WIPE_FILE = _object_of(
    v=_one_of(1), key=_OBJECT_ID, signature=_text(),
    body=_object_of(
        statement=_WIPE_STATEMENT,
        certificates=_list_of(_object_of(source=_text(), pem=_matching(r"(?s:.*)", 65_536)), 4),
        log=_object_of(record=_matching(r"(?s:.*)", 16_384), proof=_matching(r"(?s:.*)", 1 << 20)),
    ),
)  # fmt: skip


def wipe_certificate(data: bytes, centre_spki: bytes, host_spki: bytes) -> str:
    """Sections 3 and 4: the SHA-256 of the statement, once the signatures of all who signed hold."""
    file = _read(data, _WIPE_FILE)
    stated = file["body"]["statement"]
    _need((stated["reported"] is None) != (stated["destruction"] is None), "Malformed", "both or neither")
    _put_together(file["body"], file["key"], file["signature"], "leadglass wipe certificate v1", centre_spki)
    if (reported := stated["reported"]) is not None:
        key = stated["ticket"]["evidence_key"]
        _put_together(reported["report"], key, reported["signature"], "leadglass wipe report v1", host_spki)
    for one in stated["approvals"]:
        spki = _base64(one["key"], 128)
        _put_together(
            stated["ticket"], public_key(spki)[1].hex(), one["signature"], "leadglass wipe ticket v1", spki
        )  # fmt: skip
    return hashlib.sha256(_print(stated, 0)).hexdigest()


def _put_together(payload: Any, key: str, signature: Any, label: str, spki: bytes) -> None:
    signed, printed = _base64(signature, 64), _print(payload, 0)
    _need(len(signed) == 64, "Malformed", "signature")
    head = b"LGSIGN\x00\x01" + bytes.fromhex(key) + len(printed).to_bytes(4, "big")
    statement(head + printed + signed, label, spki)
