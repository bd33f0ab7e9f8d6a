"""Nothing is denied before the console is pinned and the policy's root is the administrator's, by the real guard."""

import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from edge_agent.config import HostConfig
from edge_agent.usb_policy.trust import NotPinned, Trust, load_trust
from provisioning.finding import Finding, Verdict
from provisioning.site import Site
from provisioning.visit.install import Install
from provisioning.visit.pin_console import PinConsole
from provisioning.visit.programs import Ended, Programs
from provisioning.visit.step import Context, Places
from shared.clock import SystemClock
from shared.enrolment.exchange import Doors
from shared.identity import HostId
from tests.fakes.signers import PolicySigners
from tests.fakes.usb_tree import UsbTree
from tests.provisioning.preflight.tree import machine_tree

HOST = HostId(bytes(range(16)))
DENYING = "etc/udev/rules.d/58-leadglass-default-deny.rules"
SITE = Site("https://127.0.0.1:8441", "CT 2", guard=True, deny_by_default=True)


class Machine:
    """A folder with a keyboard, and what `enrol` left in it."""

    def __init__(self, root: Path) -> None:
        self.root, self.tree = root, machine_tree(root)
        self.places = Places(root, pwd.getpwuid(os.geteuid()).pw_name)
        self.tree.attach("1-3", name="Keyboard K120")
        self.trust = Trust(HOST, "organisation", PolicySigners().root)
        # By its own boot loader's means, so that it does not matter here which ones this machine has.
        (root / "proc/cmdline").write_text("BOOT_IMAGE=/vmlinuz usbcore.authorized_default=0\n")
        self.run(Install(), SITE)
        (self.places.agent_data / "identity").mkdir(parents=True)
        self.identity_names(self.trust.root)

    def identity_names(self, root: bytes) -> None:
        config = HostConfig(HOST, "CT 2", Doors("127.0.0.1", 8442, None), bytes(32), root, "organisation")
        (self.places.agent_data / "identity/host.json").write_bytes(config.encode())

    def run(self, step: Install | PinConsole, site: Site, programs_of: type[Programs] = Programs) -> dict[str, Finding]:
        with (self.root / "lock").open("w") as lock:
            programs = programs_of(self.places.account, lock.fileno())
            context = Context(site, self.places, programs, SystemClock(), lambda _question: "")
            return {one.check: one for one in step.run(context)}

    @property
    def denies(self) -> bool:
        return (self.root / DENYING).exists()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_it_denies_once_console_and_root_are_proved_and_not_before(machine: Machine) -> None:
    compared = replace(SITE, policy_root=machine.trust.fingerprint)
    tree: UsbTree = machine.tree
    tree.attach("1-4", product=0xC31D, name="Another keyboard")

    which = machine.run(PinConsole(), compared)
    assert which["console"].verdict is Verdict.FAIL
    assert "--console-port" in which["console"].fix
    assert not machine.denies

    other = machine.run(PinConsole(), replace(SITE, policy_root="0" * 64, console_ports=("1-3",)))
    assert other["policy-root"].verdict is Verdict.FAIL
    assert not machine.denies

    nobody = machine.run(PinConsole(), replace(SITE, console_ports=("1-3",)))
    assert nobody["denial"].verdict is Verdict.NOT_EVALUATED
    assert not machine.denies

    done = machine.run(PinConsole(), replace(compared, console_ports=("1-3",)))
    assert {check for check, one in done.items() if one.verdict is Verdict.FAIL} == set()
    assert "Keyboard K120 at 1-3" in done["console-1"].reason
    assert done["denial"].verdict is Verdict.PASS
    assert machine.denies


def test_a_root_that_is_not_the_administrators_is_never_pinned(machine: Machine) -> None:
    found = machine.run(PinConsole(), replace(SITE, policy_root="0" * 64, deny_by_default=False))

    assert "nothing was pinned" in found["policy-root"].reason
    with pytest.raises(NotPinned):
        load_trust(machine.places.guard_state)


def test_a_root_that_is_exchanged_after_it_was_looked_at_is_not_pinned(machine: Machine) -> None:
    class Exchanging(Programs):
        """The agent's account, which somebody took over, watches for the guard's program to be run."""

        def guard(self, *arguments: str) -> Ended:
            if "trust" in arguments:
                machine.identity_names(PolicySigners().root)
            return super().guard(*arguments)

    compared = replace(SITE, policy_root=machine.trust.fingerprint)
    found = machine.run(PinConsole(), compared, Exchanging)

    assert found["policy-root"].verdict is Verdict.FAIL
    assert found["policy-root"].fix.startswith("stop")
    assert not machine.denies
    with pytest.raises(NotPinned):
        load_trust(machine.places.guard_state)


def test_settings_that_were_there_stay_and_are_named_where_they_differ(machine: Machine) -> None:
    found = machine.run(Install(), replace(SITE, dicom_port=104, deny_by_default=False))

    assert "dicom_port" in found["settings"].reason
    assert found["settings"].verdict is Verdict.FAIL
    assert "port = 11112" in (machine.root / "etc/leadglass/agent.toml").read_text()
