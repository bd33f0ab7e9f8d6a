"""Judges an audit export: per source, whether its records are the ones it signed, in one chain from record 1.

docs/formats/audit-export.md
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from cryptography import x509

from provisioning.verify import certificate as certificates
from provisioning.verify.certificate import Certified
from provisioning.verify.checks import Check, failures, judged, not_evaluated
from shared import clock
from shared.audit.batch import AuditAltered, Batch, ChainHead, Statement, follow, verify_batch
from shared.audit.record import AuditRecord, StoredRecord
from shared.canonical import Json
from shared.enrolment.chain import Trust, is_valid_at
from shared.errors import Malformed
from shared.fields import Fields
from shared.identity import SOURCE_PATTERN, KeyId
from shared.signing import EvidencePublicKey, Label, SignatureInvalid, WrongSigner, signing_key_id, verify_statement

KIND = "leadglass audit export"
MAX_LINE_BYTES = 64 << 20
_MAX_PEM_CHARS = 16_384
_MAX_CAS = 64


class ChainState(StrEnum):
    VERIFIED = "verified"
    INCOMPLETE = "incomplete"
    NOT_EVALUATED = "not evaluated"
    ALTERED = "ALTERED"


@dataclass(frozen=True)
class SourceReport:
    """`first_bad` is the first record that is altered, or missing; None when there is none."""

    source: str
    state: ChainState
    records: int
    first_bad: int | None
    why: str

    def json(self) -> Json:
        return {
            "source": self.source,
            "state": self.state.value,
            "records": self.records,
            "first_bad": self.first_bad,
            "why": self.why,
        }

    @property
    def ok(self) -> bool:
        return self.state is ChainState.VERIFIED or self.records == 0


@dataclass(frozen=True)
class AuditReport:
    """`leaves` are the leaf hashes of each source's records that are chained to what it signed, by number."""

    checks: tuple[Check, ...]
    sources: tuple[SourceReport, ...]
    conclusion: str
    leaves: Mapping[str, Mapping[int, bytes]] = field(default_factory=dict, repr=False)

    @property
    def ok(self) -> bool:
        return not failures(self.checks) and all(report.ok for report in self.sources)


@dataclass(frozen=True)
class Signer:
    """A key is certified anew each year; each of its certificates counts for its own time."""

    source: str
    key: EvidencePublicKey
    certificates: tuple[x509.Certificate, ...]

    def was_certified_at(self, instant: datetime) -> bool:
        return any(is_valid_at(one, instant) for one in self.certificates)


@dataclass
class _Authorities:
    """Who certifies: the root that the reader trusts, else what the export itself says are roots."""

    given: Trust | None
    offered: list[x509.Certificate] = field(default_factory=list)

    @property
    def trust(self) -> Trust:
        if self.given is not None:
            return self.given.with_between(self.offered)
        roots = tuple(one for one in self.offered if one.subject == one.issuer)
        return Trust(roots, tuple(one for one in self.offered if one not in roots))


@dataclass
class _Chain:
    """One source as far as it was read."""

    source: str
    head: ChainHead = field(default_factory=ChainHead)
    leaves: dict[int, bytes] = field(default_factory=dict)
    records: int = 0
    missing: list[tuple[int, int]] = field(default_factory=list)
    unjudged: list[str] = field(default_factory=list)  # keys whose certificate is not there or not good
    outside_validity: int = 0
    altered: tuple[int, str] | None = None

    def take(self, batch: Batch, signer: Signer) -> None:
        """Judge a batch by its signature and against what came before it."""
        self.records += len(batch.records)
        if self.altered is not None:
            return
        try:
            statement = Statement.parse(verify_statement(batch.statement, Label.AUDIT_BATCH, signer.key))
        except (Malformed, SignatureInvalid, WrongSigner) as exc:
            self.altered = (_number(batch.records[0]) if batch.records else self.head.seq + 1, str(exc))
            return
        removed = _first_removed(batch, statement)
        if removed is not None:
            self.altered = (removed, "it was taken out of a batch that its source signed")
            return
        try:
            records = verify_batch(batch, self.source, signer.key)
        except AuditAltered as exc:
            self.altered = _pinpoint(batch, statement, exc)
            return
        except Malformed as exc:
            self.altered = (statement.first, str(exc))
            return
        if not signer.was_certified_at(records[-1].time):
            self.outside_validity += 1
        self._join(batch.records, records[0])

    def take_unsigned(self, batch: Batch, key_id: KeyId) -> None:
        """Follow a batch whose signature nobody can judge: its chain may still show an alteration."""
        self.records += len(batch.records)
        self.unjudged.append(str(key_id))
        if self.altered is not None or not batch.records:
            return
        try:
            first = AuditRecord.parse(batch.records[0].public)
            head = ChainHead(first.seq - 1, first.prev)
            for stored in batch.records:
                head, _ = follow(head, self.source, stored)
        except AuditAltered as exc:
            self.altered = (exc.seq, exc.why)
            return
        self._join(batch.records, first)

    def _join(self, stored: Iterable[StoredRecord], first: AuditRecord) -> None:
        """Put records that are sound among themselves behind those that are there."""
        if first.seq > self.head.seq + 1:
            self.missing.append((self.head.seq + 1, first.seq - 1))
        elif first.seq > 1 and first.prev != self.leaves.get(first.seq - 1, first.prev):
            self.altered = (first.seq, f"it does not continue record {first.seq - 1}: the source told two stories")
            return
        for seq, one in enumerate(stored, first.seq):
            if seq <= self.head.seq and seq not in self.leaves:
                raise Malformed("audit export", f"batches of {self.source} are not in rising order")
            if self.leaves.setdefault(seq, one.leaf) != one.leaf:
                self.altered = (seq, "the export holds it twice, and the two differ")
                return
            if seq > self.head.seq:
                self.head = ChainHead(seq, one.leaf)

    def report(self) -> SourceReport:
        if self.altered is not None:
            seq, why = self.altered
            return self._state(ChainState.ALTERED, seq, f"record {seq}: {why}")
        if self.missing:
            ranges = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in self.missing)
            return self._state(ChainState.INCOMPLETE, self.missing[0][0], f"records missing: {ranges}")
        if self.unjudged:
            keys = ", ".join(sorted(set(self.unjudged)))
            return self._state(ChainState.NOT_EVALUATED, None, f"no good evidence certificate for key {keys}")
        if not self.records:
            return self._state(ChainState.NOT_EVALUATED, None, "the export has no record of it")
        return self._state(ChainState.VERIFIED, None, f"records 1 to {self.head.seq}, signed and in one chain")

    def _state(self, state: ChainState, first_bad: int | None, why: str) -> SourceReport:
        return SourceReport(self.source, state, self.records, first_bad, why)


def judge_export(export: Iterable[bytes], given: Trust | None) -> AuditReport:
    """Judge an export line by line; `given` is the root that the auditor trusts, if there is one.

    Raises Malformed: not an export. What was altered within one is in the report, not raised.
    """
    lines = _parsed(export)
    exported = _header(next(lines, None))
    authorities = _Authorities(given)
    checks: list[Check] = [judged("export", True, f"written {exported}")]
    signers: dict[KeyId, Signer] = {}
    chains: dict[str, _Chain] = {}
    good = batches = 0
    for fields in lines:
        match fields.choice("kind", ("ca", "evidence", "batch")):
            case "ca" if not signers and not batches and len(authorities.offered) < _MAX_CAS:
                authorities.offered.append(_certificate(fields, "pem", "audit export CA"))
            case "evidence" if not batches:
                source = fields.text("source", SOURCE_PATTERN)
                certificate = _certificate(fields, "certificate", "evidence certificate")
                chains.setdefault(source, _Chain(source))
                bad = _judge_certificate(certificate, source, authorities.trust)
                checks += bad
                if not bad:
                    key = certificates.evidence_key(certificate)
                    signers[key.key_id] = _joined(signers.get(key.key_id), Signer(source, key, (certificate,)))
                    good += 1
            case "batch":
                batches += 1
                text = fields.text("batch", r"(?s:.*)", max_chars=MAX_LINE_BYTES)
                _take(Batch.parse(text.encode()), signers, chains)
            case other:
                raise Malformed("audit export", f"a line of kind {other!r} does not belong there")
        fields.done()
    checks += _summary(authorities, good, chains)
    reports = tuple(chain.report() for _, chain in sorted(chains.items()))
    leaves = {source: chain.leaves for source, chain in chains.items()}
    return AuditReport(tuple(checks), reports, _conclude(checks, reports, given), leaves)


def _parsed(export: Iterable[bytes]) -> Iterator[Fields]:
    for number, line in enumerate(export, 1):
        what = f"audit export line {number}"
        if not line.endswith(b"\n") or len(line) > MAX_LINE_BYTES:
            raise Malformed(what, "cut off, or too long")
        try:
            value: Json = json.loads(line.decode(), object_pairs_hook=_once_each)
        except (ValueError, RecursionError) as exc:
            raise Malformed(what, f"not a JSON object in UTF-8: {exc}") from exc
        yield Fields(value, what)


def _once_each(members: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("a member stands twice")
    return found


def _header(fields: Fields | None) -> str:
    if fields is None:
        raise Malformed("audit export", "empty")
    fields.version()
    fields.choice("kind", [KIND])
    exported = clock.text(fields.instant("exported"))
    fields.done()
    return exported


def _certificate(fields: Fields, name: str, what: str) -> x509.Certificate:
    pem = fields.text(name, r"(?s:.*)", max_chars=_MAX_PEM_CHARS).encode()
    return certificates.parse_certified(pem, what).certificate


def _judge_certificate(certificate: x509.Certificate, source: str, trust: Trust) -> tuple[Check, ...]:
    """Return what is wrong with an evidence certificate; nothing when it is good."""
    checks = [certificates.check_purpose(certificate, source)]
    if trust.roots:
        checks.append(certificates.check_issuer(Certified(certificate), trust))
    return tuple(judged(check.name, False, f"{source}: {check.detail}") for check in failures(checks))


def _joined(held: Signer | None, offered: Signer) -> Signer:
    """Return a signer with the certificates of both; one key has one source."""
    if held is None:
        return offered
    if held.source != offered.source:
        raise Malformed("audit export", f"{held.source} and {offered.source} have one evidence key")
    return Signer(held.source, held.key, (*held.certificates, *offered.certificates))


def _take(batch: Batch, signers: dict[KeyId, Signer], chains: dict[str, _Chain]) -> None:
    key_id = signing_key_id(batch.statement)
    signer = signers.get(key_id)
    if signer is not None:
        chains.setdefault(signer.source, _Chain(signer.source)).take(batch, signer)
        return
    source = AuditRecord.parse(batch.records[0].public).source if batch.records else "a source without records"
    chains.setdefault(source, _Chain(source)).take_unsigned(batch, key_id)


def _first_removed(batch: Batch, statement: Statement) -> int | None:
    """Return the first record that a statement covers and its batch no longer holds."""
    signed = range(statement.first, statement.last + 1)
    if len(batch.records) >= len(signed):
        return None
    numbers = [_number(stored) for stored in batch.records]
    return next((seq for index, seq in enumerate(signed) if numbers[index : index + 1] != [seq]), None)


def _number(stored: StoredRecord) -> int:
    """Return the number a record gives itself, 0 where it is not even a record."""
    try:
        return AuditRecord.parse(stored.public).seq
    except Malformed:
        return 0


def _pinpoint(batch: Batch, statement: Statement, found: AuditAltered) -> tuple[int, str]:
    """Return the altered record of a batch whose chain is broken.

    The signature is over the last leaf and each record names the one before, so from the end backwards every record
    is proven until the first that differs. Forwards, an alteration shows only in the record after it.
    """
    expected = statement.head
    for seq, stored in zip(range(statement.last, statement.first - 1, -1), reversed(batch.records), strict=True):
        if stored.leaf != expected:
            return min(seq, found.seq), "it is not what its source signed" if seq <= found.seq else found.why
        expected = AuditRecord.parse(stored.public).prev
    return found.seq, found.why


def _summary(authorities: _Authorities, good: int, chains: dict[str, _Chain]) -> list[Check]:
    checks = []
    known = certificates.fingerprints(authorities.trust)
    if not known:
        checks.append(not_evaluated("authority", "neither given (--ca) nor in the export"))
    elif authorities.given is None:
        why = f"it comes from the export itself; compare with the one you know, or give --ca: SHA-256 {known}"
        checks.append(not_evaluated("authority", why))
    else:
        checks.append(judged("authority", True, f"the one given, SHA-256 {known}"))
    checks.append(judged("evidence certificates", True, f"{good} good, each for the source it is listed under"))
    for chain in chains.values():
        if chain.outside_validity:
            why = f"{chain.outside_validity} batches end outside their certificate's period; when they were signed"
            checks.append(not_evaluated(f"validity of {chain.source}'s certificate", f"{why} is not in an export"))
    checks.append(not_evaluated("private parts", "they are sealed, and only the holder of the key can"))
    checks.append(not_evaluated("end of the log", "an export does not prove how many records there are by now"))
    return checks


def _conclude(checks: list[Check], reports: tuple[SourceReport, ...], given: Trust | None) -> str:
    bad = [report for report in reports if not report.ok]
    if bad or failures(checks):
        named = [f"{report.source} is {report.state.value} ({report.why})" for report in bad]
        named += [f"{check.name}: {check.detail}" for check in failures(checks)]
        return f"NOT PROVEN: {'; '.join(named)}."
    if not any(report.records for report in reports):
        return "Nothing was proven: the export holds no records."
    count, sources = sum(report.records for report in reports), sum(report.records > 0 for report in reports)
    open_points = ["that there are no later records", "what the sealed private parts say"]
    if given is None:
        open_points.append("who stands behind the certificates (no --ca)")
    return (
        f"Proven: these {count} records of {sources} sources are those that their sources signed, "
        f"each chain whole from record 1. Not proven: {'; '.join(open_points)}."
    )
