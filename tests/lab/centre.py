"""A control plane on the machine outside, as it is run, with a policy in force and a code for the guest."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioning.demo.processes import Children, Ran
from tests.fakes.ports import free_port
from tests.scenarios.desk import run

NAME = "centre"  # as hosts call it: it stands in its certificates


@dataclass(frozen=True)
class Centre:
    folder: Path
    ports: dict[str, int]
    name: str = NAME

    @property
    def for_hosts(self) -> list[int]:
        """What a host reaches: its door, that of enrolment, and the broker where there is one."""
        return [port for door, port in self.ports.items() if door != "people"]

    @property
    def enrol_url(self) -> str:
        return f"https://{self.name}:{self.ports['enrol']}"

    def person(self, *arguments: str, credential: Path | None = None) -> Ran:
        """Have the first administrator do it, or whose credential it is."""
        url = f"http://127.0.0.1:{self.ports['people']}"
        credential = credential or self.folder / "handover" / "credential-first-administrator.json"
        return run("leadglass-server", *arguments, "--as", str(credential), "--url", url).succeeded()

    def code(self, asset: str) -> str:
        return str(self.person("code", "--asset", asset, "--json").json()["code"])

    def publish(self, policy: str) -> None:
        (self.folder / "policy.yaml").write_text(policy)
        self.person("policy", "publish", str(self.folder / "policy.yaml"))

    def host(self) -> Any:
        """Return what the status says of its one host."""
        (host,) = self.person("status", "--json").json()["hosts"]
        return host


@contextmanager
def centre(folder: Path, name: str = NAME, *, with_broker: bool = False) -> Iterator[Centre]:
    doors_of = ("host", "enrol", "people", *(["mqtt"] if with_broker else []))
    running = Centre(folder, {door: free_port() for door in doors_of}, name)
    doors = [part for door, port in running.ports.items() for part in (f"--{door}-port", str(port))]
    (folder / "logs").mkdir()
    with Children(folder / "logs") as children:
        child = children.start(
            "leadglass-server", "run", "--data", str(folder / "data"), "--handover", str(folder / "handover"), *doors,
            "--host", name, *([] if with_broker else ["--no-broker"]), "--ready-file", str(folder / "ready.json"),
        )  # fmt: skip
        child.wait_ready(folder / "ready.json", 60)
        yield running
