"""Whom the agent's service may talk to: what enrolment and settings name, as the drop-in `20-addresses.conf`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from edge_agent.config import HostConfig
from edge_agent.settings_file.document import AgentSettings, is_network
from provisioning.install.item import Part, Wanted
from provisioning.install.wanted import AGENT_UNIT, UNITS
from shared.errors import Refused, Unavailable

DROP_IN = f"{UNITS}/{AGENT_UNIT}.d/20-addresses.conf"


class NameNotResolved(Unavailable):
    """Nothing was changed: without the address, the agent would be kept from what stands behind the name."""

    def __init__(self, name: str, what: str, why: str) -> None:
        super().__init__(
            f"the name {name} ({what}) does not resolve: {why}; put it into /etc/hosts or mend DNS, then run this again"
        )
        self.name, self.what = name, what


class StrangeDoor(Refused):
    """Nothing was changed: what the agent's account may write does not say whom the agent may talk to."""

    def __init__(self, peer: "Peer") -> None:
        super().__init__(
            f"the agent's identity names {peer.address} ({peer.what}), which nobody has confirmed; if that is the "
            "centre, run `leadglass-provision addresses` as root"
        )
        self.peer = peer


@dataclass(frozen=True)
class Peer:
    """A network, an address or a name, and for people what it is."""

    address: str
    what: str

    @property
    def is_name(self) -> bool:
        return not is_network(self.address)


def peers(settings: AgentSettings, host: HostConfig) -> tuple[Peer, ...]:
    """Return everybody whom the agent has to reach or to be reached by, each once."""
    modalities = [Peer(network, "modalities") for network in settings.modalities]
    archives = [Peer(archive, "an archive") for archive in settings.archives]
    first: dict[str, Peer] = {}
    for peer in (*doors(host), *modalities, *archives):
        first.setdefault(peer.address, peer)
    return tuple(first.values())


def doors(host: HostConfig) -> list[Peer]:
    """Return where `host.json`, which the agent's account may write, has the centre."""
    doors = [Peer(_bare(host.doors.host), "the centre")]
    if host.doors.mqtt_host is not None:
        doors.append(Peer(_bare(host.doors.mqtt_host), "its broker"))
    if host.enrolled_at is not None:
        doors.append(Peer(_host_of(host.enrolled_at), "the enrolment door"))
    return doors


def verify_confirmed(doors: Iterable[Peer], written: str) -> None:
    """Raises StrangeDoor: one of them is not in the drop-in that was `written` last."""
    known: set[str] = set()
    for line in written.splitlines():
        known.update(line.partition("=")[2].split() if line.startswith("IPAddressAllow=") else line.split(", ")[1:])
    for door in doors:
        if door.address not in known:
            raise StrangeDoor(door)


def name_servers(resolv_conf: str) -> tuple[str, ...]:
    """Return the servers that resolv.conf(5) names; lines that are no such line are left out."""
    words = [line.split() for line in resolv_conf.splitlines()]
    named = [line[1].partition("%")[0] for line in words if len(line) > 1 and line[0] == "nameserver"]
    return tuple(address for address in named if is_network(address))


def drop_in(peers: Sequence[Peer], resolved: Mapping[str, Sequence[str]], servers: Iterable[str]) -> Wanted:
    """Return the drop-in. `resolved` has the addresses of every name; `servers` are asked for names."""
    lines = [
        "# Written by leadglass-provision, and again whenever a name leads elsewhere (leadglass-addresses.timer).",
        "# To change it, change /etc/leadglass/agent.toml and run `leadglass-provision addresses`.",
        "[Service]",
    ]
    for peer in peers:
        addresses = resolved[peer.address] if peer.is_name else (peer.address,)
        named = f"{peer.what}, {peer.address}" if peer.is_name else peer.what
        lines += [f"# {named}", f"IPAddressAllow={' '.join(_sorted(addresses))}"]
    if any(peer.is_name for peer in peers) and (asked := _sorted(servers)):
        lines += ["# who is asked for names", f"IPAddressAllow={' '.join(asked)}"]
    return Wanted(DROP_IN, Part.ADDRESSES, content=("\n".join(lines) + "\n").encode())


def _sorted(addresses: Iterable[str]) -> list[str]:
    """Return each once, in one order whatever order a name server gave them in."""
    return sorted({str(ip_network(one)).removesuffix("/32").removesuffix("/128") for one in addresses})


def _host_of(url: str) -> str:
    """Return the host of `https://HOST:PORT`."""
    address = url.removeprefix("https://").removesuffix("/")
    return _bare(address) if address.endswith("]") else _bare(address.rpartition(":")[0] or address)


def _bare(host: str) -> str:
    bare = host.strip("[]")
    try:
        return str(ip_address(bare))
    except ValueError:
        return bare
