"""Judges a wipe's certificate without host and centre: who signed what of it, and what the evidence comes to.

Nothing is believed because it stands there. The evidence is judged anew, by the rules of host and centre, and has to
come to what the certificate says.  docs/formats/wipe-certificate.md section 4
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from control_plane.paper.attachment import attached_file
from provisioning.verify.certificate import (
    Certified,
    check_issuer,
    check_purpose,
    check_validity,
    evidence_key,
    parse_certified,
)
from provisioning.verify.checks import Check, State, failures, judged, not_evaluated
from provisioning.verify.pdf_signature import judge_pdf
from shared import clock
from shared.audit.events import Event, Outcome, Subject
from shared.audit.record import AuditRecord, leaf_hash
from shared.audit.tlog.log_key import offered_key
from shared.audit.tlog.proof_text import ProofText, verify_inclusion
from shared.canonical import Json
from shared.enrolment.chain import Trust
from shared.errors import IntegrityFailure, Malformed
from shared.identity import CONTROL_PLANE, KeyId
from shared.sanitization import words
from shared.sanitization.certificate import ATTACHMENT, Approval, Statement, WipeCertificate
from shared.sanitization.envelope import FOR_AN_OVERRIDE, same_name
from shared.sanitization.judge import DESTROYED, RULES, judge
from shared.signing import EvidencePublicKey, Label, verify_statement

_MOST_APART = timedelta(minutes=5)  # a statement and its record, of one clock


@dataclass(frozen=True)
class CertificateReport:
    checks: tuple[Check, ...]
    certificate: WipeCertificate | None

    @property
    def ok(self) -> bool:
        return not failures(self.checks)

    def and_also(self, check: Check) -> "CertificateReport":
        return replace(self, checks=(*self.checks, check))

    @property
    def conclusion(self) -> str:
        if not self.ok or self.certificate is None:
            return "FAILED: do not rely on anything that this certificate says."
        statement = self.certificate.body.statement
        drive, result = statement.ticket.drive, words.RESULTS[statement.judged.result]
        said = f"{result.en}, class {statement.judged.reached}: {drive.model} {drive.serial}"
        open_ = "".join(f"; {one.name}" for one in self.checks if one.state is State.NOT_EVALUATED)
        if statement.reported is None:
            return f"Proven: people stated this, and the centre recorded it: {said}. Not proven: that it is so{open_}."
        return (
            f"Proven: this host signed this evidence, it comes to what is stated, and the centre recorded it: {said}. "
            f"Not proven: that the host told the truth; what people state; what is listed as not reached{open_}."
        )

    def lines(self) -> list[str]:
        return [] if self.certificate is None else list(_facts(self.certificate.body.statement))

    def json(self) -> dict[str, Json]:
        checks: list[Json] = [check.json() for check in self.checks]
        statement = None if self.certificate is None else self.certificate.body.statement
        return {
            "checks": checks,
            "statement": None if statement is None else statement.json(),
            "sha256": None if statement is None else statement.sha256,
        }


def judge_certificate(data: bytes, trust: Trust, people: Sequence[KeyId] | None) -> CertificateReport:
    """`people` are the keys that the reader knows to approve wipes, None: they were not given."""
    try:
        certificate = WipeCertificate.parse(data)
    except Malformed as exc:
        return CertificateReport((judged("form of the certificate", False, str(exc)),), None)
    checks = tuple(_checks(certificate, trust, people))
    return CertificateReport(checks, certificate)


def judge_page(pdf: bytes, trust: Trust, people: Sequence[KeyId] | None) -> CertificateReport:
    """Judge the certificate that is attached to a PDF, and the signature over all of the PDF."""
    try:
        data = attached_file(pdf, ATTACHMENT, "PDF of a wipe certificate")
    except Malformed as exc:
        return CertificateReport((judged("form of the PDF", False, str(exc)),), None)
    report = judge_certificate(data, trust, people)
    return CertificateReport((*judge_pdf(pdf, trust), *report.checks), report.certificate)


def _checks(certificate: WipeCertificate, trust: Trust, people: Sequence[KeyId] | None) -> Iterator[Check]:
    statement = certificate.body.statement
    record, found = _record(certificate)
    at = statement.made if record is None else record.time
    yield from _signed("centre", certificate, CONTROL_PLANE, certificate.key_id, trust, at, certificate.verify)
    yield found
    yield _attempted("record in the log", lambda: _included(certificate, trust))
    if statement.reported is not None:
        reported, ticket = statement.reported, statement.ticket
        signed = reported.signed(ticket.evidence_key)
        yield from _signed(
            "host", certificate, str(ticket.host_id), ticket.evidence_key, trust, reported.report.ended,
            lambda key: verify_statement(signed, Label.WIPE_REPORT, key),
        )  # fmt: skip
    yield _approved(statement)
    yield _by_policy(statement, people)
    yield _judged_anew(statement)


def _signed(
    who: str,
    certificate: WipeCertificate,
    source: str,
    key_id: KeyId,
    trust: Trust,
    at: datetime,
    verify: Callable[[EvidencePublicKey], object],
) -> Iterator[Check]:
    """Judge what `source` signed: its chain to the reader's root, when that was valid, and the signature."""
    named = f"certificate of the {who}"
    try:
        one, key = _certified(certificate, source, key_id)
    except Malformed as exc:
        yield judged(named, False, str(exc))
        yield not_evaluated(f"signature of the {who}", "there is no key to judge it by")
        return
    for check in (check_issuer(one, trust), check_purpose(one.certificate, source)):
        if not check.holds:
            yield judged(named, False, check.detail)
            return
    valid = check_validity(one, trust, at, f"the {who}'s signature")
    yield judged(named, valid.holds, valid.detail)
    try:
        verify(key)
    except (Malformed, IntegrityFailure) as exc:
        yield judged(f"signature of the {who}", False, str(exc))
        return
    yield judged(f"signature of the {who}", True, f"evidence key {key.key_id}")


def _certified(certificate: WipeCertificate, source: str, key_id: KeyId) -> tuple[Certified, EvidencePublicKey]:
    for chain in certificate.body.certificates:
        one = parse_certified(chain.pem.encode(), f"certificate of {chain.source}")
        key = evidence_key(one.certificate)
        if chain.source == source and key.key_id == key_id:
            return one, key
    raise Malformed("wipe certificate", f"it holds no certificate of {source} for key {key_id}")


def _record(certificate: WipeCertificate) -> tuple[AuditRecord | None, Check]:
    name, statement = "record of the certificate", certificate.body.statement
    try:
        record = AuditRecord.parse(certificate.body.record)
    except Malformed as exc:
        return None, judged(name, False, str(exc))
    wanted = {Subject("order", str(statement.ticket.ticket_id)), Subject("fact", f"statement: {statement.sha256}")}
    is_ours = (record.source, record.event, record.outcome) == (CONTROL_PLANE, Event.WIPE_CERTIFIED, Outcome.SUCCESS)
    if not is_ours or not wanted <= set(record.what):
        return record, judged(name, False, "the record is about something else")
    if not timedelta(0) <= record.time - statement.made <= _MOST_APART:
        return record, judged(name, False, f"it was stated at {clock.text(statement.made)}, not when it was recorded")
    return record, judged(name, True, f"record {record.seq} of {clock.text(record.time)} names this statement")


def _included(certificate: WipeCertificate, trust: Trust) -> str:
    proof = certificate.body.proof
    key = offered_key(ProofText.parse(proof).extra, trust)
    included = verify_inclusion(proof, leaf_hash(certificate.body.record), [key])
    return f"entry {included.index} of {included.head.origin}, under a checkpoint of {included.head.size}"


def _approved(statement: Statement) -> Check:
    name, ticket = "ticket approved", statement.ticket
    for approval in statement.approvals:
        try:
            verify_statement(approval.signed(ticket), Label.WIPE_TICKET, approval.key)
        except (Malformed, IntegrityFailure) as exc:
            return judged(name, False, f"{approval.name}: {exc}")
    people = {approval.key.key_id: approval.name for approval in statement.approvals}
    if not people or len(people) != len(statement.approvals):
        return judged(name, False, "it is signed by nobody, or twice with one key")
    if any(same_name(one) == same_name(ticket.requester) for one in people.values()):
        return judged(name, False, "one of those who approved it asked for it")
    needed = FOR_AN_OVERRIDE if ticket.overrides else 1
    if len({same_name(one) for one in people.values()}) < needed:
        return judged(name, False, f"it lets something be lost, which takes {needed} people")
    return judged(name, True, f"signed by {', '.join(people.values())}, whose keys the centre names")


def _by_policy(statement: Statement, people: Sequence[KeyId] | None) -> Check:
    name = "approved by known keys"
    if people is None:
        return not_evaluated(name, "the policy's root was not given (--policy-root)")
    unknown = [one for one in statement.approvals if one.key.key_id not in people]
    return judged(name, not unknown, _named(unknown or statement.approvals))


def _named(approvals: Sequence[Approval]) -> str:
    return ", ".join(f"{one.name} (key {one.key.key_id})" for one in approvals)


def _judged_anew(statement: Statement) -> Check:
    name = "judged anew"
    if statement.rules != RULES:
        return judged(name, False, f"it was judged by rules {statement.rules}, this program knows {RULES}")
    found = DESTROYED if statement.reported is None else judge(statement.ticket, statement.reported.report)
    if found != statement.judged:
        return judged(name, False, f"the evidence comes to {found.result} ({', '.join(found.why)})")
    if not found.may_be_certified:
        return judged(name, False, f"{found.result} may not be certified ({', '.join(found.why)})")
    return judged(name, True, f"the evidence comes to {found.result}, class {found.reached}")


def _attempted(name: str, judge_it: Callable[[], str]) -> Check:
    try:
        return judged(name, True, judge_it())
    except (Malformed, IntegrityFailure) as exc:
        return judged(name, False, str(exc))


def _facts(statement: Statement) -> Iterator[str]:
    ticket, judgement = statement.ticket, statement.judged
    yield f"{judgement.result}: {ticket.drive.model} {ticket.drive.serial}, {ticket.drive.size_bytes} bytes"
    yield f"order {ticket.ticket_id}, asked for by {ticket.requester}, SHA-256 of the statement {statement.sha256}"
    if statement.reported is not None:
        report = statement.reported.report
        source = words.SERIAL_SOURCES[report.medium.serial_source].en
        yield f"wiped by {ticket.person} on {ticket.host_id}, {clock.text(report.ended)}; serial number: {source}"
    if statement.destruction is not None:
        told = statement.destruction
        yield f"destroyed by {told.means}, recorded by {told.recorded_by}, witness {told.witness}"
    for why in judgement.why:
        yield f"  because {words.WHYS[why].en}"
    for one in judgement.not_reached:
        count = "" if one.sectors is None else f" ({one.sectors} sectors)"
        yield f"  not reached: {words.PLACES[one.place].en}{count} {one.detail}".rstrip()
