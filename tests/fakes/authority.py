"""A root and what it certifies, by the profiles of the centre's own authority, with every key in reach."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.enrolment import profiles, rotation
from shared.enrolment.chain import Chain, Trust

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class TestRoot:
    """A root; `links` are those between it and the roots before it."""

    __test__ = False

    root: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    links: Chain = ()

    @classmethod
    def new(cls, at: datetime = NOW - 30 * DAY, centre: str = "Leadglass test") -> "TestRoot":
        key = new_key()
        return cls(profiles.make_root(key, centre, at), key)

    @property
    def trust(self) -> Trust:
        return Trust((self.root,))

    def next(self, at: datetime = NOW) -> "TestRoot":
        """Return the root after this one."""
        key = new_key()
        newest, *links = rotation.rotate(self.root, self.key, key, at)
        return TestRoot(newest, key, (*self.links, *links))

    def issuing(
        self,
        at: datetime = NOW - 10 * DAY,
        hosts: Sequence[str] = ("centre.example",),
        limits: x509.NameConstraints | None = None,
    ) -> "TestIssuing":
        """Return an issuing CA as the centre asks for it, or with other `limits`, which nobody has to heed."""
        key = new_key()
        if limits is not None:
            return TestIssuing(self._limited(key, limits), key)
        request = profiles.request_issuing(key, self.root, hosts)
        return TestIssuing(profiles.make_issuing(request, self.key, at), key)

    def _limited(self, key: ec.EllipticCurvePrivateKey, limits: x509.NameConstraints) -> x509.Certificate:
        subject = profiles.subject_below(self.root, "ca", "limited")
        builder = profiles.builder_for(subject, key.public_key(), NOW - 10 * DAY, NOW + 10 * DAY)
        return (
            builder.issuer_name(self.root.subject)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(profiles.issuer_id(self.root), critical=False)
            .add_extension(limits, critical=False)
            .sign(self.key, hashes.SHA256())
        )


@dataclass(frozen=True)
class TestIssuing:
    """An issuing CA in a thief's hands: it signs whatever is asked."""

    __test__ = False

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def leaf(
        self,
        *,
        name: str = "control-plane",
        unit: str = "evidence",
        subject: x509.Name | None = None,
        names: Sequence[x509.GeneralName] = (),
        key: ec.EllipticCurvePublicKey | None = None,
        since: datetime = NOW - DAY,
        until: datetime = NOW + DAY,
        more: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> x509.Certificate:
        builder = (
            profiles.builder_for(
                profiles.subject_below(self.certificate, unit, name) if subject is None else subject,
                key or new_key().public_key(), since, until,
            )
            .issuer_name(self.certificate.subject)
            .add_extension(profiles.usage(signs=True, certifies=False), critical=True)
            .add_extension(profiles.issuer_id(self.certificate), critical=False)
        )  # fmt: skip
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        for extension, critical in more:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, hashes.SHA256())

    def authority(self, *, path_length: int | None = None) -> "TestIssuing":
        """Return a further authority, which this one may not certify."""
        key = new_key()
        subject = profiles.subject_below(self.certificate, "ca", "below")
        builder = (
            profiles.builder_for(subject, key.public_key(), NOW - DAY, NOW + DAY)
            .issuer_name(self.certificate.subject)
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(profiles.issuer_id(self.certificate), critical=False)
        )
        return replace(self, certificate=builder.sign(self.key, hashes.SHA256()), key=key)
