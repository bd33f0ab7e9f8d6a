"""Where images go besides the vault, and the application entities that a policy names."""

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address, ip_network

from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields

# DICOM PS3.5 table 6.2-1, AE: at most 16 characters of the default repertoire without backslash and control
# characters; leading and trailing spaces are not significant, so none are written.
AE_TITLE_PATTERN = r"(?! )[ -\[\]-~]{1,16}(?<! )"
HOST_PATTERN = r"[0-9A-Za-z]([0-9A-Za-z.:-]{0,251}[0-9A-Za-z])?"
ROUTE_PATTERN = r"[a-z][a-z0-9-]{0,31}"
FINGERPRINT_PATTERN = r"[0-9a-f]{64}"
MAX_ROUTES = 32
MAX_TRUST_CHARS = 16_384
_LOOPBACK = ip_network("127.0.0.0/8")
_CERTIFICATES = re.compile(r"(-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----\n)+")


class Via(StrEnum):
    """Who sends on a route: the centre out of the vault, or the host that captured, under a second wrap."""

    CENTRE = "centre"
    HOST = "host"


@dataclass(frozen=True)
class Peer:
    """An application entity to connect to. `trust` is PEM certificates that its own must chain to; empty: no TLS.

    `name` is what its certificate must be for, where that is not `host`.
    """

    ae_title: str
    host: str
    port: int
    trust: str = ""
    name: str = ""

    def json(self) -> dict[str, Json]:
        members: dict[str, Json] = {"ae_title": self.ae_title, "host": self.host, "port": self.port}
        if self.trust:
            members["tls"] = {"trust": self.trust, "name": self.name}
        return members

    @classmethod
    def parse(cls, fields: Fields) -> "Peer":
        """Raises Malformed."""
        ae_title, host = fields.text("ae_title", AE_TITLE_PATTERN), fields.text("host", HOST_PATTERN)
        port = fields.integer("port", least=1, most=65_535)
        trust = name = ""
        if fields.has("tls"):
            tls = fields.fields("tls")
            trust = certificates(tls.text("trust", r"[ -~\n]+", max_chars=MAX_TRUST_CHARS))
            name = tls.text("name", rf"({HOST_PATTERN})?")
            tls.done()
        fields.done()
        return cls(ae_title, host, port, trust, name)


@dataclass(frozen=True)
class Route:
    """A way to an existing archive. Grading rules name it."""

    name: str
    via: Via
    calling_ae_title: str
    peer: Peer

    def json(self) -> dict[str, Json]:
        return {
            "name": self.name,
            "via": self.via.value,
            "calling_ae_title": self.calling_ae_title,
            "peer": self.peer.json(),
        }

    @classmethod
    def parse(cls, value: Json) -> "Route":
        """Raises Malformed: also for a route of a host that would carry images in clear."""
        fields = Fields(value, "policy route")
        route = cls(
            fields.text("name", ROUTE_PATTERN),
            Via(fields.choice("via", list(Via))),
            fields.text("calling_ae_title", AE_TITLE_PATTERN),
            Peer.parse(fields.fields("peer")),
        )
        fields.done()
        if not route.peer.trust and not is_loopback(route.peer.host):
            raise Malformed("policy route", "leads over a network without TLS; give its peer a tls member")
        return route


def certificates(text: str) -> str:
    """Return `text` if it is certificates in PEM and nothing else. Raises Malformed."""
    if not _CERTIFICATES.fullmatch(text):
        raise Malformed("trusted certificates", "expected certificates in PEM, each line ended, and nothing else")
    return text


def address_range(text: str) -> str:
    """Return an IP address, or a network in CIDR form, in the one way it is written. Raises Malformed."""
    try:
        written = ip_network(text) if "/" in text else ip_address(text)
    except ValueError as exc:
        raise Malformed("address", "expected an IP address or a network such as 192.0.2.0/24") from exc
    if str(written) != text:
        raise Malformed("address", "is not written in its usual short form")
    if "/" not in text and getattr(ip_address(text), "ipv4_mapped", None) is not None:
        # A peer's address is compared as IPv4; written so it would never match, and is not written in one way only.
        raise Malformed("address", "is an IPv4 address written as an IPv6 one")
    return text


def is_loopback(host: str) -> bool:
    """Whether a host is `localhost` or an address in 127.0.0.0/8, so that nothing crosses a network."""
    try:
        return ip_address(host) in _LOOPBACK
    except ValueError:
        return host == "localhost"
