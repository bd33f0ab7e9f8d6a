"""Makes the scenarios of docs/formats/enrolment.md sections 5 and 6: `chain` and `follow`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address, ip_network
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from shared import clock
from shared.enrolment.chain import pem_of
from tests.vectors.given import TIME, Files, as_file, bytes_of, signer

_NOON = TIME.replace(hour=12, minute=0, second=0, microsecond=0)
_DAY = timedelta(days=1)
_CENTRE, _OTHER = "Leadglass vectors", "Leadglass other"
_NAMES = (x509.DNSName("centre.example"), x509.IPAddress(ip_network("127.0.0.0/8")))


@dataclass(frozen=True)
class _Made:
    """What a certificate says. `by` is whose key signed it; `key` and `by` are labels."""

    key: str
    by: str
    name: str
    issuer: str
    unit: str = "ca"
    centre: str | None = _CENTRE
    issuer_centre: str = _CENTRE
    ca: bool = True
    path_length: int | None = 0
    certifies: bool = True
    permitted: tuple[x509.GeneralName, ...] = ()
    excluded: tuple[x509.GeneralName, ...] = ()
    names: tuple[x509.GeneralName, ...] = ()
    since: datetime = _NOON - 30 * _DAY
    until: datetime = _NOON + 300 * _DAY
    demands: bool = False

    def certificate(self) -> x509.Certificate:
        issuer_unit = "root" if "root" in self.issuer else "ca"
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(self.centre, self.unit, self.name))
            .issuer_name(_name(self.issuer_centre, issuer_unit, self.issuer))
            .public_key(signer(self.key).key.public_key())
            .serial_number(int.from_bytes(bytes_of(repr(self), 15)) or 1)
            .not_valid_before(self.since)
            .not_valid_after(self.until)
            .add_extension(x509.BasicConstraints(self.ca, self.path_length if self.ca else None), critical=True)
            .add_extension(_usage(certifies=self.certifies and self.ca), critical=True)
        )
        if self.permitted or self.excluded:
            limits = x509.NameConstraints(self.permitted or None, self.excluded or None)
            builder = builder.add_extension(limits, critical=True)
        if self.names:
            builder = builder.add_extension(x509.SubjectAlternativeName(self.names), critical=False)
        if self.demands:
            unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.32473.1"), b"\x05\x00")
            builder = builder.add_extension(unknown, critical=True)
        return builder.sign(signer(self.by).key, hashes.SHA256(), ecdsa_deterministic=True)


_ROOT = _Made("root 1", "root 1", "root", "root", "root", path_length=1, until=_NOON + 7000 * _DAY)
_ISSUING = _Made("issuing 1", "root 1", "issuing 1", "root", permitted=_NAMES)
_LEAF = _Made(
    "leaf", "issuing 1", "control-plane", "issuing 1", "evidence", ca=False, since=_NOON - _DAY, until=_NOON + 7 * _DAY
)
_ROOT_2 = replace(_ROOT, key="root 2", by="root 2", since=_NOON, until=_NOON + 7300 * _DAY)
_ROOT_3 = replace(_ROOT, key="root 3", by="root 3", since=_NOON + _DAY, until=_NOON + 7300 * _DAY)


def scenarios() -> Files:
    cases = {**_chains(), **_follows()}
    return {f"enrolment/{name}.json": as_file(case) for name, case in cases.items()}


def _chains() -> dict[str, dict[str, Any]]:
    old_with_new = _link(_ROOT, _ROOT_2)
    below = _Made("below", "issuing 1", "below", "issuing 1", path_length=None)
    at = _NOON
    retired = replace(_ISSUING, until=_NOON - timedelta(hours=1))
    late = replace(_ISSUING, until=_NOON - 2 * _DAY)
    ok = {
        "ok": ("A certificate, its issuing CA, the root.", _LEAF, (_ISSUING,), _ROOT, at),
        "ok-no-dates": ("Ten years later, dates not judged.", _LEAF, (_ISSUING,), _ROOT, None),
        "ok-under-the-root": ("Issued by the root itself.", replace(_LEAF, by="root 1", issuer="root"), (), _ROOT, at),
        "ok-any-order": (
            "Among certificates that have nothing to do with it.",
            _LEAF,
            (below, _ROOT_2, _ISSUING),
            _ROOT,
            at,
        ),
        "ok-link": ("Over a link: the old root, issued by the new one.", _LEAF, (_ISSUING, old_with_new), _ROOT_2, at),
        "ok-issuer-retired": ("The issuing CA ended after the certificate began.", _LEAF, (retired,), _ROOT, at),
        "ok-names": (
            "Names that are permitted.",
            replace(
                _LEAF, names=(*_NAMES[:1], x509.DNSName("A.CENTRE.example"), x509.IPAddress(ip_address("127.0.0.9")))
            ),
            (_ISSUING,),
            _ROOT,
            at,
        ),
    }
    bad = {
        "bad-another-root": ("Another root of the same name.", _LEAF, (_ISSUING,), _ROOT_2, at),
        "bad-without-issuer": ("Nothing between.", _LEAF, (), _ROOT, at),
        "bad-no-authority": ("Issued by what is no CA.", _LEAF, (replace(_ISSUING, ca=False),), _ROOT, at),
        "bad-may-not-certify": (
            "Issued by a key that may not certify.",
            _LEAF,
            (replace(_ISSUING, certifies=False),),
            _ROOT,
            at,
        ),
        "bad-authority": ("A CA's own certificate.", _ISSUING, (), _ROOT, at),
        "bad-path-length": (
            "A CA below one that may have none below it.",
            replace(_LEAF, by="below", issuer="below"),
            (below, _ISSUING),
            _ROOT,
            at,
        ),
        "bad-dns-name": (
            "A DNS name that is not permitted.",
            replace(_LEAF, names=(x509.DNSName("acentre.example"),)),
            (_ISSUING,),
            _ROOT,
            at,
        ),
        "bad-address": (
            "An address that is not permitted.",
            replace(_LEAF, names=(x509.IPAddress(ip_address("192.0.2.1")),)),
            (_ISSUING,),
            _ROOT,
            at,
        ),
        "bad-name-excluded": (
            "A name that is excluded.",
            replace(_LEAF, names=(x509.DNSName("a.centre.example"),)),
            (replace(_ISSUING, permitted=(), excluded=_NAMES[:1]),),
            _ROOT,
            at,
        ),
        "bad-organisation": (
            "Another organisation than the root's.",
            replace(_LEAF, centre=_OTHER),
            (_ISSUING,),
            _ROOT,
            at,
        ),
        "bad-no-organisation": ("No organisation.", replace(_LEAF, centre=None), (_ISSUING,), _ROOT, at),
        "bad-demand": ("A critical extension that nobody knows.", replace(_LEAF, demands=True), (_ISSUING,), _ROOT, at),
        "bad-too-early": ("Before the certificate began.", _LEAF, (_ISSUING,), _ROOT, _NOON - 2 * _DAY),
        "bad-too-late": ("After the certificate ended.", _LEAF, (_ISSUING,), _ROOT, _NOON + 8 * _DAY),
        "bad-issuer-retired": ("The issuing CA ended before the certificate began.", _LEAF, (late,), _ROOT, at),
        "bad-signature": (
            "Signed by another key than the issuer's.",
            replace(_LEAF, by="below"),
            (_ISSUING,),
            _ROOT,
            at,
        ),
    }
    return {
        f"chain-{name}": _case(
            about,
            "chain",
            {
                "pem": _pem(leaf, *between),
                "root_pem": _pem(root),
                "at": None if when is None else clock.text(when),
            },
            {"result": "holds"} if name.startswith("ok") else {"result": "refused", "error": "ChainBroken"},
        )
        for name, (about, leaf, between, root, when) in {**ok, **bad}.items()
    }


def _follows() -> dict[str, dict[str, Any]]:
    second, third = _link(_ROOT_2, _ROOT), _link(_ROOT_3, _ROOT_2)
    back = _link(_ROOT, _ROOT_2)
    forged = replace(second, by="stranger")
    ended = replace(_ROOT, since=_NOON - 8000 * _DAY, until=_NOON - 700 * _DAY)
    of_other = replace(_ROOT_2, centre=_OTHER, issuer_centre=_OTHER)
    nothing = {"result": "nothing later"}
    refused = {"result": "refused", "error": "ChainBroken"}
    cases: dict[str, tuple[str, _Made, Sequence[_Made], dict[str, str]]] = {
        "ok": ("The next root.", _ROOT, (_ROOT_2, _ROOT, second, back), _to(_ROOT_2)),
        "ok-two": ("The root after the next.", _ROOT, (_ROOT_3, _ROOT_2, _ROOT, second, back, third), _to(_ROOT_3)),
        "ok-as-far-as-it-goes": ("The last link is missing.", _ROOT, (_ROOT_3, _ROOT_2, _ROOT, second), _to(_ROOT_2)),
        "ok-ended": ("The pinned root has ended.", ended, (_ROOT_2, second, back), _to(_ROOT_2)),
        "nothing-the-same": ("The pinned root is the newest.", _ROOT_2, (_ROOT_2, _ROOT, second, back), nothing),
        "nothing-back": ("A link leads back to the older root.", _ROOT_2, (_ROOT, back), nothing),
        "nothing-at-all": ("No certificates of a root.", _ROOT, (_ISSUING,), nothing),
        "bad-no-link": ("A later root without a link.", _ROOT, (_ROOT_2, _ROOT, back), refused),
        "bad-link-forged": ("A link that another key signed.", _ROOT, (_ROOT_2, _ROOT, forged, back), refused),
        "bad-link-of-another-key": (
            "A link for another key than the later root's.",
            _ROOT,
            (_ROOT_2, replace(second, key="stranger")),
            refused,
        ),
        "bad-link-of-an-issuing-authority": (
            "A later root with the key of an issuing CA, which is all that the pinned root certified.",
            _ROOT,
            (replace(_ROOT_2, key=_ISSUING.key, by=_ISSUING.key), _ISSUING),
            refused,
        ),
        "bad-link-no-authority": (
            "A certificate with the name and the key of the later root, which is no CA's.",
            _ROOT,
            (_ROOT_2, replace(second, ca=False)),
            refused,
        ),
        "bad-root-not-self-signed": (
            "The later root is not signed with its own key.",
            _ROOT_2,
            (replace(_ROOT_3, by="stranger"), third),
            nothing,
        ),
        "bad-another-centre": ("A root of another centre.", _ROOT, (of_other, second), refused),
    }
    return {
        f"follow-{name}": _case(about, "follow", {"pinned_pem": _pem(pinned), "offered_pem": _pem(*offered)}, expect)
        for name, (about, pinned, offered, expect) in cases.items()
    }


def _link(named: _Made, by: _Made) -> _Made:
    return replace(named, by=by.key)


def _to(root: _Made) -> dict[str, str]:
    return {"result": "followed", "sha256_hex": sha256(root.certificate().public_bytes(Encoding.DER)).hexdigest()}


def _case(about: str, kind: str, given: dict[str, Any], expect: dict[str, str]) -> dict[str, Any]:
    return {"about": about, "kind": kind, "given": given, "expect": expect}


def _pem(*made: _Made) -> str:
    return pem_of([one.certificate() for one in made]).decode()


def _usage(*, certifies: bool) -> x509.KeyUsage:
    return x509.KeyUsage(not certifies, False, False, False, False, certifies, certifies, False, False)


def _name(centre: str | None, unit: str, common_name: str) -> x509.Name:
    values = (
        (NameOID.ORGANIZATION_NAME, centre),
        (NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
        (NameOID.COMMON_NAME, common_name),
    )
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in values if value is not None])
