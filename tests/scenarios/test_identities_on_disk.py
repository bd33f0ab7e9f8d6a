"""Nothing on the host's disk says who an image is of; and the search that shows it turns red without the sealing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from provisioning.demo.disk import Found, files_in, identities, pixels, search_files
from provisioning.demo.images import Image, shipped_images
from tests.fakes.host import Host


class PassThrough:
    """What must never be built in: a sealer that seals nothing."""

    def __init__(self, key: bytes, context: bytes) -> None: ...

    def update_into(self, data: Any, buf: Any, /) -> int:
        memoryview(buf)[: len(data)] = data
        return len(data)

    def finalize(self) -> bytes:
        return b""


@pytest.fixture(scope="module")
def images() -> tuple[Image, ...]:
    return shipped_images()


def captured(host: Host, images: Sequence[Image]) -> list[Found]:
    """Return what is found on the host's disk after it has captured `images`."""
    host.put_in_force()
    for image in images:
        host.capture(image.dataset(), image.transfer_syntax_uid, image.sop_instance_uid)
    assert host.spool.waiting() == len(images)
    files = files_in(host.folder)
    return list(search_files(files, (*identities(images), *pixels(images))))


def test_no_identity_and_no_pixel_stands_on_the_hosts_disk(tmp_path: Path, images: tuple[Image, ...]) -> None:
    assert captured(Host(tmp_path), images) == []


def test_a_sealer_that_passes_everything_through_is_found_out(tmp_path: Path, images: tuple[Image, ...]) -> None:
    found = captured(Host(tmp_path, encryptor=PassThrough), images)

    assert {one.path.suffix for one in found} == {".seg"}
    assert {one.needle.what for one in found} >= {"PatientName as a DICOM element", "image data of CT_small.dcm"}
