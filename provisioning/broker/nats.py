"""NATS with JetStream: one node of a cluster that keeps what was published when a node is lost.

A topic `a/b` is the subject `a.b` here. A subscription with QoS 1 is served through `$MQTT.sub.>`, which the server
lets no MQTT client name itself. Nobody but an MQTT client with a certificate gets in: no user has another way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from control_plane.fleet.broker_config import MAX_PACKET_BYTES
from provisioning.broker.layout import CENTRE_SUBJECT, DEFAULT_CLIENT_LISTEN, HEAD, HOSTS, LAYERS, Plan, host_subject
from shared.policy.bundle import command_topic, state_topic

CONFIGURATION = "nats.conf"
_SERVED_THROUGH = "$MQTT.sub.>"


@dataclass(frozen=True)
class Cluster:
    """`peer_ca` certified every node's certificate, which has to be good for a server and for a client.

    One node is no cluster, and two are one that stops when either is lost.
    """

    node: str
    listen: str
    peers: tuple[str, ...]  # host:port of every node
    peer_ca: Path
    client_listen: str = DEFAULT_CLIENT_LISTEN


def files(plan: Plan, cluster: Cluster) -> dict[str, str]:
    return {CONFIGURATION: _configuration(plan, cluster)}


def _configuration(plan: Plan, cluster: Cluster) -> str:
    tls, copies = plan.tls, min(3, len(cluster.peers))
    users = "\n".join(_users(plan))
    return f"""\
server_name: "{cluster.node}"
listen: "{cluster.client_listen}"
max_payload: {MAX_PACKET_BYTES}

jetstream {{
  store_dir: "{plan.folder}/jetstream"
  max_memory_store: 64MB
  max_file_store: 4GB
}}

{_together(plan, cluster)}mqtt {{
  listen: "{plan.address}:{plan.port}"
  tls {{
    cert_file: "{tls.certificate}"
    key_file: "{tls.key}"
    ca_file: "{tls.client_ca}"
    verify_and_map: true
    timeout: 10
  }}
  stream_replicas: {copies}
  reject_qos2_publish: true
}}

authorization {{
  users: [
{users}
  ]
}}
"""


def _together(plan: Plan, cluster: Cluster) -> str:
    # A node that is told of a cluster waits for a majority of it, and alone has none.
    if len(cluster.peers) == 1:
        return ""
    routes = ", ".join(f'"nats-route://{peer}"' for peer in cluster.peers)
    return f"""\
cluster {{
  name: "leadglass"
  listen: "{cluster.listen}"
  routes: [{routes}]
  tls {{
    cert_file: "{plan.tls.certificate}"
    key_file: "{plan.tls.key}"
    ca_file: "{cluster.peer_ca}"
    verify: true
  }}
}}

"""


def _users(plan: Plan) -> Iterator[str]:
    writes = [_subject(HEAD), _subject(LAYERS) + "*", _subject(HOSTS) + "*.commands"]
    yield _user(plan.subject(CENTRE_SUBJECT), reads=[_subject(HOSTS) + "*.state"], writes=writes)
    for host in plan.hosts:
        reads = [_subject(HEAD), _subject(LAYERS) + "*", _subject(command_topic(str(host)))]
        yield _user(plan.subject(host_subject(host)), reads=reads, writes=[_subject(state_topic(str(host)))])


def _user(name: str, *, reads: list[str], writes: list[str]) -> str:
    return (
        f'    {{user: "{name}", allowed_connection_types: ["MQTT"], permissions: {{'
        f"publish: {{allow: [{_quoted(writes)}]}}, subscribe: {{allow: [{_quoted([*reads, _SERVED_THROUGH])}]}}}}}}"
    )


def _subject(topic: str) -> str:
    return topic.replace("/", ".")


def _quoted(subjects: list[str]) -> str:
    return ", ".join(f'"{subject}"' for subject in subjects)
