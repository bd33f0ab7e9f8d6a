"""What happens to a host between two policies: a full disk, months without power. Never a lower version, never half."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path
from types import SimpleNamespace

import pytest
from tuf.ngclient._internal import trusted_metadata_set

from edge_agent.database import DatabaseUnavailable
from edge_agent.policy_sync.verification import TrustCacheUnavailable
from shared.clock import SystemClock
from tests.control_plane.vault.tmpfs import small_filesystem
from tests.edge_agent.policy_sync.test_updater import Bench
from tests.fakes.signers import PolicySigners

__all__ = ["small_filesystem"]

YEAR, FORTNIGHT = timedelta(days=365), timedelta(days=14)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    file = disk / "somebody-else-s"
    with file.open("wb", buffering=0) as out, suppress(OSError):
        while True:
            out.write(bytes(4096))
    yield
    file.unlink()


def test_a_disk_that_is_full_keeps_the_policy_in_force_and_takes_the_next_one_once_there_is_room(
    small_filesystem: Path,
) -> None:
    bench = Bench(small_filesystem / "host")
    bench.offer(*bench.publish(1))
    newer = bench.publish(2)

    with full(small_filesystem):
        with pytest.raises((DatabaseUnavailable, TrustCacheUnavailable)):
            bench.offer(*newer)
        assert bench.version() == 1
    assert bench.held() == 1
    bench.offer(*newer)

    assert (bench.version(), bench.updater.error) == (2, "")


@contextmanager
def later(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> Iterator[None]:
    """Have TUF's client, which has no clock of ours, see another time."""

    class Shifted:
        @staticmethod
        def now(tz: tzinfo) -> datetime:
            return SystemClock().now().astimezone(tz) + by

    with monkeypatch.context() as patched:
        patched.setattr(trusted_metadata_set, "datetime", SimpleNamespace(datetime=Shifted, timezone=timezone))
        yield


def test_a_host_that_was_off_for_sixty_days_captures_by_what_it_had_and_takes_what_is_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = timedelta(days=60)
    bench = Bench(tmp_path / "host", PolicySigners(lasts=YEAR))
    bench.signers.lasts = FORTNIGHT
    old = bench.publish(1)
    bench.offer(*old)

    with later(monkeypatch, off):
        bench.restart()
        assert bench.version() == 1
        bench.offer(*old)
        assert bench.updater.error.startswith("PolicyExpired"), "nothing says that it is still the newest"
        assert bench.version() == 1

        bench.signers.lasts = off + FORTNIGHT
        bench.offer(*bench.publish(2))
        assert (bench.version(), bench.updater.error) == (2, "")


def test_a_clock_that_goes_forward_and_back_leaves_the_newest_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path / "host", PolicySigners(lasts=2 * YEAR))
    bench.offer(*bench.publish(1))
    newer = bench.publish(2)
    with later(monkeypatch, 3 * YEAR):
        bench.offer(*newer)
        assert bench.version() == 1
    bench.offer(*newer)
    with later(monkeypatch, -YEAR):
        bench.restart()
        bench.offer(*bench.publish(3))
        assert (bench.version(), bench.updater.error) == (3, "")
