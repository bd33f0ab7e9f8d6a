"""The steps of a visit, in their order."""

from provisioning.preflight.step import PreflightStep
from provisioning.site import Site
from provisioning.visit.enrol import Enrol
from provisioning.visit.pin_console import PinConsole
from provisioning.visit.step import Step


def steps(site: Site) -> tuple[Step, ...]:
    """Return what is done at `site`; a host without the guard has no console to pin."""
    of_guard: tuple[Step, ...] = (PinConsole(),) if site.guard else ()
    return (PreflightStep(), Enrol(), *of_guard)
