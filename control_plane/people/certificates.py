"""Certificates of people: a few hours, for a key on their own machine, in the place of a token at the command line.

Each is a session too, so whatever ends sessions ends it: at the next request, and without a list of revoked ones.
docs/adr/0029-certificates-for-people.md
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from threading import Lock
from typing import Protocol, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Person, PersonSession
from control_plane.enrolment.authority import Issuer, Kind
from control_plane.enrolment.enroller import requested_key
from control_plane.people.accounts import CERTIFICATE, NotSignedIn, SignedIn, valid_session
from control_plane.people.secret_text import new_id
from control_plane.people.signed_request import Proof, SignatureWrong
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.enrolment.chain import ChainBroken, Trust, parse_chain, verify_chain
from shared.errors import Malformed, Refused
from shared.identity import HostId

APART = timedelta(minutes=1)
T = TypeVar("T")


class NameOfAHost(Refused):
    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is how a host is called; an account of that name gets no certificate")
        self.name = name


class Journal(Protocol):
    def append(self, session: Session, happening: Happening, /) -> None: ...


class Proving(Protocol):
    """Who judges name, password and second factor together (signing_in.py)."""

    def judged_at_once(
        self, name: str, password: str, code: str, address: str, then: Callable[[Session, Person, str], T], /
    ) -> T: ...


@dataclass(frozen=True)
class PersonCertificate:
    pem: str
    session_id: str
    expires: datetime


class PersonCertificates:
    def __init__(
        self, database: sessionmaker[Session], journal: Journal, issuer: Issuer, trust: Trust, proving: Proving,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._database, self._journal, self._issuer, self._trust = database, journal, issuer, trust
        self._proving, self._clock = proving, clock
        self._begun, self._shown, self._turn = clock.now(), dict[str, datetime](), Lock()

    def issue(self, name: str, password: str, code: str, csr: str, address: str) -> PersonCertificate:
        """Certify a key of whoever proves themselves.

        Raises Malformed, NotProved, TooManyFailures, NameOfAHost, and what forbids any certificate.
        """
        key = requested_key(csr)

        def certify(session: Session, person: Person, how: str) -> PersonCertificate:
            _verify_of_nobody_else(person.name)
            certificate = self._issuer.issue(session, Kind.PERSON, person.name, key)
            return self._begin(session, person, certificate, how)

        return self._proving.judged_at_once(name, password, code, address, certify)

    def by_request(self, proof: Proof, body: Callable[[], bytes]) -> SignedIn:
        """Return who signed a request. `body` is read only once the rest holds. Raises NotSignedIn."""
        now = self._clock.now()
        try:
            proof.verify()
            verify_chain(proof.certificate, self._trust, at=now)
        except (SignatureWrong, ChainBroken) as exc:
            raise NotSignedIn from exc
        person = self._by_certificate(proof.certificate, now)
        if not proof.is_of(body()) or not self._is_new(proof, now):
            raise NotSignedIn
        return person

    def _begin(self, session: Session, person: Person, pem: str, how: str) -> PersonCertificate:
        certificate, now = parse_chain(pem.encode(), "certificate")[0], self._clock.now()
        expires, session_id = certificate.not_valid_after_utc, new_id()
        session.add(
            PersonSession(
                session_id=session_id, secret_sha256=_digest(certificate), person=person.name, how=CERTIFICATE,
                began=now, used=now, expires=expires,
            )
        )  # fmt: skip
        who, what = (Participant("person", person.name, True),), (Subject("session", session_id),)
        reason = f"{CERTIFICATE}, {how}"
        self._journal.append(session, Happening(Event.SIGNED_IN, Action.EXECUTE, Outcome.SUCCESS, who, what, reason))
        return PersonCertificate(pem, session_id, expires)

    def _by_certificate(self, certificate: x509.Certificate, now: datetime) -> SignedIn:
        """Return whose it is. What it says of itself counts, and that its session goes on. Raises NotSignedIn."""
        mine = PersonSession.secret_sha256 == _digest(certificate), PersonSession.how == CERTIFICATE
        asked = (
            select(Person, PersonSession.session_id)
            .join(PersonSession, PersonSession.person == Person.name)
            .where(*mine, valid_session(now), Person.removed.is_(None))
        )
        with self._database() as session:
            found = session.execute(asked).one_or_none()
        if found is None or _named(certificate) != ([Kind.PERSON.value], [found[0].name]):
            raise NotSignedIn
        return SignedIn(found[0].name, found[0].role, session_id=found[1])

    def _is_new(self, proof: Proof, now: datetime) -> bool:
        """Return whether this very request is of now and did not come before."""
        created = proof.created
        # What was shown to an earlier process is not known here.
        if not max(now - APART, self._begun).timestamp() - 1 <= created <= (now + APART).timestamp():
            return False
        with self._turn:
            self._shown = {nonce: until for nonce, until in self._shown.items() if until > now}
            if proof.nonce in self._shown:
                return False
            self._shown[proof.nonce] = now + 3 * APART
            return True


def _verify_of_nobody_else(name: str) -> None:
    """Raises NameOfAHost."""
    try:
        HostId.parse(name)
    except Malformed:
        return
    raise NameOfAHost(name)


def _named(certificate: x509.Certificate) -> tuple[list[str], list[str]]:
    def of(oid: x509.ObjectIdentifier) -> list[str]:
        return [str(one.value) for one in certificate.subject.get_attributes_for_oid(oid)]

    return of(NameOID.ORGANIZATIONAL_UNIT_NAME), of(NameOID.COMMON_NAME)


def _digest(certificate: x509.Certificate) -> bytes:
    return sha256(certificate.public_bytes(Encoding.DER)).digest()
