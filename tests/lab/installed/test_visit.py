"""The whole visit in the lab: from what is on the engineer's stick alone, with one cable to the control plane."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab import filesystem
from tests.lab.filesystem import Difference
from tests.lab.image import Image
from tests.lab.scanner_room import ASSET, ScannerRoom, in_guide, scanner_room, shape, visit
from tests.lab.wire import until

# What any package leaves: dpkg's own books, accounts, and systemd's memory of when a timer ran.
_OF_DEBIAN = ("/var/lib/dpkg/", "/etc/passwd", "/etc/group", "/etc/shadow", "/etc/gshadow", "/var/lib/systemd/timers")
_SAID_TO_STAY = ("/var/lib/leadglass", "/var/lib/leadglass-provision")


@pytest.fixture
def room(guest_image: Image) -> Iterator[ScannerRoom]:
    with tempfile.TemporaryDirectory(prefix="leadglass-visit-") as folder, scanner_room(Path(folder)) as room:
        yield room


def test_a_visit_from_the_stick_to_the_signed_report_and_away_again(room: ScannerRoom) -> None:
    session, guest = room.session, room.lab.guest
    before = filesystem.listing(guest)

    transcript = visit(room)

    assert shape(transcript) == shape(in_guide()), "make it anew: python -m tests.lab.scanner_room"
    # It hears from the host every few seconds.
    until("the centre knows that the phantom is delivered", lambda: images_of(room.centre.host()) == (1, 1, 0))
    host = room.centre.host()
    assert (host["asset"], host["state"], host["guard"]) == (ASSET, "capturing", "watching")
    assert "of 150 MiB at the most" in host["budget"]["findings"][0]
    assert host["budget"]["verdict"] != "exceeded"
    control_groups = guest.run("systemd-cgls --no-pager /leadglass.slice/leadglass-host.slice").out
    assert "leadglass-agent.service" in control_groups
    assert "leadglass-guard.service" in control_groups
    assert guest.read("/sys/fs/cgroup/leadglass.slice/leadglass-host.slice/memory.high") == str(150 << 20)
    assert guest.glob("/var/lib/leadglass-provision/hand-over/*.pdf")

    there = filesystem.difference(before, filesystem.listing(guest, "/etc/systemd"))
    assert "/etc/systemd/system/leadglass-agent.service" in ours(there).added, "the comparison sees what was installed"

    # This machine is told from outside to deny, which no uninstalling ends: a pinned keyboard would stay pinned.
    (pin,) = json.loads(guest.read("/var/lib/leadglass-guard/pins.json"))["pins"]
    session.type(f"leadglass-guard pin-console --remove {pin['port']}")
    session.type("leadglass-provision uninstall --erase-identity --erase-guard-records")
    purged = session.type("dpkg --purge leadglass-agent")

    assert all(f"leadglass-agent: {place} stays." in purged for place in _SAID_TO_STAY)
    assert not guest.glob("/var/lib/leadglass/identity*")
    left = filesystem.difference(before, filesystem.listing(guest))
    assert ours(left) == Difference(frozenset(), frozenset(), frozenset())


def images_of(host: dict[str, Any]) -> tuple[int, int, int]:
    return host["captured"], host["delivered"], host["waiting"]


def ours(found: Difference) -> Difference:
    """Return a difference without what it was said would stay."""
    stays = tuple(f"{place}/" for place in _SAID_TO_STAY)

    def rest(paths: frozenset[str]) -> frozenset[str]:
        return frozenset(path for path in paths if not f"{path}/".startswith((*_OF_DEBIAN, *stays)))

    return Difference(rest(found.added), rest(found.removed), rest(found.changed))
