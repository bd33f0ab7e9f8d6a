"""A real Mosquitto on loopback for one test: TLS with client certificates, its access rules left open."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.centre import Authority


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
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(10)
