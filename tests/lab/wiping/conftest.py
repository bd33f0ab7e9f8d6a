"""One hospital for all wipes of this folder: each has a drive, an order and a machine of its own."""

from collections.abc import Iterator

import pytest

from tests.lab.wiping.hospital import Hospital
from tests.lab.wiping.hospital import hospital as opened


@pytest.fixture(scope="session")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    with opened(tmp_path_factory.mktemp("hospital")) as running:
        yield running
