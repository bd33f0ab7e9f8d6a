"""A refused batch, on the status of a real control plane."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control_plane.checkpoints.ward import Ward
from tests.control_plane.tlog.test_inclusion import delivered, sent


@pytest.fixture
def ward(tmp_path: Path) -> Iterator[Ward]:
    ward = Ward(tmp_path)
    yield ward
    ward.close()


def test_a_host_that_tells_another_story_is_on_the_status_at_once(ward: Ward) -> None:
    host = ward.enrol("CT A")
    delivered(host)
    before = ward.gaps()
    _, status = sent(host)  # its first record once more, of another time

    assert status >= 400
    assert "were refused" not in before
    assert "CT A: audit records that it sent were refused at" in ward.gaps()
    assert f"AuditForked: audit record 1 of {host.host_id}" in ward.gaps()
