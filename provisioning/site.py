"""A site file: what an engineer knows of one host before the visit.  docs/guides/field-engineer.md

    version = 1
    centre = "https://leadglass.hospital.example:8441"
    asset = "CT 2, room 1.14"

and whatever of the other fields is not as usual. What has its default is left out of the JSON.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from ipaddress import ip_network
from typing import Any, cast
from urllib.parse import urlsplit

from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields
from shared.policy.routes import AE_TITLE_PATTERN

_WHAT = "site"
_ASSET = r"[^\x00-\x1f\x7f]{1,100}"
_NAME = r"[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:]{2,39}\]"
_FOLDER = r"[^=\x00-\x1f\x7f]{1,16}=/[^\x00-\x1f\x7f]{0,1023}"
_USB_PORT = r"[0-9]+-[0-9]+(\.[0-9]+)*"
_DIGEST = r"[0-9a-f]{64}"
_PORT = {"least": 1, "most": 65_535}
_MOST_LISTED, _MOST_GIB = 64, 1 << 20
KEYS = ("auto", "tpm", "file")


@dataclass(frozen=True)
class Peer:
    """A modality or an archive that answers a C-ECHO, written `AE_TITLE@HOST:PORT`."""

    ae_title: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> "Peer":
        title, _, where = text.rpartition("@")
        found = re.fullmatch(rf"({_NAME}):([0-9]{{1,5}})", where)
        if not re.fullmatch(AE_TITLE_PATTERN, title) or found is None or not 1 <= int(found[2]) <= _PORT["most"]:
            raise Malformed(f"{_WHAT} field 'peers'", "expected AE_TITLE@HOST:PORT")
        return cls(title, found[1], int(found[2]))


@dataclass(frozen=True)
class Site:
    """`sidecar`: a box beside the modality, which cannot see the modality's own ports and disks."""

    centre: str  # the enrolment door, https://HOST:PORT
    asset: str
    ae_title: str = "LEADGLASS"
    dicom_host: str = "127.0.0.1"
    dicom_port: int = 11112
    dicom_tls_port: int | None = None
    modalities: tuple[str, ...] = ()  # the networks from which they call
    archives: tuple[str, ...] = ()  # whom this host forwards to
    export_folders: tuple[str, ...] = ()  # AE_TITLE=PATH
    peers: tuple[Peer, ...] = ()
    guard: bool = False
    sidecar: bool = False
    deny_by_default: bool = False  # nothing on the USB works by itself once the console is pinned
    no_usb_console: bool = False  # this machine has no keyboard and no mouse on the USB, ever
    keys: str = "auto"
    console_ports: tuple[str, ...] = ()  # for `pin-console`, where it would have to ask
    policy_root: str | None = None  # SHA-256, as the administrator's `leadglass-server policy root` prints it
    hosts_port: int = 8442
    broker_port: int = 8883
    day_gib: int = 20  # what one day of images needs at the most
    engineer: str | None = None
    received_by: str | None = None

    @property
    def centre_host(self) -> str:
        return _centre(self.centre)[0]

    @property
    def enrolment_port(self) -> int:
        return _centre(self.centre)[1]

    def json(self) -> dict[str, Json]:
        said: dict[str, Json] = {"version": 1}
        for one in fields(self):
            value = getattr(self, one.name)
            if value != one.default:
                said[one.name] = [str(part) for part in value] if isinstance(value, tuple) else value
        return said

    @classmethod
    def parse(cls, value: Json) -> "Site":
        """Raises Malformed, naming the field."""
        read = Fields(value, _WHAT)
        if read.integer("version") != 1:
            raise Malformed(f"{_WHAT} field 'version'", "this tool knows version 1 only")
        site = cls(centre=read.text("centre"), asset=read.text("asset", _ASSET))
        _centre(site.centre)
        known: dict[str, Any] = {}
        for name, take in _OPTIONAL.items():
            if read.has(name):
                known[name] = take(read, name)
        read.done()
        return replace(site, **known)


def parse_file(text: str) -> dict[str, Json]:
    """Return the fields of a site file, in TOML, which may leave some to options. Raises Malformed."""
    try:
        return cast("dict[str, Json]", tomllib.loads(text))
    except tomllib.TOMLDecodeError as exc:
        raise Malformed("site file", str(exc)) from exc


def joined(*sources: Mapping[str, Json]) -> Site:
    """Return the site that the sources describe together, a later one over an earlier. Raises Malformed."""
    together: dict[str, Json] = {"version": 1}
    for source in sources:
        together.update(source)
    if unknown := sorted(together.keys() - {"version"} - {one.name for one in fields(Site)}):
        raise Malformed(_WHAT, f"there is no field {unknown[0]}; --help of `visit` names those there are")
    for name, option in (("centre", "--url https://CENTRE:8441"), ("asset", '--asset "CT 2, room 1.14"')):
        if name not in together:
            raise Malformed(_WHAT, f"{name} is not given: name it in the site file, or say {option}")
    return Site.parse(together)


def _centre(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError:
        parts, port = urlsplit(""), 0
    if parts.scheme != "https" or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.username:
        raise Malformed(f"{_WHAT} field 'centre'", "expected https://HOST:PORT of the enrolment door")
    return parts.hostname, port


def _texts(read: Fields, name: str, most: int) -> tuple[str, ...]:
    items = read.items(name, most=most)
    if not all(isinstance(item, str) for item in items):
        raise Malformed(f"{_WHAT} field {name!r}", "expected a list of texts")
    return tuple(str(item) for item in items)


def _networks(read: Fields, name: str) -> tuple[str, ...]:
    try:
        return tuple(str(ip_network(text)) for text in _texts(read, name, _MOST_LISTED))
    except ValueError as exc:
        raise Malformed(f"{_WHAT} field {name!r}", "expected networks such as 10.1.2.0/24") from exc


def _matching(read: Fields, name: str, pattern: str, what: str) -> tuple[str, ...]:
    texts = _texts(read, name, _MOST_LISTED)
    if not all(re.fullmatch(pattern, text) for text in texts):
        raise Malformed(f"{_WHAT} field {name!r}", f"expected {what}")
    return texts


def _port(read: Fields, name: str) -> int:
    return read.integer(name, **_PORT)


_OPTIONAL: Mapping[str, Callable[[Fields, str], Any]] = {
    "ae_title": lambda read, name: read.text(name, AE_TITLE_PATTERN),
    "dicom_host": lambda read, name: read.text(name, _NAME),
    "dicom_port": _port,
    "dicom_tls_port": _port,
    "modalities": _networks,
    "archives": lambda read, name: _matching(read, name, _NAME, "addresses or names"),
    "export_folders": lambda read, name: _matching(read, name, _FOLDER, "AE_TITLE=PATH"),
    "peers": lambda read, name: tuple(map(Peer.parse, _texts(read, name, _MOST_LISTED))),
    "guard": Fields.flag,
    "sidecar": Fields.flag,
    "deny_by_default": Fields.flag,
    "no_usb_console": Fields.flag,
    "keys": lambda read, name: read.choice(name, KEYS),
    "console_ports": lambda read, name: _matching(read, name, _USB_PORT, "ports such as 1-2.4"),
    "policy_root": lambda read, name: read.text(name, _DIGEST),
    "hosts_port": _port,
    "broker_port": _port,
    "engineer": lambda read, name: read.text(name, _ASSET),
    "received_by": lambda read, name: read.text(name, _ASSET),
    "day_gib": lambda read, name: read.integer(name, least=1, most=_MOST_GIB),
}
