"""Reads files for needles, every byte of them."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from provisioning.demo.images import Image
from provisioning.demo.needles import Needle, needles, probes, search

_ZEROS = bytes(4096)  # no needle holds as many in a row


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
        found: set[Needle] = set()
        for begin, end in _written(data, max((len(needle.data) for needle in wanted), default=0)):
            for hit in search(data[begin:end], [needle for needle in wanted if needle not in found]):
                found.add(hit.needle)
                yield Found(path, hit.needle, begin + hit.offset)


def _written(data: bytes, margin: int) -> Iterator[tuple[int, int]]:
    """Yield where something else than zeros stands, with so much on both sides of it.

    A file that was written in advance holds many mebibytes of zeros, which to search takes longest of all.
    """
    begin: int | None = None
    for at in range(0, len(data), len(_ZEROS)):
        if data[at : at + len(_ZEROS)] != _ZEROS:
            begin = at if begin is None else begin
        elif begin is not None:
            yield max(begin - margin, 0), at + margin
            begin = None
    if begin is not None:
        yield max(begin - margin, 0), len(data)
