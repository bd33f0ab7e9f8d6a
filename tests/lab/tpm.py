"""A TPM 2.0 of software for a machine: one of its own for each start, or the one that a snapshot holds."""

import subprocess
from pathlib import Path

from tests.lab.wire import until

START_S = 60.0


class SoftwareTpm:
    """What it keeps is in `state`. QEMU puts a snapshot's TPM into it, so a restored machine has that very TPM."""

    def __init__(self, state: Path, socket: Path) -> None:
        state.mkdir(exist_ok=True)
        # It ends with QEMU, and with the thread that started it.
        self._process = subprocess.Popen(
            [
                "setpriv", "--pdeathsig", "KILL", "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}",
                "--ctrl", f"type=unixio,path={socket}", "--terminate",
            ],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        until("the TPM listens", socket.exists, START_S)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
