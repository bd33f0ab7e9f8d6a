"""A control plane and hosts, each a process of its own, to which people roll policies out from a keyboard."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from control_plane.cli.client import PeopleDoor
from control_plane.policy.authoring import load_credential
from control_plane.settings import Folders
from provisioning.demo import processes
from provisioning.demo.processes import Child, Children, Ran, wait_until
from tests.fakes.ports import free_port
from tests.scenarios.desk import run

CENTRE = "leadglass-server"
CANARY, NORTH = "CT 2", "CT 7"  # the second one is at the site
FIRST = """\
layer: organisation
modalities:
  - {ae_title: CT1, description: "CT, room 1.14"}
grading: {default: restricted}
timings: {state_every_s: 1, pull_every_s: 1}
"""
SECOND = FIRST.replace("grading", '  - {ae_title: MR1, description: "MR, room 2.01"}\ngrading')
_SOON_S = 90.0


def knows(program: str, module: str) -> None:
    """Have `program` be one that children can be, besides those that people have."""
    processes.MODULES[program] = module


@dataclass
class RolloutHospital:
    folder: Path
    with_broker: bool = False
    hosts: dict[str, Child] = field(default_factory=dict)
    centre: Child = field(init=False)

    def __post_init__(self) -> None:
        self._ports = {name: free_port() for name in ("host", "enrol", "people", "mqtt")}
        self._centres = Children(self.folder)

    @property
    def mqtt_port(self) -> int:
        return self._ports["mqtt"]

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self._ports['people']}"

    @property
    def _credential(self) -> Path:
        return self.folder / "handover" / "credential-first-administrator.json"

    def start_centre(self, program: str = CENTRE, *before: str) -> None:
        """Start it, for the first time or again; hosts find it at the same doors. Return once it is ready."""
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        doors = [word for name, port in self._ports.items() for word in (f"--{name}-port", str(port))]
        self.centre = self._centres.start(
            program, *before, "run", "--data", str(self.folder / "data"), "--handover", str(self.folder / "handover"),
            *doors, "--ready-file", str(ready), *(() if self.with_broker else ("--no-broker",)),
        )  # fmt: skip
        self.centre.wait_ready(ready, 60)

    def stop(self) -> None:
        for child in self.hosts.values():
            child.stop()
        self._centres.stop_all()

    def enrol(self, asset: str, *layers: str) -> Path:
        """Enrol a host with a code of ours, and return its folder."""
        code = self.person("code", "--asset", asset, *layers, "--json").json()["code"]
        folder = self.folder / asset / "agent"
        folder.parent.mkdir()
        doors = ("--url", f"https://127.0.0.1:{self._ports['enrol']}", "--asset", asset, "--keys", "file")
        run("leadglass-agent", "enrol", "--data", str(folder), *doors, text_in=code + "\n").succeeded()
        return folder

    def start_host(self, asset: str) -> None:
        folder = self.folder / asset
        arguments = ("run", "--data", str(folder / "agent"), "--dicom-port", "0")
        self.hosts[asset] = Child("leadglass-agent", arguments, folder / "agent.log")

    def person(self, *command: str) -> Ran:
        """Run a command as the administrator."""
        return run(CENTRE, *command, "--as", str(self._credential), "--url", self._url)

    def publish(self, policy: str, *options: str) -> Ran:
        file = self.folder / "policy.yaml"
        file.write_text(policy)
        return self.person("policy", "publish", str(file), *options)

    def get(self, path: str) -> Any:
        return PeopleDoor(self._url, load_credential(self._credential).token).get(path)

    def versions(self) -> dict[str, tuple[int, int]]:
        """Return, by asset, which version each host has accepted and which it acts by, as its last report says."""
        hosts = self.get("/api/v1/status")["hosts"]
        return {host["asset"]: (host.get("policy_accepted", 0), host.get("policy_in_force", 0)) for host in hosts}

    def rollout(self, layer: str = "organisation") -> Mapping[str, Any]:
        (found,) = [one for one in self.get("/api/v1/policy/rollouts")["rollouts"] if one["layer"] == layer]
        told: Mapping[str, Any] = found
        return told

    def wait_for(self, canary: tuple[int, int], north: tuple[int, int]) -> None:
        """Return once both hosts say that this is what they have accepted and act by."""
        wanted = {CANARY: canary, NORTH: north}
        waited = wait_until(lambda: self.versions() == wanted, _SOON_S, look_every_s=0.1)
        assert waited is not None, (self.versions(), self.get("/api/v1/policy/rollouts"))

    def wait_for_reports(self) -> None:
        """Return once every host has reported again."""

        def seen() -> dict[str, str]:
            return {host["host"]: host["last_seen"] for host in self.get("/api/v1/status")["hosts"]}

        before = seen()
        waited = wait_until(lambda: not before.items() & seen().items(), _SOON_S, look_every_s=0.1)
        assert waited is not None, before

    def wait_for_state(self, state: str, ring: int) -> None:
        """Return once the roll-out of the organisation's policy has come so far."""

        def has_come() -> bool:
            rollout = self.rollout()
            return (rollout["state"], rollout["ring"]) == (state, ring)

        assert wait_until(has_come, _SOON_S, look_every_s=0.1) is not None, self.rollout()

    def acted_by(self, asset: str) -> list[int]:
        """Return each version of the organisation's policy that a host was ever to act by, in order, by its log."""
        return [int(one["acts_by"]) for one in self._taken(asset)]

    def accepted(self, asset: str) -> list[int]:
        """Return each version of the organisation's policy that a host accepted, as it came, by its log."""
        versions = [int(one["version"]) for one in self._taken(asset)]
        return [version for version, before in zip(versions, [0, *versions], strict=False) if version != before]

    def _taken(self, asset: str) -> list[dict[str, Any]]:
        lines = (self.folder / asset / "agent.log").read_text().splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [one for one in events if one.get("event") == "policy.accepted" and one["layer"] == "organisation"]

    def rings_opened(self) -> int:
        """Return how many rings the database says are open, while no control plane runs."""
        with closing(sqlite3.connect(Folders(self.folder / "data").database)) as database:
            ((opened,),) = database.execute("SELECT opened FROM rollouts")
        return len(json.loads(opened))

    def recorded(self) -> list[str]:
        """Return the centre's own records of roll-outs and of what was published for one, oldest first."""
        records = self.person("audit", "tail", "--json").json()["records"]
        told = [record for record in reversed(records) if record["event"].startswith("policy.")]
        return [one["event"] for one in told if one["what"][0]["name"].startswith("organisation version 2")]


@contextmanager
def hospital(folder: Path, *centre: str, with_broker: bool = False) -> Iterator[RolloutHospital]:
    """Run a centre whose first policy is in force on two hosts, one of them at the site `north`.

    `centre` is what to start in place of the control plane, and what comes before its own command line.
    """
    inside = RolloutHospital(folder, with_broker)
    try:
        inside.start_centre(*centre)
        inside.publish(FIRST).succeeded()
        for asset, layers in ((CANARY, ()), (NORTH, ("--site", "north"))):
            inside.enrol(asset, *layers)
            inside.start_host(asset)
        inside.wait_for((1, 1), (1, 1))
        yield inside
    finally:
        inside.stop()
