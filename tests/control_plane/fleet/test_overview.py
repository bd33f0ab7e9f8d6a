"""The status shows what a host said as what it does now only for as long as that is so."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPConnection
from json import loads
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.orm import Session, sessionmaker

from control_plane.app import ControlPlane
from control_plane.db.engine import open_database, sqlite_url
from control_plane.db.models import Certificate, Conflict, Host
from control_plane.first_start import first_start
from control_plane.fleet.states import StateIntake
from control_plane.policy.authoring import load_credential
from control_plane.settings import Folders, Settings
from shared.clock import SystemClock
from shared.fleet.state import CaptureState, HostState, RouteState, sign_state
from shared.identity import HostId
from shared.signing import SoftwareSigner
from tests.fakes.clock import FakeClock

HOST = HostId(bytes(range(16)))


@dataclass
class Fleet:
    """A control plane with one host, whose certificate lasts a week."""

    clock: FakeClock
    database: sessionmaker[Session]
    signer: SoftwareSigner
    people_url: str
    credential: Path
    reports: int = 0

    def report(
        self, *, of: timedelta = timedelta(), listening: bool = True, capture: CaptureState | None = None
    ) -> None:
        self.reports += 1
        state = HostState(
            HOST, self.reports, self.clock.now() + of, "test", 0, 0, "", listening, 0, 0, 0, 0, 0,
            capture or CaptureState(),
        )  # fmt: skip
        StateIntake(self.database, self.clock).take(HOST, sign_state(state, self.signer))

    def status(self) -> tuple[str, str]:
        """Return the host's state, and what the status says nobody has proved."""
        answer = self.answer()
        return answer["hosts"][0]["state"], "\n".join(answer["not_evaluated"])

    def answer(self) -> Any:
        url = urlsplit(self.people_url)
        connection = HTTPConnection(url.hostname or "", url.port, timeout=20)
        token = load_credential(self.credential).token
        connection.request("GET", "/api/v1/status", headers={"Authorization": f"Bearer {token}"})
        answer = loads(connection.getresponse().read())
        connection.close()
        return answer


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    clock, folders = FakeClock(SystemClock().now()), Folders(tmp_path / "data")
    made = first_start(
        folders, tmp_path / "handover", "ada", host="127.0.0.1", people_url="http://127.0.0.1:1", clock=clock
    )
    centre = ControlPlane(Settings(folders, host_port=0, enrol_port=0, people_port=0, with_broker=False), clock)
    centre.start()
    database, signer = (
        open_database(sqlite_url(folders.database)),
        SoftwareSigner(ec.generate_private_key(ec.SECP256R1())),
    )
    with database.begin() as session:
        week = clock.now() + timedelta(days=7)
        session.add(Certificate(serial="1", kind="host", subject=str(HOST), pem="", issued=clock.now(), not_after=week))
        session.add(Host(host_id=str(HOST), asset="CT 2", enrolled=clock.now(), active=True,
                         evidence_spki=signer.public.spki, state_number=0))  # fmt: skip
    url = str(centre.addresses()["people_url"])
    yield Fleet(clock, database, signer, url, made.credential)
    centre.stop()


def test_a_host_that_reports_is_capturing_until_it_falls_silent(fleet: Fleet) -> None:
    fleet.report()
    assert fleet.status()[0] == "capturing"

    fleet.clock.advance(timedelta(hours=4))
    state, gaps = fleet.status()
    assert state == "silent"
    assert "CT 2: silent since" in gaps

    fleet.report()
    assert fleet.status()[0] == "capturing"


def test_what_a_host_can_open_and_what_its_own_routes_hold_up_is_said(fleet: Fleet) -> None:
    good, bad = RouteState("pacs", 2, ""), RouteState("second", 1, "PeerUnreachable: nobody is there")
    fleet.report(
        capture=CaptureState(spool_bytes=900, spool_quota_bytes=1000, damaged=1, openable_here=3, routes=(good, bad))
    )

    answer = fleet.answer()
    (host,) = answer["hosts"]
    assert host["openable_here"] == 3
    assert host["routes"] == [good.json(), bad.json()]
    told = [gap for gap in answer["not_evaluated"] if "route" in gap]
    assert told == ["CT 2: route second: 1 images wait on the host: PeerUnreachable: nobody is there"]
    command = [
        sys.executable,
        "-m",
        "control_plane",
        "status",
        "--as",
        str(fleet.credential),
        "--url",
        fleet.people_url,
    ]
    shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "spool: 900 bytes, 90 % of its quota; 1 damaged or refused" in shown
    assert "openable on this host: 3" in shown
    assert "route second: 1 waiting on this host" in shown


def test_a_spool_that_is_nearly_full_and_objects_that_stay_in_it_are_said(fleet: Fleet) -> None:
    def about_the_spool(capture: CaptureState) -> list[str]:
        fleet.report(capture=capture)
        return [gap for gap in fleet.answer()["not_evaluated"] if "spool" in gap]

    assert about_the_spool(CaptureState(spool_bytes=1 << 40)) == []
    assert about_the_spool(CaptureState(spool_bytes=799, spool_quota_bytes=1000)) == []
    (nearly_full,) = about_the_spool(CaptureState(spool_bytes=800, spool_quota_bytes=1000))
    assert nearly_full == "CT 2: its spool is 80 % full, and takes no new image once it is full"
    (damaged,) = about_the_spool(CaptureState(damaged=2))
    assert damaged.startswith("CT 2: 2 objects of its spool are not whole or refused by the vault")
    (host,) = fleet.answer()["hosts"]
    assert (host["spool_bytes"], host["spool_used_percent"], host["damaged"]) == (0, None, 2)


def test_a_report_that_a_broker_held_back_is_said_to_be_late(fleet: Fleet) -> None:
    fleet.report(of=timedelta(hours=-1))

    assert "CT 2: its clock is wrong, or its report of" in fleet.status()[1]


def test_a_certificate_that_was_not_renewed_is_named_before_and_after_it_expires(fleet: Fleet) -> None:
    assert "certificate" not in fleet.status()[1]

    fleet.clock.advance(timedelta(days=5, hours=1))
    assert "CT 2: its certificate expires at" in fleet.status()[1]
    fleet.clock.advance(timedelta(days=2))
    assert "nothing it captures is delivered" in fleet.status()[1]


def test_open_conflicts_are_counted_and_said_until_they_are_settled(fleet: Fleet) -> None:
    assert fleet.answer()["objects"]["conflicts"] == 0

    with fleet.database.begin() as session:
        for number, settled in enumerate((None, None, fleet.clock.now())):
            session.add(Conflict(token=bytes([number]), found=fleet.clock.now(), settled=settled))

    answer = fleet.answer()
    assert answer["objects"]["conflicts"] == 2
    assert [line for line in answer["not_evaluated"] if line.startswith("2 SOP Instance UIDs: several data sets")]
