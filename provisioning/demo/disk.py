"""Reads files for needles, every byte of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from provisioning.demo.images import Image
from provisioning.demo.needles import CONTEXT_BYTES, Needle, needles, probes, search


@dataclass(frozen=True)
class Found:
    path: Path
    needle: Needle
    offset: int


def identities(images: Iterable[Image]) -> tuple[Needle, ...]:
    return needles(identity for image in images for identity in image.identities)


def pixels(images: Iterable[Image]) -> tuple[Needle, ...]:
    return tuple(probe for image in images for probe in probes(image.dataset(), image.name))


def files_in(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def search_files(
    files: Sequence[Path], wanted: Sequence[Needle], on_progress: Callable[[str], None] = lambda _: None
) -> Iterator[Found]:
    """Yield, for each file, the first place of each needle that is in it."""
    for number, path in enumerate(files, start=1):
        on_progress(f"file {number} of {len(files)}")
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            # A running program's temporary file, which has gone since it was listed.
            continue
        for hit in search(_zeros_cut(data, wanted), wanted):
            yield Found(path, hit.needle, hit.offset)


def _zeros_cut(data: bytes, wanted: Sequence[Needle]) -> bytes:
    """Return `data` with no more zeros at its end than a needle with what is looked at beside it could reach into.

    An agent writes 512 MiB of zeros in advance, in which a search for one byte string alone takes seconds.
    """
    longest = max((len(needle.data) for needle in wanted), default=0)
    whole = data.rstrip(b"\0")
    return whole + bytes(min(len(data) - len(whole), longest + CONTEXT_BYTES))
