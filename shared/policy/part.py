"""The policy of a part of the organisation: the TUF target `<layer>/policy.json` of a site or a type of modality.

    layer   site-NAME      a place; its document may have exceptions for single hosts of it
            modality-NAME  a type of modality, such as modality-ct, wherever it stands

A part adds to the organisation's policy and says anew what is its own to say. What it leaves out is as it was; it has
no keys, and says nothing of who signs.  docs/formats/policy.md section 8
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from shared import canonical
from shared.canonical import Json
from shared.devices.policy import DevicePolicy
from shared.devices.watch import WatchPolicy
from shared.errors import Malformed
from shared.fields import Fields
from shared.identity import HostId
from shared.policy.document import (
    MAX_BYTES,
    MAX_MODALITIES,
    MAX_PULL_EVERY_S,
    MAX_STATE_EVERY_S,
    Coverage,
    Modality,
)
from shared.policy.grading import Grading
from shared.policy.routes import MAX_ROUTES, Route

SITE, MODALITY = "site-", "modality-"
PART_PATTERN = rf"({SITE}|{MODALITY})[a-z0-9][a-z0-9-]{{0,22}}"
MAX_HOSTS = 1000


@dataclass(frozen=True)
class PartContent:
    """What a part says; each member that has its default is left out and says nothing."""

    modalities: tuple[Modality, ...] = ()
    routes: tuple[Route, ...] = ()
    grading: Grading | None = None
    state_every_s: int = 0
    pull_every_s: int = 0
    coverage: Coverage | None = None
    spool_quota_bytes: int = 0
    frame_digests: bool = False
    devices: DevicePolicy | None = None
    watch: WatchPolicy | None = None

    def says(self) -> Iterable[str]:
        """Yield the names of the members that say something."""
        return (each.name for each in fields(self) if getattr(self, each.name) != each.default)

    def json(self) -> dict[str, Json]:
        written: dict[str, Json] = {
            "modalities": [each.json() for each in self.modalities],
            "routes": [each.json() for each in self.routes],
            "state_every_s": self.state_every_s,
            "pull_every_s": self.pull_every_s,
            "spool_quota_bytes": self.spool_quota_bytes,
            "frame_digests": self.frame_digests,
        }
        if self.coverage is not None:
            coverage: dict[str, Json] = {"calling_ae_title": self.coverage.calling_ae_title}
            written["coverage"] = {**coverage, "peer": self.coverage.peer.json()}
        for name, section in (("grading", self.grading), ("devices", self.devices), ("watch", self.watch)):
            if section is not None:
                written[name] = section.json()
        return {name: written[name] for name in self.says()}

    @classmethod
    def parse(cls, given: Fields) -> "PartContent":
        """Raises Malformed: also for a member that says nothing, or that a part has not."""
        modalities = given.items("modalities", most=MAX_MODALITIES) if given.has("modalities") else []
        routes = given.items("routes", most=MAX_ROUTES) if given.has("routes") else []
        content = cls(
            tuple(map(Modality.parse, modalities)),
            tuple(map(Route.parse, routes)),
            Grading.parse(given.fields("grading")) if given.has("grading") else None,
            _integer(given, "state_every_s", MAX_STATE_EVERY_S),
            _integer(given, "pull_every_s", MAX_PULL_EVERY_S),
            Coverage.parse(given.fields("coverage")) if given.has("coverage") else None,
            _integer(given, "spool_quota_bytes", 2**53 - 1),
            given.flag("frame_digests") if given.has("frame_digests") else False,
            DevicePolicy.parse(given.fields("devices")) if given.has("devices") else None,
            WatchPolicy.parse(given.fields("watch")) if given.has("watch") else None,
        )
        given.done()
        return content


@dataclass(frozen=True)
class PartDocument:
    """`version` only rises, by one for each publication of the layer. `hosts` are exceptions, in the order of ids."""

    layer: str
    version: int
    content: PartContent
    hosts: tuple[tuple[HostId, PartContent], ...] = ()

    @property
    def is_site(self) -> bool:
        return self.layer.startswith(SITE)

    def encode(self) -> bytes:
        members: dict[str, Json] = {"v": 1, "layer": self.layer, "version": self.version, **self.content.json()}
        if self.hosts:
            members["hosts"] = {str(host): content.json() for host, content in self.hosts}
        return canonical.encode(members)

    @classmethod
    def parse(cls, data: bytes) -> "PartDocument":
        """Raises Malformed, naming the field; nothing of an invalid document is used."""
        what = "policy of a part"
        if len(data) > MAX_BYTES:
            raise Malformed(what, f"larger than {MAX_BYTES} bytes")
        given = Fields(canonical.parse(data, what), what)
        given.version()
        layer, version = given.text("layer", PART_PATTERN), given.integer("version", least=1)
        hosts = given.mapping("hosts", most=MAX_HOSTS) if given.has("hosts") else {}
        exceptions = tuple(
            (HostId.parse(name), PartContent.parse(Fields(hosts[name], f"{what}, host {name}")))
            for name in sorted(hosts)
        )
        part = cls(layer, version, PartContent.parse(given), exceptions)
        if part.hosts and not part.is_site:
            raise Malformed(what, "only a site has exceptions for hosts")
        if part.encode() != data:
            raise Malformed(what, "writes out a default; what says nothing is left out")
        return part


def _integer(given: Fields, name: str, most: int) -> int:
    return given.integer(name, least=1, most=most) if given.has(name) else 0
