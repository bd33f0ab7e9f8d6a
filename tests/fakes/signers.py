"""The people and the online service that sign policies: a real TUF repository in memory."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from shared import clock
from shared.identity import RandomBytes
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.policy.document import ORGANISATION, KeyPurpose, Modality, PolicyDocument, SealingKey
from shared.policy.grading import Grading
from shared.sealing.hpke import SealingPrivateKey
from shared.signing import EvidencePublicKey

TARGET = f"{ORGANISATION}/policy.json"


def new_signer() -> CryptoSigner:
    return CryptoSigner(ec.generate_private_key(ec.SECP256R1()))


@dataclass(frozen=True)
class CentreKeys:
    """The private halves that only the centre has, so that a test can open what the agent sealed."""

    data: SealingPrivateKey
    index: SealingPrivateKey
    audit: SealingPrivateKey

    @classmethod
    def new(cls, random_bytes: RandomBytes) -> "CentreKeys":
        return cls(*(SealingPrivateKey(random_bytes(32)) for _ in range(3)))

    def public(self) -> tuple[SealingKey, ...]:
        return (
            SealingKey(KeyPurpose.DATA, "restricted", 1, self.data.public),
            SealingKey(KeyPurpose.INDEX, "", 1, self.index.public),
            SealingKey(KeyPurpose.AUDIT, "", 1, self.audit.public),
        )


def document(
    version: int, keys: CentreKeys, receipt_key: EvidencePublicKey, ae_titles: tuple[str, ...] = ("CT1",)
) -> PolicyDocument:
    return PolicyDocument(
        layer=ORGANISATION,
        version=version,
        modalities=tuple(Modality(title, "a modality") for title in ae_titles),
        keys=keys.public(),
        receipt_key=receipt_key,
        grading=Grading("restricted"),
        state_every_s=1,
        pull_every_s=3600,
    )


@dataclass
class PolicySigners:
    """Signs one layer's policies. `now` moves only where a test wants metadata that has expired."""

    person: CryptoSigner = field(default_factory=new_signer)
    online: CryptoSigner = field(default_factory=new_signer)
    lasts: timedelta = timedelta(days=30)
    signed_at: datetime | None = None  # as the timestamp says; None: it does not
    head_version: int = 0
    roots: tuple[bytes, ...] = ()
    targets: bytes = b""
    targets_version: int = 0

    def __post_init__(self) -> None:
        self.delegate(self.person)

    @property
    def root(self) -> bytes:
        """The root that a host is born with."""
        return self.roots[0]

    def delegate(self, *signers: CryptoSigner) -> None:
        """Have each of `signers` sign for targets and the layer from the next head on, by a new root."""
        self.targets_version += 1
        root = Root(self.targets_version, expires=self._expires(), consistent_snapshot=True)
        root.add_key(self.person.public_key, "root")
        for signer in signers:
            root.add_key(signer.public_key, "targets")
        for name in ("snapshot", "timestamp"):
            root.add_key(self.online.public_key, name)
        self.roots = (*self.roots, _signed(Metadata(root), self.person))
        keys = {signer.public_key.keyid: signer.public_key for signer in signers}
        role = DelegatedRole(ORGANISATION, list(keys), 1, False, paths=[f"{ORGANISATION}/*"])
        targets = Targets(
            self.targets_version, expires=self._expires(), delegations=Delegations({**keys}, {ORGANISATION: role})
        )
        self.targets = _signed(Metadata(targets), self.person)

    def publish(self, policy: bytes, version: int) -> tuple[HeadBundle, LayerBundle]:
        """Return the bundles that make `policy` current."""
        target = TargetFile.from_data(TARGET, policy, ["sha256"])
        layer = Targets(version=version, expires=self._expires(), targets={TARGET: target})
        metadata = _signed(Metadata(layer), self.person)
        return self.head(metadata, version), LayerBundle(ORGANISATION, metadata, policy)

    def head(self, layer_metadata: bytes, version: int) -> HeadBundle:
        """Return a new head over layer metadata that is signed already."""
        self.head_version += 1
        meta = {
            "targets.json": MetaFile.from_data(self.targets_version, self.targets, ["sha256"]),
            f"{ORGANISATION}.json": MetaFile.from_data(version, layer_metadata, ["sha256"]),
        }
        snapshot = _signed(Metadata(Snapshot(self.head_version, expires=self._expires(), meta=meta)), self.online)
        stamp = Timestamp(
            self.head_version,
            expires=self._expires(),
            snapshot_meta=MetaFile.from_data(self.head_version, snapshot, ["sha256"]),
            unrecognized_fields={} if self.signed_at is None else {"signed_at": clock.text(self.signed_at)},
        )
        return HeadBundle(self.roots, _signed(Metadata(stamp), self.online), snapshot, self.targets)

    def _expires(self) -> datetime:
        # TUF's client reads the machine's own clock, so what it judges has to be made by the same one.
        return (datetime.now(UTC) + self.lasts).replace(microsecond=0)  # noqa: TID251


def _signed(
    metadata: "Metadata[Root] | Metadata[Targets] | Metadata[Snapshot] | Metadata[Timestamp]", signer: CryptoSigner
) -> bytes:
    metadata.sign(signer)
    return metadata.to_bytes()
