"""A centre as its first start leaves it: made once for each person in a process, and copied for each test."""

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from control_plane.first_start import HandedOver, first_start
from control_plane.settings import Folders
from shared.clock import SystemClock


def begun(folder: Path, person: str = "ada") -> tuple[Folders, HandedOver]:
    """Return its data in `folder`, and what was handed over beside them, as of today."""
    shutil.copytree(_template(person), folder, dirs_exist_ok=True)
    return Folders(folder / "data"), _in(folder, person)


@cache
def _template(person: str) -> Path:
    folder = Path(mkdtemp(prefix="leadglass-test-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    made = first_start(
        Folders(folder / "data"), folder / "handover", person,
        host="127.0.0.1", people_url="http://127.0.0.1:1", clock=SystemClock(),
    )  # fmt: skip
    assert made == _in(folder, person)
    return folder


def _in(folder: Path, person: str) -> HandedOver:
    handover = folder / "handover"
    shares = tuple(handover / f"recovery-share-{number}.txt" for number in (1, 2, 3))
    return HandedOver(handover / f"credential-{person}.json", shares, handover / "authority-root-key.pem")
