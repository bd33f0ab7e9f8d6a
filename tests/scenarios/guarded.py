"""A modality host with a device guard, and its centre: real programs over a bus of umockdev."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from edge_agent.config import AgentFolder
from edge_agent.database import Database
from edge_agent.link.bundles import KeptBundles
from edge_agent.link.client import GuardClient, GuardUnavailable
from edge_agent.usb_policy.exchange import Offer
from provisioning.demo.people import PeopleDoor
from provisioning.demo.processes import Child, Children, Ran, wait_until
from provisioning.demo.processes import run as run_program
from shared.devices.record import GuardEvent, GuardRecord
from shared.fleet.devices import GuardReport
from tests.edge_agent.test_guard_process import HUB, Bus, plugging
from tests.fakes.ports import free_port
from tests.scenarios.desk import run

_T = TypeVar("_T")
ASSET = "CT 2"
# As an administrator writes them: one stick for good, and another as long as policy is known to be the newest.
ALLOWED, FOR_A_TIME = (
    """- 'allow id 0781:5581 serial "ALLOWED"'""",
    ("""- {rule: 'allow id 0781:5581 serial "FOR-A-TIME"', not_after: 2099-12-31T00:00:00Z}"""),
)
_FIRST_RULES = (ALLOWED, FOR_A_TIME)
_WAIT_S = 60.0
_POLICY = """\
layer: organisation
modalities: [{{ae_title: CT1, description: "CT, room 1.14"}}]
grading: {{default: restricted}}
timings: {{state_every_s: 1, pull_every_s: {pull_every_s}}}
devices:
  contact: IT service, 4711
  rules: {rules}
"""


@dataclass(frozen=True)
class Audited:
    """A record of the guard as the centre's audit log has it."""

    event: str
    port: str
    digest: str
    facts: tuple[str, ...]

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Audited | None":
        """Return what a record says if it is one of the guard's."""
        named = [(one["kind"], one["name"]) for one in record["what"]]
        told = dict(named)
        if "digest" not in told:
            return None
        facts = tuple(name for kind, name in named if kind == "fact")
        return cls(record["event"], told.get("device", ""), told["digest"], facts)


@dataclass
class Site:
    """`pull_every_s` is how often the host asks for policy; while the broker runs it is pushed as well."""

    folder: Path
    children: Children
    bus: Bus
    socket: Path
    pull_every_s: int
    host_id: str = ""
    rules: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.ports = {name: free_port() for name in ("host", "enrol", "people", "mqtt")}
        self.agent_data, self.state, self.data = (self.folder / name for name in ("agent", "guard", "data"))

    @property
    def credential(self) -> Path:
        return self.folder / "handover" / "credential-first-administrator.json"

    @property
    def people(self) -> PeopleDoor:
        return PeopleDoor(f"http://127.0.0.1:{self.ports['people']}", self.credential)

    # ---- programs

    def start_centre(self) -> None:
        ready = self.folder / "centre.json"
        doors = [part for name in self.ports for part in (f"--{name}-port", str(self.ports[name]))]
        self.centre = self.children.start(
            "leadglass-server", "run", "--data", str(self.data), "--handover", str(self.folder / "handover"), *doors,
            "--ready-file", str(ready),
        )  # fmt: skip
        self.centre.wait_ready(ready, 60)

    def enrol(self) -> None:
        code = self.person("code", "--asset", ASSET, "--json").json()["code"]
        where = ("--data", str(self.agent_data), "--url", f"https://127.0.0.1:{self.ports['enrol']}")
        run("leadglass-agent", "enrol", *where, "--asset", ASSET, "--keys", "file", text_in=code).succeeded()
        (host,) = self.people.status()["hosts"]
        self.host_id = host["host"]
        trust = ("trust", "--state", str(self.state), "--agent-data", str(self.agent_data))
        pinned = run_program("leadglass-guard", *trust).succeeded().out
        (root,) = self.person("policy", "root", "--json").json()["roots"].values()
        assert root in pinned, "the guard has pinned another root than the administrator's"

    def start_agent(self) -> None:
        run_it = ("run", "--data", str(self.agent_data), "--dicom-port", "0")
        self.agent = self.children.start("leadglass-agent", *run_it, "--guard-socket", str(self.socket))

    def start_guard(self) -> None:
        run_it = ("run", "--state", str(self.state), "--socket", str(self.socket), "--agent-user", "nobody")
        self.guard = self.children.start("leadglass-guard", *run_it, environment=self.bus.environment)
        self.until(lambda: self.ask(GuardClient.hello) is not None, "the guard answers")

    def kill(self, child: Child) -> None:
        os.kill(child.pid, signal.SIGKILL)
        self.children.stop(child)

    def stop(self, child: Child) -> None:
        assert self.children.stop(child) == 0, child.log_tail()

    def settle(self) -> None:
        """Have everything run, the first policy in force and nothing plugged in, whatever was done before."""
        if not self.guard.is_running:
            self.start_guard()
        if not self.agent.is_running:
            self.start_agent()
        if self.rules != _FIRST_RULES:
            self.until_policy(self.publish(*_FIRST_RULES))
        for port in self.plugged():
            self.bus.unplug(port)
        self.until(lambda: [each.port for each in self.report().devices] == ["usb1"], "the guard sees nothing")

    # ---- the administrator

    def person(self, *command: str) -> Ran:
        return run("leadglass-server", *command, "--as", str(self.credential), "--url", self.people.url)

    def publish(self, *rules: str) -> int:
        """Have a policy with these device rules signed and published; return its version."""
        self.rules = rules
        return int(self.person("policy", "publish", str(self.written(*rules)), "--json").json()["version"])

    def written(self, *rules: str) -> Path:
        file = self.folder / "policy.yaml"
        listed = "".join(f"\n    {rule}" for rule in rules)
        file.write_text(_POLICY.format(pull_every_s=self.pull_every_s, rules=listed))
        return file

    def shown(self) -> Any:
        """Return what the centre shows of the host's devices."""
        (host,) = self.people.get("/api/v1/devices", host=self.host_id)["hosts"]
        return host

    def shown_at(self, port: str) -> Any:
        """Return what the centre shows of one device, nothing where it is not in the tree."""
        report = self.shown()["report"] or {"devices": []}
        return next((device for device in report["devices"] if device["port"] == port), {})

    def audited(self) -> list[Audited]:
        """Return the guard's records in the order of the centre's audit log."""
        found: list[Any] = []
        while page := self.people.get(
            "/api/v1/audit/records", source=self.host_id, after=found[-1]["seq"] if found else 0, limit=1000
        )["records"]:
            found += page
        return [each for each in map(Audited.of, found) if each is not None]

    # ---- the host

    @property
    def usb(self) -> Path:
        return Path(self.bus.environment["UMOCKDEV_DIR"], "sys/bus/usb/devices")

    def plugged(self) -> list[str]:
        return [device.name for device in self.usb.iterdir() if not device.name.startswith("usb")]

    def authorized(self, port: str) -> str:
        """Return what the kernel's file says."""
        return (self.usb / port / "authorized").read_text().strip()

    def ask(self, question: Callable[[GuardClient], _T]) -> _T | None:
        return ask(self.socket, question)

    def report(self) -> GuardReport:
        report = self.ask(GuardClient.report)
        assert report is not None, "no guard answers"
        return report

    def records(self) -> list[GuardRecord]:
        """Return all that the guard wrote."""
        records: list[GuardRecord] = []
        while found := self.ask(partial(GuardClient.records, after=records[-1].number if records else 0)):
            records += map(GuardRecord.parse, found)
        return records

    def wrote(self, event: GuardEvent, port: str) -> int:
        return sum((record.event, record.subject) == (event, port) for record in self.records())

    def confirmed(self) -> int:
        """Return how many records the agent said it has."""
        welcome = self.ask(GuardClient.hello)
        assert welcome is not None, "no guard answers"
        return welcome.confirmed

    def kept_bundles(self) -> Offer:
        """Return the policy as the agent has it lying on its disk."""
        database = Database(AgentFolder(self.agent_data).database)
        held = KeptBundles(database).held()
        database.close()
        assert held is not None, "the agent has no policy"
        return Offer(held.head, tuple(held.layers.values()))

    def until(self, holds: Callable[[], bool], what: str, within_s: float = _WAIT_S) -> float:
        """Wait until something holds, and return for how many seconds it did not."""
        waited = wait_until(holds, within_s)
        assert waited is not None, f"not within {within_s:.0f} s: {what}"
        return waited

    def until_authorized(self, port: str, value: str, within_s: float = _WAIT_S) -> float:
        return self.until(lambda: self.authorized(port) == value, f"authorized of {port} is {value}", within_s)

    def until_enforced(self, port: str, times: int) -> None:
        self.until(lambda: self.wrote(GuardEvent.ENFORCED, port) == times, f"the guard has dealt with {port}")

    def until_policy(self, version: int) -> None:
        self.until(lambda: self.report().policy == version, f"policy {version} is in force in the guard")

    def until_told_of(self, port: str, most: int) -> list[Audited]:
        """Wait until the centre has that many records of a port; return them."""
        self.until(lambda: sum(each.port == port for each in self.audited()) >= most, f"the audit log tells of {port}")
        return [each for each in self.audited() if each.port == port]

    def until_told(self) -> list[Audited]:
        """Wait until the centre has as many records of the guard as that has written; return them."""
        self.until(lambda: len(self.audited()) >= len(self.records()), "the guard's records are in the audit log")
        return self.audited()


def ask(socket: Path, question: Callable[[GuardClient], _T]) -> _T | None:
    """Return what root's guard answers, None where none does."""
    try:
        with GuardClient(socket) as client:
            return question(client)
    except GuardUnavailable:
        return None


@contextmanager
def socket_folder() -> Iterator[Path]:
    """Yield a folder that every account may look into."""
    with tempfile.TemporaryDirectory(prefix="guard-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def site(folder: Path, *, pull_every_s: int) -> Iterator[Site]:
    """Yield a host whose guard has taken the first policy from its centre."""
    with socket_folder() as runtime, plugging() as bus, Children(folder) as children:
        bus.plug("usb1", [HUB])
        made = Site(folder, children, bus, runtime / "guard.sock", pull_every_s)
        made.start_centre()
        checked = run("leadglass-server", "policy", "check", str(made.written(*_FIRST_RULES))).succeeded()
        assert "nothing is wrong with it" in checked.out
        version = made.publish(*_FIRST_RULES)
        made.enrol()
        made.start_guard()
        made.start_agent()
        made.until_policy(version)
        yield made
