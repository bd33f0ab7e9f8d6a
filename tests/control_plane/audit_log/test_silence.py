"""A host that goes on reporting while its audit records stay away: an alert, once, until they come."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from control_plane.audit_log import silent_hosts
from control_plane.audit_log.silence import Heard, Owed, is_silent, owed
from control_plane.audit_log.silent_hosts import SilentHosts
from control_plane.db.models import Host, LogWitness
from control_plane.fleet.heard import HeardSince
from shared.audit.events import Event
from shared.fleet.state import HostState, sign_state
from tests.control_plane.vault.bench import Bench, HostBench

NOW = datetime(2026, 11, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Ward:
    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder)
        self.host: HostBench = self.bench.enrol()
        self.silent = SilentHosts(
            self.bench.database, self.bench.journal, self.bench.clock, lambda: HeardSince({}, self.bench.clock.now())
        )
        self.number = 0

    def report(self, waiting: int) -> None:
        self.number += 1
        now = self.bench.clock.now()
        state = HostState(self.host.host_id, self.number, now, "leadglass", 1, 1, "", True, 0, 0, 0, 0, waiting)
        with self.bench.database.begin() as session:
            row = session.get_one(Host, str(self.host.host_id))
            row.state, row.state_received = sign_state(state, self.host.signer), now

    def wait(self, minutes: int, waiting: int) -> None:
        """Let time go by, in which the host reports and the centre looks each few minutes."""
        for _ in range(minutes // 5):
            self.bench.clock.advance(5 * MINUTE)
            self.report(waiting)
            self.silent.look()

    def alerts(self) -> int:
        return self.bench.events().count(Event.HOST_SILENT)


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


def test_a_host_that_falls_silent_though_it_reports_is_an_alert_and_a_record_until_its_records_come(
    ward: Ward,
) -> None:
    ward.host.note()
    ward.host.deliver(1, 1)
    ward.wait(120, waiting=0)
    assert (ward.silent.gaps(), ward.alerts()) == ([], 0)  # the control: an idle host owes nothing

    ward.host.note()
    ward.wait(50, waiting=1)
    assert (ward.silent.gaps(), ward.alerts()) == ([], 0)
    ward.wait(60, waiting=1)
    (gap,) = ward.silent.gaps()
    assert "it reports, but its audit stream is silent since" in gap
    assert "1 of its audit records wait" in gap
    assert ward.alerts() == 1

    ward.host.deliver(2, 2)
    ward.wait(10, waiting=0)
    assert (ward.silent.gaps(), ward.alerts()) == ([], 1)


def test_a_host_that_says_nothing_waits_while_its_images_come_without_records_is_an_alert(ward: Ward) -> None:
    ward.host.note()
    ward.host.deliver(1, 1)
    ward.bench.clock.advance(MINUTE)
    ward.bench.receive(ward.host.seal())
    ward.wait(120, waiting=0)

    assert "its images come, and the audit records of them do not" in ward.silent.gaps()[0]


def test_a_host_that_reports_and_cosigns_no_more_is_an_alert(ward: Ward) -> None:
    with ward.bench.database.begin() as session:
        session.add(LogWitness(name="w", vkey="", host=str(ward.host.host_id), size=1, root=b"", line="", cosigned=0,
                               heard=ward.bench.clock.now()))  # fmt: skip
    ward.wait(120, waiting=0)

    assert "it cosigns the centre's log no more" in ward.silent.gaps()[0]


def test_without_looking_at_what_is_owed_nobody_says_it(ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep this as the control."""
    monkeypatch.setattr(silent_hosts, "owed", lambda *_: None)
    ward.wait(120, waiting=1)

    assert (ward.silent.gaps(), ward.alerts()) == ([], 0)


HEARD = Heard(True, 0, NOW - 9 * MINUTE, None, None)


@pytest.mark.parametrize(
    "heard, before, since",
    [
        (HEARD, None, None),
        (replace(HEARD, waiting=1), None, NOW),
        (replace(HEARD, waiting=1), NOW - 5 * MINUTE, NOW - 5 * MINUTE),
        (replace(HEARD, waiting=1), NOW - 20 * MINUTE, NOW),  # one came since
        (replace(HEARD, waiting=1, reports=False), NOW - 5 * MINUTE, None),  # it is off
        (replace(HEARD, image=NOW), None, NOW),
        (replace(HEARD, image=NOW - 10 * MINUTE), None, None),
        (replace(HEARD, cosigned=NOW - 29 * MINUTE), None, None),
        (replace(HEARD, cosigned=NOW - 500 * MINUTE), None, NOW),  # it may just have come back
    ],
)
def test_what_a_host_owes_counts_from_when_it_was_first_missed_while_it_reports(
    heard: Heard, before: datetime | None, since: datetime | None
) -> None:
    owes = owed(heard, before, NOW)

    assert (None if owes is None else owes.since) == since


def test_an_hour_is_what_nobody_has_to_wait() -> None:
    assert not is_silent(Owed(NOW, ""), NOW + 59 * MINUTE)
    assert is_silent(Owed(NOW, ""), NOW + 60 * MINUTE)
