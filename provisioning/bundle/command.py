"""`leadglass-provision bundle`: everything an engineer carries, in one signed file."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from provisioning.command import OK, Commands

if TYPE_CHECKING:
    from provisioning.bundle.host import Host
    from provisioning.bundle.install import Wish
    from shared.signing import SoftwareSigner

_MAKE = """\
Make a bundle, at the office, where the release key is. It prints what the engineer takes along on paper: the digest of
this very file, and the fingerprint of the key that signed it.
"""
_INSTALL = """\
Verify a bundle under the release key that this host knows and install it. The first one on a machine is verified with
the machine's own programs: see "From the offline bundle" in the engineer's guide.
"""


def add_to(commands: Commands) -> None:
    """Add `bundle` to the commands of `leadglass-provision`."""
    bundle = commands.add_parser("bundle", help="one signed file with everything: make, verify, install")
    actions = bundle.add_subparsers(required=True, metavar="ACTION")
    make = actions.add_parser("make", help="at the office, with the release key", description=_MAKE)
    make.add_argument("--key", type=Path, required=True, metavar="FILE", help="the release key, P-256, PEM")
    make.add_argument(
        "--packages", type=Path, required=True, metavar="DIR", help="our .deb and those that `bundle packages` names"
    )
    make.add_argument("--site", type=Path, action="append", default=[], metavar="FILE", help="a site file (repeatable)")
    make.add_argument("--guide", type=Path, action="append", default=[], metavar="FILE", help="a guide (repeatable)")
    make.add_argument(
        "--next-key", type=Path, action="append", default=[], metavar="FILE",
        help="a public key, PEM, by which hosts that take this bundle judge the next one too (repeatable)",
    )  # fmt: skip
    make.add_argument("--out", type=Path, required=True, metavar="DIR")
    make.set_defaults(run=_make)
    packages = actions.add_parser("packages", help="print which Debian packages `make` wants")
    packages.set_defaults(run=_packages)
    for name, what, run in (
        ("verify", "whether it is whole and was signed by a key that this host knows", _verify),
        ("install", "verify it, then install or upgrade from it (as root)", _install),
    ):
        action = actions.add_parser(name, help=what, description=_INSTALL if run is _install else None)
        action.add_argument("bundle", type=Path, metavar="FILE")
        action.add_argument("--fingerprint", metavar="HEX", help="of the release key, typed off the sheet")
        action.add_argument(
            "--downgrade", metavar="VERSION", help="take this version although a newer one is installed"
        )
        action.add_argument("--root", type=Path, default=Path("/"), help=argparse.SUPPRESS)
        action.set_defaults(run=run)


def _make(options: argparse.Namespace) -> int:
    from provisioning.bundle.host import field
    from provisioning.bundle.make import Contents, make, sheet
    from provisioning.bundle.manifest import Manifest, parse_pem
    from shared.clock import SystemClock

    signer = _signer(options.key)
    following = tuple(parse_pem(path.read_bytes()) for path in options.next_key)
    keys = (signer.public, *following) if following else ()
    now = SystemClock().now()
    contents = Contents(sorted(options.packages.glob("*.deb")), options.site, options.guide)
    options.out.mkdir(parents=True, exist_ok=True)
    bundle, digest = make(options.out, contents, lambda version: Manifest(version, now, keys), signer, field)
    print(f"{bundle}\n\nOn paper, not beside the bundle:\n\n{sheet(bundle, digest, signer)}")
    return OK


def _packages(_options: argparse.Namespace) -> int:
    from provisioning.bundle.needed import NEEDED

    print(*NEEDED, sep="\n")
    return OK


def _verify(options: argparse.Namespace) -> int:
    from provisioning.bundle.install import verify_on

    verified = verify_on(_host(options), options.bundle, _wish(options))
    print(f"whole, and signed by a release key that {'your sheet' if options.fingerprint else 'this host'} knows")
    print(f"version {verified.manifest.version}, made {verified.manifest.made:%Y-%m-%d %H:%M} UTC")
    return OK


def _install(options: argparse.Namespace) -> int:
    from provisioning.bundle.install import install

    verified, place = install(_host(options), options.bundle, _wish(options))
    print(f"version {verified.manifest.version} is installed; it activates nothing by itself")
    for site in sorted(place.glob("site/*")):
        print(f"next: leadglass-provision visit --site-file {site}")
    return OK


def _host(options: argparse.Namespace) -> "Host":
    from provisioning.bundle.host import Host

    return Host(options.root)


def _wish(options: argparse.Namespace) -> "Wish":
    from provisioning.bundle.fingerprint import typed
    from provisioning.bundle.install import Wish

    return Wish(typed(options.fingerprint) if options.fingerprint is not None else None, options.downgrade)


def _signer(path: Path) -> "SoftwareSigner":
    """Raises Malformed: no key, another kind, or a wrong passphrase."""
    from getpass import getpass

    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from shared.errors import Malformed
    from shared.signing import SoftwareSigner

    data = path.read_bytes()
    phrase = getpass("passphrase of the release key: ").encode() if b"ENCRYPTED" in data else None
    try:
        key = serialization.load_pem_private_key(data, phrase)
    except (ValueError, TypeError) as exc:
        raise Malformed(str(path), "not a private key in PEM, or another passphrase") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Malformed(
            str(path), "not an ECDSA P-256 key: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"
        )
    return SoftwareSigner(key)
