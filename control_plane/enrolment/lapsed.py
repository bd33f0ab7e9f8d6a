"""Takes a host back whose certificates have all ended: it asks, a person approves, and it goes on as the same host.

what is found                                        what the asker gets
the host is ended, or quarantined                    refused
the fresh key has a certificate that opens doors     just that one again: an answer may have been lost
it had one that does not any more                    refused: an old ask that is repeated opens nothing
another key of the host has one                      refused: it has not lapsed
a person approved this key                           the certificate, and the ask is gone
otherwise                                            *waits*; the ask is listed for people

An ask is of one fresh key. The statement is by the host's evidence key, so only who holds that can have one listed; the
few that are kept for a host are for machines that both have it, of which a person picks one.
"""

import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.db.models import Certificate, Host, LapsedAskRow
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.enrolment.authority import Issuer, Kind
from control_plane.enrolment.certified import is_barred, standing
from control_plane.enrolment.enroller import requested_key
from control_plane.enrolment.standing import Act, Standing, may
from control_plane.fleet.devices import NoSuchHost
from control_plane.fleet.states import HostUnknown
from control_plane.people.two_persons import Journal
from shared import clock as clocks
from shared.audit.attempt import failure
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.canonical import Json
from shared.clock import Clock
from shared.enrolment.lapsed import LapsedAsk, LapsedRequest, csr_digest, fingerprint, verify_ask
from shared.enrolment.renewal import RenewalAnswer
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.identity import HostId
from shared.signing import claimed_payload

_MOST_ASKS = 2
_PACE = timedelta(minutes=1)


class AskRefused(Refused):
    def __init__(self, host_id: HostId, why: str) -> None:
        super().__init__(f"{host_id} gets no certificate by asking: {why}")
        self.host_id, self.why = host_id, why


class KeyHadCertificate(AskRefused):
    def __init__(self, host_id: HostId) -> None:
        super().__init__(host_id, "this key had its certificate; a fresh one is needed")


class NoSuchAsk(Refused):
    def __init__(self, host_id: HostId, wanted: str) -> None:
        super().__init__(
            f"{host_id} does not ask for a certificate for a key with the fingerprint {wanted}; `leadglass-server host "
            "asks` lists what is asked for, `leadglass-agent status` on the machine shows its own"
        )
        self.host_id, self.wanted = host_id, wanted


@dataclass(frozen=True)
class Waits:
    fingerprint: str


class LapsedHosts:
    def __init__(
        self, database: sessionmaker[Session], issuer: Issuer, evidence: EvidenceKeys, journal: Journal,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._database, self._issuer, self._evidence = database, issuer, evidence
        self._journal, self._clock = journal, clock

    def ask(self, request: LapsedRequest, address: str) -> RenewalAnswer | Waits:
        """Answer a host that asks. What is refused leaves an audit record, and so does what changes anything.

        Raises Malformed, HostUnknown, NotCertified, WrongSigner, SignatureInvalid, AskRefused.
        """
        claimed = LapsedAsk.parse(claimed_payload(request.signed)).host_id
        who = (Participant("host", str(claimed), True),)
        try:
            said = verify_ask(request, self._evidence.of_active_host(claimed))
            if not hmac.compare_digest(said.tls_csr_sha256, csr_digest(request.tls_csr)):
                raise Malformed("lapsed request", "its certificate request is not the one that was signed")
            key = requested_key(request.tls_csr)
            return in_one_commit(self._database, lambda session: self._answer(session, said.host_id, key, address))
        except (Refused, IntegrityFailure) as exc:
            asked = Happening(Event.ASK_REFUSED, Action.UPDATE, Outcome.SUCCESS, who)
            self._journal.record(failure(asked, Event.ASK_REFUSED, exc))
            raise

    def approve(self, person: str, host_id: HostId, wanted: str) -> None:
        """Let the machine with this fresh key go on as `host_id`. Raises NoSuchHost, NoSuchAsk, AskRefused."""
        who, what = (Participant("person", person, True),), (Subject("host", str(host_id)), Subject("key", wanted))
        happening = Happening(Event.ASK_APPROVED, Action.UPDATE, Outcome.SUCCESS, who, what)

        def work(session: Session) -> None:
            host = session.get(Host, str(host_id), with_for_update=True)
            if host is None:
                raise NoSuchHost(str(host_id))
            self._verify_may_ask(session, host)
            ask = session.get(LapsedAskRow, (str(host_id), wanted))
            if ask is None:
                raise NoSuchAsk(host_id, wanted)
            for other in _asks(session, host_id):
                # A machine whose key was approved may be gone, or was the wrong one: the later word counts.
                other.approved = other.approved_by = None
            ask.approved, ask.approved_by = self._clock.now(), person
            self._journal.append(session, happening)

        try:
            in_one_commit(self._database, work)
        except Refused as exc:
            self._journal.record(failure(happening, Event.ASK_APPROVED, exc))
            raise

    def asks(self) -> list[dict[str, Json]]:
        with snapshot(self._database) as session:
            listed = select(LapsedAskRow, Host.asset).join(Host, Host.host_id == LapsedAskRow.host_id)
            return [
                {
                    "host": ask.host_id,
                    "asset": asset,
                    "fingerprint": ask.fingerprint,
                    "asked": clocks.text(ask.asked),
                    "address": ask.address,
                    "approved": clocks.text(ask.approved) if ask.approved else None,
                    "approved_by": ask.approved_by,
                }
                for ask, asset in session.execute(listed.where(Host.active).order_by(LapsedAskRow.asked))
            ]

    def _answer(
        self, session: Session, host_id: HostId, key: ec.EllipticCurvePublicKey, address: str
    ) -> RenewalAnswer | Waits:
        host = session.get(Host, str(host_id), with_for_update=True)
        if host is None:
            raise HostUnknown(host_id)
        now, short = self._clock.now(), fingerprint(key)
        if (given := self._given(session, host, key, now)) is not None:
            return given
        self._verify_may_ask(session, host)
        ask = session.get(LapsedAskRow, (str(host_id), short))
        if ask is not None and ask.approved is not None:
            return self._issue(session, host, key, ask)
        if ask is None:
            self._list(session, host_id, short, address, now)
        return Waits(short)

    def _given(
        self, session: Session, host: Host, key: ec.EllipticCurvePublicKey, now: datetime
    ) -> RenewalAnswer | None:
        """Return the certificate that this very key has. Raises KeyHadCertificate."""
        for row in session.scalars(select(Certificate).where(Certificate.subject == host.host_id)):
            certificate = x509.load_pem_x509_certificate(row.pem.encode())
            if certificate.public_key() != key:
                continue
            if (
                row.kind != Kind.HOST
                or host.standing != Standing.ACTIVE
                or row.not_after <= now
                or is_barred(session, row.serial)
            ):
                raise KeyHadCertificate(HostId.parse(host.host_id))
            return RenewalAnswer(self._issuer.as_issued(certificate), host.asset)
        return None

    def _verify_may_ask(self, session: Session, host: Host) -> None:
        """Raises AskRefused."""
        decision = may(standing(session, host, self._clock.now()), Act.ASK)
        if not decision.allowed:
            raise AskRefused(HostId.parse(host.host_id), decision.reason)

    def _issue(self, session: Session, host: Host, key: ec.EllipticCurvePublicKey, ask: LapsedAskRow) -> RenewalAnswer:
        who = (Participant("host", host.host_id, True), Participant("person", ask.approved_by or "", False))
        what = (Subject("host", host.host_id), Subject("key", ask.fingerprint))
        self._journal.append(session, Happening(Event.CERTIFICATE_REGAINED, Action.UPDATE, Outcome.SUCCESS, who, what))
        for row in _asks(session, HostId.parse(host.host_id)):
            session.delete(row)
        return RenewalAnswer(self._issuer.issue(session, Kind.HOST, host.host_id, key), host.asset)

    def _list(self, session: Session, host_id: HostId, short: str, address: str, now: datetime) -> None:
        """Keep the ask, where there are as many as are kept in the place of the oldest one.

        Whoever copied the evidence key may ask for ever new keys; at this pace none is gone before it can be compared.
        """
        present = _asks(session, host_id)
        if len(present) >= _MOST_ASKS:
            if now - present[-1].asked < _PACE:
                raise AskRefused(host_id, "other machines ask as this host too; it may ask again in a minute")
            oldest = next((row for row in present if row.approved is None), None)
            if oldest is None:
                raise AskRefused(host_id, "others are approved already")
            session.delete(oldest)
        session.add(LapsedAskRow(host_id=str(host_id), fingerprint=short, asked=now, address=address[:64]))
        who, what = (Participant("host", str(host_id), True),), (Subject("host", str(host_id)), Subject("key", short))
        self._journal.append(session, Happening(Event.HOST_ASKED, Action.CREATE, Outcome.SUCCESS, who, what))


def gaps(asks: list[dict[str, Json]]) -> Iterator[str]:
    """Say which hosts wait for a person's approval."""
    for ask in asks:
        if ask["approved"] is None:
            yield (
                f"{ask['asset']}: has no certificate left, and a machine at {ask['address']} asks for one since "
                f"{ask['asked']}; compare {ask['fingerprint']} with `leadglass-agent status` there, then "
                f"`leadglass-server host approve {ask['host']} --fingerprint {ask['fingerprint']}`"
            )


def _asks(session: Session, host_id: HostId) -> list[LapsedAskRow]:
    theirs = select(LapsedAskRow).where(LapsedAskRow.host_id == str(host_id)).order_by(LapsedAskRow.asked)
    return list(session.scalars(theirs))
