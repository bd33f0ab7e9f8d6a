"""`leadglass-provision broker`: the configuration of an MQTT broker that others run."""

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from provisioning.broker.layout import DEFAULT_CLIENT_LISTEN
from provisioning.command import OK, Commands, verify_centre_is_here
from shared.errors import Malformed

# What goes into a configuration as it is: none of the four languages needs it quoted, and it can end no line.
_PATH = r"/[A-Za-z0-9._/+@:=,-]*"
_ADDRESS = r"[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:]{2,39}\]"
_STOPS_WITH_EITHER = 2
_NODE = r"[A-Za-z0-9][A-Za-z0-9-]{0,62}"

_BROKER = """\
Write the configuration of an MQTT broker: who gets in (centre and hosts, by the certificates that Leadglass's own
authority gave them) and to which topics. Run it again with another list of hosts and have the broker read it again:
a host that is no longer on the list is out. The files are those that Leadglass's own contract test runs with.
"""

_NEXT: Mapping[str, str] = {
    "mosquitto": "start Mosquitto with {folder}/mosquitto.conf; after a change restart it, which ends open sessions",
    "nats": "start nats-server -c {folder}/nats.conf on every node, each with its own file; after a change have each "
    "read it again (nats-server --signal reload), which ends the sessions of hosts that are gone",
    "rabbitmq": "start RabbitMQ with RABBITMQ_CONFIG_FILE={folder}/rabbitmq.conf and "
    "RABBITMQ_ENABLED_PLUGINS_FILE={folder}/enabled_plugins; after a change `rabbitmqctl import_definitions "
    "{folder}/definitions.json`, and for a host that is gone `rabbitmqctl delete_user CN=HOST,OU=host`, which ends "
    "its session",
}


def add_to(commands: Commands) -> None:
    """Add `broker` to the commands of `leadglass-provision`."""
    broker = commands.add_parser("broker", help="the configuration of an MQTT broker", description=_BROKER)
    broker.set_defaults(run=_broker)
    kinds = broker.add_subparsers(dest="kind", required=True, metavar="{mosquitto,nats,rabbitmq}")
    for kind in _NEXT:
        _add_broker(kinds.add_parser(kind, description=_BROKER))
    nats = kinds.choices["nats"]
    nats.add_argument("--node", type=_like(_NODE), required=True, metavar="NAME", help="this node's own name")
    nats.add_argument(
        "--peer",
        type=_at,
        action="append",
        required=True,
        metavar="HOST:PORT",
        help="each node, this one too: 3, or 1",
    )
    nats.add_argument("--cluster-listen", type=_at, required=True, metavar="ADDRESS:PORT", help="for the other nodes")
    nats.add_argument("--peer-ca", type=_path, required=True, metavar="FILE", help="who certified the nodes, PEM")
    nats.add_argument(
        "--client-listen", type=_at, default=DEFAULT_CLIENT_LISTEN, metavar="ADDRESS:PORT",
        help="for NATS's own protocol, which nobody may use [%(default)s]",
    )  # fmt: skip


def _add_broker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=_path, required=True, metavar="DIR", help="folder of the broker, made if missing")
    parser.add_argument("--hosts", type=Path, required=True, metavar="FILE", help="what `leadglass-server hosts list` "
                        "printed: one host id a line")  # fmt: skip
    parser.add_argument("--client-ca", type=_path, required=True, metavar="FILE", help="Leadglass's authority, PEM: "
                        "what `leadglass-server authority show --pem` printed")  # fmt: skip
    parser.add_argument("--certificate", type=_path, required=True, metavar="FILE", help="the broker's own, PEM")
    parser.add_argument("--key", type=_path, required=True, metavar="FILE", help="the broker's private key, PEM")
    parser.add_argument("--address", type=_like(_ADDRESS), default="0.0.0.0", help="where it listens [%(default)s]")  # noqa: S104 (hosts reach it there)
    parser.add_argument("--port", type=_port, default=8883, help="[%(default)s]")


def _broker(options: argparse.Namespace) -> int:
    verify_centre_is_here("the configuration of a broker")
    from provisioning.broker import mosquitto, nats, rabbitmq
    from provisioning.broker.layout import Plan, Tls, centre_of, parse_hosts

    hosts = parse_hosts(options.hosts.read_text(encoding="ascii", errors="replace"))
    tls = Tls(options.client_ca, options.certificate, options.key)
    # Mosquitto goes by the common name alone.
    centre = "" if options.kind == "mosquitto" else centre_of(options.client_ca.read_bytes())
    plan = Plan(options.out, options.address, options.port, tls, hosts, centre)
    if options.kind == "nats":
        if len(options.peer) == _STOPS_WITH_EITHER:
            raise Malformed("--peer", "two nodes stop when either is lost; name three, or one alone")
        cluster = nats.Cluster(
            options.node, options.cluster_listen, tuple(options.peer), options.peer_ca, options.client_listen
        )
        written = nats.files(plan, cluster)
    else:
        written = (mosquitto if options.kind == "mosquitto" else rabbitmq).files(plan)
    options.out.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name, text in written.items():
        # Whole or not at all: a broker may be reading it.
        draft = options.out / f"{name}.new"
        draft.write_text(text)
        draft.replace(options.out / name)
        print(options.out / name)
    print(f"{len(hosts)} hosts. Next: {_NEXT[options.kind].format(folder=options.out)}")
    return OK


def _like(pattern: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise argparse.ArgumentTypeError(f"{text!r} does not look like {pattern}")
        return text

    return read


def _path(text: str) -> Path:
    if not re.fullmatch(_PATH, text):
        raise argparse.ArgumentTypeError(f"{text!r} is not an absolute path of letters, digits and ._/+@:=,-")
    return Path(text)


def _at(text: str) -> str:
    found = re.fullmatch(rf"({_ADDRESS}):([0-9]{{1,5}})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT")
    _port(found[2])
    return text


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 65_535:
        raise argparse.ArgumentTypeError("expected a port from 1 to 65535")
    return int(text)
