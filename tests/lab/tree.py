"""What the guest's sysfs says of a USB device: is it authorised, what is bound to it, what came of that."""

from dataclasses import dataclass

from tests.lab.guest import Guest

DEVICES = "/sys/bus/usb/devices"
USBCORE = "/sys/module/usbcore/parameters/authorized_default"
BIND_S = 90.0


@dataclass(frozen=True)
class Bound:
    """The drivers of a device's interfaces; no interface, no driver: the kernel has not configured it."""

    interfaces: tuple[str, ...]
    drivers: tuple[str, ...]


NOTHING = Bound((), ())


class Tree:
    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def await_device(self, port: str) -> None:
        """Wait until it is there and the kernel is done with it, so that what is not bound then stays so."""
        self._guest.await_there(f"{DEVICES}/{port}/idVendor")
        self._guest.run("udevadm settle")

    def await_gone(self, port: str) -> None:
        self._guest.await_gone(f"{DEVICES}/{port}")

    def attribute(self, port: str, name: str) -> str:
        return self._guest.read(f"{DEVICES}/{port}/{name}")

    def authorized(self, port: str) -> str:
        return self.attribute(port, "authorized")

    def authorize(self, port: str, value: str = "1") -> None:
        self._guest.write(f"{DEVICES}/{port}/authorized", value)

    def ports(self) -> list[str]:
        """Return every port with a device in it, root hubs left out."""
        found = self._guest.glob(f"{DEVICES}/[0-9]*-*/idVendor")
        return [path.split("/")[-2] for path in found]

    def port_of(self, serial: str) -> str:
        """Wait for the device with this serial number, and return its port."""
        self._guest.run(f"until grep -lxs -- '{serial}' {DEVICES}/[0-9]*-*/serial; do sleep 0.02; done")
        return next(port for port in self.ports() if self._serial(port) == serial)

    def bound(self, port: str) -> Bound:
        interfaces = [path.rpartition("/")[2] for path in self._guest.glob(f"{DEVICES}/{port}:*")]
        drivers = [path.split("/")[-2] for path in self._guest.glob(f"/sys/bus/usb/drivers/*/{port}:*")]
        return Bound(tuple(interfaces), tuple(drivers))

    def await_disk(self, port: str) -> str:
        """Wait for the disk of a storage device and return its name, such as sda."""
        return self._guest.await_there(f"{DEVICES}/{port}:*/host*/target*/*/block/*", BIND_S).rpartition("/")[2]

    def disks(self, port: str) -> list[str]:
        return self._guest.glob(f"{DEVICES}/{port}:*/host*/target*/*/block/*")

    def await_input(self, port: str) -> str:
        """Wait for the event device of a keyboard or pointer, and return its name, such as event3."""
        return self._guest.await_there(f"{DEVICES}/{port}:*/*/input/input*/event*", BIND_S).rpartition("/")[2]

    def inputs(self, port: str) -> list[str]:
        return self._guest.glob(f"{DEVICES}/{port}:*/*/input/input*/event*")

    def root_hubs(self) -> dict[str, str]:
        """Return what each root hub does with a device that is new to it."""
        hubs = self._guest.glob(f"{DEVICES}/usb*/authorized_default")
        return {path.split("/")[-2]: self._guest.read(path) for path in hubs}

    def set_defaults(self, value: str) -> None:
        """Set what happens to new devices, on the root hubs that are there and on those to come."""
        self._guest.write(USBCORE, value)
        for path in self._guest.glob(f"{DEVICES}/usb*/authorized_default"):
            self._guest.write(path, value)

    def _serial(self, port: str) -> str:
        path = f"{DEVICES}/{port}/serial"
        return self._guest.read(path) if self._guest.glob(path) else ""
