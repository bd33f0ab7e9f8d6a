"""Every byte on disk is searched for who the images are of, for their pixels, and for our own secrets."""

import base64
import json
import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path

from provisioning.demo.expectations import Expectation
from provisioning.demo.images import Image
from provisioning.demo.needles import Counts, Hit, Needle, needles, probes, search
from provisioning.demo.stage import Stage

_SHOWN = 5

EXPECTED = (
    Expectation("no-identity-on-disk", "no identity of any image stands in any byte of either side's data"),
    Expectation("no-pixel-on-disk", "neither does any image data"),
    Expectation(
        "no-secret-on-disk", "root key, recovery shares and credential are in neither, but for the root key's file"
    ),
    Expectation("search-can-find", "the same search finds every one of the images in the files that were sent"),
)


def search_everything(stage: Stage, images: Sequence[Image]) -> str:
    """Return what was searched, for the summary."""
    folders = stage.folders
    identities = needles(identity for image in images for identity in image.identities)
    pixels = tuple(probe for image in images for probe in probes(image.dataset(), image.name))
    files = [path for path in sorted(folders.data.rglob("*")) if path.is_file()]
    searched = [path for path in files if folders.handover not in path.parents]
    size = sum(path.stat().st_size for path in searched)
    with stage.display.doing("searching every byte") as doing:
        found = list(_search(searched, (*identities, *pixels), doing.at))
        secrets = list(_search([p for p in searched if p.name != "root.key"], tuple(_secrets(stage)), doing.at))
    named = [hit for hit in found if hit[1].needle not in set(pixels)]
    what = f"{len(identities)} forms of {len({i.raw for image in images for i in image.identities})} values"
    stage.judge(
        "no-identity-on-disk", not named, _said(stage, named, f"{what} in {len(searched)} files, {size / 1e6:.1f} MB")
    )
    shown = [hit for hit in found if hit[1].needle in set(pixels)]
    stage.judge("no-pixel-on-disk", not shown, _said(stage, shown, f"{len(pixels)} pieces of image data"))
    stage.judge("no-secret-on-disk", not secrets, _said(stage, secrets, f"{len(tuple(_secrets(stage)))} forms"))
    _show_that_it_can_find(stage, images, identities, pixels)
    return f"searched {len(searched)} files, {size / 1e6:.1f} MB, for {len(identities) + len(pixels)} byte strings"


def _show_that_it_can_find(
    stage: Stage, images: Sequence[Image], identities: Sequence[Needle], pixels: Sequence[Needle]
) -> None:
    # A search that has never found anything proves nothing.
    blind = [image.name for image in images if not any(search(image.path.read_bytes(), (*identities, *pixels)))]
    stage.judge(
        "search-can-find", not blind, f"{len(images) - len(blind)} of {len(images)} found where they are in clear"
    )


def _search(files: Sequence[Path], wanted: Sequence[Needle], at: object) -> Iterator[tuple[Path, Hit]]:
    for number, path in enumerate(files, start=1):
        if callable(at):
            at(f"{number} of {len(files)} files")
        if not path.stat().st_size:
            continue
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            for hit in search(data[:], wanted):
                yield path, hit


def _secrets(stage: Stage) -> Iterator[Needle]:
    folders = stage.folders
    root = (folders.control_plane / "root-key" / "root.key").read_bytes()
    credential = json.loads(folders.credential.read_text())
    key = "".join(credential["tuf"]["private_pem"].splitlines()[1:-1])
    values = {"root key": root, "bearer token": credential["token"].encode(), "policy key": base64.b64decode(key)}
    for number in (1, 2, 3):
        words = folders.share(number).read_text().split()
        values[f"recovery share {number}"] = " ".join(words[-8:]).encode()
    for what, value in values.items():
        yield Needle(value, Counts.ANYWHERE, what)
        yield Needle(value.hex().encode(), Counts.ANYWHERE, f"{what} in hexadecimal")
        # Without the first and last characters, which depend on what stands beside it.
        yield Needle(base64.b64encode(value).rstrip(b"=")[:-1], Counts.ANYWHERE, f"{what} in base64")


def _said(stage: Stage, hits: Sequence[tuple[Path, Hit]], otherwise: str) -> str:
    if not hits:
        return f"searched {otherwise}: nothing"
    shown = [f"{hit.needle.what} in {path.relative_to(stage.folders.data)}" for path, hit in hits[:_SHOWN]]
    return f"{len(hits)} found: {'; '.join(shown)}"
