"""Three weeks without the centre: every image is taken, every act is recorded, and then all of it arrives, once."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from control_plane.app import ControlPlane
from control_plane.policy import roles
from control_plane.settings import Folders, Settings
from edge_agent.agent import Agent
from edge_agent.agent import Settings as AgentSettings
from edge_agent.capture.listener import Address
from edge_agent.config import AgentFolder, load_identity
from edge_agent.database import ReadingDatabase
from edge_agent.enrol.enroller import enrol
from edge_agent.enrol.standing import read_standing
from provisioning.demo.processes import wait_until
from provisioning.verify import __main__ as verify
from shared.audit.events import Event
from shared.audit.record import AuditRecord
from shared.clock import SystemClock
from shared.dicom.dimse import Status
from shared.enrolment.code import EnrolmentCode
from shared.identity import ObjectId
from shared.policy.document import ORGANISATION
from tests.control_plane.begun import begun
from tests.fakes.clock import FakeClock
from tests.fakes.log import MemoryLog
from tests.fakes.ports import free_port
from tests.faults.modality import image, send_one
from tests.scenarios.desk import ONE_CT, run
from tests.threads import in_thread

# TLS goes by the machine's own clock: the three weeks end now, and no host of then gets in by the certificate of then.
DAYS = 21
A_DAY = timedelta(days=1)


@dataclass
class Site:
    """A control plane that comes and goes on ports that stay, one host of it, and the clock of both."""

    folder: Path
    clock: FakeClock = field(default_factory=lambda: FakeClock(SystemClock().now() - DAYS * A_DAY))
    ports: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))
    people_url: str = ""

    @contextmanager
    def centre(self) -> Iterator[ControlPlane]:
        folders = Folders(self.folder / "data")
        if not folders.data.exists():
            begun(self.folder, at=self.clock.now())
        host_port, enrol_port = self.ports
        settings = Settings(folders, host_port=host_port, enrol_port=enrol_port, people_port=0, with_broker=False)
        centre = ControlPlane(settings, self.clock)
        centre.start()
        try:
            self.people_url = str(centre.addresses()["people_url"])
            yield centre
        finally:
            centre.stop()

    def person(self, *command: str) -> Any:
        """Return what a command prints as JSON."""
        who = ("--as", str(self.folder / "handover" / "credential-ada.json"), "--url", self.people_url)
        return run("leadglass-server", *command, *who, "--json").json()

    def enrolled(self) -> AgentFolder:
        (self.folder / "policy.yaml").write_text(ONE_CT)
        self.person("policy", "publish", str(self.folder / "policy.yaml"))
        agent, code = AgentFolder(self.folder / "agent"), self.person("code", "--asset", "CT 2")["code"]
        enrol(agent, f"https://127.0.0.1:{self.ports[1]}", EnrolmentCode.parse(code), "CT 2")
        return agent

    @contextmanager
    def running(self, agent: AgentFolder, by: ControlPlane | None = None) -> Iterator[Agent]:
        """Run an agent until the block ends, by the policy of a centre that is `by` it: as a broker would bring it."""
        settings = AgentSettings(agent, Address("127.0.0.1", 0, "LEADGLASS"))
        with in_thread(Agent(settings, self.clock, MemoryLog())) as one:
            if by is not None:
                policy = by._people_services().policy
                head, layer = policy.head(), policy.layer(ORGANISATION)
                assert head is not None
                assert layer is not None
                one.updater.offer(head.encode(), [layer.encode()])
            assert wait_until(lambda: one.listener.port is not None, 120) is not None
            yield one

    def approve(self, agent: AgentFolder) -> None:
        """Do what a person does who reads the fingerprint on the machine itself."""
        host = str(load_identity(agent).config.host_id)
        assert wait_until(lambda: bool(self.person("host", "asks")), 120) is not None
        self.person("host", "approve", host, "--fingerprint", read_standing(None, agent).fingerprint)

    def opened(self, centre: ControlPlane) -> "Counter[bytes]":
        """Return how often each data set is there, every object opened and verified whole."""
        opener = centre._people_services().opener
        ids = [ObjectId.parse(one["object"]) for one in self.person("find")["objects"]]
        return Counter(b"".join(opener.open(one, "ada", "is it there", "dataset").pieces) for one in ids)

    def entries(self) -> "Counter[bytes]":
        """Return how often each leaf is in the Merkle log, once a stranger's program has proved it whole."""
        log = self.folder / "log"
        self.person("audit", "tiles", "--out", str(log))
        assert verify.main(["log", str(log), "--ca", str(AgentFolder(self.folder / "agent").ca)]) == 0
        hashes = b"".join(tile.read_bytes() for tile in sorted(log.glob("tile/0/000*/**/*")) if tile.is_file())
        return Counter(hashes[at : at + 32] for at in range(0, len(hashes), 32))


def journal(agent: AgentFolder) -> list[tuple[AuditRecord, bytes]]:
    with closing(ReadingDatabase(agent.database)) as database:
        rows = database.read("SELECT public, leaf FROM record ORDER BY seq")
    return [(AuditRecord.parse(public), leaf) for public, leaf in rows]


def days_alone(site: Site, agent: AgentFolder, days: range) -> list[int]:
    """Have an image come each day, twice, while the centre is away; return what the modality was answered."""
    answers = []
    with site.running(agent) as one:
        for day in days:
            site.clock.advance(A_DAY)
            assert one.listener.port is not None
            answers += [send_one(one.listener.port, image(day)) for _ in range(2)]
    return answers


def test_three_weeks_without_the_centre_block_no_capture_and_lose_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # TUF goes by the machine's clock as well, and what was signed three weeks ago for a fortnight is taken by nobody.
    monkeypatch.setattr(roles, "ONLINE_HOLDS_FOR", 2 * DAYS * A_DAY)
    site = Site(tmp_path)
    with site.centre() as centre:
        agent = site.enrolled()
        with site.running(agent, by=centre):
            pass

    first, then = range(DAYS // 2), range(DAYS // 2, DAYS)
    answers = days_alone(site, agent, first) + days_alone(site, agent, then)

    assert answers == [Status.SUCCESS] * 2 * DAYS
    alone = journal(agent)
    times = [record.time for record, _ in alone if record.event is Event.IMAGE_CAPTURED]
    assert times == [record.time for record, _ in alone if record.event is Event.IMAGE_REPEATED]
    assert [after - before for before, after in pairwise(times)] == [A_DAY] * (DAYS - 1)

    with site.centre() as centre:
        with site.running(agent):
            site.approve(agent)  # its certificate was for a week
        with site.running(agent) as back:
            assert wait_until(lambda: (back.spool.waiting(), back.journal.waiting()) == (0, 0), 120) is not None
        assert site.opened(centre) == Counter(image(day).dataset for day in range(DAYS))
        verdicts, entries = site.person("audit", "verify"), site.entries()

    host = str(load_identity(agent).config.host_id)
    assert {verdict["state"] for verdict in verdicts.values()} == {"verified"}
    sent = journal(agent)[: verdicts[host]["records"]]
    assert sent[: len(alone)] == alone
    assert [entries[leaf] for _, leaf in sent] == [1] * len(sent)
    # The control: what the centre has not heard of, its last stop at least, is in no log.
    unsent = journal(agent)[len(sent) :]
    assert unsent[-1][0].event is Event.AGENT_STOPPED
    assert not any(entries[leaf] for _, leaf in unsent)
