"""A real control plane and an enrolled host, in processes of their own, for the benchmarks that need the whole."""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from edge_agent.config import AgentFolder
from provisioning.demo.processes import Child, Children, run

AE_TITLE = "BENCH"
POLICY = f"""\
layer: organisation
modalities:
  - ae_title: {AE_TITLE}
    description: benchmark
grading: {{default: restricted}}
timings: {{state_every_s: 60, pull_every_s: 1}}
"""


@dataclass(frozen=True)
class System:
    children: Children
    agent: AgentFolder
    centre: Child
    hosts_port: int
    enrol: Callable[[str], AgentFolder]
    """Enrols one more host, by its asset, in a folder of that name."""

    def start_agent(self, *more: str) -> tuple[Child, int]:
        """Return the agent's process and its DICOM port once it listens."""
        ready_file = self.agent.path.parent / "agent-ready.json"
        ready_file.unlink(missing_ok=True)
        arguments = ("run", "--data", str(self.agent.path), "--dicom-port", "0", "--ready-file", str(ready_file))
        child = self.children.start("leadglass-agent", *arguments, *more)
        port = child.wait_ready(ready_file)["dicom_port"]
        while port is None:
            port = child.wait_ready(ready_file)["dicom_port"]
        return child, int(port)


@contextmanager
def system(folder: Path, *, policy: str = POLICY) -> Iterator[System]:
    """Start a control plane with `policy` in `folder`, and enrol a host there."""
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=folder) as name:
        work = Path(name)
        logs, handover, ready_file = work / "logs", work / "handover", work / "ready.json"
        logs.mkdir()
        ports = ("--host-port", "0", "--enrol-port", "0", "--people-port", "0")
        with Children(logs) as children:
            centre = children.start(
                "leadglass-server", "run", "--data", str(work / "centre"), "--handover", str(handover), *ports,
                "--no-broker", "--ready-file", str(ready_file),
            )  # fmt: skip
            ready = centre.wait_ready(ready_file)
            person = ("--as", str(next(handover.glob("credential-*.json"))), "--url", str(ready["people_url"]))
            (work / "policy.yaml").write_text(policy)
            run("leadglass-server", "policy", "publish", str(work / "policy.yaml"), *person).succeeded()

            def enrol(asset: str) -> AgentFolder:
                code = run("leadglass-server", "code", "--asset", asset, "--json", *person).succeeded()
                agent = AgentFolder(work / asset)
                where = ("--data", str(agent.path), "--url", str(ready["enrol_url"]), "--asset", asset)
                run(
                    "leadglass-agent", "enrol", *where, "--keys", "file", text_in=json.loads(code.out)["code"]
                ).succeeded()
                return agent

            hosts_port = int(urlsplit(str(ready["hosts_url"])).port or 0)
            yield System(children, enrol("agent"), centre, hosts_port, enrol)
