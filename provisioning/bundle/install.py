"""Installs from a bundle on a host: read once, verified, and only then unpacked with dpkg.

It is copied while it is verified, and the copy is what is used: a stick that gives other bytes the second time it is
read gives nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from provisioning.bundle.fingerprint import names
from provisioning.bundle.host import Host, field, is_older
from provisioning.bundle.needed import AGENT
from provisioning.bundle.verify import Trusted, Verified, verify
from shared.errors import Malformed, Refused
from shared.signing import EvidencePublicKey


class OlderBundle(Refused):
    def __init__(self, version: str, installed: str) -> None:
        super().__init__(
            f"the bundle holds version {version}, and {installed} is installed: it is genuine and older. To go back on "
            f"purpose: --downgrade {version}"
        )
        self.version, self.installed = version, installed


class NoKeyYet(Refused):
    def __init__(self) -> None:
        super().__init__(
            "this host has taken no bundle yet, so it knows no release key: --fingerprint, and what your sheet says"
        )


@dataclass(frozen=True)
class Wish:
    """`fingerprint`: of the key on the engineer's sheet; `downgrade`: to which version, where that is older."""

    fingerprint: str | None = None
    downgrade: str | None = None


def trusted(host: Host, wish: Wish) -> Trusted:
    """Raises NoKeyYet, Malformed, OSError."""
    pinned = host.keys()
    if wish.fingerprint is None and not pinned:
        raise NoKeyYet

    def is_trusted(key: EvidencePublicKey) -> bool:
        return key in pinned if wish.fingerprint is None else names(key, wish.fingerprint)

    return is_trusted


def verify_on(host: Host, bundle: Path, wish: Wish) -> Verified:
    """Read all of it and keep nothing. Raises what `verify` raises, OlderBundle, NoKeyYet, OSError."""
    with bundle.open("rb") as file:
        verified = verify(file, trusted(host, wish), lambda _name: len)
    _verify_not_older(host, verified, wish)
    return verified


def install(host: Host, bundle: Path, wish: Wish) -> tuple[Verified, Path]:
    """Return what the bundle is, and where its site files and guides lie.

    Raises what `verify` raises, OlderBundle, NoKeyYet, DpkgFailed, OSError.
    """
    with host.unpacking() as sink:
        with bundle.open("rb") as file:
            verified = verify(file, trusted(host, wish), sink)
        _verify_not_older(host, verified, wish)
    place = host.keep(verified.manifest.version)
    host.pin(keys_after(host.keys(), verified, wish))
    packages = sorted((place / "packages").iterdir())
    wanted = [package for package in packages if _is_wanted(host, package, verified.manifest.version)]
    if wanted:
        host.install(wanted)
    return verified, place


def keys_after(pinned: Sequence[EvidencePublicKey], verified: Verified, wish: Wish) -> Sequence[EvidencePublicKey]:
    """Return by which keys the next bundle is judged: going back brings none back that was given up since."""
    if wish.downgrade is not None and pinned:
        return pinned
    return verified.manifest.keys or (verified.key,)


def _verify_not_older(host: Host, verified: Verified, wish: Wish) -> None:
    version, installed = verified.manifest.version, host.begun(AGENT)
    if installed is not None and is_older(version, installed) and wish.downgrade != version:
        raise OlderBundle(version, installed)


def _is_wanted(host: Host, package: Path, version: str) -> bool:
    name = field(package, "Package")
    if name != AGENT:
        return host.installed(name) is None
    if field(package, "Version") != version:
        raise Malformed("bundle", f"it says version {version} and holds another")
    return host.installed(name) != version
