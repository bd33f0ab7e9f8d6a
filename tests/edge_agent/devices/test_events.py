import pytest

from edge_agent.devices.events import KernelEvent, Kind, classify


def event(
    subsystem: str, devtype: str, sysname: str, syspath: str = "/sys/devices/x", **properties: str
) -> KernelEvent:
    return KernelEvent("add", subsystem, devtype, sysname, syspath, 1, properties)


@pytest.mark.parametrize(
    "subsystem, devtype, sysname, kind",
    [
        ("usb", "usb_device", "1-1", Kind.USB_DEVICE),
        ("usb", "usb_interface", "1-1:1.0", Kind.USB_INTERFACE),
        ("usb", "", "1-1", Kind.OTHER),
        ("block", "disk", "sda", Kind.BLOCK),
        ("block", "partition", "sda1", Kind.BLOCK),
        ("block", "disk", "sr0", Kind.OPTICAL),
        ("block", "disk", "srx", Kind.BLOCK),
        ("block", "disk", "mmcblk0", Kind.BLOCK),
        ("mmc", "", "mmc0:0001", Kind.SD),
        ("net", "", "sr0", Kind.NET),
        ("net", "wlan", "wlan0", Kind.NET),
        ("input", "", "input12", Kind.INPUT),
        ("input", "", "event3", Kind.OTHER),
        ("input", "", "input", Kind.OTHER),
        ("thunderbolt", "thunderbolt_device", "0-1", Kind.THUNDERBOLT),
        ("pci", "", "0000:03:00.0", Kind.PCI),
        ("tty", "", "ttyS0", Kind.OTHER),
        ("", "", "", Kind.OTHER),
    ],
)
def test_says_what_an_event_is_about(subsystem: str, devtype: str, sysname: str, kind: Kind) -> None:
    assert classify(event(subsystem, devtype, sysname)) is kind


def test_names_the_usb_device_that_a_disk_hangs_on() -> None:
    path = "/sys/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host4/target4:0:0/4:0:0:0/block/sdb"

    assert event("block", "disk", "sdb", path).port == "2-1"
    assert event("block", "disk", "sda", "/sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/block/sda").port == ""


def test_tells_an_event_that_somebody_asked_for() -> None:
    assert event("usb", "usb_device", "1-1", SYNTH_UUID="0").is_synthetic
    assert not event("usb", "usb_device", "1-1").is_synthetic
