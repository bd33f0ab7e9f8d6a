"""What Mosquitto is told: who may connect, as whom, and which topics each may read and write.

    layer of the defence               setting
    only our CA's client certificates  require_certificate, no anonymous access
    a name is the certificate's        use_identity_as_username: the CN, whatever user name a client sends
    one session per name               use_username_as_clientid: another host's client id cannot be claimed
    own topics only                    the access rules below; what they do not grant is denied
    no revoked host                    the revocation list, read at a start and on SIGHUP: refuses new connections, and
                                       the access rules, which leave one that is open nothing to hear or say

Mosquitto answers "granted" to a subscription that is not allowed and then delivers nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from shared.identity import CONTROL_PLANE, HostId
from shared.policy.bundle import (
    HEAD_TOPIC,
    HOST_TOPIC_PREFIX,
    LAYER_TOPIC_PREFIX,
    MAX_HEAD_BYTES,
    MAX_LAYER_BYTES,
    command_topic,
    state_topic,
)

# A packet is a payload with its topic and properties. Larger ones cost their sender the connection.
MAX_PAYLOAD_BYTES = max(MAX_HEAD_BYTES, MAX_LAYER_BYTES)
MAX_PACKET_BYTES = MAX_PAYLOAD_BYTES + 4096
ANY_HOST_STATE = state_topic("+")

CA_FILE, CERTIFICATE_FILE, ACCESS_FILE, STATE_FOLDER = "ca.pem", "broker.pem", "access", "state"
DATABASE_FILE, REVOKED_FILE = "mosquitto.db", "revoked.pem"

# `topic` lines belong to the user above them, `pattern` lines to everybody; %u is the certificate's common name.
ACCESS_RULES = f"""\
user {CONTROL_PLANE}
topic readwrite leadglass/v1/#

pattern read {HEAD_TOPIC}
pattern read {LAYER_TOPIC_PREFIX}+
pattern readwrite {state_topic("%u")}
pattern read {command_topic("%u")}
"""


def access_rules(revoked: Iterable[HostId] = ()) -> str:
    return ACCESS_RULES + "".join(f"\nuser {host}\ntopic deny leadglass/v1/#\n" for host in revoked)


@dataclass(frozen=True)
class Listener:
    """Where the broker listens, and where it finds its private key: an inherited descriptor, never a file."""

    address: str
    port: int
    key_path: str


@dataclass(frozen=True)
class Paths:
    """Where the rest lies. Relative to the broker's working directory, which lets its own user work below folders
    that it may not enter.
    """

    ca: str = CA_FILE
    certificate: str = CERTIFICATE_FILE
    access: str = ACCESS_FILE
    state: str = STATE_FOLDER
    revoked: str | None = None


OWN_FOLDER = Paths()
WITH_REVOKED = Paths(revoked=REVOKED_FILE)


def configuration(listener: Listener, paths: Paths = OWN_FOLDER) -> str:
    """Return mosquitto.conf."""
    revoked = f"crlfile {paths.revoked}\n" if paths.revoked else ""
    return f"""\
listener {listener.port} {listener.address}
cafile {paths.ca}
certfile {paths.certificate}
keyfile {listener.key_path}
{revoked}tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
allow_zero_length_clientid false
acl_file {paths.access}

persistence true
persistence_location {paths.state}/
autosave_interval 300
persistent_client_expiration 30d

max_packet_size {MAX_PACKET_BYTES}
max_queued_messages 1000
max_queued_bytes {64 * MAX_PACKET_BYTES}
queue_qos0_messages false
sys_interval 0
set_tcp_nodelay true

log_dest stderr
log_type error
log_type warning
log_type notice
log_type information
log_timestamp false
"""


def host_of_state_topic(topic: str) -> str | None:
    """Return the host named in a state topic, None for any other topic."""
    host = topic.removeprefix(HOST_TOPIC_PREFIX).removesuffix("/state")
    return host if topic == state_topic(host) and "/" not in host else None
