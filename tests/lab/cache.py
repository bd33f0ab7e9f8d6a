"""Where the lab keeps what it made, each thing under the digest of all that went into it.

    <cache>/lab/image-<key>/      kernel, initramfs, root file system
    <cache>/lab/snapshot-<key>/   memory and device state of a machine that has just started
    <cache>/lab/media-<key>/      sticks

A folder is made beside its place and renamed into it when it is whole, so what is there is complete. A key names what
was asked for: the versions of Debian's packages are those of the day on which the folder was made.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_KEPT = 2  # of each kind: this tree's, and another branch's
_UNUSED_S = 24 * 3600  # what was used later than this before the newest may be in use still


def cache_folder() -> Path:
    named = os.environ.get("LEADGLASS_CACHE")
    base = Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "leadglass"
    return base.expanduser().absolute() / "lab"


def key(*parts: bytes | str) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:16]


def kept(kind: str, name: str, make: Callable[[Path], None], folder: Path | None = None) -> Path:
    """Return the folder `kind`-`name`, which `make` fills if it is not there yet. Runs at the same time make one."""
    place = (folder or cache_folder()) / f"{kind}-{name}"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(place.parent / f"{kind}.lock"):
            if not place.exists():
                _make(place, make)
    os.utime(place)
    return place


def kept_there(kind: str, name: str) -> bool:
    return (cache_folder() / f"{kind}-{name}").exists()


def _make(place: Path, make: Callable[[Path], None]) -> None:
    kind = place.name.rpartition("-")[0]
    for left in place.parent.glob(f"new-{kind}-*"):  # by a run that was killed: we hold the lock, so nobody is at it
        shutil.rmtree(left)
    new = Path(tempfile.mkdtemp(prefix=f"new-{kind}-", dir=place.parent))
    try:
        make(new)
        new.rename(place)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    last_used = {path: path.stat().st_mtime for path in place.parent.glob(f"{kind}-*")}
    by_age = sorted(last_used, key=last_used.__getitem__, reverse=True)
    for old in by_age[_KEPT:]:
        if last_used[by_age[0]] - last_used[old] > _UNUSED_S:
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _one_at_a_time(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
