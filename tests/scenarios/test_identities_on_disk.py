"""Nothing on the host's disk says who an image is of; and the search that shows it turns red without the sealing."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from provisioning.demo.disk import Found, files_in, identities, pixels, search_files
from provisioning.demo.images import Image, shipped_images
from shared.sealing.chunked import Write
from tests.fakes.host import Host


class PassThrough:
    """What must never be built in: a sealer that seals nothing."""

    def __init__(self, key: bytes, salt: bytes, context: bytes, write: Write) -> None:
        self._write = write

    def update(self, data: bytes | memoryview) -> None:
        self._write(memoryview(data))

    def finish(self) -> None:
        pass


@pytest.fixture(scope="module")
def images() -> tuple[Image, ...]:
    return shipped_images()


def captured(host: Host, images: Sequence[Image]) -> list[Found]:
    """Return what is found on the host's disk after it has captured `images`."""
    host.put_in_force()
    for image in images:
        host.capture(image.dataset(), image.transfer_syntax_uid, image.sop_instance_uid)
    files = files_in(host.folder)
    assert len([path for path in files if path.parent.name == "ready"]) == len(images)
    return list(search_files(files, (*identities(images), *pixels(images))))


def test_no_identity_and_no_pixel_stands_on_the_hosts_disk(tmp_path: Path, images: tuple[Image, ...]) -> None:
    assert captured(Host(tmp_path), images) == []


def test_a_sealer_that_passes_everything_through_is_found_out(tmp_path: Path, images: tuple[Image, ...]) -> None:
    found = captured(Host(tmp_path, encryptor=PassThrough), images)

    assert len({one.path for one in found}) == len(images)
    assert {one.needle.what for one in found} >= {"PatientName as a DICOM element", "image data of CT_small.dcm"}
