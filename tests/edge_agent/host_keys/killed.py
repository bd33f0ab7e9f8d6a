"""Moves keys into a TPM and is killed when the second one is there."""

import os
import signal
import sys
from pathlib import Path

from edge_agent.config import AgentFolder
from edge_agent.host_keys.commands import move_keys
from edge_agent.host_keys.plain import FILES
from edge_agent.host_keys.vault import KeyName, KeyVault
from shared.clock import SystemClock
from shared.fleet.keys import KeyProtection
from tests.fakes.software_tpm import UnmanagedVault


class Deadly(UnmanagedVault):
    def wrap(self, name: KeyName, private: bytes, /) -> bytes:
        if name is KeyName.DICOM:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().wrap(name, private)


def main(folder: Path, port: int) -> None:
    def vault(protection: KeyProtection) -> KeyVault:
        return Deadly(port) if protection is KeyProtection.TPM else FILES

    list(move_keys(AgentFolder(folder), KeyProtection.TPM, SystemClock(), vault))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
