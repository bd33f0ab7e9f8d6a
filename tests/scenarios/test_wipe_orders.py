"""A wipe order lives through the death of the control plane at the moment of its approval, and ends by evidence."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from control_plane.db.engine import close_database, open_database, sqlite_url
from control_plane.db.models import AuditSubject, WipeSignatureRow
from control_plane.people.accounts import Accounts
from control_plane.policy.authoring import load_credential, store_credential
from edge_agent.config import AgentFolder
from edge_agent.enrol.enroller import enrol
from shared.audit.events import Event
from shared.clock import SystemClock
from shared.enrolment.code import EnrolmentCode
from shared.sanitization.envelope import SignedTicket
from tests.control_plane.cli.running import command, run, running, started
from tests.control_plane.cli.test_wipes import DRIVE, WISH, YAML, HostSide


class Hospital:
    """One centre after another over one folder, an administrator, a technician and a host."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.centre = folder, started(folder / "centre")
        self.database = open_database(sqlite_url(self.centre.data / "db" / "leadglass.sqlite"))

    def told(self, *arguments: str | Path, who: Path | None = None) -> Any:
        code, out, errors = run(*arguments, "--json", *self.as_(who))
        assert (code, errors) == (0, "")
        return json.loads(out)

    def as_(self, who: Path | None = None) -> tuple[str | Path, ...]:
        return ("--as", who or self.centre.who[1], "--url", self.centre.url)

    def technician(self) -> Path:
        token = Accounts(self.database, SystemClock()).create("Dan", "technician")
        admin, file = load_credential(Path(self.centre.who[1])), self.folder / "dan.json"
        store_credential(file, dataclasses.replace(admin, person="Dan", role="technician", token=token))
        return file

    def signatures(self) -> tuple[int, int]:
        """Return how many are held, and how many the log has."""
        with self.database() as session:
            held = session.scalar(select(func.count()).select_from(WipeSignatureRow))
            subjects = AuditSubject.kind == "order", AuditSubject.event == Event.WIPE_SIGNED.value
            recorded = session.scalar(select(func.count()).select_from(AuditSubject).where(*subjects))
        return held or 0, recorded or 0

    def die(self) -> None:
        if self.centre.process.poll() is None:
            self.centre.process.kill()
            self.centre.process.communicate()


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    hospital = Hospital(tmp_path)
    yield hospital
    hospital.die()
    close_database(hospital.database)


def test_an_approval_is_kept_whole_when_the_centre_is_killed_and_the_wipe_goes_on(
    hospital: Hospital, tmp_path: Path
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(YAML)
    code, _, errors = run("policy", "publish", policy, *hospital.as_())
    assert (code, errors) == (0, "")
    address = json.loads(hospital.centre.ready.read_text())["enrol_url"]
    issued, agent = hospital.told("code", "--asset", "CT 2")["code"], AgentFolder(tmp_path / "agent")
    enrol(agent, address, EnrolmentCode.parse(issued), "CT 2")
    dan = hospital.technician()
    order = hospital.told("wipe", "order", "CT 2", *DRIVE, *WISH, who=dan)["order"]

    approving = command("wipe", "approve", order, "--yes", *hospital.as_())
    while hospital.signatures()[0] == 0:
        assert approving.poll() in (None, 0), approving.communicate()
    hospital.die()
    approving.communicate()  # whoever approves may have got an answer, or none

    assert hospital.signatures() == (1, 1)
    with running(tmp_path / "centre") as again:
        hospital.centre = again
        assert hospital.told("wipe", "show", order, who=dan)["state"] == "approved"
        code, _, errors = run("wipe", "approve", order, "--yes", *hospital.as_())
        assert (code, "has signed this ticket already" in errors) == (1, True)
        taken = tmp_path / "ticket"
        run("wipe", "ticket", order, "--out", taken, *hospital.as_(dan))
        host = HostSide(agent, tmp_path)
        report = host.report(SignedTicket.parse(taken.read_bytes()).claimed)
        assert hospital.told("wipe", "import", report, who=dan)["state"] == "verified"
        assert run("audit", "verify", *hospital.as_())[0] == 0
