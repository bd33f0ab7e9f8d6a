"""Makes a bundle, at the office, where the release key is: `leadglass-provision bundle make`."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from provisioning.bundle import archive
from provisioning.bundle.archive import Member
from provisioning.bundle.fingerprint import fingerprint, groups
from provisioning.bundle.manifest import BEGIN, KEY, MANIFEST, SIGNATURE, SUMS, Manifest, pem, sums_text
from provisioning.bundle.needed import AGENT, NEEDED
from provisioning.site import parse_file
from shared.errors import Malformed, Refused
from shared.signing import EvidenceSigner, Label, sign_detached

Field = Callable[[Path, str], str]


class PackagesMissing(Refused):
    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(
            f"these Debian packages are not among those given: {', '.join(names)}; fetch them with "
            "`apt-get download $(leadglass-provision bundle packages)`"
        )
        self.names = names


class SiteHoldsCode(Refused):
    def __init__(self, site: str) -> None:
        super().__init__(
            f"{site} holds an enrolment code; whoever finds the stick could enrol: take it out of the file"
        )
        self.site = site


@dataclass(frozen=True)
class Contents:
    """The files that go in: packages of Debian and ours, site files, guides."""

    packages: Sequence[Path]
    sites: Sequence[Path] = ()
    guides: Sequence[Path] = ()


def make(
    out: Path, contents: Contents, manifest: Callable[[str], Manifest], signer: EvidenceSigner, field: Field
) -> tuple[Path, str]:
    """Return the bundle, made in the folder `out`, and the digest of the whole file.

    `field` reads a field of a package; `manifest` is given the version of ours.
    Raises PackagesMissing, SiteHoldsCode, Malformed, OSError.
    """
    version = _verify_packages(contents.packages, field)
    for site in contents.sites:
        if "code" in parse_file(site.read_text(encoding="utf-8")):
            raise SiteHoldsCode(site.name)
    sources: dict[str, Path | bytes] = {
        KEY: pem(signer.public),
        MANIFEST: manifest(version).encode(),
        BEGIN: Path(__file__).with_name(BEGIN).read_bytes(),
        **{f"packages/{_plain(path)}": path for path in contents.packages},
        **{f"site/{path.name}": path for path in contents.sites},
        **{f"guides/{path.name}": path for path in contents.guides},
    }
    sums = sums_text({name: _digest(source) for name, source in sources.items()})
    first: dict[str, Path | bytes] = {SUMS: sums, SIGNATURE: sign_detached(signer, Label.BUNDLE, sums)}
    bundle = out / f"leadglass-{version}.bundle"
    draft = bundle.with_name(f"{bundle.name}.new")
    with draft.open("wb") as file:
        _write(file, first | {KEY: sources.pop(KEY)} | dict(sorted(sources.items())))
    draft.replace(bundle)
    return bundle, _digest(bundle)


def sheet(bundle: Path, digest: str, signer: EvidenceSigner) -> str:
    """Return what the engineer takes along on paper, never beside the bundle."""
    return (
        f"{bundle.name}\n\nSHA-256 of this very file\n  {groups(digest)}\n\n"
        f"fingerprint of the release key that signed it\n  {groups(fingerprint(signer.public))}\n"
    )


def _verify_packages(packages: Sequence[Path], field: Field) -> str:
    found = {field(path, "Package"): path for path in packages}
    missing = [name for name in (AGENT, *NEEDED) if name not in found]
    if missing:
        raise PackagesMissing(missing)
    return field(found[AGENT], "Version")


def _plain(path: Path) -> str:
    # apt writes the colon of an epoch so, which no member may hold.
    return path.name.replace("%3a", "+")


def _write(out: BinaryIO, sources: Mapping[str, "Path | bytes"]) -> None:
    with ExitStack() as stack:
        opened: list[tuple[Member, BinaryIO]] = []
        for name, source in sources.items():
            if isinstance(source, bytes):
                opened.append((Member(name, len(source)), BytesIO(source)))
            else:
                opened.append((Member(name, source.stat().st_size), stack.enter_context(source.open("rb"))))
        if len(opened) > archive.MAX_MEMBERS or sum(member.size for member, _ in opened) > archive.MAX_BYTES:
            raise Malformed("bundle", f"more than {archive.MAX_MEMBERS} files or {archive.MAX_BYTES} bytes")
        archive.write(out, opened)


def _digest(source: "Path | bytes") -> str:
    if isinstance(source, bytes):
        return sha256(source).hexdigest()
    digest = sha256()
    with source.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
