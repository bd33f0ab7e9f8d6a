import pytest

from edge_agent.media.place import UsbPlace, usb_place

HUB = "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-1"


@pytest.mark.parametrize(
    "syspath, place",
    [
        (f"{HUB}/1-1:1.0/host3/target3:0:0/3:0:0:0/block/sdb", UsbPlace("1-1", 1, 0)),
        (f"{HUB}/1-1.2/1-1.2:1.3/host3/target3:0:0/3:0:0:0/block/sdb/sdb1", UsbPlace("1-1.2", 1, 3)),
        (f"{HUB}/1-1.2/1-1.2.14/1-1.2.14:2.0/host9/target9:0:0/9:0:0:0/block/sr0", UsbPlace("1-1.2.14", 2, 0)),
        (
            "/sys/devices/platform/vhci_hcd.0/usb3/3-1/3-1:1.0/host3/target3:0:0/3:0:0:0/block/sdb",
            UsbPlace("3-1", 1, 0),
        ),
        ("/sys/devices/pci0000:00/0000:00:1f.2/ata1/host0/target0:0:0/0:0:0:0/block/sda", None),
        ("/sys/devices/virtual/block/loop0", None),
        (HUB, None),
        ("", None),
    ],
)
def test_says_which_port_a_block_device_hangs_on(syspath: str, place: UsbPlace | None) -> None:
    assert usb_place(syspath) == place
