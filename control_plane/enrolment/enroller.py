"""Gives a host its identity: one code, two keys, one transaction that holds its own audit record."""

import hmac
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import Certificate, Host
from control_plane.db.transactions import in_one_commit
from control_plane.enrolment import codes, tombstones
from control_plane.enrolment.authority import Issuer, Kind
from control_plane.enrolment.certified import CertificateBarred, certified_until
from control_plane.enrolment.replacing import Replacing
from control_plane.enrolment.standing import HostQuarantined, Standing
from control_plane.fleet.states import HostUnknown
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.enrolment.exchange import Doors, EnrolmentAnswer, EnrolmentRequest
from shared.enrolment.renewal import (
    EvidenceRenewalAnswer,
    EvidenceRenewalRequest,
    RenewalAnswer,
    RenewalRequest,
    renewal_due,
)
from shared.errors import Malformed, Refused
from shared.identity import HostId
from shared.policy.document import ORGANISATION
from shared.signing import EvidencePublicKey


class ReusedKey(Refused):
    def __init__(self, host_id: HostId) -> None:
        super().__init__(
            f"{host_id} asked for a new certificate for a key that it had one for; renewal takes a fresh key"
        )
        self.host_id = host_id


class AnotherKey(Refused):
    def __init__(self, host_id: HostId) -> None:
        super().__init__(f"{host_id} signs its evidence with another key than the one that it wants certified")
        self.host_id = host_id


class Journal(Protocol):
    def record(self, happening: Happening) -> None: ...

    def append(self, session: Session, happening: Happening) -> None: ...


class Renewer:
    """Gives a host its next certificates. The host door judged the present one, a revocation may have come since."""

    def __init__(self, database: sessionmaker[Session], issuer: Issuer, journal: Journal) -> None:
        self._database, self._issuer, self._journal = database, issuer, journal

    def renew(self, host_id: HostId, request: RenewalRequest) -> RenewalAnswer:
        """Every attempt leaves an audit record.

        Raises Malformed, HostUnknown, HostQuarantined, CertificateBarred, ReusedKey.
        """
        who = (Participant("host", str(host_id), True),)
        try:
            key = requested_key(request.tls_csr)
            pem, asset = in_one_commit(self._database, lambda session: self._issue(session, host_id, key, who))
            is_news = request.asset is not None and request.asset != asset
            return RenewalAnswer(pem, asset if is_news else None)
        except Refused as exc:
            happening = Happening(Event.RENEWAL_REFUSED, Action.UPDATE, Outcome.SERIOUS_FAILURE, who, (), str(exc))
            self._journal.record(happening)
            raise

    def renew_evidence(self, host_id: HostId, request: EvidenceRenewalRequest) -> EvidenceRenewalAnswer:
        """Certify the host's evidence key for another year, once two thirds are over; before that, say it again.

        What is refused leaves an audit record. Raises Malformed, HostUnknown, HostQuarantined, CertificateBarred,
        AnotherKey.
        """
        who = (Participant("host", str(host_id), True),)
        try:
            key = requested_key(request.evidence_csr)
            pem = in_one_commit(self._database, lambda session: self._issue_evidence(session, host_id, key, who))
            return EvidenceRenewalAnswer(pem)
        except Refused as exc:
            happening = Happening(Event.RENEWAL_REFUSED, Action.UPDATE, Outcome.SERIOUS_FAILURE, who, (), str(exc))
            self._journal.record(happening)
            raise

    def _issue_evidence(
        self, session: Session, host_id: HostId, key: ec.EllipticCurvePublicKey, who: tuple[Participant, ...]
    ) -> str:
        host = _renewable(session, host_id)
        if EvidencePublicKey(key).spki != host.evidence_spki:
            raise AnotherKey(host_id)
        theirs = select(Certificate.pem).where(Certificate.subject == str(host_id), Certificate.kind == Kind.EVIDENCE)
        newest = session.scalars(theirs.order_by(Certificate.not_after.desc()).limit(1)).first()
        if newest is not None:
            held = x509.load_pem_x509_certificate(newest.encode())
            # The answer to an earlier question may have been lost.
            if not renewal_due(held.not_valid_before_utc, held.not_valid_after_utc, self._issuer.clock.now()):
                return self._issuer.as_issued(held)
        what = (Subject("host", str(host_id)), Subject("purpose", Kind.EVIDENCE.value))
        self._journal.append(session, Happening(Event.CERTIFICATE_RENEWED, Action.UPDATE, Outcome.SUCCESS, who, what))
        return self._issuer.issue(session, Kind.EVIDENCE, str(host_id), key)

    def _issue(
        self, session: Session, host_id: HostId, key: ec.EllipticCurvePublicKey, who: tuple[Participant, ...]
    ) -> tuple[str, str]:
        host = _renewable(session, host_id)
        issued = session.scalars(select(Certificate.pem).where(Certificate.subject == str(host_id)))
        if any(x509.load_pem_x509_certificate(pem.encode()).public_key() == key for pem in issued):
            raise ReusedKey(host_id)
        what = (Subject("host", str(host_id)),)
        self._journal.append(session, Happening(Event.CERTIFICATE_RENEWED, Action.UPDATE, Outcome.SUCCESS, who, what))
        return self._issuer.issue(session, Kind.HOST, str(host_id), key), host.asset


def _renewable(session: Session, host_id: HostId) -> Host:
    """Return a host that may renew now. Raises HostUnknown, HostQuarantined, CertificateBarred.

    Locked: a revocation comes wholly before this, or after it and then finds the new certificate for its list.
    """
    host = session.get(Host, str(host_id), with_for_update=True)
    if host is None or not host.active:
        raise HostUnknown(host_id)
    if host.standing == Standing.QUARANTINED:
        raise HostQuarantined(host_id)
    if certified_until(session, str(host_id)) is None:
        raise CertificateBarred(host_id)
    return host


class Enroller:
    def __init__(
        self,
        database: sessionmaker[Session],
        issuer: Issuer,
        journal: Journal,
        clock: Clock,
        replacing: Replacing,
        *,
        sop_hash_secret: bytes,
        policy_root: Callable[[], bytes],
    ) -> None:
        self._replacing = replacing
        self._database, self._issuer, self._journal, self._clock = database, issuer, journal, clock
        self._sop_hash_secret, self._policy_root = sop_hash_secret, policy_root

    def enrol(self, request: EnrolmentRequest, doors: Doors) -> EnrolmentAnswer:
        """Return the host's identity; the code is used up in the same transaction that makes the host.

        Raises Malformed, CodeRefused, CodeOfAnotherAsset, Tombstoned. Every attempt leaves an audit record.
        """
        try:
            answer, replaced = self._enrol(request, doors)
        except Refused as exc:
            in_one_commit(self._database, partial(self._record_refusal, request, exc))
            raise
        if replaced is not None:
            self._replacing.afterwards(replaced)
        return answer

    def _record_refusal(self, request: EnrolmentRequest, exc: Refused, session: Session) -> None:
        """Say why, and of a code that had been used which asset it is for and which host it made."""
        refused = Happening(
            Event.ENROLMENT_REFUSED, Action.CREATE, Outcome.SERIOUS_FAILURE, reason=_reason(exc), what=_about(exc)
        )
        code = codes.find(session, request.secret)
        if code is not None and isinstance(exc, codes.CodeRefused):
            name = codes.code_id(code.secret_sha256)
            refused = replace(refused, what=(Subject("code", name), Subject("asset", code.asset)))
            if code.host_id is not None:
                code.tried_again = self._clock.now()
                what = (*refused.what, Subject("host", code.host_id))
                refused = replace(refused, event=Event.CODE_REUSED, what=what)
        self._journal.append(session, refused)

    def _enrol(self, request: EnrolmentRequest, doors: Doors) -> tuple[EnrolmentAnswer, HostId | None]:
        tls_key, evidence_key = requested_key(request.tls_csr), requested_key(request.evidence_csr)
        if tls_key.public_numbers() == evidence_key.public_numbers():
            raise Malformed("enrolment request", "asks for one key in two roles; TLS and evidence keys are apart")
        host_id = HostId.new()

        def make_host(session: Session) -> tuple[str, str, codes.UsedCode]:
            now = self._clock.now()
            code = codes.consume(session, request.secret, request.asset, host_id, now)
            asset = _asset_now(session, code)
            tombstones.verify_none(session, asset, request.machine)
            session.add(
                Host(
                    host_id=str(host_id),
                    asset=asset,
                    enrolled=now,
                    evidence_spki=EvidencePublicKey(evidence_key).spki,
                    state_number=0,
                    parts=codes.parts_text(code.parts),
                    machine=tombstones.machine_text(request.machine),
                    replaces=str(code.replaces) if code.replaces else None,
                )
            )
            who = (Participant("host", str(host_id), True), Participant("person", code.issued_by, False))
            layers = tuple(Subject("layer", part) for part in code.parts)
            what = (Subject("host", str(host_id)), Subject("asset", asset), *layers)
            self._journal.append(session, Happening(Event.HOST_ENROLLED, Action.CREATE, Outcome.SUCCESS, who, what))
            if code.replaces is not None:
                session.flush()
                self._replacing.perform(session, code.replaces, host_id, code.issued_by)
            return (
                self._issuer.issue(session, Kind.HOST, str(host_id), tls_key),
                self._issuer.issue(session, Kind.EVIDENCE, str(host_id), evidence_key),
                code,
            )

        tls_certificate, evidence_certificate, code = in_one_commit(self._database, make_host)
        answer = EnrolmentAnswer(
            host_id,
            tls_certificate,
            evidence_certificate,
            sop_hash_key=hmac.digest(self._sop_hash_secret, host_id.raw, "sha256"),
            doors=doors,
            policy_root=self._policy_root(),
            layers=(ORGANISATION, *code.parts),
        )
        return answer, code.replaces


def _asset_now(session: Session, code: codes.UsedCode) -> str:
    """Return what the new host is called: what it replaces may have been renamed since the code was made."""
    return code.asset if code.replaces is None else session.get_one(Host, str(code.replaces)).asset


def _reason(exc: Refused) -> str:
    """Return why, for the log: what is not told to whoever tries codes out stands there."""
    why = f"{exc}: {exc.why}" if isinstance(exc, codes.CodeRefused) else str(exc)
    return f"{type(exc).__name__}: {why}"[:500]


def _about(exc: Refused) -> tuple[Subject, ...]:
    if isinstance(exc, codes.CodeOfAnotherAsset):
        return (Subject("code", exc.code_id),)
    return (Subject("host", exc.host_id),) if isinstance(exc, tombstones.Tombstoned) else ()


def requested_key(csr_pem: str) -> ec.EllipticCurvePublicKey:
    try:
        csr = x509.load_pem_x509_csr(csr_pem.encode())
        valid = csr.is_signature_valid
        key = csr.public_key()
    except (ValueError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion) as exc:
        raise Malformed("certificate request", "not a PKCS #10 request") from exc
    if not valid or not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Malformed("certificate request", "not one for an ECDSA P-256 key that its sender holds")
    return key
