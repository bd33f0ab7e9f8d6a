"""How the authority changes: a fresh issuing key that the root certifies, and a new root that the old one vouches for.

    at the centre      request: a fresh key, and what it is to be certified for
    at the root's key  sign: the root's word for it            rotate: a new root, and two links (RFC 4210 section 4.4)
    at the centre      install: verified, recorded, in use from the next start on

What crosses between the two are files that anybody may see.  docs/formats/enrolment.md section 6
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.journal import CentreJournal
from control_plane.db.transactions import in_one_commit
from control_plane.enrolment import authority, profiles
from control_plane.enrolment.authority import Authority, Kind
from control_plane.enrolment.issuance import Issued, Why
from control_plane.enrolment.profiles import BACKDATED, IssuingRequest, NotRequested
from control_plane.enrolment.root_key import KeyOfAnotherRoot
from control_plane.keys.store import KeyStore
from shared.audit.attempt import failure
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.enrolment.chain import (
    Chain,
    ChainBroken,
    Trust,
    follow,
    is_authority,
    is_valid_at,
    organisation,
    parse_chain,
    permitted_names,
)
from shared.errors import Refused

_MOST = 8


class NotInstalled(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(f"nothing was installed: {why}")
        self.why = why


@dataclass(frozen=True)
class Installed:
    kind: Kind
    certificate: x509.Certificate


class AuthorityChanges:
    """What a named person changes about a centre's authority. Each attempt leaves an audit record."""

    def __init__(
        self, database: sessionmaker[Session], keys: KeyStore, journal: CentreJournal, ca: Authority, person: str
    ) -> None:
        self._database, self._keys, self._journal, self._ca = database, keys, journal, ca
        self._who = (Participant("person", person, True),)

    def request(self, hosts: Sequence[str] = ()) -> IssuingRequest:
        """Return what to have signed, for the names of now and `hosts`; a key without a certificate is taken again."""
        name = self._keys.issuing_keys()[-1]
        certified = [self._ca.issuing, *self._ca.earlier]
        key = self._keys.p256(name)
        if any(one.key.public_key() == key.public_key() for one in certified):
            key = self._keys.create_issuing_key()
        request = profiles.request_issuing(key, self._ca.root, tuple(dict.fromkeys((*self._ca.issuing.names, *hosts))))
        names = (Subject("address", one) for one in request.names)
        what = (Subject("issuing", profiles.common_name(request.csr)), *names)
        self._journal.record(Happening(Event.ISSUING_REQUESTED, Action.CREATE, Outcome.SUCCESS, self._who, what))
        return request

    def install(self, pem: bytes, host: str) -> Installed:
        """Take in what the root signed; `host` is what hosts reach this machine by.

        Raises Malformed, NotInstalled, NotRequested, ChainBroken; then nothing has changed.
        """
        offered = parse_chain(pem, "file of an authority", most=_MOST)
        is_root = any(one.subject == one.issuer for one in offered)
        event = Event.ROOT_INSTALLED if is_root else Event.ISSUING_INSTALLED
        try:
            return self._install_root(offered) if is_root else self._install_issuing(offered, host)
        except Refused as exc:
            happening = Happening(event, Action.UPDATE, Outcome.SUCCESS, self._who)
            self._journal.record(failure(happening, event, exc))
            raise

    def _install_issuing(self, offered: Chain, host: str) -> Installed:
        (issuing,) = offered if len(offered) == 1 else (None,)
        if issuing is None or not is_authority(issuing):
            raise NotInstalled("the file does not hold one certificate of an issuing CA, or a new root with its links")
        if any(one.certificate == issuing for one in (self._ca.issuing, *self._ca.earlier)):
            raise NotInstalled("this certificate is installed already")
        newest = self._keys.p256(self._keys.issuing_keys()[-1])
        try:
            profiles.verify_issuing(issuing, Trust((self._ca.root,)), newest.public_key())
        except ChainBroken as exc:
            raise NotInstalled(f"the newest root did not certify it: {exc}") from exc
        if not profiles.is_permitted(issuing, host):
            raise NotRequested(f"the certificate does not permit {host}, which hosts reach this machine by")
        now = self._ca.clock.now()
        if not is_valid_at(issuing, now):
            raise NotInstalled("the certificate is not valid now; compare the clocks of the two machines")
        name = profiles.common_name(issuing)
        names = (Subject("address", one) for one in permitted_names(issuing))
        happening = Happening(
            Event.ISSUING_INSTALLED, Action.UPDATE, Outcome.SUCCESS, self._who, (Subject("issuing", name), *names)
        )

        def work(session: Session) -> None:
            self._journal.append(session, happening)
            self._keep(session, Kind.CA, issuing, now)

        in_one_commit(self._database, work)
        return Installed(Kind.CA, issuing)

    def _install_root(self, offered: Chain) -> Installed:
        newest, *links = follow(self._ca.root, offered) or (None,)
        if newest is None:
            raise NotInstalled("the file holds no root that is newer than the one in use")
        if not any(one.public_key() == self._ca.root.public_key() and one.issuer == newest.subject for one in links):
            raise NotInstalled("the new root does not vouch for the one in use, so evidence of until now would be lost")
        now, digest = self._ca.clock.now(), authority.fingerprint(newest)
        if organisation(newest) != organisation(self._ca.root):
            raise NotInstalled("the new root is of another organisation")
        happening = Happening(
            Event.ROOT_INSTALLED, Action.UPDATE, Outcome.SUCCESS, self._who, (Subject("root", digest.hex()),)
        )

        def work(session: Session) -> None:
            self._journal.append(session, happening)
            self._keys.keep_root(session, digest)
            self._keep(session, Kind.ROOT, newest, now)
            for link in links:
                if link not in self._ca.links:
                    self._keep(session, Kind.LINK, link, now)

        in_one_commit(self._database, work)
        return Installed(Kind.ROOT, newest)

    def _keep(self, session: Session, kind: Kind, certificate: x509.Certificate, now: datetime) -> None:
        """Keep what the root's holder issued elsewhere, and the record of it that every certificate has."""
        name = profiles.common_name(certificate)
        authority.keep(session, kind, name, certificate, issued=now)
        issued = Issued.of(certificate, kind.value, name, Why.INSTALLED.value)
        self._journal.append(session, issued.happening())


def sign(request: IssuingRequest, key: ec.EllipticCurvePrivateKey, now: datetime) -> x509.Certificate:
    """Return the root's word for a request. Raises KeyOfAnotherRoot."""
    verify_is_of(request.root, key)
    return profiles.make_issuing(request, key, now)


def rotate(
    root: x509.Certificate, key: ec.EllipticCurvePrivateKey, new_key: ec.EllipticCurvePrivateKey, now: datetime
) -> Chain:
    """Return a new root of the same centre, the old one's word for it, and its word for the old one.

    Raises KeyOfAnotherRoot.
    """
    verify_is_of(root, key)
    # Whoever follows goes by which root is the later one.
    not_before = max(now - BACKDATED, root.not_valid_before_utc + timedelta(seconds=1))
    newest = profiles.make_root(new_key, organisation(root) or "", not_before)
    return newest, profiles.make_link(newest, root, key), profiles.make_link(root, newest, new_key)


def verify_is_of(root: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    """Raises KeyOfAnotherRoot."""
    if root.public_key() != key.public_key():
        raise KeyOfAnotherRoot
