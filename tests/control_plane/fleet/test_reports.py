"""What the centre remembers of reports spares it verifying them, and never stands in for what was not verified."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from control_plane.fleet.histories import History, Known, Run, follow
from control_plane.fleet.reports import Report, VerifiedReports, verify_report
from shared.fleet.state import HostState, sign_state
from shared.signing import SignatureInvalid, SoftwareSigner, WrongSigner
from tests.shared.made import GUARD_REPORT, HOST, HOST_SIGNER, NOW

RUN = "a" * 32
STATE = HostState(HOST, 4, NOW, "test", 2, 1, "", True, 0, 9, 9, 0, 0, guard=GUARD_REPORT, run=RUN)
SIGNED, SPKI = sign_state(STATE, HOST_SIGNER), HOST_SIGNER.public.spki
NAME = str(HOST)
BARE = replace(STATE, guard=replace(GUARD_REPORT, devices=()))


def test_a_report_is_verified_once_and_its_successor_again() -> None:
    reports = VerifiedReports()
    first, again = reports.read(NAME, SIGNED, SPKI), reports.read(NAME, SIGNED, SPKI)
    newer = reports.read(NAME, sign_state(replace(STATE, number=5), HOST_SIGNER), SPKI)

    assert first is again
    assert (first.outline.number, newer.outline.number) == (4, 5)


def test_what_was_verified_when_it_came_in_is_not_verified_again() -> None:
    reports, (_, report) = VerifiedReports(), verify_report(SIGNED, SPKI)
    reports.remember(NAME, SIGNED, SPKI, report)
    assert reports.read(NAME, SIGNED, SPKI) is report


def test_other_bytes_or_another_key_are_verified_whatever_is_remembered() -> None:
    reports, other = VerifiedReports(), SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
    held = reports.read(NAME, SIGNED, SPKI)

    with pytest.raises(SignatureInvalid):
        reports.read(NAME, SIGNED[:-1] + bytes([SIGNED[-1] ^ 1]), SPKI)
    with pytest.raises(WrongSigner):
        reports.read(NAME, SIGNED, other.public.spki)
    assert reports.read(NAME, SIGNED, SPKI) is held


def test_it_remembers_no_more_than_it_may_and_knows_all_it_is_asked() -> None:
    reports, names = VerifiedReports(most_kept=2), ["host 1", "host 2", "host 3"]
    first = {name: reports.read(name, SIGNED, SPKI) for name in names}

    assert reports.read("host 3", SIGNED, SPKI) is first["host 3"]
    assert reports.read("host 1", SIGNED, SPKI) is not first["host 1"]  # there was no room for all three
    assert reports.read("host 1", SIGNED, SPKI) == first["host 1"]


def test_lists_are_not_remembered_and_two_reports_that_differ_in_them_alone_differ() -> None:
    full, bare = (Report.of(state, state.encode()) for state in (STATE, BARE))

    assert full.outline == bare.outline
    assert full.outline.guard is not None
    assert full.outline.guard.policy == GUARD_REPORT.policy
    known = Known(full, (Run(RUN, NOW, 4, 0),))
    assert [follow(known, each, NOW)[0] for each in (full, bare)] == [History.REPEATED, History.CLONED]
