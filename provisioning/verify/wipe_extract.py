"""Takes a wipe's certificate apart into files that openssl verifies, and reads keys of policy's root for comparison.

NAME.signed  the bytes that were signed: label || 0x00 || payload      docs/formats/signed-statement.md
NAME.sig     the signature, DER
NAME.key.pem the public key
NAME.crt.pem its certificate and those above it, for `centre` and `host`
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from provisioning.verify.certificate import evidence_key, parse_certified
from shared.errors import Malformed
from shared.identity import CONTROL_PLANE, KeyId
from shared.sanitization.certificate import WipeCertificate
from shared.signing import EvidencePublicKey, Label

_MAX_ROOT_BYTES = 1 << 20


@dataclass(frozen=True)
class _Signed:
    name: str
    label: Label
    payload: bytes
    signature: bytes
    key: EvidencePublicKey
    chain: str = ""


def extract(certificate: WipeCertificate, folder: Path) -> None:
    """Raises Malformed, OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in _parts(certificate):
        r, s = int.from_bytes(one.signature[:32]), int.from_bytes(one.signature[32:])
        public = one.key.key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        (folder / f"{one.name}.signed").write_bytes(one.label.value.encode() + b"\x00" + one.payload)
        (folder / f"{one.name}.sig").write_bytes(encode_dss_signature(r, s))
        (folder / f"{one.name}.key.pem").write_bytes(public)
        if one.chain:
            (folder / f"{one.name}.crt.pem").write_text(one.chain)


def keys_of_root(data: bytes) -> tuple[KeyId, ...]:
    """Return the keys in a root of policy that the reader decided to trust; its own signatures are not judged.

    Raises Malformed.
    """
    what = "root of policy"
    if len(data) > _MAX_ROOT_BYTES:
        raise Malformed(what, f"larger than {_MAX_ROOT_BYTES} bytes")
    try:
        keys = json.loads(data)["signed"]["keys"].values()
        pems = [str(key["keyval"]["public"]).encode() for key in keys]
        return tuple(_key_id(pem) for pem in pems)
    except (ValueError, KeyError, TypeError, AttributeError, UnsupportedAlgorithm) as exc:
        raise Malformed(what, "expected the root.json of TUF with keys in PEM") from exc


def _key_id(pem: bytes) -> KeyId:
    public = serialization.load_pem_public_key(pem)
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return EvidencePublicKey.parse(spki).key_id


def _parts(certificate: WipeCertificate) -> Iterator[_Signed]:
    body = certificate.body
    statement, chains = body.statement, {one.source: one.pem for one in body.certificates}
    if CONTROL_PLANE in chains:
        pem = chains[CONTROL_PLANE]
        yield _Signed("centre", Label.WIPE_CERTIFICATE, body.payload, certificate.signature, _key_of(pem), pem)
    reported, host = statement.reported, str(statement.ticket.host_id)
    if reported is not None and host in chains:
        pem = chains[host]
        yield _Signed("host", Label.WIPE_REPORT, reported.report.encode(), reported.signature, _key_of(pem), pem)
    for number, one in enumerate(statement.approvals, 1):
        yield _Signed(f"approval-{number}", Label.WIPE_TICKET, statement.ticket.encode(), one.signature, one.key)


def _key_of(pem: str) -> EvidencePublicKey:
    return evidence_key(parse_certified(pem.encode(), "evidence certificate").certificate)
