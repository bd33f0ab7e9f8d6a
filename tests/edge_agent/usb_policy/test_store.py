"""The guard's accepted policy only rises, and survives cuts and damage without ever loosening."""

import os
import shutil
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

from edge_agent.policy_sync.choice import Choice
from edge_agent.usb_policy import store
from edge_agent.usb_policy.clock_trust import TOLERANCE, Reading
from edge_agent.usb_policy.exchange import VerifiedPolicy
from edge_agent.usb_policy.store import (
    ChoiceReplaced,
    ClockNotKept,
    GuardPolicyStore,
    HeldUnknown,
    LayerWithdrawn,
    PolicyNotKept,
)
from edge_agent.usb_policy.trust import Trust
from shared.devices.policy import DevicePolicy
from shared.devices.verdict import Target
from shared.errors import IntegrityFailure, Refused
from shared.identity import HostId
from shared.policy.accept import AcceptedPolicy, PolicyEquivocation, PolicyRollback, WrongLayer

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
    def __init__(self, state: Path, trust: Trust = TRUST) -> None:
        self.state, self.trust = state, trust
        self.restart()

    def restart(self, trust: Trust | None = None) -> None:
        self.store = GuardPolicyStore(self.state, trust or self.trust)

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


# ---- layers


LAYERED = replace(TRUST, parts=("site-north", "modality-ct"))


def of(layer: str, version: int, story: int = 0) -> AcceptedPolicy:
    return AcceptedPolicy(layer, version, (story << 8 | version).to_bytes(32, "big"))


def layers(version: int, *parts: tuple[str, int], newer: tuple[tuple[str, int], ...] = ()) -> VerifiedPolicy:
    """Return what came of these versions: the organisation's, the parts', and newer ones that wait."""
    return policy(version, parts=tuple(of(*each) for each in parts), newer=tuple(of(*each) for each in newer))


@pytest.fixture
def layered(bench: Bench) -> Bench:
    bench.trust = LAYERED
    bench.restart()
    return bench


def test_each_layer_is_held_and_rises_by_itself(layered: Bench) -> None:
    layered.store.take(layers(1, ("site-north", 5)))
    layered.store.take(layers(1, ("site-north", 6), ("modality-ct", 1)))
    layered.store.take(layers(2, ("site-north", 6), ("modality-ct", 1)))
    layered.restart()

    assert layered.held() == {"organisation": 2, "site-north": 6, "modality-ct": 1}
    assert layered.store.problems == []


@pytest.mark.parametrize(
    "offered, error",
    [
        (layers(1, ("site-north", 6)), PolicyRollback),
        (layers(3, ("site-north", 4)), PolicyRollback),
        (layers(3), LayerWithdrawn),
        (layers(3, ("modality-ct", 1)), LayerWithdrawn),
        (layers(3, ("site-north", 4), newer=(("site-north", 7),)), None),
        (policy(3, parts=(of("site-north", 5, story=1),)), PolicyEquivocation),
        (policy(3, parts=(of("site-north", 4),), newer=(of("site-north", 5, story=1),)), PolicyEquivocation),
        (policy(3, parts=(of("site-north", 5, story=1),), newer=(of("site-north", 6),)), PolicyEquivocation),
        (layers(3, ("site-north", 5), ("site-south", 1)), WrongLayer),
    ],
)
def test_of_what_is_offered_no_layer_is_older_missing_another_story_or_somebody_elses(
    layered: Bench, offered: VerifiedPolicy, error: type[Exception] | None
) -> None:
    before = layers(2, ("site-north", 5))
    for _ in range(2):
        layered.store.take(before)
        layered.restart()
    if error is None:
        assert layered.store.take(offered)
        return
    with pytest.raises(error):
        layered.store.take(offered)

    assert layered.store.in_force == before
    assert layered.held() == {"organisation": 2, "site-north": 5}
    # The control: where nothing is held, the same passes, if it is this host's at all.
    shutil.rmtree(layered.state / "accepted")
    layered.restart()
    if error is not WrongLayer:
        assert layered.store.take(offered)


def test_refuses_another_story_of_what_it_acts_by_though_a_newer_version_is_held(layered: Bench) -> None:
    layered.store.take(layers(1))
    layered.store.take(layers(1, newer=(("organisation", 2),)))
    for _ in range(2):
        with pytest.raises(PolicyEquivocation):
            layered.store.take(policy(1, sha256=b"x" * 32, newer=(of("organisation", 3),)))
        layered.restart()

    assert layered.store.take(layers(1, newer=(("organisation", 3),)))


def test_a_roll_out_that_is_taken_back_puts_the_former_in_force_and_leaves_held_where_it_is(layered: Bench) -> None:
    out, reached = layers(1, newer=(("organisation", 2),)), layers(2)
    changed = [layered.store.take(each) for each in (layers(1), out, out, reached, out)]
    layered.restart()

    assert changed == [True, True, False, True, True]
    assert (layered.version(), layered.held()) == (1, {"organisation": 2})
    with pytest.raises(PolicyRollback):
        layered.store.take(layers(1))


KEY, NEW_KEY = "0a" * 32, "0b" * 32
OUT, REACHED = layers(1, newer=(("organisation", 2),)), layers(2)


def chosen(choice: VerifiedPolicy, snapshot: int, root: int = 1, key: str = KEY) -> VerifiedPolicy:
    return replace(choice, choice=Choice(key, root, snapshot))


@pytest.mark.parametrize("damaged", ["", "policy.json", "held.json"])
def test_a_choice_that_was_replaced_does_not_come_again_over_restarts_and_damage(layered: Bench, damaged: str) -> None:
    layered.store.take(chosen(OUT, 5))
    layered.store.take(chosen(REACHED, 6))
    if damaged:
        layered.damage(damaged)
    for _ in range(2):
        with pytest.raises(ChoiceReplaced, match=r"snapshot 5 \(root 1\) is from before snapshot 6 \(root 1\)"):
            layered.store.take(chosen(OUT, 5))
        with pytest.raises(ChoiceReplaced):
            layered.store.take(chosen(OUT, 5, root=2))  # nothing ties it to the root that it comes with
        assert layered.version() == (0 if damaged == "policy.json" else 2)
        layered.restart()

    assert layered.store.take(chosen(OUT, 7)), "a later one takes it back"
    assert layered.store.take(chosen(REACHED, 1, root=2, key=NEW_KEY)), "a new key begins its own numbers"
    with pytest.raises(ChoiceReplaced):
        layered.store.take(chosen(OUT, 7))


def test_an_earlier_snapshot_that_chose_the_same_lowers_nothing(layered: Bench) -> None:
    first, between, last = chosen(OUT, 5), chosen(REACHED, 6), chosen(OUT, 7)
    for each in (first, between, last):
        layered.store.take(each)
    assert not layered.store.take(replace(first, expires=NOW))
    for _ in range(2):
        assert layered.store.in_force == last
        with pytest.raises(ChoiceReplaced):
            layered.store.take(between)
        layered.restart()


def test_newer_versions_are_taken_whatever_their_snapshot_and_lower_nothing(layered: Bench) -> None:
    layered.store.take(chosen(REACHED, 9))
    assert layered.store.take(chosen(layers(3), 8))
    layered.restart()

    assert (layered.version(), layered.store.problems) == (3, [])
    with pytest.raises(ChoiceReplaced):
        layered.store.take(chosen(layers(2, newer=(("organisation", 3),)), 8))


def test_a_choice_that_was_put_back_is_not_in_force(layered: Bench) -> None:
    file = layered.state / "accepted" / "policy.json"
    layered.store.take(chosen(REACHED, 6))
    layered.store.take(chosen(OUT, 7))
    latest = file.read_bytes()
    layered.store.take(chosen(REACHED, 8))
    file.write_bytes(latest)
    layered.restart()

    assert (layered.store.in_force, layered.held()) == (None, {"organisation": 2})
    assert "is not what was accepted last: snapshot 7" in layered.store.problems[0]
    assert layered.store.take(chosen(REACHED, 8))
    assert layered.store.problems == []


def test_a_power_cut_between_the_files_leaves_the_new_choice(layered: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    layered.store.take(chosen(OUT, 5))
    with monkeypatch.context() as patched:
        patched.setattr(store, "write_over", cut_before(2))
        with pytest.raises(KeyboardInterrupt):
            layered.store.take(chosen(REACHED, 6))
    layered.restart()

    assert (layered.version(), layered.store.problems) == (2, [])
    layered.store.take(chosen(REACHED, 6))
    layered.damage("policy.json")
    with pytest.raises(ChoiceReplaced):
        layered.store.take(chosen(OUT, 5))


def test_control_a_choice_of_which_no_number_is_known_comes_again(layered: Bench) -> None:
    layered.store.take(OUT)
    layered.store.take(REACHED)
    assert layered.store.take(OUT)


def test_two_stories_of_a_part_are_told_by_its_name(layered: Bench) -> None:
    layered.store.take(layers(1, ("site-north", 4), newer=(("site-north", 5),)))
    with pytest.raises(PolicyEquivocation, match="version 4 of layer site-north") as caught:
        layered.store.take(policy(1, parts=(of("site-north", 4, story=1),), newer=(of("site-north", 5),)))

    assert caught.value.layer == "site-north"


# What the version before layers wrote, for `TRUST` and `policy(3)` under the second root, byte for byte.
FORMER = {
    "policy.json": (
        b'{"devices":{"default":"reject","rules":[]},"expires":"2026-03-15T08:00:00.000000Z","layer":"organisation",'
        b'"root":"50b312f5cbc716759f5620d73a7cc11415707349f41b0ce0b7cf7b7807ec31da","root_version":2,'
        b'"sha256":"0000000000000000000000000000000000000000000000000000000000000003",'
        b'"signed_at":"2026-03-01T11:00:00.000000Z","v":1,"version":3,"watch":null}\n'
        b"3e3081a5cce0aa4a857987d9181a77306b5eff7bb828350a863453e216868238\n"
    ),
    "held.json": (
        b'{"latest":"2026-03-01T11:00:00.000000Z","layer":"organisation",'
        b'"root":"50b312f5cbc716759f5620d73a7cc11415707349f41b0ce0b7cf7b7807ec31da","root_version":2,'
        b'"sha256":"0000000000000000000000000000000000000000000000000000000000000003","v":1,"version":3}\n'
        b"c32e1c38e2d317871836eaf9f0ba91ee46ed9161ae7d5689d679130dbb2859e9\n"
    ),
}


@pytest.mark.parametrize("trust", [TRUST, LAYERED])
def test_what_an_earlier_version_kept_is_in_force_and_goes_on_refusing_a_rollback(bench: Bench, trust: Trust) -> None:
    (bench.state / "accepted").mkdir()
    for name, content in FORMER.items():
        (bench.state / "accepted" / name).write_bytes(content)
    bench.restart(trust)

    assert (bench.store.in_force, bench.store.problems) == (policy(3, root_version=2), [])
    assert bench.held() == {"organisation": 3}
    with pytest.raises(PolicyRollback):
        bench.store.take(policy(2, root_version=2))
    assert bench.store.is_clock_sure(shown(NOW + timedelta(hours=3)))
    assert not bench.store.is_clock_sure(shown(NOW))


def test_a_host_without_parts_keeps_what_an_earlier_version_would_have_kept(bench: Bench) -> None:
    bench.store.take(policy(3, root_version=2))

    assert {name: (bench.state / "accepted" / name).read_bytes() for name in FORMER} == FORMER


def test_layers_that_are_the_hosts_no_more_are_neither_in_force_nor_held(layered: Bench) -> None:
    """As after a cut between other layers being pinned and the forgetting of what was accepted."""
    layered.store.take(layers(2, ("site-north", 5), ("modality-ct", 1)))
    layered.restart(replace(TRUST, parts=("site-south", "modality-ct")))

    assert (layered.store.in_force, layered.store.problems) == (None, [])
    assert layered.held() == {"organisation": 2, "modality-ct": 1}
    assert layered.store.take(layers(2, ("site-south", 1), ("modality-ct", 1)))


def test_an_older_file_of_one_layer_put_back_is_not_in_force(layered: Bench) -> None:
    file = layered.state / "accepted" / "policy.json"
    layered.store.take(layers(1))
    without = file.read_bytes()
    layered.store.take(layers(1, ("site-north", 5)))
    former = file.read_bytes()
    layered.store.take(layers(1, ("site-north", 6)))
    for old, why in (
        (without, "without layer site-north"),
        (former, "policy version 5 of layer site-north is older than version 6"),
    ):
        file.write_bytes(old)
        layered.restart()

        assert (layered.version(), layered.held()) == (0, {"organisation": 1, "site-north": 6})
        assert why in layered.store.problems[0]


@pytest.mark.parametrize("write, in_force", [(1, 1), (2, 2)])
@pytest.mark.parametrize(
    "before, after",
    [
        (layers(1), layers(2, ("site-north", 1))),
        (layers(1, ("site-north", 1)), layers(2, ("site-north", 2), ("modality-ct", 1))),
        (layers(1, ("site-north", 5)), layers(2, ("site-north", 5), newer=(("site-north", 6),))),
        (layers(1, ("site-north", 5), newer=(("organisation", 2),)), layers(2, ("site-north", 6))),
    ],
)
def test_a_power_cut_leaves_the_former_layers_or_the_new_ones_and_never_some_of_each(
    layered: Bench,
    before: VerifiedPolicy,
    after: VerifiedPolicy,
    write: int,
    in_force: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layered.store.take(before)
    with monkeypatch.context() as patched:
        patched.setattr(store, "write_over", cut_before(write))
        with pytest.raises(KeyboardInterrupt):
            layered.store.take(after)
    layered.restart()

    there = before if in_force == 1 else after
    assert (layered.store.in_force, layered.store.problems) == (there, [])
    assert layered.held() == {each.layer: each.version for each in there.accepted}
    layered.store.take(after)
    with pytest.raises((PolicyRollback, LayerWithdrawn)):
        layered.store.take(layers(1))


def test_what_a_cut_left_behind_is_made_up_for_when_the_same_is_offered_again(
    layered: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    layered.store.take(layers(1, ("site-north", 1)))
    with monkeypatch.context() as patched:
        patched.setattr(store, "write_over", cut_before(2))
        with pytest.raises(KeyboardInterrupt):
            layered.store.take(layers(2, ("site-north", 2)))
    layered.restart()
    layered.store.take(layers(2, ("site-north", 2)))
    layered.damage("policy.json")

    assert layered.held() == {"organisation": 2, "site-north": 2}


def test_a_cut_while_a_roll_out_is_taken_back_leaves_one_or_the_other_and_held_where_it_is(
    layered: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    layered.store.take(layers(1))
    layered.store.take(layers(2))
    back = layers(1, newer=(("organisation", 2),))
    for write, version in ((1, 2), (2, 1)):
        with monkeypatch.context() as patched:
            patched.setattr(store, "write_over", cut_before(write))
            with pytest.raises(KeyboardInterrupt):
                layered.store.take(back)
        layered.restart()

        assert (layered.version(), layered.held(), layered.store.problems) == (version, {"organisation": 2}, [])


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


LAYER_NAMES = LAYERED.layers
SETS = st.builds(
    lambda first, parts: policy(
        first[0],
        parts=tuple(of(layer, each[0]) for layer, each in parts.items()),
        newer=tuple(of(layer, sum(each)) for layer, each in {LAYER_NAMES[0]: first, **parts}.items() if each[1]),
    ),
    st.tuples(st.integers(1, 4), st.integers(0, 2)),
    st.dictionaries(st.sampled_from(LAYER_NAMES[1:]), st.tuples(st.integers(1, 4), st.integers(0, 2))),
)
STEPS = st.one_of(
    SETS, st.sampled_from(["restart", "damage policy.json", "damage held.json", "cut before 1", "cut before 2"])
)


@given(steps=st.lists(STEPS | SETS, min_size=1, max_size=12), cut_at=SETS)
def test_whatever_arrives_and_breaks_no_layer_goes_down_or_is_lost(
    steps: list[VerifiedPolicy | str], cut_at: VerifiedPolicy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """But for both files damaged at once, after which nothing is accepted at all."""
    bench = Bench(tmp_path_factory.mktemp("layers"), LAYERED)
    held: dict[str, int] = {}
    for step in steps:
        with suppress(Refused, IntegrityFailure, KeyboardInterrupt):
            if isinstance(step, VerifiedPolicy):
                bench.store.take(step)
            elif step.startswith("cut"):
                with pytest.MonkeyPatch.context() as patched:
                    patched.setattr(store, "write_over", cut_before(int(step[-1])))
                    bench.store.take(cut_at)
            elif step.startswith("damage") and (bench.state / "accepted" / step[7:]).exists():
                bench.damage(step[7:])
        if isinstance(step, str):
            bench.restart()
        if bench.store.in_force == cut_at:
            bench.store.take(cut_at)  # as it is offered again at the latest when the agent comes again

        now = bench.held()
        if not now and bench.store.problems:
            with pytest.raises(HeldUnknown):
                bench.store.take(layers(9, ("site-north", 9), ("modality-ct", 9)))
            return
        assert all(now.get(layer, 0) >= version for layer, version in held.items())
        held = now
        if bench.store.in_force is not None:
            assert {each.layer: each.version for each in bench.store.in_force.accepted} == held
