"""The steps of a visit, in their order."""

from provisioning.site import Site
from provisioning.visit.enrol import Enrol
from provisioning.visit.hand_over import HandOver
from provisioning.visit.install import Install
from provisioning.visit.pin_console import PinConsole
from provisioning.visit.preflight import Preflight
from provisioning.visit.self_test import SelfTest
from provisioning.visit.step import Step


def steps(site: Site) -> tuple[Step, ...]:
    """Return what is done at `site`; a host without the guard has no console to pin."""
    of_guard: tuple[Step, ...] = (PinConsole(),) if site.guard else ()
    return (Preflight(), Install(), Enrol(), *of_guard, SelfTest(has_guard=site.guard), HandOver())
