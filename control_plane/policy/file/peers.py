"""Reads application entities, the certificates they are known by, and the routes that lead to them."""

from cryptography import x509

from control_plane.policy.file.values import Section, Value, once
from shared.errors import Malformed
from shared.policy.document import Coverage
from shared.policy.routes import (
    AE_TITLE_PATTERN,
    HOST_PATTERN,
    MAX_ROUTES,
    MAX_TRUST_CHARS,
    ROUTE_PATTERN,
    Peer,
    Route,
    Via,
    certificates,
    is_loopback,
)

AE_TITLE_EXPECTED = "expected 1 to 16 printable ASCII characters without backslash and without a space at either end"
ROUTE_EXPECTED = "expected the name of a route, such as pacs-main: a to z, 0 to 9, hyphen"
_HOST_EXPECTED = "expected a host name or an IP address"
_PEER = ("ae_title", "host", "port")


def read_commitment(value: Value) -> Peer:
    return _peer(value.section(_PEER, ("tls",)))


def read_coverage(value: Value) -> Coverage:
    section = value.section(("calling_ae_title", *_PEER), ("tls",))
    return Coverage(section.text("calling_ae_title", AE_TITLE_PATTERN, AE_TITLE_EXPECTED), _peer(section))


def read_routes(value: Value | None) -> tuple[Route, ...]:
    seen: dict[str, Value] = {}
    return tuple(_route(item, seen) for item in value.items(MAX_ROUTES)) if value is not None else ()


def read_trust(value: Value) -> str:
    """Return certificates in PEM, each line ended."""
    expected = "expected certificates in PEM, as a block that begins with | and holds nothing else"
    text = value.text(rf"[ -~\n]{{1,{MAX_TRUST_CHARS}}}", f"{expected}, at most {MAX_TRUST_CHARS} characters")
    if not text:
        return ""
    text = text.rstrip("\n") + "\n"
    try:
        certificates(text)
        x509.load_pem_x509_certificates(text.encode())
    except (Malformed, ValueError, x509.InvalidVersion):
        value.problem(expected)
    return text


def _route(value: Value, seen: dict[str, Value]) -> Route:
    section = value.section(("name", "via", "calling_ae_title", *_PEER), ("tls",))
    name = section.text("name", ROUTE_PATTERN, ROUTE_EXPECTED)
    once(seen, name, section.get("name"))
    via = section.get("via")
    peer = _peer(section)
    host = section.get("host")
    if peer.host and host is not None and section.get("tls") is None and not is_loopback(peer.host):
        host.problem("is another machine, and images go there in TLS only; give the route a tls section")
    return Route(
        name,
        Via.CENTRE if via is None else Via(via.choice(Via)),
        section.text("calling_ae_title", AE_TITLE_PATTERN, AE_TITLE_EXPECTED),
        peer,
    )


def _peer(section: Section) -> Peer:
    tls = section.get("tls")
    trust = name = ""
    if tls is not None:
        within = tls.section(("trust",), ("name",))
        pem = within.get("trust")
        trust = "" if pem is None else read_trust(pem)
        name = within.text("name", HOST_PATTERN, _HOST_EXPECTED)
    return Peer(
        section.text("ae_title", AE_TITLE_PATTERN, AE_TITLE_EXPECTED),
        section.text("host", HOST_PATTERN, _HOST_EXPECTED),
        section.number("port", 65_535),
        trust,
        name,
    )
