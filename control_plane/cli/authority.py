"""Commands about the certificate authority: at the centre, and on the machine where the root's key is."""

import json
import os
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane import first_start
from control_plane.audit_log.journal import CentreJournal
from control_plane.cli.running import folders_of
from control_plane.db.engine import close_database, open_database
from control_plane.db.place import url_of
from control_plane.durable import write_new
from control_plane.enrolment import authority, profiles, rotation
from control_plane.enrolment.authority import Authority, Kind
from control_plane.enrolment.root_key import KeyOnToken, NewKeyFile, RootKeyPlace, load_key_file
from control_plane.enrolment.rotation import AuthorityChanges
from control_plane.erasure.private_parts import PrivateParts
from control_plane.keys.root import load_root_key
from control_plane.keys.store import JOURNAL, KeyStore
from control_plane.people.accounts import Accounts
from control_plane.people.decide import Permission
from control_plane.people.permissions import verify_permitted
from control_plane.policy.authoring import load_credential
from control_plane.settings import verify_host_name
from control_plane.tlog.sequencer import Sequencer
from shared import clock as clocks
from shared.clock import SystemClock
from shared.enrolment.chain import organisation, parse_chain, pem_of, permitted_names
from shared.errors import Refused

_OWNER_ONLY = 0o077


class NotConfirmed(Refused):
    def __init__(self) -> None:
        super().__init__("nothing was signed: you did not say yes")


def show(options: Namespace) -> int:
    with _Opened(options) as opened:
        ca = opened.ca
    if options.pem:
        print(ca.trust.pem().decode(), end="")
    elif options.json:
        print(json.dumps(_facts(ca)))
    else:
        print("\n".join(_lines(ca)))
    return 0


def request(options: Namespace) -> int:
    for host in options.host:
        verify_host_name(host)
    _refuse_to_overwrite(options.out)
    with _Opened(options) as opened:
        made = opened.changes(options.credential).request(options.host)
    write_new(options.out, made.pem())
    if options.json:
        print(json.dumps({"request": str(options.out), "names": list(made.names)}))
        return 0
    print(f"{options.out}: the request, for {', '.join(made.names)}; it is no secret")
    print("where the root's key is: leadglass-server authority sign FILE --key authority-root-key.pem --out SIGNED")
    return 0


def sign(options: Namespace) -> int:
    _refuse_to_overwrite(options.out)
    asked = profiles.parse_request(options.file.read_bytes())
    print(f"centre     {organisation(asked.root)}")
    print(f"root       SHA-256 {authority.fingerprint(asked.root).hex()}")
    print(f"to certify {profiles.common_name(asked.csr)}, which then may certify hosts and services of this centre,")
    print(f"           and servers for {', '.join(asked.names)}, and for names below them")
    _confirm(options)
    signed = rotation.sign(asked, _key(options.key, options.token, options.id), SystemClock().now())
    write_new(options.out, pem_of([signed]))
    print(f"{options.out}: valid until {clocks.text(signed.not_valid_after_utc)}; at the centre: "
          "leadglass-server authority install FILE")  # fmt: skip
    return 0


def install(options: Namespace) -> int:
    with _Opened(options) as opened:
        changes = opened.changes(options.credential)
        installed = changes.install(options.file.read_bytes(), first_start.host_of(folders_of(options)))
    digest = authority.fingerprint(installed.certificate).hex()
    if options.json:
        print(json.dumps({"kind": installed.kind.value, "sha256": digest}))
    elif installed.kind is Kind.ROOT:
        print(f"new root, SHA-256 {digest}: codes name it from the next start on, and hosts follow by themselves")
        print("have it certify an issuing key next: leadglass-server authority request")
    else:
        print(f"{profiles.common_name(installed.certificate)} issues from the next start on, "
              f"until {clocks.text(installed.certificate.not_valid_after_utc)}")  # fmt: skip
    return 0


def rotate_root(options: Namespace) -> int:
    _refuse_to_overwrite(options.out)
    root = parse_chain(options.root.read_bytes(), str(options.root))[0]
    print(f"centre     {organisation(root)}")
    print(f"old root   SHA-256 {authority.fingerprint(root).hex()}, until {clocks.text(root.not_valid_after_utc)}")
    _confirm(options)
    old = _key(options.key, options.token, options.id)
    rotation.verify_is_of(root, old)
    new = place(options.new_key, options.new_token, options.new_id).make()
    made = rotation.rotate(root, old, new, SystemClock().now())
    write_new(options.out, pem_of(made))
    print(
        f"new root   SHA-256 {authority.fingerprint(made[0]).hex()}, until {clocks.text(made[0].not_valid_after_utc)}"
    )
    print(f"{options.out}: at the centre: leadglass-server authority install FILE")
    return 0


def place(file: Path | None, token: str | None, key_id: int) -> RootKeyPlace:
    """Return where the key of a new root is to lie: one of the two is given."""
    return KeyOnToken(token, key_id) if token is not None else NewKeyFile(file or Path())


def _key(file: Path | None, token: str | None, key_id: int) -> ec.EllipticCurvePrivateKey:
    return KeyOnToken(token, key_id).make() if token is not None else load_key_file(file or Path())


def _confirm(options: Namespace) -> None:
    """Raises NotConfirmed."""
    if not options.yes and input("sign this? type yes: ").strip() != "yes":
        raise NotConfirmed


def _refuse_to_overwrite(file: Path) -> None:
    if file.exists():
        raise FileExistsError(17, "exists already; it is never overwritten", str(file))


class _Opened:
    """A data folder whose authority is looked at or changed, beside a control plane that may be running."""

    def __init__(self, options: Namespace) -> None:
        """Raises NotInitialised, RootKeyMissing, and what `authority.load` raises."""
        folders, self._clock = folders_of(options), SystemClock()
        first_start.verify_initialised(folders)
        os.umask(_OWNER_ONLY)
        self._database = open_database(url_of(folders))
        self._keys = KeyStore(self._database, load_root_key(folders.root_key_now), self._clock)
        self.ca = authority.load(self._database, self._keys, self._clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        close_database(self._database)

    def changes(self, credential: Path) -> AuthorityChanges:
        """Raises NotSignedIn, NotPermitted."""
        person = Accounts(self._database, self._clock).by_token(load_credential(credential).token)
        verify_permitted(person, Permission.AUTHORITY_CHANGE)
        journal = CentreJournal(
            self._database,
            self._keys.signer(JOURNAL),
            Sequencer(self._keys.log_signer()),
            PrivateParts(self._keys).sealing,
            self._clock,
        )
        return AuthorityChanges(self._database, self._keys, journal, self.ca, person.name)


def _facts(ca: Authority) -> dict[str, object]:
    return {
        "root": _fact(ca.root),
        "earlier_roots": [_fact(one) for one in ca.trust.roots[1:]],
        "issuing": {**_fact(ca.issuing.certificate), "names": list(permitted_names(ca.issuing.certificate))},
        "earlier_issuing": [_fact(one.certificate) for one in ca.earlier],
    }


def _fact(certificate: x509.Certificate) -> dict[str, object]:
    return {
        "name": profiles.common_name(certificate),
        "sha256": authority.fingerprint(certificate).hex(),
        "expires": clocks.text(certificate.not_valid_after_utc),
    }


def _lines(ca: Authority) -> Iterator[str]:
    yield f"centre   {organisation(ca.root)}"
    for one in ca.trust.roots:
        yield f"root     SHA-256 {authority.fingerprint(one).hex()}, until {clocks.text(one.not_valid_after_utc)}"
    for issuing in (ca.issuing, *ca.earlier):
        certificate = issuing.certificate
        yield (
            f"issuing  {profiles.common_name(certificate)}, until {clocks.text(certificate.not_valid_after_utc)}, "
            f"for {', '.join(permitted_names(certificate))}"
        )
    yield "the first of each is in use; the others stay known, so that what they certified goes on"
