"""Reading the log: what people see, what an auditor takes away, and that reading leaves a record."""

import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from control_plane.audit_log.reading import CERTIFICATES
from control_plane.db.models import TimeAltered
from shared.audit.batch import Batch, verify_batch
from shared.audit.events import Action, Event, Happening, Outcome, Participant
from shared.audit.record import AuditRecord
from shared.enrolment.chain import Trust, verify_chain
from shared.identity import CONTROL_PLANE
from shared.signing import EvidencePublicKey
from tests.control_plane.vault.bench import Bench, HostBench

PERSON = "A. Admin"
STARTED = Happening(
    Event.SERVER_STARTED, Action.EXECUTE, Outcome.SUCCESS, (Participant("service", CONTROL_PLANE, True),),
    private={"value": "x"},
)  # fmt: skip


def test_the_tail_shows_the_newest_first_and_leaves_no_record(bench: Bench) -> None:
    for _ in range(3):
        bench.journal.record(STARTED)

    tail = bench.reading.tail(2)

    assert [(one["seq"], one["event"], one["private"]) for one in tail] == [
        (3, "server.started", True),
        (2, "server.started", True),
    ]
    assert bench.events() == [Event.SERVER_STARTED] * 3


def test_records_of_a_source_come_in_order_after_a_number(bench: Bench, host: HostBench) -> None:
    for _ in range(5):
        host.note()
    host.deliver(1, 5)

    shown = bench.reading.records(PERSON, str(host.host_id), after=1, limit=3)

    assert [one["seq"] for one in shown] == [2, 3, 4]


@pytest.mark.parametrize("how", ["records", "verify", "export"])
def test_reading_the_log_is_recorded_with_who_did(bench: Bench, how: str) -> None:
    match how:
        case "records":
            bench.reading.records(PERSON, None, 0, 10)
        case "verify":
            bench.reading.verify(PERSON)
        case "export":
            bench.reading.export(PERSON)

    record = bench.last_record()
    assert (record.event, record.who[0].name) == (Event.AUDIT_READ, PERSON)


def test_a_record_that_reads_no_more_is_shown_as_that(bench: Bench) -> None:
    bench.journal.record(STARTED)
    bench.sql("UPDATE audit_records SET public = x'ff'")

    (shown,) = bench.reading.tail(5)

    assert (shown["event"], shown["seq"], shown["outcome"]) == ("unreadable", 1, 12)


@pytest.mark.parametrize("received", ["'x'", "5", "x'00'"])
def test_a_time_of_arrival_that_somebody_made_something_else_of_is_said(bench: Bench, received: str) -> None:
    bench.journal.record(STARTED)
    bench.sql(f"UPDATE audit_records SET received = {received}")  # noqa: S608 (ours)

    with pytest.raises(TimeAltered):
        bench.reading.tail(5)


def test_a_certificate_that_somebody_made_bytes_of_is_named(bench: Bench) -> None:
    bench.sql("UPDATE certificates SET pem = x'00' WHERE kind = 'server'")

    assert "server" in bench.reading.verify(PERSON)[CERTIFICATES].why


def test_an_export_holds_all_that_a_stranger_needs(bench: Bench, host: HostBench) -> None:
    for _ in range(5):
        host.note(private={"uid": "1.2"})
    host.deliver(1, 3)
    host.deliver(2, 5)
    bench.journal.record(STARTED)

    lines = [json.loads(line) for line in bench.reading.export(PERSON)]

    assert lines[0].items() >= {"v": 1, "kind": "leadglass audit export"}.items()
    offered = [x509.load_pem_x509_certificate(line["pem"].encode()) for line in lines if line["kind"] == "ca"]
    trust = Trust(tuple(one for one in offered if one == bench.ca.root), tuple(offered))
    keys: dict[str, list[EvidencePublicKey]] = {}
    for line in (line for line in lines if line["kind"] == "evidence"):
        certificate = x509.load_pem_x509_certificate(line["certificate"].encode())
        verify_chain(certificate, trust)
        keys.setdefault(line["source"], []).append(EvidencePublicKey.parse(spki(certificate)))
    seen: dict[str, set[int]] = {}
    for line in (line for line in lines if line["kind"] == "batch"):
        batch = Batch.parse(line["batch"].encode())
        source = AuditRecord.parse(batch.records[0].public).source
        key = next(k for k in keys[source] if k.key_id.raw == batch.statement[8:24])
        seen.setdefault(source, set()).update(record.seq for record in verify_batch(batch, source, key))
    assert seen == {str(host.host_id): {1, 2, 3, 4, 5}, CONTROL_PLANE: {1, 2}}


def spki(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
