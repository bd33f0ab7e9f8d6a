"""Forwards what a host owes until it is killed.

python -m tests.edge_agent.forward.killed FOLDER
"""

import sys
import threading
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.enrol.keys import private_pem
from shared.identity import HostId
from shared.signing import SoftwareSigner
from tests.edge_agent.forward.bench import ForwardBench
from tests.fakes.host import Host

ROOT = Path(__file__).parents[3]


def keep(bench: ForwardBench) -> None:
    """Write down who the host is, for a process that goes on as it."""
    (bench.folder / "evidence.key").write_bytes(private_pem(bench.host.signer._key))
    (bench.folder / "host.id").write_text(str(bench.host.host_id))


def main(folder: Path) -> None:
    key = serialization.load_pem_private_key((folder / "evidence.key").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    host_id = HostId.parse((folder / "host.id").read_text())
    with ForwardBench(folder, host=Host(folder, host_id=host_id, signer=SoftwareSigner(key))).running():
        threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
