"""The whole visit in the lab: from what is on the engineer's stick alone, with one cable to the control plane."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import filesystem
from tests.lab.filesystem import Difference
from tests.lab.image import Image
from tests.lab.scanner_room import ASSET, ScannerRoom, in_guide, scanner_room, shape, visit

_TIMES = "python3 -c \"import json; print(json.load(open('/var/lib/leadglass-provision/visit.json'))['steps'])\""
# What dpkg and systemd keep of a package that was there, and the accounts of people's data that was kept.
_OF_DEBIAN = (
    "/var/lib/dpkg",
    "/var/cache",
    "/etc/passwd",
    "/etc/group",
    "/etc/shadow",
    "/etc/gshadow",
    "/var/lib/systemd",
)


@pytest.fixture
def room(guest_image: Image) -> Iterator[ScannerRoom]:
    with tempfile.TemporaryDirectory(prefix="leadglass-visit-") as folder, scanner_room(Path(folder)) as room:
        yield room


def test_a_visit_from_the_stick_to_the_signed_report_and_away_again(room: ScannerRoom) -> None:
    session, guest = room.session, room.lab.guest
    before = filesystem.listing(guest)

    transcript = visit(room)

    assert shape(transcript) == shape(in_guide()), "make it anew: python -m tests.lab.scanner_room"
    host = room.centre.host()
    assert (host["asset"], host["state"], host["guard"]) == (ASSET, "capturing", "watching")
    assert (host["captured"], host["delivered"], host["waiting"]) == (1, 1, 0)
    assert "of 150 MiB at the most" in host["budget"]["findings"][0]
    assert host["budget"]["verdict"] != "exceeded"
    control_groups = guest.run("systemd-cgls --no-pager /leadglass.slice/leadglass-host.slice").out
    assert "leadglass-agent.service" in control_groups
    assert "leadglass-guard.service" in control_groups
    assert guest.read("/sys/fs/cgroup/leadglass.slice/leadglass-host.slice/memory.high") == str(150 << 20)
    assert guest.glob("/var/lib/leadglass-provision/hand-over/*.pdf")

    session.type("leadglass-provision uninstall --erase-guard-records")
    session.type("dpkg --purge leadglass-agent")

    left = filesystem.difference(before, filesystem.listing(guest))
    assert _ours(left) == Difference(frozenset(), frozenset(), frozenset())


def _ours(found: Difference) -> Difference:
    def kept(paths: frozenset[str]) -> frozenset[str]:
        return frozenset(path for path in paths if not path.startswith(_OF_DEBIAN))

    return Difference(kept(found.added), kept(found.removed), kept(found.changed))
