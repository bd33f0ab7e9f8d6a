"""The guest for every test of the lab: each gets a machine of its own, from one snapshot."""

from collections.abc import Iterator

import pytest

from tests.lab.image import Image, NoLab, image
from tests.lab.lab import Lab
from tests.lab.media import Media, media


@pytest.fixture(scope="session")
def guest_image() -> Image:
    try:
        return image()
    except NoLab as exc:
        pytest.skip(f"no virtual machine lab: {exc}")


@pytest.fixture(scope="session")
def sticks(guest_image: Image) -> Media:
    return media()


@pytest.fixture
def lab(guest_image: Image) -> Iterator[Lab]:
    """A guest whose kernel authorises nothing by itself."""
    with Lab(guest_image) as lab:
        yield lab
