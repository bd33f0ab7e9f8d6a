"""What USBGuard says of devices that are not there: under umockdev-wrapper, prints `usbguard generate-policy -p`.

python -m tests.edge_agent.devices.usbguard recorded NAME
python -m tests.edge_agent.devices.usbguard made-up DESCRIPTORS COPY    (hexadecimal; COPY: where sysfs is copied to)
"""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.edge_agent.devices.hostile import configuration, device, interface
from tests.edge_agent.devices.laid_out import RECORDED
from tests.edge_agent.devices.umockdev import TestBed


def main() -> None:
    bed = TestBed()
    match sys.argv[1:]:
        case ["recorded", name]:
            bed.load((RECORDED / f"{name}.umockdev").read_text(encoding="utf-8"))
        case ["made-up", descriptors, copy]:
            make_up(bed, bytes.fromhex(descriptors))
            shutil.copytree(Path(bed.root) / "sys", copy, symlinks=True, dirs_exist_ok=True)
        case other:
            raise SystemExit(f"not understood: {other}")
    command = ["usbguard", "generate-policy", "-p"]
    done = subprocess.run(command, env=bed.child, capture_output=True, text=True, check=True, timeout=120)
    print(done.stdout.strip())


def make_up(bed: TestBed, descriptors: bytes) -> None:
    controller = bed.add("pci", "0000:00:14.0", None, {"class": "0x0c0330\n"}, {})
    hub = usb(bed, controller, "usb1", device(0x1D6B, 2) + configuration(interface((9, 0, 0))), "xHCI Host Controller")
    usb(bed, hub, "1-4", descriptors, "A stick")


def usb(bed: TestBed, parent: str, name: str, descriptors: bytes, product: str) -> str:
    vendor_id, product_id = (int.from_bytes(descriptors[at : at + 2], "little") for at in (8, 10))
    attributes = {
        "idVendor": f"{vendor_id:04x}\n",
        "idProduct": f"{product_id:04x}\n",
        "product": f"{product}\n",
        "serial": f"serial of {name}\n",
        "authorized": "1\n",
        "authorized_default": "1\n",
    }
    path = bed.add("usb", name, parent, attributes, {"DEVTYPE": "usb_device"})
    (Path(bed.root) / path.removeprefix("/") / "descriptors").write_bytes(descriptors)
    return path


if __name__ == "__main__":
    main()
