"""What the certificates of authorities say, and whoever signs them: root, issuing CA, and links between two roots.

                 issued by            path length  life      names it may certify
    root         itself               1            20 years  any, of its own organisation
    link         another root         1            as the root that it names (RFC 4210 section 4.4)
    issuing CA   the newest root      0            2 years   this machine's own, and loopback

Every root of a centre has one name, so that a link counts as self-issued and takes nothing of the path length. Their
key identifiers tell them apart.  docs/formats/enrolment.md section 5
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address, ip_network

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.enrolment.chain import Trust, organisation, permits, verify_authority
from shared.errors import Malformed, Refused

ROOT_LIFE = timedelta(days=7305)
ISSUING_LIFE = timedelta(days=730)
LOOPBACK = ("localhost", "127.0.0.0/8", "::1/128")
# Whoever verifies may have a clock that runs a little behind.
BACKDATED = timedelta(minutes=5)
MAX_REQUEST_BYTES = 64 * 1024
_ROOT_NAME = "Leadglass root"


class NotRequested(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(f"this is no request of an issuing CA: {why}")
        self.why = why


@dataclass(frozen=True)
class IssuingRequest:
    """A centre's word to its root: the key to certify, for which names; `root` is whose word is asked for."""

    csr: x509.CertificateSigningRequest
    root: x509.Certificate

    @property
    def key(self) -> ec.EllipticCurvePublicKey:
        key = self.csr.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)  # noqa: S101 (parse_request saw to it)
        return key

    @property
    def constraints(self) -> x509.NameConstraints:
        return self.csr.extensions.get_extension_for_class(x509.NameConstraints).value

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(str(one.value) for one in self.constraints.permitted_subtrees or ())

    def pem(self) -> bytes:
        return self.csr.public_bytes(serialization.Encoding.PEM) + self.root.public_bytes(serialization.Encoding.PEM)


def make_root(key: ec.EllipticCurvePrivateKey, centre: str, not_before: datetime) -> x509.Certificate:
    """Return the self-signed certificate of a root; `centre` is the organisation of everything below it."""
    subject = _subject(centre, "root", _ROOT_NAME)
    builder = builder_for(subject, key.public_key(), not_before, not_before + ROOT_LIFE).issuer_name(subject)
    return _as_authority(builder, path_length=1).sign(key, hashes.SHA256())


def new_organisation(key: ec.EllipticCurvePublicKey) -> str:
    return f"Leadglass {_digest(key)[:16]}"


def make_link(named: x509.Certificate, by: x509.Certificate, by_key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Return the root `named`, certified by another root of the same centre."""
    key = named.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)  # noqa: S101 (roots are made here)
    builder = builder_for(named.subject, key, named.not_valid_before_utc, named.not_valid_after_utc)
    builder = builder.issuer_name(by.subject).add_extension(issuer_id(by), critical=False)
    return _as_authority(builder, path_length=1).sign(by_key, hashes.SHA256())


def request_issuing(key: ec.EllipticCurvePrivateKey, root: x509.Certificate, hosts: Sequence[str]) -> IssuingRequest:
    """Return what the root is asked to sign: an issuing CA that certifies servers for `hosts` and loopback alone."""
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_issuing_subject(root, key.public_key()))
        .add_extension(constraints_for(hosts), critical=True)
        .sign(key, hashes.SHA256())
    )
    return IssuingRequest(csr, root)


def parse_request(pem: bytes) -> IssuingRequest:
    """Raises Malformed, NotRequested: another form, or more than a centre may ask for."""
    if len(pem) > MAX_REQUEST_BYTES:
        raise Malformed("request of an issuing CA", f"larger than {MAX_REQUEST_BYTES} bytes")
    try:
        csr, (root,) = x509.load_pem_x509_csr(pem), x509.load_pem_x509_certificates(pem)
        key, extensions = csr.public_key(), list(csr.extensions)
        signed = csr.is_signature_valid
        expected = _issuing_subject(root, key) if isinstance(key, ec.EllipticCurvePublicKey) else None
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion,
            x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as exc:  # fmt: skip
        raise Malformed("request of an issuing CA", "expected a PKCS #10 request and one certificate in PEM") from exc
    if not signed or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise NotRequested("its sender does not hold an ECDSA P-256 key for it")
    if csr.subject != expected:
        raise NotRequested("it names another organisation than the root's, or another key than its own")
    match [one.value for one in extensions]:
        case [x509.NameConstraints() as constraints]:
            _verify_constraints(constraints)
        case _:
            raise NotRequested("it asks for something else than name constraints")
    return IssuingRequest(csr, root)


def make_issuing(request: IssuingRequest, key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """Return the issuing CA's certificate, by the root's `key`. It ends with its root at the latest."""
    root = request.root
    not_before = max(now - BACKDATED, root.not_valid_before_utc)
    not_after = min(now + ISSUING_LIFE, root.not_valid_after_utc)
    builder = (
        builder_for(request.csr.subject, request.key, not_before, not_after)
        .issuer_name(root.subject)
        .add_extension(issuer_id(root), critical=False)
        .add_extension(request.constraints, critical=True)
    )
    return _as_authority(builder, path_length=0).sign(key, hashes.SHA256())


def verify_issuing(issuing: x509.Certificate, trust: Trust, key: ec.EllipticCurvePublicKey) -> None:
    """Raise NotRequested or ChainBroken unless a root of `trust` certified `key` as an issuing CA of this form."""
    if issuing.public_key() != key:
        raise NotRequested("the certificate is for another key than the one that this centre asked for")
    basic = issuing.extensions.get_extension_for_class(x509.BasicConstraints).value
    if not basic.ca or basic.path_length != 0:
        raise NotRequested("the certificate is not that of a certificate authority of path length 0")
    try:
        constraints = issuing.extensions.get_extension_for_class(x509.NameConstraints)
    except x509.ExtensionNotFound as exc:
        raise NotRequested("the certificate does not say which names it is limited to") from exc
    if not constraints.critical:
        raise NotRequested("the certificate does not demand that its names be heeded")
    _verify_constraints(constraints.value)
    verify_authority(issuing, trust)


def constraints_for(hosts: Iterable[str]) -> x509.NameConstraints:
    wanted = [*(host.strip("[]") for host in hosts), *LOOPBACK]
    return x509.NameConstraints([_subtree(name) for name in dict.fromkeys(wanted)], None)


def is_permitted(issuing: x509.Certificate, name: str) -> bool:
    constraints = issuing.extensions.get_extension_for_class(x509.NameConstraints).value
    return permits(constraints, general_name(name))


def general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name.strip("[]")))
    except ValueError:
        return x509.DNSName(name)


def single_names(issuing: x509.Certificate) -> tuple[str, ...]:
    """Return the names and addresses, loopback networks left out, that an issuing CA may certify servers for."""
    permitted = issuing.extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or ()
    networks = [ip_network(str(one.value)) for one in permitted if isinstance(one, x509.IPAddress)]
    addresses = (str(one.network_address) for one in networks if one.num_addresses == 1 and not one.is_loopback)
    return (*(one.value for one in permitted if isinstance(one, x509.DNSName)), *addresses)


def common_name(certificate: x509.Certificate | x509.CertificateSigningRequest) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def subject_below(issuing: x509.Certificate, unit: str, common_name: str) -> x509.Name:
    """Return the subject of what an issuing CA certifies: its own organisation first."""
    return _subject(organisation(issuing) or "", unit, common_name)


def builder_for(
    subject: x509.Name, key: ec.EllipticCurvePublicKey, not_before: datetime, not_after: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def usage(*, signs: bool, certifies: bool, commits: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=signs,
        key_cert_sign=certifies,
        crl_sign=certifies,
        content_commitment=commits,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _as_authority(builder: x509.CertificateBuilder, *, path_length: int) -> x509.CertificateBuilder:
    return builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True).add_extension(
        usage(signs=False, certifies=True), critical=True
    )


def _verify_constraints(constraints: x509.NameConstraints) -> None:
    """Raises NotRequested: a kind of name would be left open."""
    kinds = {type(one) for one in constraints.permitted_subtrees or ()}
    if constraints.excluded_subtrees or kinds != {x509.DNSName, x509.IPAddress}:
        raise NotRequested("its names are not a list of DNS names and networks that are permitted")
    if any(isinstance(one, x509.DNSName) and not one.value.strip(".") for one in constraints.permitted_subtrees or ()):
        raise NotRequested("one of its names is empty, which stands for all names and is seen by nobody who is asked")


def _subtree(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_network(name))
    except ValueError:
        return x509.DNSName(name)


def issuer_id(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _digest(key: ec.EllipticCurvePublicKey) -> str:
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return sha256(spki).hexdigest()


def _issuing_subject(root: x509.Certificate, key: ec.EllipticCurvePublicKey) -> x509.Name:
    return _subject(organisation(root) or "", "ca", f"Leadglass issuing {_digest(key)[:8]}")


def _subject(centre: str, unit: str, common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, centre),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )
