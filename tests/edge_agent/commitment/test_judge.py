"""What is committed, what fails, and what has to wait."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge_agent.commitment import store as stores
from edge_agent.commitment.judge import (
    UNKNOWN_AFTER_LAST_CAPTURE,
    UNKNOWN_AT_THE_LATEST,
    Held,
    Verdict,
    evaluate,
    is_unknown_final,
)
from edge_agent.commitment.reports import FailureReason
from edge_agent.commitment.requests import CommitmentRequest, Reference
from edge_agent.commitment.store import CommitmentStore, TooManyOpen, TransactionTaken
from tests.fakes.host import CT, Host

REFERENCE = Reference(CT, "1.2.3")
NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    "held, is_final, expected",
    [
        ([], False, Verdict.WAITS),
        ([], True, Verdict.UNKNOWN),
        ([Held(CT, receipted=True)], False, Verdict.COMMITTED),
        ([Held("", receipted=True)], False, Verdict.COMMITTED),
        ([Held(CT, receipted=False)], True, Verdict.WAITS),
        ([Held("1.2.9", receipted=True)], False, Verdict.CONFLICT),
        ([Held(CT, receipted=True), Held(CT, receipted=False)], True, Verdict.WAITS),
        ([Held(CT, receipted=True), Held("1.2.9", receipted=False)], True, Verdict.WAITS),
        ([Held(CT, receipted=True), Held(CT, receipted=True)], False, Verdict.COMMITTED),
        ([Held(CT, receipted=False, lost=True)], False, Verdict.WAITS),
        ([Held(CT, receipted=False, lost=True)], True, Verdict.UNKNOWN),
        ([Held(CT, receipted=True), Held(CT, receipted=False, lost=True)], False, Verdict.WAITS),
        ([Held(CT, receipted=True), Held(CT, receipted=False, lost=True)], True, Verdict.UNKNOWN),
    ],
)
def test_committed_is_only_what_the_vault_holds_whole(held: list[Held], is_final: bool, expected: Verdict) -> None:
    assert evaluate(REFERENCE, held, unknown_is_final=is_final) is expected


@pytest.mark.parametrize(
    "after_request, after_capture, expected",
    [
        (timedelta(0), timedelta(0), False),
        (UNKNOWN_AFTER_LAST_CAPTURE - SECOND, timedelta(days=9), False),
        (UNKNOWN_AFTER_LAST_CAPTURE, UNKNOWN_AFTER_LAST_CAPTURE, True),
        (timedelta(hours=9), SECOND, False),
        (UNKNOWN_AT_THE_LATEST - SECOND, SECOND, False),
        (UNKNOWN_AT_THE_LATEST, SECOND, True),
    ],
)
def test_what_is_unknown_may_still_be_on_its_way(
    after_request: timedelta, after_capture: timedelta, expected: bool
) -> None:
    assert is_unknown_final(NOW, NOW - after_request, NOW - after_capture) is expected


@pytest.fixture
def store(tmp_path: Path) -> CommitmentStore:
    return CommitmentStore(Host(tmp_path / "host").database)


def request(transaction: str, *instances: str) -> CommitmentRequest:
    return CommitmentRequest(transaction, tuple(Reference(CT, instance) for instance in instances))


def test_a_report_is_there_once_everything_is_decided_and_gone_once_closed(store: CommitmentStore) -> None:
    request_id = store.add("CT1", request("1.2", "1.3", "1.4"), NOW)
    assert request_id is not None
    store.decide(request_id, {0: Verdict.COMMITTED})
    before = store.report(request_id)
    store.decide(request_id, {1: Verdict.UNKNOWN})
    report = store.report(request_id)

    assert before is None
    assert report is not None
    assert (report.committed, report.failed) == (
        (Reference(CT, "1.3"),),
        ((Reference(CT, "1.4"), FailureReason.NO_SUCH_INSTANCE),),
    )
    assert (store.close(request_id), store.close(request_id)) == (True, False)
    assert (store.report(request_id), store.waiting(), store.undecided(request_id, 9)) == (None, 0, [])


def test_a_transaction_is_its_modality_s_own(store: CommitmentStore) -> None:
    assert store.add("CT1", request("1.2", "1.3"), NOW) is not None
    assert store.add("CT1", request("1.2", "1.3"), NOW) is None
    assert store.add("MR", request("1.2", "1.9"), NOW) is not None
    with pytest.raises(TransactionTaken):
        store.add("CT1", request("1.2", "1.9"), NOW)

    assert store.waiting() == 2


def test_one_modality_cannot_fill_the_disk(store: CommitmentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MAX_OPEN", 2)
    monkeypatch.setattr(stores, "MAX_OPEN_REFERENCES", 4)
    with pytest.raises(TooManyOpen):
        store.add("CT1", request("1.1", "1", "2", "3", "4", "5"), NOW)
    store.add("CT1", request("1.2", "1.3"), NOW)
    store.add("CT1", request("1.3", "1.3"), NOW)
    with pytest.raises(TooManyOpen):
        store.add("CT1", request("1.4", "1.3"), NOW)

    assert store.add("MR", request("1.4", "1.3"), NOW) is not None
