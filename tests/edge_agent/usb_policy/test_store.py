"""The guard's accepted policy only rises, and survives cuts and damage without ever loosening."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.usb_policy import store
from edge_agent.usb_policy.clock_trust import TOLERANCE, Reading
from edge_agent.usb_policy.exchange import VerifiedPolicy
from edge_agent.usb_policy.store import ClockNotKept, GuardPolicyStore, HeldUnknown, PolicyNotKept
from edge_agent.usb_policy.trust import Trust
from shared.devices.policy import DevicePolicy
from shared.devices.verdict import Target
from shared.errors import IntegrityFailure, Refused
from shared.identity import HostId
from shared.policy.accept import PolicyEquivocation, PolicyRollback, WrongLayer

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
TRUST = Trust(HostId(bytes(16)), "organisation", b"a root")


def policy(version: int, **changes: object) -> VerifiedPolicy:
    whole = VerifiedPolicy(
        "organisation",
        version,
        version.to_bytes(32, "big"),
        NOW + timedelta(days=14),
        NOW + timedelta(hours=version),
        DevicePolicy(default=Target.REJECT),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


def shown(now: datetime) -> Reading:
    """Return what a clock shows just after the machine's start."""
    return Reading(now, timedelta(0), is_kept=True)


class Bench:
    def __init__(self, state: Path) -> None:
        self.state = state
        self.restart()

    def restart(self, trust: Trust = TRUST) -> None:
        self.store = GuardPolicyStore(self.state, trust)

    def damage(self, name: str) -> None:
        file = self.state / "accepted" / name
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        self.restart()

    def held(self) -> dict[str, int]:
        return {layer: each.version for layer, each in self.store.held.items()}

    def version(self) -> int:
        return 0 if self.store.in_force is None else self.store.in_force.version


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    state = tmp_path / "guard"
    state.mkdir()
    return Bench(state)


def test_nothing_is_in_force_before_the_first_policy(bench: Bench) -> None:
    assert (bench.store.in_force, bench.store.devices, bench.store.held) == (None, None, {})
    assert bench.store.is_expired(NOW)
    assert not bench.store.is_clock_sure(shown(NOW))
    assert bench.store.problems == []


def test_an_accepted_policy_is_in_force_and_still_is_after_a_restart(bench: Bench) -> None:
    changed = bench.store.take(policy(1))
    bench.restart()

    assert changed
    assert bench.store.in_force == policy(1)
    assert bench.store.devices == DevicePolicy(default=Target.REJECT)
    assert bench.held() == {"organisation": 1}


def test_the_files_are_for_their_owner_only(bench: Bench) -> None:
    bench.store.take(policy(1))

    folder = bench.state / "accepted"
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_refuses_a_rolled_back_policy_also_after_a_restart(bench: Bench) -> None:
    bench.store.take(policy(2))
    for _ in range(2):
        with pytest.raises(PolicyRollback):
            bench.store.take(policy(1))
        bench.restart()

    assert bench.version() == 2


def test_refuses_two_stories_under_one_version(bench: Bench) -> None:
    bench.store.take(policy(2))
    with pytest.raises(PolicyEquivocation):
        bench.store.take(policy(2, sha256=b"x" * 32))

    assert bench.store.in_force == policy(2)


def test_refuses_a_policy_of_another_layer(bench: Bench) -> None:
    with pytest.raises(WrongLayer):
        bench.store.take(policy(1, layer="site"))

    assert bench.store.held == {}


def test_the_same_policy_under_newer_signatures_lasts_longer_and_is_no_other_content(bench: Bench) -> None:
    bench.store.take(policy(1))
    later = policy(1, expires=NOW + timedelta(days=28), signed_at=NOW + timedelta(days=14))
    changed = bench.store.take(later)
    bench.restart()

    assert not changed
    assert bench.store.in_force == later
    assert not bench.store.is_expired(NOW + timedelta(days=20))


def test_a_policy_stays_in_force_past_its_expiry_and_is_known_to_have_expired(bench: Bench) -> None:
    bench.store.take(policy(1))

    assert not bench.store.is_expired(NOW + timedelta(days=14, seconds=-1))
    assert bench.store.is_expired(NOW + timedelta(days=14))
    assert bench.version() == 1


def test_a_clock_behind_the_newest_signature_is_not_sure_also_after_a_restart(bench: Bench) -> None:
    signed = NOW + timedelta(hours=9)
    bench.store.take(policy(9))
    bench.store.take(policy(10, signed_at=NOW))
    for _ in range(2):
        assert bench.store.is_clock_sure(shown(signed))
        assert bench.store.is_clock_sure(shown(signed - TOLERANCE))
        assert not bench.store.is_clock_sure(shown(signed - TOLERANCE - timedelta(seconds=1)))
        bench.restart()


def test_a_clock_that_is_set_back_is_not_sure_also_after_a_restart(bench: Bench) -> None:
    bench.store.take(policy(1))
    bench.store.looked(shown(NOW + timedelta(days=3)))
    for _ in range(2):
        assert bench.store.is_clock_sure(shown(NOW + timedelta(days=3)))
        assert not bench.store.is_clock_sure(shown(NOW + timedelta(days=3) - 2 * TOLERANCE))
        bench.restart()


def test_what_the_clock_shows_is_written_no_oftener_than_it_tells_something_new(bench: Bench) -> None:
    bench.store.take(policy(1))
    files = set[int]()
    for minute in range(61):
        bench.store.looked(shown(NOW + timedelta(minutes=minute)))
        files.add((bench.state / "accepted" / "clock.json").stat().st_mtime_ns)
    bench.restart()
    bench.store.looked(shown(NOW + timedelta(minutes=61)))
    files.add((bench.state / "accepted" / "clock.json").stat().st_mtime_ns)

    assert len(files) == 13


def test_what_the_clock_showed_is_forgotten_with_the_policy_of_another_root(bench: Bench) -> None:
    bench.store.take(policy(1))
    bench.store.looked(shown(NOW + timedelta(days=3)))
    bench.restart(replace(TRUST, root=b"another root"))
    bench.store.take(policy(1))

    assert bench.store.is_clock_sure(shown(NOW + timedelta(hours=1)))


def test_what_the_clock_shows_is_known_although_it_cannot_be_written(bench: Bench) -> None:
    bench.store.take(policy(1))
    (bench.state / "accepted" / ".clock.json.new").mkdir()

    with pytest.raises(ClockNotKept):
        bench.store.looked(shown(NOW + timedelta(days=3)))

    assert not bench.store.is_clock_sure(shown(NOW + timedelta(days=2)))


def test_a_damaged_note_of_the_clock_is_said_and_made_anew(bench: Bench) -> None:
    bench.store.take(policy(1))
    bench.store.looked(shown(NOW + timedelta(days=3)))
    bench.damage("clock.json")

    assert (bench.version(), len(bench.store.problems)) == (1, 1)
    bench.store.looked(shown(NOW + timedelta(days=3)))
    bench.restart()
    assert bench.store.problems == []


def test_without_any_signed_time_the_clock_is_never_sure(bench: Bench) -> None:
    bench.store.take(policy(1, signed_at=None))

    assert not bench.store.is_clock_sure(shown(NOW))


def test_a_damaged_policy_authorises_nothing_and_its_version_still_refuses_a_rollback(bench: Bench) -> None:
    bench.store.take(policy(1))
    bench.store.take(policy(2))
    bench.damage("policy.json")

    assert (bench.version(), bench.store.devices, len(bench.store.problems)) == (0, None, 1)
    with pytest.raises(PolicyRollback):
        bench.store.take(policy(1))
    assert bench.store.take(policy(2))
    bench.restart()
    assert (bench.version(), bench.store.problems) == (2, [])


def test_a_damaged_record_of_what_is_held_is_made_anew_from_the_policy(bench: Bench) -> None:
    bench.store.take(policy(2))
    bench.damage("held.json")

    assert (bench.version(), len(bench.store.problems)) == (2, 1)
    assert not bench.store.is_clock_sure(shown(NOW))
    with pytest.raises(PolicyRollback):
        bench.store.take(policy(1))
    assert not bench.store.take(policy(2))
    bench.restart()
    assert bench.store.problems == []


def test_with_both_damaged_nothing_is_accepted_until_a_person_pins_the_root_anew(bench: Bench) -> None:
    bench.store.take(policy(2))
    bench.damage("policy.json")
    bench.damage("held.json")

    for version in (1, 2, 3):
        with pytest.raises(HeldUnknown):
            bench.store.take(policy(version))
    assert bench.version() == 0


@pytest.mark.parametrize("name", ["policy.json", "held.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff" * 200, b"x" * 2_000_000, None])
def test_whatever_lies_in_the_place_of_a_file_harms_no_more_than_its_loss(
    bench: Bench, name: str, content: bytes | None
) -> None:
    bench.store.take(policy(2))
    file = bench.state / "accepted" / name
    file.unlink()
    if content is None:
        os.mkfifo(file)
    else:
        file.write_bytes(content)
    bench.restart()

    assert bench.held() == {"organisation": 2}
    assert bench.version() == (0 if name == "policy.json" else 2)


def test_an_older_file_put_back_is_not_in_force(bench: Bench) -> None:
    bench.store.take(policy(1))
    file = bench.state / "accepted" / "policy.json"
    old = file.read_bytes()
    bench.store.take(policy(2))
    file.write_bytes(old)
    bench.restart()

    assert (bench.version(), bench.held()) == (0, {"organisation": 2})
    assert "is not what was accepted last: policy version 1 is older than version 2" in bench.store.problems[0]


def test_what_was_accepted_under_another_root_counts_for_nothing(bench: Bench) -> None:
    bench.store.take(policy(9))
    other = replace(TRUST, root=b"another root")
    bench.restart(other)
    before = bench.version()
    bench.store.take(policy(1))
    bench.restart(other)

    assert (before, bench.version()) == (0, 1)


def cut_before(write: int) -> Callable[[Path, bytes], None]:
    """Return a way of writing that the power is cut in front of, at the given write from 1."""
    done = 0

    def write_over(file: Path, content: bytes) -> None:
        nonlocal done
        done += 1
        if done == write:
            raise KeyboardInterrupt
        file.write_bytes(content)

    return write_over


@pytest.mark.parametrize("write, in_force", [(1, 1), (2, 2)])
def test_a_power_cut_leaves_the_former_policy_or_the_new_one(
    bench: Bench, write: int, in_force: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.store.take(policy(1))
    with monkeypatch.context() as patched:
        patched.setattr(store, "write_over", cut_before(write))
        with pytest.raises(KeyboardInterrupt):
            bench.store.take(policy(2))
    bench.restart()

    assert (bench.version(), bench.store.problems) == (in_force, [])
    bench.store.take(policy(2))
    with pytest.raises(PolicyRollback):
        bench.store.take(policy(1))


ACCEPTS_FOR_EVER = """
import sys
from pathlib import Path
from edge_agent.usb_policy.store import GuardPolicyStore
from tests.edge_agent.usb_policy.test_store import TRUST, policy
store, version = GuardPolicyStore(Path(sys.argv[1]), TRUST), 0
while True:
    version += 1
    store.take(policy(version))
    print(version, flush=True)
"""


@pytest.mark.parametrize("after", [1, 2, 7])
def test_what_was_accepted_before_a_kill_is_held_after_it(bench: Bench, after: int) -> None:
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", ACCEPTS_FOR_EVER, str(bench.state)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(after):
            process.stdout.readline()
        process.kill()
        told = [after, *map(int, process.stdout.read().split())]
    bench.restart()

    assert bench.version() in (told[-1], told[-1] + 1)
    assert bench.held() == {"organisation": bench.version()}
    assert bench.store.problems == []


def test_what_cannot_be_kept_is_not_in_force(bench: Bench) -> None:
    bench.store.take(policy(1))
    (bench.state / "accepted" / ".held.json.new").mkdir()
    with pytest.raises(PolicyNotKept):
        bench.store.take(policy(2))

    assert bench.version() == 1


@given(data=st.data())
def test_whatever_arrives_and_breaks_the_held_version_never_goes_down(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    bench = Bench(tmp_path_factory.mktemp("law"))
    held = 0
    for _ in range(data.draw(st.integers(1, 12))):
        step = data.draw(st.sampled_from(["take", "restart", "damage policy.json", "damage held.json"]))
        if step == "take":
            with suppress(Refused, IntegrityFailure):
                bench.store.take(policy(data.draw(st.integers(1, 4))))
        elif step == "restart":
            bench.restart()
        elif (bench.state / "accepted").exists():
            bench.damage(step.removeprefix("damage "))

        if bench.store.held:
            assert bench.held()["organisation"] >= held
            held = bench.held()["organisation"]
        assert bench.version() in (0, held)
