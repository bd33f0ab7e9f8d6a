"""Receivers of images, each started for one turn and judged by what it kept: ours, DCMTK's `storescp`, Orthanc.

Ours, in a process of its own, is the agent's listener, pipeline, spool and journal. It is run as
`python -m benchmarks.receivers PORT FOLDER [CERTIFICATES]`.
"""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep

AE_TITLE = "BENCH"
LARGEST_PDU_BYTES = 131_072
"""The largest that DCMTK sends and takes. As shipped it and Orthanc take 16 KiB."""


@dataclass(frozen=True)
class Setting:
    """How images come: over TLS with the certificates in `tls`, or plain; on how many associations at a time."""

    associations: int
    no_delay: bool
    tls: Path | None

    def environment(self) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if name != "TCP_NODELAY"}
        return {**environment, "TCP_NODELAY": "1"} if self.no_delay else environment


class Receiver:
    """One way to receive: its command, and how many images of at least a size its folder holds."""

    name = what = ""

    def command(self, port: int, out: Path, setting: Setting) -> list[str]:
        raise NotImplementedError

    def kept(self, out: Path, image_bytes: int) -> int:
        files = (path for path in out.rglob("*") if path.is_file() and "sqlite" not in path.name)
        return sum(1 for path in files if path.stat().st_size >= image_bytes)


class Ours(Receiver):
    name, what = "Leadglass", "sealed, signed, recorded, synced"

    def command(self, port: int, out: Path, setting: Setting) -> list[str]:
        tls = [str(setting.tls)] if setting.tls else []
        return [sys.executable, "-m", "benchmarks.receivers", str(port), str(out), *tls]

    def kept(self, out: Path, image_bytes: int) -> int:
        from edge_agent.spool.segments import Segments

        segments = Segments(out / "spool" / "segments")
        heads = (head for name in segments.names() for _, head in segments.entries(name))
        return sum(1 for head in heads if head is not None and head.object_bytes >= image_bytes)


class _Peer(Receiver):
    """Another's receiver, as shipped or told to take PDUs of `pdu_bytes`."""

    def __init__(self, pdu_bytes: int | None = None) -> None:
        self.pdu_bytes = pdu_bytes
        if pdu_bytes is not None:
            self.name = f"{self.name}, PDUs of {pdu_bytes >> 10} KiB"


class StoreScp(_Peer):
    name, what = "storescp", "plain files, nothing synced"

    def command(self, port: int, out: Path, setting: Setting) -> list[str]:
        fork = ["--fork"] if setting.associations > 1 else []
        tls = []
        if setting.tls is not None:
            key, certificate, ca = (str(setting.tls / name) for name in ("server.key", "server.pem", "ca.pem"))
            tls = ["+tls", key, certificate, "+cf", ca, "--require-peer-cert"]
        pdu = ["--max-pdu", str(self.pdu_bytes)] if self.pdu_bytes else []
        return ["storescp", *fork, *tls, *pdu, "--output-directory", str(out), str(port)]


class Orthanc(_Peer):
    name, what = "Orthanc", "stored and indexed"

    def command(self, port: int, out: Path, setting: Setting) -> list[str]:
        configuration: dict[str, object] = {
            "StorageDirectory": str(out),
            "IndexDirectory": str(out),
            "DicomPort": port,
            "HttpServerEnabled": False,
            "DicomAlwaysAllowStore": True,
            "DicomCheckCalledAet": False,
            "Plugins": [],
        }
        if self.pdu_bytes:
            configuration["MaximumPduLength"] = self.pdu_bytes
        if setting.tls is not None:
            configuration |= {
                "DicomTlsEnabled": True,
                "DicomTlsCertificate": str(setting.tls / "server.pem"),
                "DicomTlsPrivateKey": str(setting.tls / "server.key"),
                "DicomTlsTrustedCertificates": str(setting.tls / "ca.pem"),
            }
        file = out.with_name(f"{out.name}.orthanc.json")
        file.write_text(json.dumps(configuration))
        return ["Orthanc", str(file)]

    def kept(self, out: Path, image_bytes: int) -> int:
        # It stores each as a file named for a UUID, below two folders; its index grows beside them.
        return sum(1 for path in out.glob("*/*/*") if path.stat().st_size >= image_bytes)


@contextmanager
def receiving(receiver: Receiver, port: int, out: Path, setting: Setting) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `receiver` and yield its process once its port is open."""
    process = subprocess.Popen(
        receiver.command(port, out, setting),
        env=setting.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(1500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            sleep(0.02)
        yield process
    finally:
        process.terminate() if isinstance(receiver, Orthanc) else process.kill()
        process.wait()


def cpu_of(pid: int) -> float:
    """Return the processor time of a process and of those children of it that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def memory_of(pid: int) -> int | None:
    held = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(held[1]) if held else None


def _serve(port: int, folder: Path, certificates: Path | None) -> None:
    import threading
    from dataclasses import replace

    from benchmarks.host import host_in
    from edge_agent.capture.interception import Interception
    from edge_agent.capture.listener import Address, DicomListener
    from edge_agent.capture.tls import DicomTls

    host, identity = host_in(folder), folder / "dicom.pem"
    policy = host.policy
    if certificates is not None:
        identity.write_bytes((certificates / "server.pem").read_bytes() + (certificates / "server.key").read_bytes())
        policy = replace(policy, dicom_trust=(certificates / "ca.pem").read_text())
    DicomListener(
        Address("127.0.0.1", port if certificates is None else 0, "LEADGLASS", port if certificates else None),
        policy=lambda: policy,
        pipeline=host.pipeline,
        interception=Interception(host.database, host.journal, host.host_id),
        log=host.log,
        tls=DicomTls(identity, make_certificate=lambda: None, policy=lambda: policy),
    ).run(threading.Event())


if __name__ == "__main__":
    _serve(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]) if len(sys.argv) > 3 else None)
