"""A whole wipe on a loop device: what refuses it, what is left of it however it ends, and that it goes on."""

from pathlib import Path

import pytest

from edge_agent.sanitize.session import Confirmed
from shared.sanitization.judged import Result
from shared.sanitization.report import Ending
from tests.edge_agent.sanitize.wiping import PATIENT, Bench, Watching, content, loop_drive


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench.new(tmp_path)


def test_a_ticket_becomes_a_signed_report_of_a_drive_that_holds_nothing_any_more(bench: Bench, tmp_path: Path) -> None:
    with loop_drive(tmp_path) as node:
        allowed = bench.ticket(node)
        session = bench.session(node)
        looked = session.look(session.accept(bench.bring(allowed)))
        assert looked.refusals == ()
        assert looked.plan is not None
        done = session.wipe(looked, Confirmed("Dan"), Watching())

        assert done.judged.result is Result.CLEARED_VERIFIED
        assert PATIENT not in content(node)
    report = bench.signed(allowed)
    assert report == done.report
    assert report.ending is Ending.COMPLETED
    assert report.steps[0].bytes_written == 4 << 20
    assert bench.events(allowed) == ["accepted", "started", "ended"]
