from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.edge_agent.forward.bench import ForwardBench
from tests.fakes.archive import Archive, archive


@pytest.fixture
def bench(tmp_path: Path) -> ForwardBench:
    return ForwardBench(tmp_path / "agent")


@pytest.fixture
def pacs() -> Iterator[Archive]:
    with archive() as running:
        yield running
