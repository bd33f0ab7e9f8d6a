"""Policy that changes, ends or is forged while devices are plugged in."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from edge_agent.link import protocol
from shared.clock import SystemClock
from shared.devices.record import GuardEvent
from shared.devices.verdict import Cause, Target
from shared.fleet.devices import Authorized
from tests.edge_agent.usb_policy.bench import Guard as SignedPolicies
from tests.lab.conftest import POLICY, Guarded, Saved
from tests.lab.guard import allowing
from tests.lab.media import Media
from tests.lab.tree import NOTHING

STICK = "3-1"
UNKNOWN = 'allow id 46f4:0001 serial "UNKNOWN"'


def test_a_policy_that_loosens_and_one_that_tightens_act_on_what_is_plugged_in(guarded: Guarded, sticks: Media) -> None:
    lab, guard = guarded.lab, guarded.guard
    lab.usb.stick("stick", sticks.fat, serial="UNKNOWN", port="1")
    guard.await_decided(STICK, Authorized.NO)

    guard.follow(UNKNOWN)
    guard.await_decided(STICK, Authorized.YES)
    assert lab.tree.await_disk(STICK)

    guard.follow()
    guard.await_decided(STICK, Authorized.NO)
    assert lab.tree.bound(STICK) == NOTHING
    lab.guest.await_gone("/sys/block/sd*")
    enforced = [r.fields["authorized"] for r in guard.records(GuardEvent.ENFORCED) if r.subject == STICK]
    assert enforced == ["no", "yes", "no"]


def test_a_permission_that_ends_while_the_stick_is_mounted_takes_it_away(guarded: Guarded, sticks: Media) -> None:
    lab, guard = guarded.lab, guarded.guard
    lab.usb.stick("stick", sticks.fat, serial="GOOD", port="1")
    assert guard.await_decided(STICK, Authorized.YES).cause is Cause.RULE
    disk = lab.tree.await_disk(STICK)
    lab.guest.run(f"udevadm settle; mkdir -p /m; mount /dev/{disk} /m")
    ends = SystemClock().now().replace(microsecond=0) + timedelta(seconds=6)
    guard.offer(replace(allowing(POLICY[0]), not_after=ends))

    device = guard.await_decided(STICK, Authorized.NO)

    assert device.cause is Cause.LAPSED
    assert lab.tree.bound(STICK) == NOTHING
    lab.guest.await_gone("/sys/block/sd*")
    assert lab.guest.run("cat /m/*", check=False).code != 0
    decided = [record for record in guard.records(GuardEvent.DECIDED) if record.subject == STICK]
    assert (decided[0].fields["cause"], decided[-1].fields["cause"]) == ("rule", "lapsed")
    assert decided[-1].time >= ends


def test_a_rule_in_observe_mode_lets_in_what_it_would_block_and_says_that_it_is_not_enforced(
    guarded: Guarded, sticks: Media
) -> None:
    lab, guard = guarded.lab, guarded.guard
    until = SystemClock().now().replace(microsecond=0) + timedelta(hours=1)
    guard.follow(replace(allowing('block id 46f4:0001 serial "UNKNOWN"'), observe_until=until))
    lab.usb.stick("stick", sticks.fat, serial="UNKNOWN", port="1")
    device = guard.await_decided(STICK, Authorized.YES)

    assert (device.target, device.would_be, device.is_enforced) == (Target.ALLOW, Target.BLOCK, False)
    assert lab.tree.await_disk(STICK)


def test_a_policy_that_is_not_signed_by_whom_the_guard_follows_changes_nothing(
    guarded: Guarded, saved_policy: Saved, sticks: Media, tmp_path: Path
) -> None:
    lab, guard = guarded.lab, guarded.guard
    lab.usb.stick("stick", sticks.fat, serial="UNKNOWN", port="1")
    guard.await_decided(STICK, Authorized.NO)
    before = guard.report()
    stranger = SignedPolicies(tmp_path / "stranger").publish(99)
    guard.ask(protocol.Offer(stranger.head, stranger.layers[0]))
    refused = guard.await_record(GuardEvent.POLICY_REFUSED, "offer")
    ours = saved_policy.signed.publish(guard.version + 1)
    guard.ask(protocol.Offer(ours.head, ours.layers[0][:-9] + b"x" * 9))
    guard.await_record(GuardEvent.POLICY_REFUSED, "offer", after=refused.number)

    after = guard.report()
    assert (after.policy, bool(after.policy_error)) == (before.policy, True)
    assert lab.tree.bound(STICK) == NOTHING


def test_a_stored_policy_that_was_damaged_allows_nothing_after_a_restart(guarded: Guarded, sticks: Media) -> None:
    lab, guard = guarded.lab, guarded.guard
    lab.usb.stick("stick", sticks.fat, serial="GOOD", port="1")
    guard.await_decided(STICK, Authorized.YES)
    guard.stop()
    lab.guest.run(
        "cd /var/lib/leadglass-guard; for f in $(find . -type f -not -name 'guard.*' -not -name trust.json); do "
        'printf x | dd of="$f" bs=1 seek=40 conv=notrunc status=none; done'
    )
    guard.start()

    device = guard.await_decided(STICK, Authorized.NO)
    assert device.cause is Cause.NO_POLICY
    assert lab.tree.bound(STICK) == NOTHING
    assert guard.report().policy_error
