"""RabbitMQ with its MQTT plugin: takes publications and hands them on, and keeps nothing for whoever comes later.

Its retained messages lie on the one node that took them and are given to exact filters only. One that is there on
this node and not on that one is worse than none, so they are switched off: hosts fetch by HTTPS what they missed.

A user is the subject of a certificate, and none has a password. A client's queue is named for its client id, which
begins with the host's own id, so no other host may read it.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from provisioning.broker.layout import CENTRE_SUBJECT, HEAD, HOSTS, LAYERS, Plan, host_subject
from shared.identity import CONTROL_PLANE
from shared.policy.bundle import command_topic, state_topic

CONFIGURATION, DEFINITIONS, PLUGINS = "rabbitmq.conf", "definitions.json", "enabled_plugins"
_EXCHANGE = "amq.topic"


def files(plan: Plan) -> dict[str, str]:
    return {
        CONFIGURATION: _configuration(plan),
        DEFINITIONS: json.dumps(_definitions(plan), indent=1, sort_keys=True) + "\n",
        PLUGINS: "[rabbitmq_mqtt].\n",
    }


def _configuration(plan: Plan) -> str:
    tls = plan.tls
    return f"""\
listeners.tcp = none
mqtt.listeners.tcp = none
mqtt.listeners.ssl.1 = {plan.address}:{plan.port}
ssl_options.cacertfile = {tls.client_ca}
ssl_options.certfile = {tls.certificate}
ssl_options.keyfile = {tls.key}
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
ssl_options.versions.1 = tlsv1.3
ssl_options.versions.2 = tlsv1.2
mqtt.ssl_cert_login = true
ssl_cert_login_from = distinguished_name
mqtt.allow_anonymous = false
mqtt.vhost = /
mqtt.exchange = {_EXCHANGE}
mqtt.retained_message_store = rabbit_mqtt_retained_msg_store_noop
load_definitions = {plan.folder}/{DEFINITIONS}
"""


def _definitions(plan: Plan) -> dict[str, Any]:
    rights = list(_rights(plan))
    return {
        "vhosts": [{"name": "/"}],
        "users": [
            {"name": user, "password_hash": "", "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": []}
            for user, *_ in rights
        ],
        "permissions": [
            {"user": user, "vhost": "/", "configure": queue, "write": f"{queue}|{_exactly(_EXCHANGE)}",
             "read": f"{queue}|{_exactly(_EXCHANGE)}"}
            for user, queue, *_ in rights
        ],
        "topic_permissions": [
            {"user": user, "vhost": "/", "exchange": _EXCHANGE, "write": writes, "read": reads}
            for user, _, writes, reads in rights
        ],
    }  # fmt: skip


def _rights(plan: Plan) -> Iterator[tuple[str, str, str, str]]:
    """Yield each user, its queues, and what it may write and read, as regular expressions."""
    policy = f"{_key(HEAD)}|{_key(LAYERS)}[a-z0-9-]+"
    writes = rf"^({policy}|{_key(HOSTS)}[^.]+\.commands)$"
    yield plan.subject(CENTRE_SUBJECT), _queues(CONTROL_PLANE), writes, rf"^{_key(HOSTS)}[^.]+\.state$"
    for host in plan.hosts:
        reads = f"^({policy}|{_key(command_topic(str(host)))})$"
        writes = f"^{_key(state_topic(str(host)))}$"
        yield plan.subject(host_subject(host)), _queues(str(host)), writes, reads


def _queues(client_id: str) -> str:
    return rf"^mqtt-subscription-{re.escape(client_id)}(-[0-9a-f]+)?qos[01]$"


def _key(topic: str) -> str:
    return re.escape(topic.replace("/", "."))


def _exactly(name: str) -> str:
    return f"^{re.escape(name)}$"
