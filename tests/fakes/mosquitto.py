"""A real Mosquitto on loopback for one test: TLS with client certificates, its access rules left open."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from provisioning.demo.processes import wait_until
from tests.fakes.centre import Authority

_START_S, _STOP_S = 60.0, 60.0


@contextmanager
def broker(folder: Path, authority: Authority, chain: Path, port: int) -> Iterator[None]:
    """Run a broker that lets in whoever `authority` certified; `chain` is its own key and certificate."""
    program = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/bin")
    if program is None:
        pytest.skip("mosquitto is not installed")
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    (folder / "ca.pem").write_bytes(authority.pem)
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\ncafile {folder}/ca.pem\ncertfile {chain}\nkeyfile {chain}\n"
        "require_certificate true\nuse_identity_as_username true\nallow_anonymous false\nuser root\n"
    )
    process = subprocess.Popen([program, "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        assert wait_until(lambda: _listens(port), _START_S) is not None
        yield
    finally:
        process.terminate()
        process.wait(_STOP_S)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
