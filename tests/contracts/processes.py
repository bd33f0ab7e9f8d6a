"""A broker's process for one module: in a folder of its own, its words in a file, ended with all that it started."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

# Below those that the system gives to outgoing connections, which a slow start would lose its port to.


class Process:
    def __init__(self, folder: Path, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        self.words = folder / "output.txt"
        with self.words.open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=folder, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip

    def verify_running(self) -> None:
        if self._process.poll() is not None:
            raise AssertionError(f"it ended:\n{self.words.read_text(errors='replace')[-2000:]}")

    def reload(self) -> None:
        self._process.send_signal(signal.SIGHUP)

    def kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(60)
