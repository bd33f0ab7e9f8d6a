"""The signed file of a hand-over: one encoding, strict reading, nothing changed unseen."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provisioning.finding import Finding, Verdict
from provisioning.handover.report import SignedHandOver
from provisioning.outcome import STEPS, Outcome, in_order
from shared import canonical
from shared.errors import IntegrityFailure, Malformed, Refused
from tests.provisioning.handover.made import NOW, OPENED, SIGNER, SWAP, signed, visit, word

_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=60)
_FINDINGS = st.builds(Finding, st.from_regex(r"[a-z0-9]{1,9}(-[a-z0-9]{1,9})?", fullmatch=True),
                      st.sampled_from(list(Verdict)), _TEXT, _TEXT)  # fmt: skip
_OUTCOMES = st.builds(Outcome, st.sampled_from(STEPS), st.just(NOW), st.lists(_FINDINGS, max_size=4).map(tuple))
_VALID = signed().encode()


@given(st.lists(_OUTCOMES, max_size=5), _TEXT.filter(bool), _TEXT.filter(bool))
def test_whatever_a_visit_found_reads_back_as_it_was_and_verifies(
    made: list[Outcome], engineer: str, received_by: str
) -> None:
    report = replace(visit(), steps=in_order(made), engineer=engineer, received_by=received_by)

    file = signed(report)
    read = SignedHandOver.parse(file.encode())

    assert (read, read.encode()) == (file, file.encode())
    read.verify(SIGNER.public)


@given(st.data())
def test_no_byte_can_be_changed_unseen(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(_VALID) - 1))
    changed = _VALID[:at] + bytes([_VALID[at] ^ data.draw(st.integers(1, 255))]) + _VALID[at + 1 :]
    certificate = json.dumps(signed().certificate)[1:-1].encode()

    try:
        read = SignedHandOver.parse(changed)
        read.verify(SIGNER.public)
    except (Refused, IntegrityFailure):
        return
    # What stands in the certificate is judged under the root, by whoever verifies.
    assert read.report == SignedHandOver.parse(_VALID).report
    assert certificate not in changed or read.certificate != SignedHandOver.parse(_VALID).certificate


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        SignedHandOver.parse(data)


def test_a_fail_made_a_pass_does_not_verify() -> None:
    """Keep the second half as the control: the very same edit, left out, verifies."""
    value = json.loads(_VALID)
    untouched = canonical.encode(value)
    value["report"]["steps"][0]["findings"][0]["verdict"] = "pass"
    forged = SignedHandOver.parse(canonical.encode(value))

    with pytest.raises(IntegrityFailure):
        forged.verify(SIGNER.public)
    SignedHandOver.parse(untouched).verify(SIGNER.public)


def test_a_step_that_was_not_made_counts_as_not_evaluated() -> None:
    report = visit(said=word())

    open_steps = [step for step, found in report.named() if found.verdict is Verdict.NOT_EVALUATED]
    assert open_steps == ["preflight", "install", "enrol", "pin-console"]
    assert [report.count(verdict) for verdict in Verdict] == [2, 1, 4]


@pytest.mark.parametrize(
    "outcome, verdict",
    [
        (Outcome("enrol"), Verdict.NOT_EVALUATED),
        (Outcome("enrol", NOW), Verdict.NOT_EVALUATED),
        (Outcome("enrol", NOW, (OPENED,)), Verdict.PASS),
        (Outcome("enrol", NOW, (OPENED, SWAP)), Verdict.FAIL),
    ],
)
def test_a_step_passed_only_where_something_was_found_and_all_of_it_is_well(outcome: Outcome, verdict: Verdict) -> None:
    assert outcome.verdict is verdict
    assert Outcome.parse(outcome.encode()) == outcome
