"""A host as far as policy goes: the agent's own link, pull and updater, each really running."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge_agent.https import HttpsDoor, verified_context
from edge_agent.parts import Bell
from edge_agent.policy_sync.hints import Hints
from edge_agent.policy_sync.mqtt import MqttLink
from edge_agent.policy_sync.pull import PolicyPuller
from edge_agent.policy_sync.updater import PolicyUpdater
from shared.audit.events import Event
from shared.identity import HostId
from shared.policy.document import ORGANISATION
from tests.contracts.brokers import Broker
from tests.control_plane.fleet.host_client import tls
from tests.control_plane.fleet.pki import Identity
from tests.fakes.centre import Centre
from tests.fakes.host import Host
from tests.threads import in_thread


@dataclass(frozen=True)
class HostSide:
    inside: Host
    link: MqttLink
    puller: PolicyPuller
    updater: PolicyUpdater
    hints: Hints
    command_hinted: threading.Event

    def version(self) -> int:
        policy = self.inside.store.in_force()
        return policy.version if policy else 0

    def accepted(self) -> int:
        return self.inside.events().count(Event.POLICY_ACCEPTED)

    def losses(self) -> int:
        """Return how often its connection to the broker ended."""
        return self.inside.log.names().count("mqtt.disconnected")


@contextmanager
def host_side(folder: Path, broker: Broker, identity: Identity, centre: Centre) -> Iterator[HostSide]:
    """Run a host's link to `broker`. What it pulls comes from `centre`, and only when the test says so."""
    inside, hints, bell = Host(folder, host_id=HostId.parse(identity.name), keys=centre.keys), Hints(), Bell()
    command_hinted = threading.Event()
    updater = PolicyUpdater(
        trust_folder=folder / "policy", policy_root=centre.signers.root, host_id=inside.host_id,
        store=inside.store, journal=inside.journal, database=inside.database, log=inside.log,
        on_layer_missing=bell.ring,
    )  # fmt: skip
    link = MqttLink(
        "127.0.0.1", broker.port, tls(broker.server_ca, identity), host_id=inside.host_id, layers=(ORGANISATION,),
        updater=updater, log=inside.log, on_subscribed=bell.ring, on_command=command_hinted.set, hints=hints,
        spread=lambda: 0.0,
    )  # fmt: skip
    door = HttpsDoor("127.0.0.1", int(centre.host_door.server_address[1]), _https(folder, centre, identity.name))
    puller = PolicyPuller(
        door, (ORGANISATION,), updater, policy=inside.store.in_force, log=inside.log, bell=bell, hints=hints
    )
    with closing(inside.database), closing(door), in_thread(link, link.bell.ring):
        yield HostSide(inside, link, puller, updater, hints, command_hinted)


def _https(folder: Path, centre: Centre, name: str) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    chain, ca = folder / "https.pem", folder / "https-ca.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain.write_bytes(centre.authority.issue(name, "host", key.public_key()) + private)
    ca.write_bytes(centre.authority.pem)
    return verified_context(ca, chain)
