"""Small bundles whose packages are packages by name only, and the release keys that sign them."""

from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from provisioning.bundle import archive
from provisioning.bundle.archive import Member
from provisioning.bundle.make import Contents, make
from provisioning.bundle.manifest import SIGNATURE, SUMS, Manifest, sums_text
from provisioning.bundle.needed import AGENT, NEEDED
from provisioning.bundle.verify import Verified, verify
from shared.signing import EvidencePublicKey, EvidenceSigner, Label, SoftwareSigner, sign_detached

WHEN = datetime(2026, 3, 1, tzinfo=UTC)
SITE = 'version = 1\ncentre = "https://centre.example:8441"\nasset = "CT 2"\n'


def release_key() -> SoftwareSigner:
    return SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))


def field(package: Path, name: str) -> str:
    return dict(zip(("Package", "Version"), package.stem.split("_"), strict=True))[name]


def small_bundle(folder: Path, signer: EvidenceSigner, version: str = "0.1.0") -> bytes:
    folder.mkdir(parents=True, exist_ok=True)
    packages = [folder / f"{name}_{version if name == AGENT else '1'}.deb" for name in (AGENT, *NEEDED)]
    for number, package in enumerate(packages):
        package.write_bytes(package.name.encode() * number)
    (folder / "ct2.toml").write_text(SITE)
    contents = Contents(packages, [folder / "ct2.toml"])
    path, _digest = make(folder, contents, lambda version: Manifest(version, WHEN), signer, field)
    return path.read_bytes()


def members(bundle: bytes) -> dict[str, bytes]:
    return {member.name: b"".join(content) for member, content in archive.read(BytesIO(bundle))}


def packed(contents: dict[str, bytes]) -> bytes:
    out = BytesIO()
    archive.write(out, [(Member(name, len(data)), BytesIO(data)) for name, data in contents.items()])
    return out.getvalue()


def signed_again(contents: dict[str, bytes], signer: EvidenceSigner) -> bytes:
    """Return a bundle of these members, its list made and signed by whoever `signer` is."""
    from hashlib import sha256

    rest = {name: data for name, data in contents.items() if name not in (SUMS, SIGNATURE)}
    sums = sums_text({name: sha256(data).hexdigest() for name, data in rest.items()})
    return packed({SUMS: sums, SIGNATURE: sign_detached(signer, Label.BUNDLE, sums), **rest})


def judged(bundle: bytes, *trusted: EvidencePublicKey) -> tuple[Verified, dict[str, bytes]]:
    """Return what the bundle is, and what was taken of it. Raises what `verify` raises."""
    taken: dict[str, bytearray] = {}
    verified = verify(BytesIO(bundle), trusted.__contains__, lambda name: taken.setdefault(name, bytearray()).extend)
    return verified, {name: bytes(data) for name, data in taken.items()}
