"""Audit batches on arrival: continued, repeated, refused, and never replaced."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.audit_log import evidence_keys, intake
from control_plane.audit_log.intake import BatchOfAnotherHost
from control_plane.db import driver
from control_plane.db.engine import engine_of
from control_plane.erasure.subject_box import SubjectSealer
from control_plane.fleet.states import HostUnknown
from shared import canonical
from shared.audit.batch import AuditAltered, AuditForked, AuditGap, ChainHead, Statement
from shared.audit.events import Event, Outcome
from shared.audit.record import StoredRecord
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.fields import encode_base64
from shared.sealing.hpke import BoxLabel
from shared.signing import Label, SignatureInvalid, WrongSigner, sign_statement
from tests.control_plane.vault.bench import Bench, HostBench, batch_of, new_signer


def held(bench: Bench, host: HostBench) -> list[bytes]:
    rows = bench.rows("SELECT public FROM audit_records WHERE source = :source ORDER BY seq", source=str(host.host_id))
    return [row.public for row in rows]


def noted(host: HostBench, count: int) -> HostBench:
    for _ in range(count):
        host.note(private={"uid": "1.2"})
    return host


def test_keeps_records_exactly_as_they_were_sent(bench: Bench, host: HostBench) -> None:
    noted(host, 5)

    assert host.deliver(1, 3) == 3
    assert host.deliver(4, 5) == 5

    assert held(bench, host) == [record.public for record in host.journal]
    assert bench.events() == []


@pytest.mark.parametrize("sealed", [(None, None), (None, b"box", None), (b"one", b"other"), (b"", None)])
def test_keeps_what_is_sealed_beside_the_records_that_have_it_and_nothing_beside_the_others(
    bench: Bench, host: HostBench, sealed: tuple[bytes | None, ...]
) -> None:
    for box in sealed:
        host.note(private=None if box is None else {"uid": "1.2"})
        host.journal[-1] = StoredRecord(host.journal[-1].public, box)

    host.deliver(1, len(sealed))

    rows = bench.rows("SELECT public, sealed FROM audit_records WHERE source = :s ORDER BY seq", s=str(host.host_id))
    assert [StoredRecord(row.public, row.sealed) for row in rows] == host.journal


def sealed_as_by_the_centre(host: HostBench) -> HostBench:
    """Have the host seal its newest private part to somebody whose key never was."""
    host.note(private={"uid": "1.2"})
    newest = host.journal[-1]
    box = SubjectSealer({bytes(16): bytes(32)}).seal(BoxLabel.AUDIT_PRIVATE, b"", b"nobody opens this")
    host.journal[-1] = StoredRecord(newest.public, box)
    return host


@pytest.mark.parametrize("others", [0, 2])
def test_a_host_that_has_it_look_as_if_the_centre_destroyed_a_key_is_refused(
    bench: Bench, host: HostBench, others: int
) -> None:
    sealed_as_by_the_centre(noted(host, others))

    assert_refused(bench, host, host.batch(1, others + 1), Malformed)

    assert bench.reading.verify("A. Admin")["blind-index"].state == "verified"


def test_control_what_such_a_record_would_have_the_log_say(
    bench: Bench, host: HostBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "_verify_sealed_by_a_host", lambda _: None)
    sealed_as_by_the_centre(host).deliver(1, 1)

    verdict = bench.reading.verify("A. Admin")["blind-index"]
    assert verdict.state != "verified"
    assert f"a record of {host.host_id}" in verdict.why
    assert "is gone, and no record says who destroyed it" in verdict.why


@pytest.mark.parametrize("first, last", [(1, 3), (2, 3), (1, 1), (3, 3)])
def test_what_is_held_may_come_again(bench: Bench, host: HostBench, first: int, last: int) -> None:
    noted(host, 3).deliver(1, 3)

    assert host.deliver(first, last) == 3
    assert held(bench, host) == [record.public for record in host.journal]


def test_a_batch_that_overlaps_adds_what_is_new(bench: Bench, host: HostBench) -> None:
    noted(host, 6).deliver(1, 4)

    assert host.deliver(3, 6) == 6
    assert held(bench, host) == [record.public for record in host.journal]
    assert bench.reading.verify("A. Admin")[str(host.host_id)].state == "verified"


def test_the_same_batch_twice_at_once_is_kept_once(bench: Bench, host: HostBench) -> None:
    data, other = noted(host, 20).batch(1, 20), Bench(bench.folder)

    with ThreadPoolExecutor(4) as pool:
        answers = set(pool.map(lambda b: b.audit.take(host.host_id, data), [bench, other, bench, other]))

    assert answers == {20}
    assert held(bench, host) == [record.public for record in host.journal]
    assert bench.rows("SELECT count(*) AS n FROM audit_statements WHERE source LIKE 'host-%'")[0].n == 1


def assert_refused(bench: Bench, host: HostBench, data: bytes, error: type[Exception]) -> Exception:
    before = held(bench, host)
    with pytest.raises(error) as refusal:
        bench.audit.take(host.host_id, data)

    assert type(refusal.value) is error
    assert held(bench, host) == before
    record = bench.last_record()
    assert record.event is Event.AUDIT_REFUSED
    assert record.who[0].name == str(host.host_id)
    assert record.reason.startswith(error.__name__)
    expected = Outcome.SERIOUS_FAILURE if issubclass(error, IntegrityFailure) else Outcome.MINOR_FAILURE
    assert record.outcome is expected
    return refusal.value


def test_a_gap_is_refused_and_says_where_to_begin(bench: Bench, host: HostBench) -> None:
    noted(host, 6).deliver(1, 2)

    gap = assert_refused(bench, host, host.batch(4, 6), AuditGap)

    assert isinstance(gap, AuditGap)
    assert gap.held == 2


def forked(host: HostBench, at: int, length: int) -> HostBench:
    """Return the same host telling another story from record `at` on."""
    other = HostBench(host.bench, host.host_id, host.signer)
    other.journal = host.journal[: at - 1]
    other.head = ChainHead(at - 1, host.journal[at - 2].leaf) if at > 1 else ChainHead()
    for _ in range(length):
        other.note(Event.AGENT_STOPPED)
    return other


@pytest.mark.parametrize(
    "at, first, last",
    [(3, 3, 5), (3, 1, 3), (3, 4, 6), (2, 1, 2), (1, 1, 3), (2, 2, 2)],
)
def test_a_rewritten_past_is_refused(bench: Bench, host: HostBench, at: int, first: int, last: int) -> None:
    noted(host, 3).deliver(1, 3)
    liar = forked(host, at, 6)

    assert_refused(bench, host, liar.batch(first, last), AuditForked)


def test_hashes_that_somebody_made_text_of_are_still_the_same_bytes(bench: Bench, host: HostBench) -> None:
    """Or an honest host were called a forger, and the centre could record nothing more."""
    noted(host, 4).deliver(1, 2)
    bench.receive(host.seal())
    bench.sql("UPDATE audit_records SET leaf = CAST(leaf AS TEXT)")

    assert host.deliver(2, 4) == 4
    assert bench.receive(host.seal())


def test_a_fork_in_the_middle_of_an_overlap_is_refused(bench: Bench, host: HostBench) -> None:
    """The last record held is the same, one before it is another: no honest chain looks so, a broken store does."""
    noted(host, 3).deliver(1, 3)
    bench.sql("UPDATE audit_records SET leaf = zeroblob(32) WHERE seq = 2")

    forked_at = assert_refused(bench, host, host.batch(1, 3), AuditForked)

    assert isinstance(forked_at, AuditForked)
    assert forked_at.seq == 2


def test_a_batch_signed_by_another_key_is_refused(bench: Bench, host: HostBench) -> None:
    noted(host, 2)

    assert_refused(bench, host, host.batch(1, 2, signer=new_signer()), WrongSigner)


def test_a_batch_of_another_host_is_refused(bench: Bench, host: HostBench) -> None:
    noted(host, 2)
    other = bench.enrol()

    assert_refused(bench, other, host.batch(1, 2), BatchOfAnotherHost)
    assert_refused(bench, other, batch_of(str(host.host_id), host.journal, 1, 2, other.signer), BatchOfAnotherHost)


def test_a_host_that_is_not_active_is_refused(bench: Bench, host: HostBench) -> None:
    data = noted(host, 1).batch(1, 1)
    bench.sql("UPDATE hosts SET standing = 'revoked'")

    assert_refused(bench, host, data, HostUnknown)


def test_control_what_was_read_before_it_was_revoked_would_let_a_host_in(bench: Bench, host: HostBench) -> None:
    data, engine = noted(host, 1).batch(1, 1), engine_of(bench.database)
    before = driver.rows_by_itself(engine, evidence_keys._OF_HOST, evidence_keys._asked(host.host_id))
    bench.sql("UPDATE hosts SET standing = 'revoked'")

    assert bench.audit.take(host.host_id, data, before) == 1


def test_an_empty_batch_is_refused(bench: Bench, host: HostBench) -> None:
    statement = Statement(str(host.host_id), 2, 1, bytes(32), bytes(32)).encode()
    signed = sign_statement(host.signer, Label.AUDIT_BATCH, statement)
    data = canonical.encode({"records": [], "statement": encode_base64(signed)})

    assert_refused(bench, host, data, Malformed)


def altered(data: bytes, change: str) -> bytes:
    batch = json.loads(data)
    records = batch["records"]
    match change:
        case "edited":
            records[1]["public"] = records[1]["public"].replace('"outcome":0', '"outcome":4')
        case "removed":
            del records[1]
        case "reordered":
            records[0], records[1] = records[1], records[0]
        case "repeated":
            records[1] = records[0]
        case "private part removed":
            records[1]["sealed"] = None
        case "private part added":
            records[1]["sealed"] = encode_base64(b"x")
    return canonical.encode(batch)


@pytest.mark.parametrize(
    "change, error",
    [
        ("edited", AuditAltered),
        ("removed", Malformed),
        ("reordered", AuditAltered),
        ("repeated", AuditAltered),
        ("private part removed", AuditAltered),
    ],
)
def test_an_altered_batch_is_refused(bench: Bench, host: HostBench, change: str, error: type[Exception]) -> None:
    data = noted(host, 3).batch(1, 3)

    assert_refused(bench, host, altered(data, change), error)


def test_a_private_part_that_was_never_committed_to_is_refused(bench: Bench, host: HostBench) -> None:
    for _ in range(2):
        host.note()

    assert_refused(bench, host, altered(host.batch(1, 2), "private part added"), AuditAltered)


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[]", b'{"records":[],"statement":"eA=="}'])
def test_what_is_no_batch_is_refused(bench: Bench, host: HostBench, data: bytes) -> None:
    assert_refused(bench, host, data, Malformed)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_flipped_bit_in_a_batch_is_refused_or_changes_no_record(
    bench: Bench, host: HostBench, data: st.DataObject
) -> None:
    """A sealed private part is not covered by the signature, only by its commitment, which takes a key to check."""
    if not host.journal:
        host.note(private={"uid": "1.2"})
        host.note()
    sent = host.batch(1, 2)
    changed = bytearray(sent)
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at] ^= 1 << data.draw(st.integers(0, 7))

    try:
        bench.audit.take(host.host_id, bytes(changed))
    except (Refused, IntegrityFailure):
        return
    begins = sent.index(b'"sealed":"')
    assert begins <= at < sent.index(b'"', begins + 10)
    assert held(bench, host) == [record.public for record in host.journal]


def test_signature_errors_are_named(bench: Bench, host: HostBench) -> None:
    batch = json.loads(noted(host, 1).batch(1, 1))
    statement = Statement(str(host.host_id), 1, 1, bytes(32), bytes(32)).encode()
    signed = bytearray(sign_statement(host.signer, Label.RECEIPT, statement))
    batch["statement"] = encode_base64(bytes(signed))

    assert_refused(bench, host, canonical.encode(batch), SignatureInvalid)
