"""What opens nothing any more goes by itself, in a control plane that runs."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select

from control_plane.app import ControlPlane
from control_plane.db.models import SignInLink, SignInStep
from control_plane.settings import Settings
from shared.clock import SystemClock
from tests.control_plane.begun import begun
from tests.control_plane.fleet.processes import eventually


class Late(SystemClock):
    """As for a machine that was paused between planning a job and beginning it."""

    def now(self) -> datetime:
        return super().now() - timedelta(seconds=30)


@pytest.mark.parametrize("clock", [SystemClock(), Late()], ids=["in time", "late"])
def test_a_running_control_plane_takes_old_links_and_steps_away_and_no_young_ones(
    tmp_path: Path, clock: SystemClock
) -> None:
    now, (folders, _) = clock.now(), begun(tmp_path)
    centre = ControlPlane(Settings(folders, host_port=0, enrol_port=0, people_port=0, with_broker=False), clock)
    with centre._database.begin() as session:
        for number, age in enumerate((timedelta(days=2), timedelta(hours=1))):
            session.add(SignInLink(link_sha256=bytes([number]) * 32, person="ada", expires=now - age, token_id=None))
        session.add(
            SignInStep(
                step_sha256=bytes(32), person="ada", purpose="sign-in", challenge=b"", password_right=False,
                expires=now - timedelta(minutes=1),
            )
        )  # fmt: skip

    def left() -> tuple[int, ...]:
        with centre._database() as session:
            counted = (session.scalar(select(func.count()).select_from(table)) for table in (SignInLink, SignInStep))
            return tuple(number or 0 for number in counted)

    assert left() == (2, 1)  # control
    centre.start()
    try:
        assert eventually(lambda: left() == (1, 0))
    finally:
        centre.stop()
