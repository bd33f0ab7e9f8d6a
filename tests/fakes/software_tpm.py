"""A TPM 2.0 of software and the real systemd-creds, which speaks to it without a kernel in between."""

import socket
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_agent.host_keys.tpm import TpmVault
from edge_agent.host_keys.vault import KeyName
from tests.fakes import tpm_commands
from tests.fakes.ports import free_port
from tests.lab.wire import LabError, until

_START_S = 60.0
_TRIES = 5


class SoftwareTpm:
    """One TPM while it is switched on. `vault` is ours on it."""

    def __init__(self, port: int) -> None:
        self.port, self.vault = port, UnmanagedVault(port)

    def send(self, *commands: bytes) -> list[int]:
        """Return what the TPM answers to each, 0 where it did it."""
        return send(self.port, commands)

    def answers(self) -> bool:
        try:
            self.send()
        except OSError:
            return False
        return True


class UnmanagedVault(TpmVault):
    """Ours, and what the kernel does behind /dev/tpmrm0: it takes away what systemd-creds left open in the TPM."""

    def __init__(self, port: int) -> None:
        super().__init__(f"swtpm:host=127.0.0.1,port={port}")
        self._port = port

    def _run(self, name: KeyName, verb: str, given: bytes, *options: str) -> bytes:
        try:
            return super()._run(name, verb, given, *options)
        finally:
            with suppress(OSError):
                send(self._port, tpm_commands.flush())


def send(port: int, commands: Iterable[bytes]) -> list[int]:
    codes = []
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for command in commands:
            connection.sendall(command)
            codes.append(tpm_commands.code_of(connection.recv(4096)))
    return codes


@contextmanager
def software_tpm(state: Path) -> Iterator[SoftwareTpm]:
    """Yield the TPM that keeps what it keeps in `state`: the same folder is the same TPM, started again."""
    state.mkdir(exist_ok=True)
    tpm, process = _started(state)
    try:
        yield tpm
    finally:
        process.kill()
        process.wait()


def _started(state: Path) -> "tuple[SoftwareTpm, subprocess.Popen[bytes]]":
    """tpm2-tss finds the control channel one port above the other, which somebody else may have: then two others."""
    for _ in range(_TRIES):
        tpm = SoftwareTpm(free_port())
        process = subprocess.Popen(
            [
                "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--flags", "not-need-init,startup-clear",
                "--server", f"type=tcp,port={tpm.port},bindaddr=127.0.0.1",
                "--ctrl", f"type=tcp,port={tpm.port + 1},bindaddr=127.0.0.1",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        if _is_up(tpm, process):
            return tpm, process
    raise LabError(f"swtpm did not start in {_TRIES} tries")


def _is_up(tpm: SoftwareTpm, process: "subprocess.Popen[bytes]") -> bool:
    until("the TPM answers", lambda: tpm.answers() or process.poll() is not None, _START_S, 0.02)
    return process.poll() is None
