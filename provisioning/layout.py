"""Where an installed host keeps what is ours, and as whom it runs."""

from pathlib import Path

ACCOUNT = "leadglass"
AGENT_DATA = Path("/var/lib/leadglass")
GUARD_STATE = Path("/var/lib/leadglass-guard")
OWN_FOLDER = Path("/var/lib/leadglass-provision")
GUARD_SOCKET = Path("/run/leadglass-guard/guard.sock")
