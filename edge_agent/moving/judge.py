"""Judges what is carried: whose certificate it is, and whether an object is, byte for byte, what that host signed.

The dates of a certificate are not judged, here as at the centre: evidence outlives it. What nobody here can judge is
the wrap, for it takes the vault's key; the exporting host's digest of the whole file covers it on the way.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from shared.enrolment.chain import Chain, ChainBroken, Trust, is_authority, parse_chain, pem_of, verify_chain
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.identity import HostId, KeyId, ObjectId
from shared.sealing import object_file
from shared.sealing.object_file import ObjectParts, SeekableSource
from shared.sealing.open import ObjectAltered, StoredObject, verify_parts
from shared.sealing.record import CaptureRecord
from shared.signing import EvidencePublicKey

MAX_CERTIFICATES = 64
_MAX_WITH_AUTHORITIES = 4 * MAX_CERTIFICATES  # each host's may have come with their own copies
_UNIT = "evidence"
_PIECE_BYTES = 1 << 18


class StrangeCertificate(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(f"the export comes with a certificate that proves nothing here: {why}")
        self.why = why


class SignerUnknown(Refused):
    def __init__(self, host_id: HostId) -> None:
        super().__init__(f"there is no evidence certificate of {host_id}")
        self.host_id = host_id


class FileAltered(IntegrityFailure):
    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is not the file that the exporting host signed for")
        self.name = name


@dataclass(frozen=True)
class Signers:
    """The evidence keys that an authority certified, by host, with the certificates that say so."""

    certificates: Mapping[HostId, x509.Certificate]
    authorities: Chain = ()  # what leads from them to the root

    def key(self, host_id: HostId) -> EvidencePublicKey:
        """Raises SignerUnknown."""
        certificate = self.certificates.get(host_id)
        if certificate is None:
            raise SignerUnknown(host_id)
        return _key(certificate)

    def host_of(self, key_id: KeyId) -> HostId | None:
        """Return whose key has this id."""
        return next((host for host, one in self.certificates.items() if _key(one).key_id == key_id), None)

    def pem(self, host_id: HostId | None = None) -> bytes:
        """Return the certificates of one host, or of all, and what leads from them to the root."""
        wanted = [one for host, one in self.certificates.items() if host_id in (None, host)]
        return pem_of((*wanted, *self.authorities))


def certified(pem: bytes, trust: Trust) -> Signers:
    """Return the signers that `pem` names, once each certificate is an evidence certificate that leads to `trust`.

    Those of authorities may stand anywhere between them, and prove nothing. Raises Malformed, StrangeCertificate.
    """
    found = dict.fromkeys(parse_chain(pem, "certificates of the export", most=_MAX_WITH_AUTHORITIES))
    authorities = tuple(one for one in found if is_authority(one))
    hosts = [one for one in found if one not in authorities]
    if len(hosts) > MAX_CERTIFICATES:
        raise Malformed("certificates of the export", f"more than {MAX_CERTIFICATES}")
    return Signers({_verified(one, trust, authorities): one for one in hosts}, authorities)


def verify_object(source: SeekableSource, object_id: ObjectId, signers: Signers) -> tuple[ObjectParts, CaptureRecord]:
    """Return parts and record once the signature of the host that captured it covers binding and record.

    Raises Malformed, SignerUnknown, WrongSigner, SignatureInvalid, ObjectAltered.
    """
    parts = object_file.parse(source)
    stored = StoredObject(object_id, parts.binding.encode(), parts.wrap, parts.record)
    _, record = verify_parts(stored, signers.key(parts.binding.host_id))
    if parts.body_bytes != record.body_bytes:
        raise ObjectAltered(object_id, "the size of the sealed body")
    return parts, record


class Passing:
    """A sealed object file on its way past, read once from end to end.

    The last read raises unless the body was the one that the record names, and the whole what `verify` wants; so a
    reader that keeps nothing of a stream that raised keeps nothing that is not proved.
    """

    def __init__(
        self,
        source: SeekableSource,
        parts: ObjectParts,
        record: CaptureRecord,
        verify: "Callable[[Passing], None]" = lambda _: None,
    ) -> None:
        source.seek(0)
        self._source, self._verify, self._record = source, verify, record
        self._whole, self._body = sha256(), sha256()
        self._from, self._to = parts.body_offset, parts.body_offset + parts.body_bytes
        self.size_bytes = 0

    def read(self, size: int = _PIECE_BYTES, /) -> bytes:
        """Raises ObjectAltered, FileAltered, and what the source raises."""
        piece = self._source.read(size)
        if not piece:
            if self._body.digest() != self._record.body_sha256:
                raise ObjectAltered(self._record.object_id, "the sealed body")
            self._verify(self)
            return b""
        self._whole.update(piece)
        at = self.size_bytes
        self._body.update(piece[max(self._from - at, 0) : max(self._to - at, 0)])
        self.size_bytes += len(piece)
        return piece

    def pieces(self) -> Iterator[bytes]:
        while piece := self.read():
            yield piece

    @property
    def small_parts_bytes(self) -> int:
        return self.size_bytes - self._to

    @property
    def sha256(self) -> bytes:
        return self._whole.digest()


def _verified(certificate: x509.Certificate, trust: Trust, authorities: Chain) -> HostId:
    try:
        verify_chain(certificate, trust, authorities)
        may_sign = certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except (ChainBroken, x509.ExtensionNotFound) as exc:
        raise StrangeCertificate(f"it was not issued by this host's authority ({exc})") from exc
    if not may_sign or _named(certificate, NameOID.ORGANIZATIONAL_UNIT_NAME) != _UNIT:
        raise StrangeCertificate("it is not for evidence")
    try:
        _key(certificate)
        return HostId.parse(_named(certificate, NameOID.COMMON_NAME))
    except Malformed as exc:
        raise StrangeCertificate("it is not that of a host") from exc


def _named(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> str:
    names = [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(oid)]
    return names[0] if len(names) == 1 else ""


def _key(certificate: x509.Certificate) -> EvidencePublicKey:
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return EvidencePublicKey.parse(spki)
