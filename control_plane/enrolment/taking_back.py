"""Takes back a host that was enrolled within what the log lost: as the same host, by evidence, and by two persons.

It shows what nobody but the authority and itself can make: a certificate for its evidence key that leads to our root
and began within the loss, and a statement by that key. What the log does not say of it, two persons answer for.

    claim, at the enrolment door or in a file ▸ kept, one of each host ▸ status ▸ people: taken back, or revoked
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.checkpoints.forgotten import began_before_a_settled_restore, began_within_a_loss
from control_plane.db.models import Certificate, Fact, Host, TwoPersonRequest
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.enrolment import authority, codes, tombstones
from control_plane.enrolment.authority import Kind
from control_plane.enrolment.issuance import Issued, Why
from control_plane.enrolment.revoked_file import RevokedFileUnusable
from control_plane.enrolment.standing import Standing
from control_plane.people.two_persons import AlreadyAsked, Journal, Request
from shared import clock as clocks
from shared.audit.attempt import failure
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.enrolment.chain import ChainBroken, Trust, parse_chain, verify_chain
from shared.enrolment.claim import ClaimFile, HostClaim, claimed, verify_claim
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.identity import HostId
from shared.signing import EvidencePublicKey

TAKE_BACK = "take-back-host"
_WITHIN = "enrolled within what the log lost; taken back by"
_FACT = "claim of "


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

    def shown(self, data: bytes) -> None:
        """Keep the claim that a host itself shows, so that people see it. It may show the same again and again.

        Raises what `offer` does, but for AlreadyAsked: what people decide about stays what it is then.
        """
        proved = prove(data, self._trust)
        in_one_commit(self._database, lambda session: self._take_note(session, proved, data))

    def kept(self, host_id: HostId) -> HostClaim:
        """Return what a host itself has shown. Raises NotTakenBack: nothing."""
        with snapshot(self._database) as session:
            return self._kept(session, str(host_id)).claim

    def waiting(self) -> list[Proved]:
        """Return the claims that people could decide about now, the first certified first."""
        with snapshot(self._database) as session:
            proved = [one for one in self._all(session) if self._is_good(session, one)]
        return sorted(proved, key=lambda one: one.certificate.not_valid_before_utc)

    def gaps(self) -> Iterator[str]:
        """Say which hosts were lost with the log, and what ends that."""
        for one in self.waiting():
            name, since = str(one.host_id), clocks.text(one.certificate.not_valid_before_utc)
            yield (
                f"{one.claim.asset}: a machine shows that it is {name}, certified at {since}; the log lost that it was "
                "enrolled, and nothing of it is taken. Ask whoever enrolled it; then `leadglass-server host take-back "
                f"{name} --reason …`, or `leadglass-server host revoke {name} --reason …`"
            )

    def row_of_lost(self, session: Session, host_id: HostId) -> Host | None:
        """Return the new row of a host by its claim, for whoever ends its identity; None where it has shown none.

        Raises what `offer` does.
        """
        if session.get(Fact, _fact(str(host_id))) is None:
            return None
        proved = self._kept(session, str(host_id))
        self._verify(session, proved)
        return self._add(session, proved)

    def verify(self, session: Session, subject: str) -> None:
        """Raises what `offer` does."""
        self._verify(session, self._kept(session, subject))

    def perform(self, session: Session, request: Request, approver: str) -> None:
        """Raises what `offer` does."""
        proved = self._kept(session, request.subject)
        self._verify(session, proved)
        claim = proved.claim
        if not request.reason.startswith(said_of(claim)):
            raise NotTakenBack("another claim of it was handed in than the one that was asked about; ask again")
        self._add(session, proved)
        alone = approver == request.asked_by
        others = () if alone else (Participant("person", request.asked_by, False),)
        layers = tuple(Subject("layer", part) for part in claim.layers)
        what = (Subject("host", str(claim.host_id)), Subject("asset", claim.asset), *layers)
        reason = f"{_WITHIN} {'the only administrator, alone' if alone else 'two persons'}, by its certificate"
        who = (Participant("person", approver, True), *others)
        self._journal.append(session, Happening(Event.HOST_ENROLLED, Action.CREATE, Outcome.SUCCESS, who, what, reason))

    def afterwards(self, subject: str) -> None:
        """Nothing is left to do: the host is let in at its next request."""

    def _keep(self, session: Session, proved: Proved, data: bytes) -> None:
        self._verify(session, proved)
        # Or the second person would approve another claim than the one that the first looked at.
        if asked := self._asked(session, proved.host_id):
            raise AlreadyAsked(asked)
        session.merge(Fact(name=_fact(str(proved.host_id)), value=data.decode()))

    def _take_note(self, session: Session, proved: Proved, data: bytes) -> None:
        self._verify(session, proved)
        name = str(proved.host_id)
        before = session.get(Fact, _fact(name))
        if self._asked(session, proved.host_id) or (before is not None and _says(before, proved.claim)):
            return
        session.merge(Fact(name=_fact(name), value=data.decode()))
        who = (Participant("host", name, True),)
        what = (Subject("host", name), Subject("asset", proved.claim.asset))
        why = "shows that it was enrolled within what the log lost"
        self._journal.append(session, Happening(Event.HOST_ASKED, Action.CREATE, Outcome.SUCCESS, who, what, why))

    def _asked(self, session: Session, host_id: HostId) -> str | None:
        """Return the request that is open about this host, if any."""
        about = (TwoPersonRequest.action == TAKE_BACK, TwoPersonRequest.subject == str(host_id))
        undecided = (TwoPersonRequest.decided.is_(None), TwoPersonRequest.expires > self._clock.now())
        return session.scalar(select(TwoPersonRequest.request_id).where(*about, *undecided))

    def _add(self, session: Session, proved: Proved) -> Host:
        """Write the row that enrolment made, and its certificate; people have decided, and the claim is done with."""
        claim = proved.claim
        host = Host(
            host_id=str(claim.host_id), asset=claim.asset, enrolled=proved.certificate.not_valid_before_utc,
            evidence_spki=proved.key.spki, state_number=0, parts=codes.parts_text(claim.layers),
            machine=tombstones.machine_text(claim.machine), standing=Standing.ACTIVE, replaces=None,
        )  # fmt: skip
        session.add(host)
        self._note(session, proved)
        session.delete(session.get_one(Fact, _fact(host.host_id)))
        return host

    def _all(self, session: Session) -> Iterator[Proved]:
        for fact in session.scalars(select(Fact).where(Fact.name.startswith(_FACT))):
            try:
                yield prove(fact.value.encode(), self._trust)
            except (Refused, IntegrityFailure):
                continue  # somebody changed it; it could not be taken back, and the host shows it again

    def _is_good(self, session: Session, proved: Proved) -> bool:
        try:
            self._verify(session, proved)
        except (Refused, RevokedFileUnusable):
            return False  # of a list that cannot be read the status says more
        return True

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
        began = proved.certificate
        if not (began_within_a_loss(session, began) or began_before_a_settled_restore(session, began)):
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
    return f"{_FACT}{host_id}"


def _says(kept: Fact, claim: HostClaim) -> bool:
    """Return whether just this was kept, whenever it was said."""
    try:
        return replace(claimed(ClaimFile.parse(kept.value.encode())), time=claim.time) == claim
    except Malformed:
        return False
