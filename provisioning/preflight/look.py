"""One look at the machine and at what it can reach, for one site."""

from provisioning.preflight import network
from provisioning.preflight.facts import Facts, Network
from provisioning.preflight.machine import Machine
from provisioning.site import Site
from shared.clock import Clock


def look(site: Site, machine: Machine, clock: Clock) -> Facts:
    kernel_clock, clock_unseen = machine.clock()
    return Facts(
        machine.system(),
        machine.memory(),
        machine.usb(),
        machine.tpm(),
        machine.disks(),
        kernel_clock,
        clock_unseen,
        _network(site, clock),
    )


def _network(site: Site, clock: Clock) -> Network:
    centre = site.centre_host
    enrolment = network.reach(centre, site.enrolment_port)
    return Network(
        network.own_port(site.dicom_host, site.dicom_port),
        network.own_port(site.dicom_host, site.dicom_tls_port) if site.dicom_tls_port is not None else None,
        enrolment,
        network.reach(centre, site.hosts_port),
        network.reach(centre, site.broker_port),
        tuple(network.echo(peer, site.ae_title) for peer in site.peers),
        network.centre_clock(centre, site.enrolment_port, clock),
    )
