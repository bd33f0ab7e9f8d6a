"""Delivering sealed objects over mutual TLS on the loopback, against `curl` sending the same files to nginx.

Each sends every object in a request of its own, over one connection or over several at once. nginx writes the file and
answers; it is also what our own sender is measured against alone. The vault verifies each object whole, syncs it, and
answers with its receipt; the processor time of its process is counted with its sender's.
"""

import os
import resource
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter, sleep

from benchmarks.certificates import make_certificates
from benchmarks.measure import Contender, Measured, PeerMissing, Result, cpu, peer_version, take_turns
from benchmarks.system import System, system
from edge_agent.config import load_identity
from edge_agent.https import HttpsDoor, accepted, verified_context
from shared.clock import SystemClock
from shared.identity import ObjectId
from shared.policy.bundle import LayerBundle
from shared.policy.document import ORGANISATION, KeyPurpose, PolicyDocument
from shared.sealing.binding import Binding
from shared.sealing.index import IndexEntry
from shared.sealing.seal import ObjectSealer, Sealing, StreamSink

IMAGE_BYTES = 512 << 10
_AT_ONCE = 8
_ENTRY = IndexEntry(True, "12345678", "DOE^JANE", "", "A-1", "1.2.3", "1.2.3.4", "1.2.5", "1.2", "CT")


def run(*, rounds: int, images: int, folder: Path | None) -> tuple[Result, ...]:
    for program in ("nginx", "curl"):
        if shutil.which(program) is None:
            raise PeerMissing(f"{program} is not installed (Debian packages nginx-light, curl)")
    with tempfile.TemporaryDirectory(prefix="leadglass-bench-", dir=folder) as name:
        work = Path(name)
        work.chmod(0o755)  # nginx's workers have an account of their own
        with system(work) as running, _nginx(work / "nginx") as nginx_port:
            sealed = work / "sealed"

            def turn(send: Callable[[], None], vault: int | None = None) -> Measured:
                _seal(running, sealed, images)
                began, before = perf_counter(), _cpu_used(vault)
                send()
                return Measured(perf_counter() - began, _cpu_used(vault) - before, None)

            def to_vault(connections: int) -> Callable[[], Measured]:
                return partial(turn, partial(_deliver, running, sealed, connections), running.centre.pid)

            contenders = [
                Contender(
                    "curl", "to nginx, which syncs nothing", partial(turn, partial(_curl, work, sealed, nginx_port))
                ),
                Contender(
                    "our sender", "to the same nginx", partial(turn, partial(_put_all, work, sealed, nginx_port))
                ),
                Contender("Leadglass", "to the vault: verified, synced, receipted", to_vault(1)),
                Contender("Leadglass, several", f"{_AT_ONCE} connections to the vault at once", to_vault(_AT_ONCE)),
            ]
            lines = take_turns(contenders, rounds)
    versions = f"{cpu()}, {peer_version('curl').split(' (')[0]}"
    title = f"{images:,} sealed objects of 0.5 MiB, mutual TLS on the loopback"
    return (Result(title, versions, images, IMAGE_BYTES, "curl", lines),)


def _cpu_used(pid: int | None) -> float:
    """Return our processor time and our ended children's, and that of process `pid`."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    ours = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    if pid is None:
        return ours
    # proc_pid_stat(5): behind the name in brackets, fields 14 and 15.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return ours + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _seal(running: System, out: Path, images: int) -> None:
    """Make objects that the vault has not seen, named by their ids."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    identity, policy = load_identity(running.agent), _policy(running)
    keys = (policy.key_for(KeyPurpose.DATA, policy.default_grade), policy.key_for(KeyPurpose.INDEX))
    dataset = os.urandom(IMAGE_BYTES)
    for _ in range(images):
        object_id = ObjectId.new()
        binding = Binding(object_id, identity.config.host_id, os.urandom(32), "1.2.840.10008.1.2.1")
        with (out / str(object_id)).open("wb") as file:
            sealer = ObjectSealer(StreamSink(file), binding)
            sealer.update(dataset)
            sealing = Sealing(policy.default_grade, *keys, policy.version, SystemClock().now())
            instance = f"2.25.{int.from_bytes(os.urandom(12))}"
            sealer.finish(sealing, replace(_ENTRY, sop_instance_uid=instance), identity.signer)


def _policy(running: System) -> PolicyDocument:
    door = _door(running)
    layer = LayerBundle.parse(accepted(door.name, door.get(f"/api/v1/policy/layers/{ORGANISATION}")).body)
    door.close()
    return PolicyDocument.parse(layer.policy)


def _door(running: System) -> HttpsDoor:
    return HttpsDoor("127.0.0.1", running.hosts_port, verified_context(running.agent.ca, running.agent.tls))


def _deliver(running: System, sealed: Path, connections: int) -> None:
    paths = sorted(sealed.iterdir())

    def send(turn: int) -> None:
        door = _door(running)
        _send_all(door, paths[turn::connections], "/api/v1/objects/")
        door.close()

    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(send, range(connections)))


def _put_all(work: Path, sealed: Path, port: int) -> None:
    context = ssl.create_default_context(cafile=str(work / "nginx" / "tls" / "ca.pem"))
    context.load_cert_chain(work / "nginx" / "tls" / "client.pem", work / "nginx" / "tls" / "client.key")
    door = HttpsDoor("127.0.0.1", port, context)
    _send_all(door, sorted(sealed.iterdir()), "/")
    door.close()


def _send_all(door: HttpsDoor, paths: Sequence[Path], prefix: str) -> None:
    for path in paths:
        with path.open("rb") as source:
            accepted(door.name, door.put_file(f"{prefix}{path.name}", source, path.stat().st_size))


def _curl(work: Path, sealed: Path, port: int) -> None:
    nginx, tls = work / "nginx", work / "nginx" / "tls"
    files = ",".join(str(path) for path in sorted(sealed.iterdir()))
    command = ["curl", "--silent", "--fail", "--cacert", str(tls / "ca.pem")]
    command += ["--cert", str(tls / "client.pem"), "--key", str(tls / "client.key")]
    listed = nginx / "upload"
    listed.write_text(f'upload-file = "{{{files}}}"\nurl = "https://127.0.0.1:{port}/"\n')
    subprocess.run([*command, "--config", str(listed)], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def _nginx(folder: Path) -> Iterator[int]:
    store = folder / "store"
    store.mkdir(parents=True)
    folder.chmod(0o755)
    store.chmod(0o777)
    make_certificates(folder / "tls")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    (folder / "nginx.conf").write_text(
        f"""daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
        events {{}}
        http {{
          access_log off; client_max_body_size 0; client_body_temp_path {store}/incoming;
          server {{
            listen 127.0.0.1:{port} ssl; keepalive_requests 1000000;
            ssl_certificate {folder}/tls/server.pem; ssl_certificate_key {folder}/tls/server.key;
            ssl_client_certificate {folder}/tls/ca.pem; ssl_verify_client on;
            root {store}; location / {{ dav_methods PUT; }}
          }}
        }}"""
    )
    process = subprocess.Popen(
        ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(500):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            sleep(0.02)
        else:
            sys.exit(f"nginx did not start: {(folder / 'error.log').read_text()}")
        yield port
    finally:
        process.terminate()
        process.wait()
