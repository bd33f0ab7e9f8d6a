"""The kernel's events: replayed by umockdev for a process of its own, and, where we may, of the kernel we run on."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge_agent.devices.events import KernelEvent, Kind, classify
from edge_agent.devices.udev import PATIENCE_S, KernelEvents, Missed

NULL = Path("/sys/class/mem/null/uevent")
needs_umockdev = pytest.mark.skipif(
    shutil.which("umockdev-wrapper") is None, reason="umockdev is not installed (Debian package)"
)
# Asking for an event of /dev/null changes nothing; only root may.
needs_kernel = pytest.mark.skipif(not os.access(NULL, os.W_OK), reason="takes root and a kernel that sends its events")


def replayed(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["umockdev-wrapper", sys.executable, "-m", "tests.edge_agent.devices.replay", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


def replay(scenario: str) -> list[KernelEvent | Missed]:
    done = replayed(scenario)
    assert done.returncode == 0, done.stderr
    return [value_of(json.loads(line)) for line in done.stdout.splitlines()]


def value_of(fields: dict[str, Any]) -> KernelEvent | Missed:
    return Missed(**fields) if "first" in fields else KernelEvent(**fields)


def usb(events: list[KernelEvent | Missed]) -> list[tuple[str, str]]:
    return [(event.action, event.sysname) for event in events if isinstance(event, KernelEvent)]


@needs_umockdev
def test_another_process_sees_a_stick_come_and_go() -> None:
    events = replay("attach_and_detach")

    assert usb(events) == [
        ("add", "usb1"), ("add", "1-1"), ("add", "1-1:1.0"), ("remove", "1-1:1.0"), ("remove", "1-1"),
    ]  # fmt: skip


@needs_umockdev
def test_events_of_other_subsystems_do_not_end_the_reading() -> None:
    events = replay("of_every_kind")

    assert [classify(event) for event in events if isinstance(event, KernelEvent)] == [
        Kind.OTHER, Kind.BLOCK, Kind.OPTICAL, Kind.NET, Kind.OTHER, Kind.INPUT, Kind.OTHER, Kind.SD, Kind.THUNDERBOLT,
        Kind.PCI,
    ]  # fmt: skip


@needs_umockdev
def test_a_name_that_is_cut_within_a_letter_does_not_end_the_reading() -> None:
    # The kernel cuts the name of a keyboard after 127 bytes; pyudev's own reading of all properties raises at it.
    events = replay("names_that_are_no_utf8")

    assert usb(events) == [("add", "0003:0781:5581.0001"), ("add", "input7")]
    assert isinstance(events[0], KernelEvent)
    assert events[0].properties["DISK_MEDIA_CHANGE"] == "a�b�[2J"


@needs_umockdev
def test_control_a_reader_of_every_property_ends_at_such_a_name() -> None:
    done = replayed("names_that_are_no_utf8", "plainly")

    assert done.stdout == ""
    assert "UnicodeDecodeError" in done.stderr


@needs_umockdev
def test_fifty_rapid_plug_cycles_are_all_seen() -> None:
    events = replay("plug_cycles")

    cycle = [("add", "1-1"), ("add", "1-1:1.0"), ("remove", "1-1:1.0"), ("remove", "1-1")]
    assert usb(events) == [("add", "usb1"), *(cycle * 50)]


# ---- of the kernel


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def drain(events: KernelEvents) -> list[KernelEvent | Missed]:
    return list(iter(events.read, None))


def ask_for_events(count: int) -> None:
    for _ in range(count):
        NULL.write_text("change")


@needs_kernel
def test_reads_what_the_kernel_sends() -> None:
    events = KernelEvents()
    ask_for_events(3)

    read = [event for event in drain(events) if isinstance(event, KernelEvent) and event.sysname == "null"]
    assert [event.is_synthetic for event in read] == [True] * 3
    assert read[2].seqnum > read[0].seqnum
    events.close()


@needs_kernel
def test_more_events_than_are_read_are_told_as_missed() -> None:
    clock = Clock()
    events = KernelEvents(monotonic=clock, buffer_bytes=4096)
    ask_for_events(500)

    read = drain(events)
    assert Missed(0, 0, "more events came than were read") in read
    ask_for_events(1)
    read += drain(events)
    clock.now = PATIENCE_S * 2
    read += drain(events)
    gaps = [event for event in read if isinstance(event, Missed) and event.first]
    came = [event for event in read if isinstance(event, KernelEvent)]
    assert sum(gap.last - gap.first + 1 for gap in gaps) + len(came) >= 501
    events.close()


@needs_kernel
@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare (util-linux) is not installed")
def test_an_interface_of_another_network_namespace_leaves_a_gap_that_is_told() -> None:
    clock = Clock()
    events = KernelEvents(monotonic=clock)
    ask_for_events(1)
    subprocess.run(["unshare", "--net", "true"], check=True)
    ask_for_events(1)
    read = drain(events)
    assert not [event for event in read if isinstance(event, Missed)], "not missed before its time"
    pending = [events.is_pending]

    clock.now = PATIENCE_S * 2
    gaps = [event for event in drain(events) if isinstance(event, Missed)]
    assert [(gap.last - gap.first + 1, gap.why) for gap in gaps] == [(3, "numbers that did not come")]
    pending.append(events.is_pending)
    assert pending == [True, False]
    events.close()


@needs_kernel
def test_what_the_kernel_counted_before_the_first_event_came_is_missed(tmp_path: Path) -> None:
    clock = Clock()
    ask_for_events(1)
    counter = tmp_path / "uevent_seqnum"
    counter.write_text(f"{int(Path('/sys/kernel/uevent_seqnum').read_text()) - 2}\n")
    events = KernelEvents(counter, clock)
    ask_for_events(1)
    drain(events)
    clock.now = PATIENCE_S * 2

    assert [event.last - event.first + 1 for event in drain(events) if isinstance(event, Missed)] == [2]
    events.close()


@needs_kernel
def test_a_last_event_that_did_not_come_is_missed_though_none_follows_it(tmp_path: Path) -> None:
    clock = Clock()
    counter = tmp_path / "uevent_seqnum"
    counter.write_text("7\n")
    events = KernelEvents(counter, clock)
    assert events.count()
    assert not events.is_pending
    counter.write_text("9\n")
    assert events.count()
    assert not [event for event in drain(events) if isinstance(event, Missed)], "not missed before its time"

    clock.now = PATIENCE_S * 2
    assert Missed(8, 9, "numbers that did not come") in drain(events)
    counter.unlink()
    assert not events.count()
    events.close()


@needs_kernel
def test_events_that_wait_to_be_read_are_not_missed(tmp_path: Path) -> None:
    clock = Clock()
    events = KernelEvents(monotonic=clock)
    ask_for_events(50)
    assert events.count()
    clock.now = PATIENCE_S * 2

    assert not [event for event in drain(events) if isinstance(event, Missed)]
    events.close()
