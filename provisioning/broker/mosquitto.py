"""Mosquitto, started by others: what the control plane tells its own, but each host by name.

A host that is left out keeps its connection, hears nothing and says nothing. Reading the rules again does not end it;
a restart of Mosquitto does.
"""

from collections.abc import Iterator

from control_plane.fleet.broker_config import Listener, Paths, configuration
from provisioning.broker.layout import HEAD, LAYERS, Plan
from shared.identity import CONTROL_PLANE
from shared.policy.bundle import command_topic, state_topic

CONFIGURATION, ACCESS, STATE_FOLDER = "mosquitto.conf", "access", "state"


def files(plan: Plan) -> dict[str, str]:
    paths = Paths(
        ca=str(plan.tls.client_ca),
        certificate=str(plan.tls.certificate),
        access=str(plan.folder / ACCESS),
        state=str(plan.folder / STATE_FOLDER),
    )
    listener = Listener(plan.address, plan.port, str(plan.tls.key))
    return {CONFIGURATION: configuration(listener, paths), ACCESS: "\n".join(_rules(plan)) + "\n"}


def _rules(plan: Plan) -> Iterator[str]:
    yield f"user {CONTROL_PLANE}\ntopic readwrite leadglass/v1/#\n"
    for host in plan.hosts:
        reads = (HEAD, f"{LAYERS}+", command_topic(str(host)))
        own = f"topic readwrite {state_topic(str(host))}"
        yield "\n".join((f"user {host}", *(f"topic read {topic}" for topic in reads), own, ""))
