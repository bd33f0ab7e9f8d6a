from pathlib import Path

import pytest

from tests.control_plane.vault.bench import Bench, HostBench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "centre")


@pytest.fixture
def host(bench: Bench) -> HostBench:
    return bench.enrol()
