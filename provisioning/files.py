"""Where the files lie that belong to the program and are no Python: units, rules of udev, sysusers, tmpfiles."""

import sys
from collections.abc import Sequence
from pathlib import Path

from shared.errors import Unavailable

_UNIT = "leadglass-agent.service"


class NoProgramData(Unavailable):
    def __init__(self, looked: Sequence[Path]) -> None:
        super().__init__(f"the files of systemd that belong to Leadglass are in none of {', '.join(map(str, looked))}")
        self.looked = looked


def system_files(prefix: Path = Path(sys.prefix), source: Path = Path(__file__).parent.parent) -> Path:
    """Return the folder with what an environment carries in `share/leadglass`, else that of the source checkout.

    Raises NoProgramData.
    """
    looked = (prefix / "share/leadglass/systemd", source / "systemd")
    for folder in looked:
        # A Python module of that name may lie beside ours.
        if (folder / _UNIT).is_file():
            return folder
    raise NoProgramData(looked)
