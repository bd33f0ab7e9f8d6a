"""A centre, a host that died, and the one that took its place."""

from pathlib import Path

import pytest

from tests.control_plane.vault.bench import Bench, HostBench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def old(bench: Bench) -> HostBench:
    return bench.enrol()


@pytest.fixture
def new(bench: Bench) -> HostBench:
    return bench.enrol()
