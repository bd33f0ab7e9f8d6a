"""Takes back a host that was enrolled within what the log lost: as the same host, by evidence, and by two persons.

It shows what nobody but the authority and itself can make: a certificate for its evidence key that leads to our root
and began within the loss, and a statement by that key. What the log does not say of it, two persons answer for.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.checkpoints.forgotten import began_within_a_loss
from control_plane.db.models import Certificate, Fact, Host, TwoPersonRequest
from control_plane.db.transactions import in_one_commit
from control_plane.enrolment import authority, codes, tombstones
from control_plane.enrolment.authority import Kind
from control_plane.enrolment.issuance import Issued, Why
from control_plane.people.two_persons import AlreadyAsked, Journal, Request
from shared.audit.attempt import failure
from shared.audit.record import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.enrolment.chain import ChainBroken, Trust, parse_chain, verify_chain
from shared.enrolment.claim import ClaimFile, HostClaim, verify_claim
from shared.errors import IntegrityFailure, Refused
from shared.identity import HostId
from shared.signing import EvidencePublicKey

TAKE_BACK = "take-back-host"
_REASON = "enrolled within what the log lost; taken back by two persons, by its certificate"


class NotTakenBack(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(f"this host is not taken back: {why}")
        self.why = why


@dataclass(frozen=True)
class Proved:
    """A claim, and the certificate that says whose key signed it."""

    claim: HostClaim
    key: EvidencePublicKey
    certificate: x509.Certificate

    @property
    def host_id(self) -> HostId:
        return self.claim.host_id


def said_of(claim: HostClaim) -> str:
    """Return what the reason of a request begins with: the second person decides by what the host says of itself."""
    return f"{claim.asset}, {' '.join(claim.layers) or 'no further layers'}: "


def prove(data: bytes, trust: Trust) -> Proved:
    """Return what a claim's file proves by itself. Raises Malformed, NotTakenBack, WrongSigner, SignatureInvalid."""
    file = ClaimFile.parse(data)
    certificate, *between = parse_chain(file.evidence_certificate.encode(), "evidence certificate")
    try:
        verify_chain(certificate, trust, between, at=certificate.not_valid_before_utc)
    except ChainBroken as exc:
        raise NotTakenBack(f"its certificate was not issued here: {exc}") from exc
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise NotTakenBack("its certificate is not for an ECDSA P-256 key")
    public = EvidencePublicKey(key)
    claim = verify_claim(file, public)
    units, names = (
        [one.value for one in certificate.subject.get_attributes_for_oid(oid)]
        for oid in (NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.COMMON_NAME)
    )
    if (units, names) != ([Kind.EVIDENCE.value], [str(claim.host_id)]):
        raise NotTakenBack("its certificate is not one for this host's evidence")
    return Proved(claim, public, certificate)


class TakingBack:
    """`revoked` reads the list beside the root key, which no loss of the log has forgotten."""

    action, kind = TAKE_BACK, "host"

    def __init__(
        self,
        database: sessionmaker[Session],
        journal: Journal,
        trust: Trust,
        revoked: Callable[[], Mapping[HostId, int]],
        clock: Clock,
    ) -> None:
        self._database, self._journal, self._trust = database, journal, trust
        self._revoked, self._clock = revoked, clock

    def offer(self, person: str, data: bytes) -> HostClaim:
        """Keep a claim for two persons to decide about. What is refused leaves an audit record.

        Raises Malformed, NotTakenBack, Tombstoned, AlreadyAsked, WrongSigner, SignatureInvalid, RevokedFileUnusable.
        """
        who = (Participant("person", person, True),)
        try:
            proved = prove(data, self._trust)
            in_one_commit(self._database, lambda session: self._keep(session, proved, data))
        except (Refused, IntegrityFailure) as exc:
            asked = Happening(Event.REQUEST_MADE, Action.EXECUTE, Outcome.SUCCESS, who, (Subject("act", TAKE_BACK),))
            self._journal.record(failure(asked, Event.REQUEST_MADE, exc))
            raise
        return proved.claim

    def verify(self, session: Session, subject: str) -> None:
        """Raises what `offer` does."""
        self._verify(session, self._kept(session, subject))

    def perform(self, session: Session, request: Request, approver: str) -> None:
        """Raises what `offer` does."""
        proved = self._kept(session, request.subject)
        self._verify(session, proved)
        claim, name = proved.claim, str(proved.host_id)
        if not request.reason.startswith(said_of(claim)):
            raise NotTakenBack("another claim of it was handed in than the one that was asked about; ask again")
        session.add(
            Host(
                host_id=name, asset=claim.asset, enrolled=proved.certificate.not_valid_before_utc,
                evidence_spki=proved.key.spki, state_number=0, parts=codes.parts_text(claim.layers),
                machine=tombstones.machine_text(claim.machine), replaces=None,
            )
        )  # fmt: skip
        self._note(session, proved)
        who = (Participant("person", approver, True), Participant("person", request.asked_by, False))
        layers = tuple(Subject("layer", part) for part in claim.layers)
        what = (Subject("host", name), Subject("asset", claim.asset), *layers)
        happening = Happening(Event.HOST_ENROLLED, Action.CREATE, Outcome.SUCCESS, who, what, _REASON)
        self._journal.append(session, happening)
        session.delete(session.get_one(Fact, _fact(name)))

    def afterwards(self, subject: str) -> None:
        """Nothing is left to do: the host is let in at its next request."""

    def _keep(self, session: Session, proved: Proved, data: bytes) -> None:
        self._verify(session, proved)
        name, now = str(proved.host_id), self._clock.now()
        about = (TwoPersonRequest.action == TAKE_BACK, TwoPersonRequest.subject == name)
        undecided = (TwoPersonRequest.decided.is_(None), TwoPersonRequest.expires > now)
        # Or the second person would approve another claim than the one that the first looked at.
        if asked := session.scalar(select(TwoPersonRequest.request_id).where(*about, *undecided)):
            raise AlreadyAsked(asked)
        session.merge(Fact(name=_fact(name), value=data.decode()))

    def _kept(self, session: Session, subject: str) -> Proved:
        fact = session.get(Fact, _fact(subject))
        if fact is None:
            raise NotTakenBack("no claim of it is held here; hand it in again")
        return prove(fact.value.encode(), self._trust)

    def _verify(self, session: Session, proved: Proved) -> None:
        if session.get(Host, str(proved.host_id)) is not None:
            raise NotTakenBack("it is known here")
        if proved.host_id in self._revoked():
            raise NotTakenBack("it was revoked since")
        if session.scalar(select(Host.host_id).where(Host.evidence_spki == proved.key.spki)) is not None:
            raise NotTakenBack("its key is another host's")
        if not began_within_a_loss(session, proved.certificate):
            raise NotTakenBack("its certificate is not of a time of which the log lost anything")
        tombstones.verify_none(session, proved.claim.asset, proved.claim.machine)

    def _note(self, session: Session, proved: Proved) -> None:
        """Note the certificate again, with its record: it was issued, and the log lost that."""
        serial, name = f"{proved.certificate.serial_number:x}", str(proved.host_id)
        if session.get(Certificate, serial) is None:
            issued = proved.certificate.not_valid_before_utc
            authority.keep(session, Kind.EVIDENCE, name, proved.certificate, issued=issued)
            noted = Issued.of(proved.certificate, Kind.EVIDENCE.value, name, Why.WITHIN_A_LOSS.value)
            self._journal.append(session, noted.happening())


def _fact(host_id: str) -> str:
    return f"claim of {host_id}"
