"""The control plane's machine is gone. Another one takes its place, by a backup and two recovery shares."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import _config

from edge_agent.agent import Agent
from edge_agent.config import AgentFolder, load_identity
from edge_agent.enrol.enroller import enrol
from provisioning.demo.processes import Children, Ran, run, wait_until
from shared.enrolment.code import EnrolmentCode
from tests.control_plane.begun import begun
from tests.edge_agent.capture.images import Image, load
from tests.edge_agent.conftest import senders_close_their_sockets
from tests.edge_agent.test_agent import running, send
from tests.fakes.log import MemoryLog
from tests.fakes.ports import free_port
from tests.fakes.postgresql import Server, server
from tests.scenarios import desk

__all__ = ["senders_close_their_sockets"]

FIRST, SECOND, AFTERWARDS, LATER, LAST, THIRDS = (
    load(name)
    for name in (
        "CT_small.dcm", "MR_small.dcm", "MR_small_bigendian.dcm", "JPEG2000.dcm", "image_dfl.dcm", "rtplan.dcm",
    )
)  # fmt: skip


@dataclass
class Site:
    """A control plane as a process of its own, on ports that stay, and people at its keyboard."""

    folder: Path
    database: str = ""
    new_database: str = ""  # for the machine that takes its place
    data: str = "data"
    host_port: int = field(default_factory=free_port)
    enrol_port: int = field(default_factory=free_port)
    people_url: str = ""

    @property
    def backups(self) -> Path:
        return self.folder / "backups"

    @property
    def credential(self) -> Path:
        return self.folder / "handover" / "credential-ada.json"

    @property
    def shares(self) -> tuple[str, ...]:
        files = sorted((self.folder / "handover").glob("recovery-share-*.txt"))[1:]
        return tuple(word for file in files for word in ("--share", str(file)))

    def here(self) -> tuple[str, ...]:
        return ("--data", str(self.folder / self.data))

    def init(self) -> None:
        if not self.database:
            begun(self.folder, "ada")
            return
        handover = ("--handover", str(self.folder / "handover"), "--person", "ada")
        run("leadglass-server", "init", *self.here(), "--database", self.database, *handover).succeeded()

    @contextmanager
    def centre(self) -> Iterator[None]:
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        ports = ("--host-port", str(self.host_port), "--enrol-port", str(self.enrol_port), "--people-port", "0")
        with Children(self.folder) as children:
            child = children.start(
                "leadglass-server", "run", *self.here(), *ports, "--no-broker", "--ready-file", str(ready)
            )
            self.people_url = child.wait_ready(ready, 120)["people_url"]
            yield

    def person(self, *command: str) -> Any:
        who = ("--as", str(self.credential), "--url", self.people_url)
        return desk.run("leadglass-server", *command, *who, "--json").json()

    def on_the_machine(self, *command: str) -> Ran:
        return run("leadglass-server", *command, *self.here(), "--as", str(self.credential))

    def publish(self) -> None:
        policy = self.folder / "policy.yaml"
        policy.write_text(desk.ONE_CT)
        self.person("policy", "publish", str(policy))

    def enrol(self, name: str) -> AgentFolder:
        folder = AgentFolder(self.folder / name)
        code = self.person("code", "--asset", name)["code"]
        enrol(folder, f"https://127.0.0.1:{self.enrol_port}", EnrolmentCode.parse(code), name)
        return folder

    def objects(self) -> set[str]:
        return {one["object"] for one in self.person("find")["objects"]}

    def holds(self, count: int) -> bool:
        return desk.holds(self.folder / self.data, self.objects, count)

    def opened(self, object_id: str) -> bytes:
        out = self.folder / f"{object_id}.dataset"
        out.unlink(missing_ok=True)
        self.person("open", object_id, "--reason", "is it the same", "--bare", "--out", str(out))
        return out.read_bytes()

    def datasets(self) -> list[bytes]:
        return sorted(self.opened(one) for one in self.objects())

    def gaps(self) -> list[str]:
        return list(self.person("status")["not_evaluated"])

    def lose_the_machine(self) -> None:
        shutil.rmtree(self.folder / self.data)
        self.data = "data on the new machine"

    def restore(self, *options: str) -> Ran:
        where = ("--database", self.new_database) if self.new_database else ()
        return run("leadglass-server", "restore", str(self.backups), *self.here(), *where, *options)


@pytest.fixture(autouse=True)
def chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)


@pytest.fixture
def postgresql() -> Iterator[Server]:
    with server() as running_server:
        yield running_server


@pytest.fixture(params=["sqlite", "postgresql"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    site = Site(tmp_path)
    if request.param == "postgresql":
        started: Server = request.getfixturevalue("postgresql")
        site.database, site.new_database = started.new_database(), started.new_database()
    site.init()
    return site


def _listens(agent: Agent) -> bool:
    return agent.listener.port is not None


def host_of(folder: AgentFolder) -> str:
    return str(load_identity(folder).config.host_id)


def sorted_datasets(*images: Image) -> list[bytes]:
    return sorted(image.dataset for image in images)


def test_an_image_that_the_vault_lost_is_taken_in_when_it_is_sent_again(site: Site) -> None:
    with site.centre(), ExitStack() as agents:
        site.publish()
        agent = agents.enter_context(running(site.enrol("CT 1"), MemoryLog()))
        assert wait_until(partial(_listens, agent), 120) is not None
        assert send(agent, FIRST) == 0
        assert site.holds(1)
        (lost,) = site.objects()
        (body,) = (site.folder / site.data).rglob(f"{lost}.body")
        assert desk.comes(lambda: not site.person("status")["hosts"][0]["waiting"])
        body.unlink()
        # What nobody knows yet: the host has a receipt.
        assert send(agent, FIRST) == 0
        assert site.objects() == {lost}

        refused = desk.run(
            "leadglass-server", "open", lost, "--reason", "is it there", "--out", str(site.folder / "out"), "--as",
            str(site.credential), "--url", site.people_url,
        )  # fmt: skip

        assert "the object store has no body" in refused.err
        assert desk.comes(lambda: any("the host knows: send it again" in gap for gap in site.gaps()))
        assert send(agent, FIRST) == 0
        assert desk.comes(lambda: len(site.objects()) == 2)
        (again,) = site.objects() - {lost}
        assert site.opened(again) == FIRST.dataset
        assert not any("the vault lost" in gap for gap in site.gaps())


def test_the_vault_does_not_start_where_the_disk_of_its_images_is_not_mounted(site: Site) -> None:
    with site.centre(), ExitStack() as agents:
        site.publish()
        agent = agents.enter_context(running(site.enrol("CT 1"), MemoryLog()))
        assert wait_until(partial(_listens, agent), 120) is not None
        assert send(agent, FIRST) == 0
        assert site.holds(1)
    objects, disk = site.folder / site.data / "objects", site.folder / "disk"
    objects.rename(disk)
    objects.mkdir()

    refused = run("leadglass-server", "run", *site.here(), "--no-broker", "--host-port", "0", "--enrol-port", "0")

    assert refused.exit_code == 3
    assert "is its disk mounted?" in refused.message
    assert list(objects.iterdir()) == []
    objects.rmdir()
    disk.rename(objects)
    with site.centre():
        (held,) = site.objects()
        assert site.opened(held) == FIRST.dataset


def test_all_hosts_go_on_after_the_machine_is_lost_and_nothing_from_before_the_backup_is_missing(site: Site) -> None:
    with ExitStack() as agents:
        with site.centre():
            site.publish()
            one, other = site.enrol("CT 1"), site.enrol("CT 2")
            first, second = (agents.enter_context(running(folder, MemoryLog())) for folder in (one, other))
            for agent in (first, second):
                assert wait_until(partial(_listens, agent), 120) is not None
            assert send(first, FIRST) == send(second, SECOND) == 0
            assert site.holds(2)
            before = site.objects()
            assert site.datasets() == sorted_datasets(FIRST, SECOND)

            said = site.on_the_machine("backup", str(site.backups)).succeeded().out

            assert "objects  2" in said
            assert "read back" in said
            assert send(first, AFTERWARDS) == 0
            assert site.holds(3)
            (lost,) = site.objects() - before
            assert desk.comes(lambda: not site.person("status")["hosts"][0]["waiting"])
            late = site.enrol("CT 3")
            third = agents.enter_context(running(late, MemoryLog()))
            assert wait_until(partial(_listens, third), 120) is not None
        site.lose_the_machine()
        assert send(second, LATER) == send(third, THIRDS) == 0

        restored = site.restore(*site.shares).succeeded().out

        assert "status" in restored
        with site.centre():
            assert send(first, LAST) == 0
            assert site.holds(4)
            assert site.datasets() == sorted_datasets(FIRST, SECOND, LATER, LAST)
            assert before <= site.objects()
            # The host's own journal says what the lost machine had acknowledged, and it is named.
            assert desk.comes(lambda: any(lost in gap for gap in site.gaps()))
            assert any("restored from backup" in gap for gap in site.gaps())
            assert desk.comes(lambda: not any("not heard since" in gap for gap in site.gaps()))
            assert {host["doubt"] for host in site.person("status")["hosts"]} == {""}
            verdicts = site.person("audit", "verify")
            assert {host_of(one), host_of(other), "control-plane"} <= verdicts.keys()
            assert {verdict["state"] for verdict in verdicts.values()} == {"verified"}

            assert any("the database was restored (from backup" in gap for gap in site.gaps())
            site.person("log", "accept-loss", "--reason", "the machine is lost", "--yes")
            assert any(lost in gap for gap in site.gaps())
            # One that was enrolled after the backup says so itself, and the only administrator takes it back.
            shows = f"CT 3: a machine shows that it is {host_of(late)}"
            assert desk.comes(lambda: any(shows in gap for gap in site.gaps()))
            site.person("host", "take-back", host_of(late), "--reason", "enrolled after the backup")
            assert site.holds(5)
            assert site.datasets() == sorted_datasets(FIRST, SECOND, LATER, LAST, THIRDS)
            assert desk.comes(lambda: site.person("audit", "verify").get(host_of(late), {}).get("state") == "verified")
            # What the lost machine had answered for is not answered for any more: sent again, it is captured again.
            assert send(first, AFTERWARDS) == 0
            assert site.holds(6)
            assert site.datasets() == sorted_datasets(FIRST, SECOND, LATER, LAST, THIRDS, AFTERWARDS)
            site.on_the_machine("settle-restore", "--reason", "CT 1 sent it again from the console").succeeded()

            assert not any("restore" in gap or lost in gap for gap in site.gaps())
            site.publish()
            assert desk.comes(lambda: {host["policy_in_force"] for host in site.person("status")["hosts"]} == {2})
