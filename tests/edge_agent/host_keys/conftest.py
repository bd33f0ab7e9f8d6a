"""A TPM of software for whoever needs one, and another one to be disappointed by."""

import shutil
from collections.abc import Iterator

import pytest

from tests.fakes.software_tpm import SoftwareTpm, software_tpm


def _started(factory: pytest.TempPathFactory, name: str) -> Iterator[SoftwareTpm]:
    if shutil.which("swtpm") is None or shutil.which("systemd-creds") is None:
        pytest.skip("swtpm or systemd-creds is not installed")
    with software_tpm(factory.mktemp("tpm") / name) as tpm:
        yield tpm


@pytest.fixture(scope="session")
def tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    """For whoever leaves it as it is."""
    yield from _started(tmp_path_factory, "ours")


@pytest.fixture
def own_tpm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    """For whoever does something to it."""
    yield from _started(tmp_path_factory, "own")
