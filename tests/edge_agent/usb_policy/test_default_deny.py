from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge_agent.devices.attributes import DeviceGone
from edge_agent.usb_policy.default_deny import DefaultDeny, Denial, ensure


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


@pytest.mark.parametrize("hubs, what", [(Hubs({"usb1": 1}), "usb1"), (Hubs(usbcore=1), "usbcore")])
def test_what_was_found_open_once_is_late_for_the_rest_of_this_start_of_the_machine(
    tmp_path: Path, hubs: Hubs, what: str
) -> None:
    denial = Denial(hubs, tmp_path / "opened")
    denial.ensure()
    first = (denial.state, list(denial.untold))
    denial.untold.clear()
    denial.ensure()

    assert first == (DefaultDeny.LATE, [what])
    assert (denial.state, denial.untold) == (DefaultDeny.LATE, [])
    after_a_restart = Denial(hubs, tmp_path / "opened")
    after_a_restart.ensure()
    assert (after_a_restart.state, after_a_restart.untold) == (DefaultDeny.LATE, [])
    of_the_next_start_of_the_machine = Denial(Hubs(), tmp_path / "not written yet")
    of_the_next_start_of_the_machine.ensure()
    assert of_the_next_start_of_the_machine.state is DefaultDeny.BOOT


def test_what_was_found_open_is_late_also_where_nothing_can_be_written(tmp_path: Path) -> None:
    denial = Denial(Hubs({"usb1": 1}), tmp_path / "no such folder" / "opened")

    for _ in range(2):
        denial.ensure()
        assert denial.state is DefaultDeny.LATE


def test_what_does_not_hold_any_more_is_said_whatever_was_before(tmp_path: Path) -> None:
    hubs = Hubs()
    denial = Denial(hubs, tmp_path / "opened")
    states = []
    for obeys in (True, False):
        hubs.defaults["usb2"], hubs.obeys = int(not obeys), obeys
        denial.ensure()
        states.append(denial.state)

    assert states == [DefaultDeny.BOOT, DefaultDeny.NO]
