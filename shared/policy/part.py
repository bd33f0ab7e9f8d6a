"""The policy of a part of the organisation: the TUF target `<layer>/policy.json` of a site or a type of modality.

The document of a site may have exceptions for single hosts of it. A part adds to the organisation's policy and says
anew what is its own to say; what it leaves out is as it was. It has no keys, says nothing of who signs, and names no
archive: what the centre acts by is the organisation's alone.  docs/formats/policy.md section 8
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
    Modality,
)
from shared.policy.grading import Grading
from shared.policy.layer import PART_PATTERN, SITE
from shared.policy.wipe import WipePolicy

MAX_HOSTS = 1000


@dataclass(frozen=True)
class PartContent:
    """What a part says; each member that has its default is left out and says nothing."""

    modalities: tuple[Modality, ...] = ()
    grading: Grading | None = None
    state_every_s: int = 0
    pull_every_s: int = 0
    spool_quota_bytes: int = 0
    devices: DevicePolicy | None = None
    watch: WatchPolicy | None = None
    wipe: WipePolicy | None = None

    def says(self) -> Iterable[str]:
        """Yield the names of the members that say something."""
        return (each.name for each in fields(self) if getattr(self, each.name) != each.default)

    def json(self) -> dict[str, Json]:
        written: dict[str, Json] = {
            "modalities": [each.json() for each in self.modalities],
            "state_every_s": self.state_every_s,
            "pull_every_s": self.pull_every_s,
            "spool_quota_bytes": self.spool_quota_bytes,
        }
        sections = ("grading", self.grading), ("devices", self.devices), ("watch", self.watch), ("wipe", self.wipe)
        for name, section in sections:
            if section is not None:
                written[name] = section.json()
        return {name: written[name] for name in self.says()}

    @classmethod
    def parse(cls, given: Fields) -> "PartContent":
        """Raises Malformed: also for a member that says nothing, or that a part has not."""
        modalities = given.items("modalities", most=MAX_MODALITIES) if given.has("modalities") else []
        content = cls(
            tuple(map(Modality.parse, modalities)),
            Grading.parse(given.fields("grading")) if given.has("grading") else None,
            _integer(given, "state_every_s", MAX_STATE_EVERY_S),
            _integer(given, "pull_every_s", MAX_PULL_EVERY_S),
            _integer(given, "spool_quota_bytes", 2**53 - 1),
            DevicePolicy.parse(given.fields("devices")) if given.has("devices") else None,
            WatchPolicy.parse(given.fields("watch")) if given.has("watch") else None,
            WipePolicy.parse(given.fields("wipe")) if given.has("wipe") else None,
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
