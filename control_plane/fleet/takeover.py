"""Ends the session that a host has open at our own broker, by opening another one in its name and closing it.

Mosquitto gives a name one session, and the name is the certificate's. Whoever was connected under it is cut off, and
is not let in again if its certificate is on the revocation list by then.
"""

from queue import Empty, Queue

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from control_plane.fleet.broker import BrokerUnavailable
from control_plane.http.tls import TlsIdentity, client_context
from shared.identity import HostId

_WAIT_S = 10.0


def take_over(port: int, ca_pem: bytes, identity: TlsIdentity, host_id: HostId) -> None:
    """Return once the broker has given `host_id`'s session to us, and we have ended it. Raises BrokerUnavailable."""
    answers: Queue[str] = Queue()
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=str(host_id),
        protocol=MQTTProtocolVersion.MQTTv5,
        reconnect_on_failure=False,
    )
    client.tls_set_context(client_context(identity, trust=ca_pem.decode()))
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.put(
        str(reason) if reason.is_failure else ""
    )
    client.on_disconnect = lambda _client, _data, _flags, reason, _properties: answers.put(str(reason))
    try:
        client.connect("127.0.0.1", port, clean_start=True)
        client.loop_start()
        refusal = answers.get(timeout=_WAIT_S)
    except (OSError, Empty) as exc:
        raise BrokerUnavailable(f"the session of {host_id} could not be taken over: {exc}") from exc
    finally:
        client.disconnect()
        client.loop_stop()
    if refusal:
        raise BrokerUnavailable(f"the session of {host_id} could not be taken over: {refusal}")
