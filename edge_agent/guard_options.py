"""How the guard is started."""

from dataclasses import dataclass
from pathlib import Path

STATE = Path("/var/lib/leadglass-guard")
SOCKET = Path("/run/leadglass-guard/guard.sock")


@dataclass(frozen=True)
class RunOptions:
    """`sys` and `proc` are what a test replaces. What others may read lies beside `socket`."""

    state: Path = STATE
    socket: Path = SOCKET
    agent_user: str | None = None  # the account of the agent, which may ask; None: root alone may
    sidecar: bool = False  # a box beside the scanner: the modality's own ports are not evaluated
    sys: Path = Path("/sys")
    proc: Path = Path("/proc")

    @property
    def notices(self) -> Path:
        return self.socket.parent / "notices.json"

    @property
    def opened(self) -> Path:
        """Return the file that says, until the machine is started anew, that USB was once found open."""
        return self.socket.parent / "opened"
