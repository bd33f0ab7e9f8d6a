"""`leadglass-verify audit`: the first bad record is named, and nothing unjudged is called verified."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from provisioning.verify.__main__ import BAD_INPUT, FAILED, OK, main
from provisioning.verify.audit_export import AuditReport, ChainState, SourceReport, judge_export
from provisioning.verify.checks import State
from shared.audit.batch import Batch, Statement
from shared.audit.record import StoredRecord
from shared.errors import Malformed
from shared.signing import Label, sign_statement
from tests.provisioning.verify.evidence import DAY, NOW, Authority, Source, export, pem

AUTHORITY = Authority()
HOST = Source()
HOST.note(9)
NAME = str(HOST.host)
CERTIFICATE = AUTHORITY.certify(NAME, "evidence", HOST.key)
EVIDENCE = [(NAME, CERTIFICATE)]


def judge(*batches: Batch) -> AuditReport:
    return judge_export(export(batches, EVIDENCE), AUTHORITY.trust)


def only(report: AuditReport) -> SourceReport:
    (source,) = report.sources
    return source


def with_record(batch: Batch, index: int, change: Callable[[StoredRecord], StoredRecord]) -> Batch:
    records = list(batch.records)
    records[index] = change(records[index])
    return replace(batch, records=tuple(records))


def edited(record: StoredRecord) -> StoredRecord:
    return record._replace(public=record.public.replace(b'"outcome":0', b'"outcome":8'))


def test_whole_chains_are_verified() -> None:
    other = Source()
    other.note(3)
    certificate = AUTHORITY.certify(str(other.host), "evidence", other.key)

    lines = export([HOST.batch(1, 4), other.batch(1, 3), HOST.batch(5, 9)], [*EVIDENCE, (str(other.host), certificate)])
    report = judge_export(lines, AUTHORITY.trust)

    assert report.ok
    assert {(s.source, s.state, s.records) for s in report.sources} == {
        (NAME, ChainState.VERIFIED, 9),
        (str(other.host), ChainState.VERIFIED, 3),
    }
    assert report.conclusion.startswith("Proven: these 12 records of 2 sources")
    assert "Not proven: that there are no later records" in report.conclusion


def test_a_batch_sent_twice_changes_nothing() -> None:
    assert judge(HOST.batch(1, 4), HOST.batch(3, 6), HOST.batch(3, 6), HOST.batch(7, 9)).ok


@pytest.mark.parametrize("seq", range(1, 10))
def test_an_edited_record_is_named(seq: int) -> None:
    report = judge(with_record(HOST.batch(1, 9), seq - 1, edited))

    assert not report.ok
    assert (only(report).state, only(report).first_bad) == (ChainState.ALTERED, seq)


def test_of_two_edited_records_none_is_passed_over() -> None:
    report = judge(with_record(with_record(HOST.batch(1, 9), 6, edited), 2, edited))

    assert only(report).state is ChainState.ALTERED
    assert only(report).first_bad in (3, 4)


def test_an_edited_record_at_the_seam_of_two_batches_is_named() -> None:
    report = judge(with_record(HOST.batch(1, 4), 3, edited), HOST.batch(5, 9))

    assert only(report).first_bad == 4


def test_a_record_cut_out_of_a_batch_is_named() -> None:
    batch = HOST.batch(1, 9)
    report = judge(replace(batch, records=batch.records[:4] + batch.records[5:]))

    assert (only(report).state, only(report).first_bad) == (ChainState.ALTERED, 5)


def test_a_private_part_taken_away_is_named() -> None:
    report = judge(with_record(HOST.batch(1, 9), 3, lambda record: record._replace(sealed=None)))

    assert (only(report).state, only(report).first_bad) == (ChainState.ALTERED, 4)


def test_swapped_records_are_seen() -> None:
    batch = HOST.batch(1, 9)
    swapped = (*batch.records[:2], batch.records[3], batch.records[2], *batch.records[4:])

    assert only(judge(replace(batch, records=swapped))).first_bad == 3


def test_a_changed_signature_is_seen() -> None:
    batch = HOST.batch(5, 9)
    broken = replace(batch, statement=batch.statement[:-1] + bytes([batch.statement[-1] ^ 1]))

    report = judge(HOST.batch(1, 4), broken)

    assert (only(report).state, only(report).first_bad) == (ChainState.ALTERED, 5)


def test_two_stories_of_one_source_are_seen() -> None:
    liar = Source(HOST.host, HOST.key, list(HOST.records[:3]))
    liar.note(1)
    liar.records[3] = edited(liar.records[3])

    report = judge(HOST.batch(1, 4), liar.batch(4, 4))

    assert (only(report).state, only(report).first_bad) == (ChainState.ALTERED, 4)


def test_a_batch_that_continues_another_story_is_seen() -> None:
    liar = Source(HOST.host, HOST.key, [*HOST.records[:3], edited(HOST.records[3])])
    liar.note(1)

    assert only(judge(HOST.batch(1, 4), liar.batch(5, 5))).first_bad == 5


def test_a_signed_statement_about_nothing_is_seen() -> None:
    leaf = HOST.records[3].leaf
    nothing = Batch((), sign_statement(HOST.signer, Label.AUDIT_BATCH, Statement(NAME, 5, 4, leaf, leaf).encode()))

    assert only(judge(HOST.batch(1, 4), nothing)).state is ChainState.ALTERED


@pytest.mark.parametrize(
    "batches, missing", [([HOST.batch(1, 3), HOST.batch(6, 9)], "4 to 5"), ([HOST.batch(2, 9)], "1")]
)
def test_missing_batches_leave_a_source_incomplete(batches: list[Batch], missing: str) -> None:
    report = judge(*batches)

    assert not report.ok
    assert only(report).state is ChainState.INCOMPLETE
    assert only(report).why == f"records missing: {missing}"


def test_without_its_certificate_a_source_is_not_evaluated() -> None:
    report = judge_export(export([HOST.batch(1, 9)]), AUTHORITY.trust)

    assert not report.ok
    assert (only(report).state, only(report).records) == (ChainState.NOT_EVALUATED, 9)


def test_one_unknown_key_among_known_ones_is_not_passed_over() -> None:
    renewed = Source(HOST.host, records=HOST.records)

    assert only(judge(HOST.batch(1, 4), renewed.batch(5, 9))).state is ChainState.NOT_EVALUATED


def test_an_edited_record_is_seen_even_where_nobody_knows_the_key() -> None:
    report = judge_export(export([with_record(HOST.batch(1, 9), 4, edited)]), None)

    assert only(report).state is ChainState.ALTERED


def test_a_renewed_key_continues_the_chain() -> None:
    renewed = Source(HOST.host, records=HOST.records)
    certificate = AUTHORITY.certify(NAME, "evidence", renewed.key)

    lines = export([HOST.batch(1, 4), renewed.batch(5, 9)], [*EVIDENCE, (NAME, certificate)])

    assert judge_export(lines, AUTHORITY.trust).ok


def test_a_certificate_of_another_authority_judges_nothing() -> None:
    forged = Source(HOST.host)
    forged.note(3)
    certificate = Authority().certify(NAME, "evidence", forged.key)

    report = judge_export(export([forged.batch(1, 3)], [(NAME, certificate)]), AUTHORITY.trust)

    assert not report.ok
    assert any(check.state is State.FAILED for check in report.checks)
    assert only(report).state is ChainState.NOT_EVALUATED


@pytest.mark.parametrize("source, unit", [("host-" + "0" * 32, "evidence"), (NAME, "host")])
def test_a_certificate_for_another_name_or_purpose_judges_nothing(source: str, unit: str) -> None:
    certificate = AUTHORITY.certify(source, unit, HOST.key)

    report = judge_export(export([HOST.batch(1, 3)], [(NAME, certificate)]), AUTHORITY.trust)

    assert not report.ok


def test_a_host_cannot_speak_for_another() -> None:
    victim = Source()
    victim.note(2)
    forged = Source(victim.host, HOST.key, victim.records)

    report = judge_export(export([forged.batch(1, 2)], EVIDENCE), AUTHORITY.trust)

    assert only(report).state is ChainState.ALTERED


def test_the_exports_own_authority_is_not_taken_for_proven() -> None:
    report = judge_export(export([HOST.batch(1, 9)], EVIDENCE, AUTHORITY.certificate), None)

    (authority,) = [check for check in report.checks if check.name == "authority"]
    assert report.ok
    assert authority.state is State.NOT_EVALUATED
    assert "who stands behind the certificates" in report.conclusion


def test_a_batch_outside_its_certificates_period_is_reported() -> None:
    late = AUTHORITY.certify(NAME, "evidence", HOST.key, since=NOW + DAY, until=NOW + 2 * DAY)

    report = judge_export(export([HOST.batch(1, 9)], [(NAME, late)]), AUTHORITY.trust)

    assert any(check.name.startswith("validity of") for check in report.checks)


def test_of_a_key_that_was_certified_anew_each_certificate_counts_for_its_own_time() -> None:
    late = AUTHORITY.certify(NAME, "evidence", HOST.key, since=NOW + DAY, until=NOW + 300 * DAY)

    for evidence in ([*EVIDENCE, (NAME, late)], [(NAME, late), *EVIDENCE]):
        report = judge_export(export([HOST.batch(1, 9)], evidence), AUTHORITY.trust)

        assert report.ok
        assert not any(check.name.startswith("validity of") for check in report.checks)


def test_an_export_without_records_proves_nothing() -> None:
    assert judge_export(export([], EVIDENCE), None).conclusion == "Nothing was proven: the export holds no records."


LINES = export([HOST.batch(1, 4), HOST.batch(5, 9)], EVIDENCE, AUTHORITY.certificate)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        LINES[1:],
        [LINES[0], LINES[0]],
        [*LINES[:-1], LINES[-1][:-1]],
        [*LINES[:-1], LINES[-1][:100] + b"\n"],
        [*LINES, LINES[1]],
        [*LINES, LINES[2]],
        [*LINES, b'{"kind":"batch","kind":"batch","batch":""}\n'],
        [*LINES, b'{"kind":"batch","batch":"","x":1}\n'],
        [*LINES, b"\n"],
        [*LINES, b"[]\n"],
        export([HOST.batch(6, 9), HOST.batch(1, 3)], EVIDENCE),
    ],
)
def test_refuses_what_is_not_an_export(lines: list[bytes]) -> None:
    with pytest.raises(Malformed):
        judge_export(lines, None)


@pytest.mark.parametrize(
    "lines, code", [(LINES, OK), (export([HOST.batch(2, 9)], EVIDENCE), FAILED), (LINES[1:], BAD_INPUT)]
)
def test_the_exit_code_says_it(
    lines: list[bytes], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, ca = tmp_path / "export", tmp_path / "ca.pem"
    path.write_bytes(b"".join(lines))
    ca.write_bytes(pem(AUTHORITY.certificate))

    assert main(["audit", str(path), "--ca", str(ca), "--json"]) == code

    shown = capsys.readouterr().out
    assert (json.loads(shown)["ok"] is (code == OK)) if shown else code == BAD_INPUT
