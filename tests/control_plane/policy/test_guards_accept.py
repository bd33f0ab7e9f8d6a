"""What the publisher publishes, judged by the child of a host's device guard."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from control_plane.policy.roles import ONLINE_HOLDS_FOR
from edge_agent.usb_policy.exchange import Offer
from edge_agent.usb_policy.trust import Trust, trust_file
from edge_agent.usb_policy.verify_child import judge
from shared.identity import HostId
from shared.policy.document import ORGANISATION
from tests.control_plane.policy.centre import POLICY, Centre
from tests.control_plane.policy.file.full import MEANT


@pytest.fixture
def guard(tmp_path: Path, centre: Centre) -> Path:
    """Return the folder of a guard that has pinned the centre's root."""
    folder = tmp_path / "guard"
    folder.mkdir()
    trust_file(folder).write_bytes(Trust(HostId(bytes(16)), ORGANISATION, centre.publisher.newest_root()).encode())
    return folder


def published(centre: Centre) -> bytes:
    head, layer = centre.publisher.head(), centre.publisher.layer(ORGANISATION)
    assert head is not None
    assert layer is not None
    return Offer(head.encode(), (layer.encode(),)).encode()


def test_a_guard_reads_what_an_administrator_wrote_of_devices(centre: Centre, guard: Path) -> None:
    centre.publish(replace(POLICY, devices=MEANT.devices, watch=MEANT.watch, wipe=MEANT.wipe))
    said = judge(guard, published(centre))

    assert (said.version, said.devices, said.watch) == (1, MEANT.devices, MEANT.watch)


def test_a_guard_is_told_when_the_centre_signed_and_until_when_that_holds(centre: Centre, guard: Path) -> None:
    centre.publish()
    said = judge(guard, published(centre))

    assert said.signed_at == centre.clock.now()
    assert timedelta(0) <= centre.clock.now() + ONLINE_HOLDS_FOR - said.expires < timedelta(seconds=1)


def test_a_refresh_moves_both_on_and_changes_no_policy(centre: Centre, guard: Path) -> None:
    centre.clock.pass_time(-timedelta(days=10))
    centre.publish()
    first = judge(guard, published(centre))
    centre.clock.pass_time(timedelta(days=10))
    centre.publisher.refresh()
    second = judge(guard, published(centre))

    assert second.accepted == first.accepted
    assert second.expires - first.expires == timedelta(days=10)
    assert first.signed_at is not None
    assert second.signed_at == first.signed_at + timedelta(days=10)
