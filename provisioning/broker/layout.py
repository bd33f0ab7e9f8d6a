"""What any broker has to be told, whichever it is: where it listens, what proves it, and who may do what.

    client   name in its certificate                 may read                        may write
    centre   CN=control-plane,OU=service,O=centre    every host's state              head, layers, every host's commands
    host     CN=host-...,OU=host,O=centre            head, layers, its own commands  its own state

A host's commands are the topic `leadglass/v1/hosts/<host>/commands`, its state is `leadglass/v1/hosts/<host>/state`.

Mosquitto takes the name from the common name; NATS and RabbitMQ take the whole subject, with role and centre. Those
two know no rule "each to its own", so every host stands in their configuration by name: a host that is left out of it
is refused.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from shared.enrolment.chain import organisation, parse_chain
from shared.errors import Malformed
from shared.identity import CONTROL_PLANE, HostId
from shared.policy.bundle import HEAD_TOPIC, HOST_TOPIC_PREFIX, LAYER_TOPIC_PREFIX

CENTRE_SUBJECT = f"CN={CONTROL_PLANE},OU=service"
_CENTRE = r"[A-Za-z0-9]+( [A-Za-z0-9]+)*"
HEAD, LAYERS, HOSTS = HEAD_TOPIC, LAYER_TOPIC_PREFIX, HOST_TOPIC_PREFIX
DEFAULT_CLIENT_LISTEN = "127.0.0.1:4222"  # for NATS's own protocol, which nobody may use


@dataclass(frozen=True)
class Tls:
    """`client_ca` is Leadglass's own authority; the other two are the broker's own, from whichever authority."""

    client_ca: Path
    certificate: Path
    key: Path


@dataclass(frozen=True)
class Plan:
    folder: Path  # where the configuration will lie; what the broker remembers goes below it
    address: str
    port: int
    tls: Tls
    hosts: tuple[HostId, ...] = ()
    centre: str = ""  # the organisation that every subject of this centre ends in, as a name is written (RFC 4514)

    def subject(self, named: str) -> str:
        return f"{named},O={self.centre}" if self.centre else named


def centre_of(client_ca: bytes) -> str:
    """Return the organisation of Leadglass's authority. Raises Malformed."""
    found = organisation(parse_chain(client_ca, "Leadglass's authority")[0]) or ""
    if not re.fullmatch(_CENTRE, found):
        raise Malformed("Leadglass's authority", "its root names no centre; `leadglass-server authority show --pem`")
    return found


def host_subject(host: HostId) -> str:
    return f"CN={host},OU=host"


def parse_hosts(text: str) -> tuple[HostId, ...]:
    """Read one host id a line. Raises Malformed."""
    return tuple(dict.fromkeys(HostId.parse(line.strip()) for line in text.splitlines() if line.strip()))
