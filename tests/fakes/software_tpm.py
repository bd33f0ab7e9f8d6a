"""A TPM 2.0 of software and the real systemd-creds, which speaks to it without a kernel in between."""

import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge_agent.host_keys.credential import STILL_PCR
from edge_agent.host_keys.tpm import TpmVault
from edge_agent.host_keys.vault import KeyName
from tests.fakes.ports import free_port
from tests.lab.wire import until

_START_S = 20.0
_SESSIONS, _PASSWORD = 0x8002, 0x40000009
_LOCKOUT = 0x4000000A
_PCRS = 24
_HANDLES = [kind + number for kind in (0x02000000, 0x03000000, 0x80000000) for number in range(3)]


class UnmanagedVault(TpmVault):
    """Ours, and what the kernel does behind /dev/tpmrm0: it takes away what systemd-creds left open in the TPM."""

    def __init__(self, port: int) -> None:
        super().__init__(f"swtpm:host=127.0.0.1,port={port}")
        self._address = ("127.0.0.1", port)

    def _run(self, name: KeyName, verb: str, given: bytes, *options: str) -> bytes:
        try:
            return super()._run(name, verb, given, *options)
        finally:
            with suppress(OSError):
                flush(self._address)


def flush(address: tuple[str, int]) -> None:
    with socket.create_connection(address, timeout=10) as connection:
        for handle in _HANDLES:
            connection.sendall(struct.pack(">HIII", 0x8001, 14, 0x00000165, handle))
            connection.recv(4096)


class SoftwareTpm:
    """One TPM while it is switched on. `vault` is ours on it, the rest is what others do to a TPM."""

    def __init__(self, port: int) -> None:
        self._address, self.port = ("127.0.0.1", port), port
        self.vault = UnmanagedVault(port)

    def flush(self) -> None:
        flush(self._address)

    def answers(self) -> bool:
        try:
            socket.create_connection(self._address, timeout=1).close()
        except OSError:
            return False
        return True

    def extend_pcrs(self) -> None:
        """Do what firmware, boot loader and kernel do when they are new."""
        for pcr in set(range(_PCRS)) - set(range(17, 23)):
            digest = struct.pack(">IH32s", 1, 0x000B, b"\x01" * 32)
            self._command(0x00000182, struct.pack(">I", pcr), digest)

    def extend_the_still_pcr(self) -> None:
        """Raises AssertionError: the TPM does not let anybody who is no dynamic launch."""
        self._command(0x00000182, struct.pack(">I", STILL_PCR), struct.pack(">IH32s", 1, 0x000B, b"\x01" * 32))

    def clear(self) -> None:
        """Do what "clear TPM" in a firmware's menu does."""
        self._command(0x00000126, struct.pack(">I", _LOCKOUT))

    def lock_out(self) -> None:
        """Allow no wrong answer at all, which is a TPM that has had too many."""
        self._command(0x0000013A, struct.pack(">I", _LOCKOUT), struct.pack(">III", 0, 3600, 3600))

    def _command(self, code: int, handle: bytes, parameters: bytes = b"") -> None:
        """TPM 2.0 Library part 3, with an empty password; raises AssertionError where the TPM refuses."""
        session = struct.pack(">IHBH", _PASSWORD, 0, 0, 0)
        body = handle + struct.pack(">I", len(session)) + session + parameters
        with socket.create_connection(self._address, timeout=10) as connection:
            connection.sendall(struct.pack(">HII", _SESSIONS, 10 + len(body), code) + body)
            answer = connection.recv(4096)
        assert struct.unpack(">HII", answer[:10])[2] == 0, answer.hex()


@contextmanager
def software_tpm(state: Path) -> Iterator[SoftwareTpm]:
    """Yield the TPM that keeps what it keeps in `state`: the same folder is the same TPM, started again."""
    state.mkdir(exist_ok=True)
    # tpm2-tss finds the control channel one port above the other.
    port = next(port for port in iter(free_port, 0) if port % 2 == 0)
    process = subprocess.Popen(
        [
            "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--flags", "not-need-init,startup-clear",
            "--server", f"type=tcp,port={port},bindaddr=127.0.0.1",
            "--ctrl", f"type=tcp,port={port + 1},bindaddr=127.0.0.1",
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    tpm = SoftwareTpm(port)
    try:
        until("the TPM answers", tpm.answers, _START_S, 0.02)
        yield tpm
    finally:
        process.kill()
        process.wait()
