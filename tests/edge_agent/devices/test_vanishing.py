"""Devices that go away, or give way to others, while they are looked at."""

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.devices.attributes import DeviceGone, DeviceUnreadable, Folder
from edge_agent.devices.raw import Raw
from edge_agent.devices.sysfs import SysfsUsb
from tests.edge_agent.devices import hostile
from tests.edge_agent.devices.laid_out import lay_out

PORT = "1-2.1.2"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return lay_out("hubs", tmp_path)


@pytest.fixture
def stick(root: Path) -> Path:
    return (root / "bus" / "usb" / "devices" / PORT).resolve()


def put(folder: Path, name: str, codes: tuple[int, int, int]) -> None:
    folder.mkdir()
    for attribute, value in {
        "idVendor": b"0781\n",
        "idProduct": b"5581\n",
        "product": f"{name}\n".encode(),
        "serial": f"{name}\n".encode(),
        "descriptors": hostile.plain(codes),
    }.items():
        (folder / attribute).write_bytes(value)


def test_a_device_that_is_not_there_is_gone(root: Path) -> None:
    for act in (SysfsUsb(root).read, SysfsUsb(root).authorized, SysfsUsb(root).interfaces, SysfsUsb(root).instance):
        with pytest.raises(DeviceGone):
            act("1-7")


@pytest.mark.parametrize("attribute", ["descriptors", "idVendor", "idProduct"])
def test_a_device_that_is_taken_away_under_the_eyes_is_gone(root: Path, stick: Path, attribute: str) -> None:
    (stick / attribute).unlink()

    with pytest.raises(DeviceGone):
        SysfsUsb(root).read(PORT)


def test_a_device_whose_hub_went_first_is_gone(root: Path, stick: Path) -> None:
    (stick.parent / "descriptors").unlink()

    with pytest.raises(DeviceGone):
        SysfsUsb(root).read(PORT)


def test_what_is_read_through_an_open_folder_is_never_the_next_devices(root: Path, stick: Path) -> None:
    with Folder(stick, PORT) as folder:
        stick.rename(stick.with_name("away"))
        put(stick, "another", hostile.KEYBOARD)

        assert folder.find("serial") == b"LG-0002\n"
        assert folder.inode != stick.stat().st_ino


def test_a_verdict_meant_for_one_device_never_reaches_the_next_one(root: Path, stick: Path) -> None:
    with Folder(stick, PORT) as folder:
        shutil.rmtree(stick)
        put(stick, "another", hostile.KEYBOARD)
        (stick / "authorized").write_bytes(b"0\n")

        with pytest.raises(DeviceGone):
            folder.write("authorized", b"1")
    assert (stick / "authorized").read_bytes() == b"0\n"


def test_a_device_that_says_otherwise_the_second_time_is_not_there_yet(stick: Path) -> None:
    class Growing(Folder):
        """A folder in which the kernel makes the strings only after the first look."""

        looked = False

        def find(self, attribute: str) -> bytes | None:
            if attribute == "product" and not self.looked:
                self.looked = True
                return None
            return super().find(attribute)

    with Growing(stick, PORT) as folder, pytest.raises(DeviceGone):
        Raw.read(folder, PORT)


@pytest.fixture
def swapping(stick: Path) -> Iterator[None]:
    """Two devices that take turns in one port, without a pause, as the kernel makes and takes away their folders."""
    over = threading.Event()

    def run() -> None:
        turn = 0
        while not over.is_set():
            name, codes = (("storage", hostile.STORAGE), ("keyboard", hostile.KEYBOARD))[turn % 2]
            made = stick.with_name(f"made{turn}")
            put(made, name, codes)
            made.rename(stick)
            (stick / "descriptors").unlink()  # the first thing that the kernel takes away
            shutil.rmtree(stick)
            turn += 1

    shutil.rmtree(stick)
    thread = threading.Thread(target=run)
    thread.start()
    yield
    over.set()
    thread.join()


def test_a_reading_is_of_one_device_or_of_none_however_fast_they_change(root: Path, swapping: None) -> None:
    usb = SysfsUsb(root)
    seen: set[tuple[str, ...]] = set()
    gone = 0
    while len(seen) < 2 or gone < 20:
        try:
            device = usb.read(PORT)
        except DeviceGone:
            gone += 1
            continue
        seen.add((device.name, device.serial, *map(str, device.interfaces)))

    assert seen == {("storage", "storage", "08:06:50"), ("keyboard", "keyboard", "03:01:01")}


def test_what_is_there_can_be_listed_while_it_changes(root: Path, swapping: None) -> None:
    for _ in range(200):
        assert "usb1" in SysfsUsb(root).ports()


def test_no_descriptor_stays_open_whatever_went_wrong(root: Path, stick: Path) -> None:
    usb = SysfsUsb(root)
    (stick / "serial").unlink()
    os.mkfifo(stick / "serial")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(50):
        for port in (PORT, "1-7", "usb1"):
            with contextlib.suppress(DeviceGone, DeviceUnreadable):
                usb.read(port)
                usb.authorize(port, True)

    assert len(list(Path("/proc/self/fd").iterdir())) == before
