"""A policy that a host cannot act by is accepted and not in force there: capture goes on by the one before."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.capture.tls import DicomTlsUnusable
from edge_agent.policy_sync.self_check import SelfCheck
from shared.audit.events import Event, Outcome
from shared.errors import Malformed, Refused
from shared.policy.bundle import LayerBundle
from shared.policy.document import ORGANISATION, PolicyDocument
from tests.edge_agent.policy_sync.test_updater import Bench
from tests.fakes.host import Host
from tests.fakes.signers import document


class Lacking(Refused):
    pass


class CheckedBench(Bench):
    """A host that lacks something for each version in `lacks`."""

    lacks: frozenset[int] | set[int] = frozenset()

    def check(self, policy: PolicyDocument) -> None:
        if policy.version in self.lacks:
            raise Lacking("the disk has no room for it")


@pytest.fixture
def bench(tmp_path: Path) -> CheckedBench:
    return CheckedBench(tmp_path / "host")


def test_a_version_that_fails_is_accepted_and_the_one_before_goes_on(bench: CheckedBench) -> None:
    bench.offer(*bench.publish(1))
    bench.lacks = {2}
    bench.offer(*bench.publish(2))

    assert (bench.held(), bench.version()) == (2, 1)
    assert bench.updater.error == (
        "organisation 2 failed its self-check here, organisation 1 goes on: Lacking: the disk has no room for it"
    )
    assert bench.host.events() == [Event.POLICY_ACCEPTED, Event.POLICY_ACCEPTED, Event.POLICY_FAILED]
    assert bench.host.records()[-1].outcome is Outcome.SERIOUS_FAILURE
    assert len(bench.current) == 2, "the device guard follows it all the same"


def test_what_failed_refuses_a_rollback_as_what_is_in_force_does(bench: CheckedBench) -> None:
    old = bench.publish(1)
    bench.offer(*old)
    bench.lacks = {2}
    bench.offer(*bench.publish(2))
    bench.offer(*old)

    assert bench.updater.error.startswith("PolicyRollback: policy version 1 is older than version 2")
    assert bench.version() == 1


def test_after_a_restart_the_one_before_is_still_in_force_and_a_host_that_lacks_nothing_takes_the_new_one(
    bench: CheckedBench,
) -> None:
    bench.offer(*bench.publish(1))
    bench.lacks = {2}
    bench.offer(*bench.publish(2))
    bench.restart()
    assert (bench.version(), "organisation 2 failed" in bench.updater.error) == (1, True)

    failed = bench.host.events()[-1]
    bench.lacks = set()
    bench.restart()
    assert (bench.version(), bench.updater.error) == (2, "")
    record = bench.host.records()[-1]
    assert (failed, record.event) == (Event.POLICY_FAILED, Event.POLICY_ACCEPTED), "the journal's last word is true"
    assert ([what.name for what in record.what], record.reason) == (
        ["organisation 2"],
        "it failed here before, and passes its self-check now",
    )
    bench.restart()
    assert bench.version() == 2
    assert bench.host.records()[-1] == record


def test_the_next_version_comes_in_force_whatever_became_of_the_last(bench: CheckedBench) -> None:
    bench.offer(*bench.publish(1))
    bench.lacks = {2}
    bench.offer(*bench.publish(2))
    bench.offer(*bench.publish(3))

    assert (bench.version(), bench.updater.error) == (3, "")


def test_a_first_policy_that_fails_leaves_none_in_force_and_is_not_recorded_again_and_again(
    bench: CheckedBench,
) -> None:
    bench.lacks = {1}
    head, layer = bench.publish(1)
    bench.offer(head, layer)
    bench.offer(bench.signers.head(LayerBundle.parse(layer).metadata, 1).encode(), layer)

    assert bench.version() == 0
    assert "none is in force" in bench.updater.error
    assert bench.host.events() == [Event.POLICY_ACCEPTED, Event.POLICY_FAILED]


def test_control_without_a_self_check_a_host_acts_by_what_it_cannot(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "host")
    bench.offer(*bench.publish(1))
    bench.offer(*bench.publish(2))

    assert bench.version() == 2


KILLED = """\
import os, signal, sys
from pathlib import Path
from tests.edge_agent.policy_sync.test_self_check import killed_at
killed_at(Path(sys.argv[1]))
"""


def killed_at(folder: Path) -> None:
    """Accept a first policy, and be killed while the second one is tried."""
    bench = CheckedBench(folder)
    bench.offer(*bench.publish(1))

    def ended(policy: PolicyDocument) -> None:
        assert policy.version == 2
        os.kill(os.getpid(), signal.SIGKILL)

    bench.check = ended  # type: ignore[method-assign]
    bench.start()
    bench.offer(*bench.publish(2))


def test_an_agent_that_is_killed_while_it_tries_a_policy_starts_with_the_one_before(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "host")], check=False, timeout=180)
    assert done.returncode == -signal.SIGKILL

    host = Host(tmp_path / "host")
    chosen = host.store.chosen()
    assert chosen is not None
    assert host.store.in_force_versions() == {ORGANISATION: 1}
    assert (chosen.versions, chosen.why) == ({ORGANISATION: 2}, "the agent ended while it was tried")


def test_a_trial_that_ended_the_agent_by_chance_is_made_again_and_not_for_ever(bench: CheckedBench) -> None:
    bench.offer(*bench.publish(1))
    bench.check = ended_by_power_cut  # type: ignore[method-assign, assignment]
    bench.start()
    with pytest.raises(PowerCut):
        bench.offer(*bench.publish(2))
    for _ in range(2):
        with pytest.raises(PowerCut):
            bench.restart()
    for _ in range(2):
        bench.restart()
        assert bench.version() == 1, "after three times it is tried no more"
    accepted, failed = [Event.POLICY_ACCEPTED] * 2, bench.host.records()[-1]
    assert bench.host.events() == [*accepted, Event.POLICY_FAILED], "which is recorded once"
    assert (failed.outcome, failed.reason) == (Outcome.SERIOUS_FAILURE, "the agent ended while it was tried")

    chosen = bench.host.store.chosen()
    assert chosen is not None
    bench.host.store.passed(chosen.number)
    bench.host.store.begin_again(chosen.number, "the agent ended while it was tried")
    bench.check = lambda _policy: None  # type: ignore[method-assign, assignment]
    bench.restart()
    assert (bench.version(), bench.updater.error) == (2, "")


class PowerCut(BaseException):
    pass


def ended_by_power_cut(_policy: PolicyDocument) -> None:
    raise PowerCut


def test_an_error_that_nobody_expected_fails_the_version_and_is_said(bench: CheckedBench) -> None:
    def broken(_policy: PolicyDocument) -> None:
        raise ValueError("no")

    bench.offer(*bench.publish(1))
    bench.check = broken  # type: ignore[method-assign, assignment]
    bench.start()
    bench.offer(*bench.publish(2))

    assert bench.version() == 1
    assert "an error that nobody expected" in bench.updater.error


def test_the_real_self_check_seals_to_every_key_and_makes_the_tls_context(tmp_path: Path) -> None:
    host, made = Host(tmp_path / "host"), list[str]()
    policy = document(1, host.keys, host.receipts.public)
    check = SelfCheck(made.append)

    check(policy)
    assert made == []
    check(replace(policy, dicom_trust="certificates"))
    assert made == ["certificates"]
    with pytest.raises(Malformed, match="no key for grade secret"):
        check(replace(policy, grading=replace(policy.grading, grades=("restricted", "secret"))))

    def unusable(_trust: str) -> object:
        raise DicomTlsUnusable("dicom.pem", "it cannot be read")

    with pytest.raises(DicomTlsUnusable):
        SelfCheck(unusable)(replace(policy, dicom_trust="certificates"))


def test_a_stored_policy_that_is_mended_is_in_force_as_it_was_without_another_trial(bench: CheckedBench) -> None:
    bench.offer(*bench.publish(1))
    newer = bench.publish(2)
    bench.offer(*newer)
    with bench.host.database.transaction() as connection:
        connection.execute("UPDATE accepted_policy SET document = x'00' WHERE version = 2")
    bench.restart()
    assert bench.version() == 0
    bench.check = ended_by_power_cut  # type: ignore[method-assign, assignment]
    bench.start()
    bench.offer(*newer)

    assert bench.version() == 2
    bench.restart()
    assert bench.version() == 2
