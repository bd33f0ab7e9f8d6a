from dataclasses import dataclass, field

import pytest

from edge_agent.devices.attributes import DeviceGone
from edge_agent.usb_policy.default_deny import DefaultDeny, ensure


@dataclass
class Hubs:
    defaults: dict[str, int] = field(default_factory=lambda: {"usb1": 0, "usb2": 0})
    usbcore: int | None = 0
    started_with: str = "quiet usbcore.authorized_default=0"
    obeys: bool = True
    gone: str = ""

    def root_hubs(self) -> list[str]:
        return list(self.defaults)

    def authorized_default(self, hub: str) -> int | None:
        if hub == self.gone:
            raise DeviceGone(hub)
        return self.defaults[hub]

    def set_authorized_default(self, hub: str, value: int) -> None:
        if self.obeys:
            self.defaults[hub] = value

    def usbcore_authorized_default(self) -> int | None:
        return self.usbcore

    def set_usbcore_authorized_default(self, value: int) -> None:
        if self.obeys:
            self.usbcore = value

    def command_line(self) -> str:
        return self.started_with


def test_what_holds_since_the_kernels_start_needs_nothing_set() -> None:
    assert ensure(Hubs()) == (DefaultDeny.BOOT, [])


def test_a_controller_that_came_up_open_is_closed_and_so_are_those_to_come() -> None:
    hubs = Hubs(defaults={"usb1": 0, "usb3": 1}, usbcore=-1, started_with="quiet")

    assert ensure(hubs) == (DefaultDeny.LATE, ["usbcore", "usb3"])
    assert hubs.defaults == {"usb1": 0, "usb3": 0}
    assert hubs.usbcore == 0


@pytest.mark.parametrize("hubs", [Hubs(usbcore=1, obeys=False), Hubs({"usb1": 1}, obeys=False), Hubs(gone="usb2")])
def test_what_the_kernel_did_not_take_or_cannot_be_read_is_never_called_denied(hubs: Hubs) -> None:
    assert ensure(hubs)[0] is DefaultDeny.NO


def test_a_machine_without_usb_denies_by_default() -> None:
    assert ensure(Hubs({}, usbcore=None))[0] is DefaultDeny.BOOT
