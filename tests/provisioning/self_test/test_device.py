"""What a guard decides about a keyboard that is not there, asked over its socket; and what may not be said of it."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.link.client import GuardClient
from edge_agent.link.protocol import Rehearsal
from provisioning.finding import Finding, Verdict
from provisioning.install.item import Kind, Noted, Part
from provisioning.install.local import LocalFiles
from provisioning.install.noted import Installed
from provisioning.self_test.device import is_put_to_use, judge_device
from shared.devices.verdict import Target
from tests.fakes.guard import REHEARSAL, REPORT, MemoryDesk, guard


def judged(folder: Path, desk: MemoryDesk) -> Finding:
    path = folder / "guard.sock"
    with guard(path, desk):
        return judge_device(lambda: GuardClient(path, guard_user=os.getuid()), has_guard=True)


@pytest.mark.parametrize(
    "said, verdict",
    [
        (REHEARSAL, Verdict.PASS),
        (replace(REHEARSAL, target=Target.REJECT, would_be=Target.REJECT), Verdict.PASS),
        (replace(REHEARSAL, target=Target.ALLOW), Verdict.PASS),
        (replace(REHEARSAL, target=Target.ALLOW, would_be=Target.ALLOW), Verdict.FAIL),
    ],
    ids=["block", "reject", "observed", "allow"],
)
def test_a_guard_that_would_let_an_unknown_keyboard_type_fails(
    tmp_path: Path, said: Rehearsal, verdict: Verdict
) -> None:
    desk = MemoryDesk()
    desk.rehearsal = said

    found = judged(tmp_path, desk)

    assert found.verdict is verdict
    assert "simulated" in found.reason
    assert "nothing enforced" in found.reason
    assert ("only observes" in found.reason) == (said.target is not said.would_be)


def test_a_guard_without_policy_and_one_that_does_not_answer_fail(tmp_path: Path) -> None:
    desk = MemoryDesk()
    desk.tree = replace(REPORT, policy=0)

    assert judged(tmp_path, desk).verdict is Verdict.FAIL
    gone = judge_device(lambda: GuardClient(tmp_path / "nobody.sock"), has_guard=True)
    assert gone.verdict is Verdict.FAIL


def test_without_a_guard_nothing_is_evaluated(tmp_path: Path) -> None:
    found = judge_device(lambda: GuardClient(tmp_path / "nobody.sock"), has_guard=False)

    assert found.verdict is Verdict.NOT_EVALUATED


def test_a_guard_that_has_to_run_and_does_not_is_a_failure_and_one_that_need_not_is_not_evaluated(
    tmp_path: Path,
) -> None:
    socket = tmp_path / "guard.sock"

    def found() -> Finding:
        return judge_device(lambda: GuardClient(socket), has_guard=is_put_to_use(tmp_path, socket))

    installed = Installed((Noted("/etc/systemd/system/leadglass-guard.service", Part.GUARD, Kind.FILE, ("0" * 64,)),))
    LocalFiles(tmp_path).note(installed)
    assert found().verdict is Verdict.NOT_EVALUATED
    assert "--deny-by-default" in found().fix

    denying = Noted("/etc/udev/rules.d/58-leadglass-default-deny.rules", Part.DENIAL, Kind.FILE, ("0" * 64,))
    LocalFiles(tmp_path).note(replace(installed, entries=(*installed.entries, denying)))
    assert found().verdict is Verdict.FAIL
