"""Every byte on disk is searched for who the images are of, for their pixels, and for our own secrets."""

import base64
import json
from collections.abc import Iterator, Sequence

from provisioning.demo.disk import Found, files_in, identities, pixels, search_files
from provisioning.demo.expectations import Expectation
from provisioning.demo.images import Image
from provisioning.demo.needles import Counts, Needle
from provisioning.demo.stage import Stage

_SHOWN = 5
_SHARE_WORDS = 8

EXPECTED = (
    Expectation("no-identity-on-disk", "no identity of any image stands in any byte of either side's data"),
    Expectation("no-pixel-on-disk", "neither does any image data"),
    Expectation(
        "no-secret-on-disk",
        "root key, shares, credential and the key of the authority's root are in neither, but for the root key's file",
    ),
    Expectation("search-can-find", "the same search finds every one of the images in the files that were sent"),
)


def search_everything(stage: Stage, images: Sequence[Image]) -> str:
    """Return what was searched, for the summary."""
    folders, who, image_data, secrets = stage.folders, identities(images), pixels(images), tuple(_secrets(stage))
    files = [path for path in files_in(folders.data) if folders.handover not in path.parents]
    size = sum(path.stat().st_size for path in files)
    with stage.display.doing("searching every byte") as doing:
        found = list(search_files(files, (*who, *image_data), doing.at))
        ours = list(search_files([path for path in files if path.name != "root.key"], secrets, doing.at))
    shown = set(image_data)
    values = len({identity.raw for image in images for identity in image.identities})
    where = f"{len(files)} files, {size / 1e6:.1f} MB"
    named = [one for one in found if one.needle not in shown]
    stage.judge("no-identity-on-disk", not named, _said(stage, named, f"{values} values in {len(who)} forms, {where}"))
    leaked = [one for one in found if one.needle in shown]
    stage.judge("no-pixel-on-disk", not leaked, _said(stage, leaked, f"{len(image_data)} pieces of image data"))
    stage.judge("no-secret-on-disk", not ours, _said(stage, ours, f"{len(secrets)} forms"))
    _show_that_it_can_find(stage, images, (*who, *image_data))
    return f"Searched {where}, for {len(who) + len(image_data)} byte strings"


def _show_that_it_can_find(stage: Stage, images: Sequence[Image], wanted: Sequence[Needle]) -> None:
    # A search that has never found anything proves nothing.
    found = {one.path for one in search_files([image.path for image in images], wanted)}
    evidence = f"{len(found)} of {len(images)} found where they are in clear"
    stage.judge("search-can-find", len(found) == len(images), evidence)


def _secrets(stage: Stage) -> Iterator[Needle]:
    folders = stage.folders
    credential = json.loads(folders.credential.read_text())
    authority = folders.authority_root_key.read_text()
    values = {
        "root key": (folders.control_plane / "root-key" / "root.key").read_bytes(),
        "bearer token": credential["token"].encode(),
        "policy key": _der(credential["tuf"]["private_pem"]),
        "key of the authority's root": _der(authority),
    }
    for number in (1, 2, 3):
        # The words before differ from share to share in few places; the last ones are its own.
        words = folders.share(number).read_text().split()[-_SHARE_WORDS:]
        values[f"recovery share {number}"] = " ".join(words).encode()
    for what, value in values.items():
        yield Needle(value, Counts.ANYWHERE, what)
        yield Needle(value.hex().encode(), Counts.ANYWHERE, f"{what} in hexadecimal")
        # Without the last character, which depends on what stands behind it.
        yield Needle(base64.b64encode(value).rstrip(b"=")[:-1], Counts.ANYWHERE, f"{what} in base64")


def _der(pem: str) -> bytes:
    return base64.b64decode("".join(pem.splitlines()[1:-1]))


def _said(stage: Stage, found: Sequence[Found], searched_for: str) -> str:
    if not found:
        return f"searched for {searched_for}: nothing"
    shown = [f"{one.needle.what} in {one.path.relative_to(stage.folders.data)}" for one in found[:_SHOWN]]
    return f"{len(found)} found: {'; '.join(shown)}"
