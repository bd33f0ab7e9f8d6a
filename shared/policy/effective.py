"""What a host acts by: the organisation's policy, with what its type of modality, its site and its own exception add.

    modalities                       each part adds; an AE title twice is Malformed
    device rules                     the organisation's first, then the type's, the site's, the host's: the first
                                     match wins, so nothing that a part says loosens a rule above it
    default, suspicious, wipe rules  the strictest that anybody says
    what is not on the USB           of each kind that anybody names, the same
    everything else                  the nearest to the host that says it

docs/formats/policy.md section 8
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from shared.canonical import Json
from shared.devices.policy import DevicePolicy
from shared.devices.verdict import Target
from shared.errors import Malformed
from shared.identity import HostId
from shared.policy.document import PolicyDocument
from shared.policy.layer import MODALITY, SITE
from shared.policy.part import PartContent, PartDocument

_STRICTER = (Target.ALLOW, Target.BLOCK, Target.REJECT)
_NEAREST = ("grading", "state_every_s", "pull_every_s", "spool_quota_bytes", "watch")
_NOTHING = DevicePolicy()


@dataclass(frozen=True)
class Origin:
    """Who said a line: a layer and its version, and the host where it is the site's exception for it."""

    layer: str
    version: int
    is_exception: bool = False

    def __str__(self) -> str:
        return f"{self.layer} {self.version}" + (", for this host" if self.is_exception else "")


@dataclass(frozen=True)
class Effective:
    """`origins` has an entry for each modality, route, device rule and other member: `modalities/CT1`.

    So it has for what is put together field by field: `wipe/least`, `devices/others/sd`.
    """

    policy: PolicyDocument
    origins: Mapping[str, Origin]


def effective(organisation: PolicyDocument, parts: Sequence[PartDocument], host: HostId) -> Effective:
    """Return what `host`, for which exactly these parts are meant, acts by.

    Raises Malformed: two parts of one kind, or together they are no valid policy.
    """
    policy, first = organisation, Origin(organisation.layer, organisation.version)
    origins = dict.fromkeys(dict(_lines(organisation)), first)
    for origin, content in _nearer(parts, host):
        before, said = dict(_lines(policy)), set(content.says())
        policy = _with(policy, content)
        for line, value in _lines(policy):
            if line not in before or line in said or value != before[line]:
                origins[line] = origin
    # Two layers that are each valid may not be so together, and what hosts refuse is nowhere in force.
    return Effective(PolicyDocument.parse(policy.encode()), origins)


def _nearer(parts: Sequence[PartDocument], host: HostId) -> Iterator[tuple[Origin, PartContent]]:
    """Yield what the parts say, the nearest to the host last."""
    for kind in (MODALITY, SITE):
        of_kind = [part for part in parts if part.layer.startswith(kind)]
        if len(of_kind) > 1:
            raise Malformed("policy", f"a host has one layer {kind}… and not {len(of_kind)}")
        for part in of_kind:
            yield Origin(part.layer, part.version), part.content
            exception = dict(part.hosts).get(host)
            if exception is not None:
                yield Origin(part.layer, part.version, is_exception=True), exception


def _with(policy: PolicyDocument, content: PartContent) -> PolicyDocument:
    says = set(content.says())
    nearest = {name: getattr(content, name) for name in _NEAREST if name in says}
    return replace(
        policy,
        modalities=(*policy.modalities, *content.modalities),
        devices=_devices(policy.devices, content.devices),
        # Without the organisation's section no drive is wiped, whatever a part says.
        wipe=policy.wipe.stricter(content.wipe) if policy.wipe and content.wipe else policy.wipe,
        **nearest,
    )


def _devices(above: DevicePolicy | None, below: DevicePolicy | None) -> DevicePolicy | None:
    if above is None or below is None:
        return above or below
    return DevicePolicy(
        rules=(*above.rules, *below.rules),
        default=max(above.default, below.default, key=_STRICTER.index),
        suspicious=max(above.suspicious, below.suspicious, key=_STRICTER.index),
        # A part that could begin a trial would have the rules above it decide nothing.
        observe_until=min(filter(None, (above.observe_until, below.observe_until))) if above.observe_until else None,
        rescue=below.rescue or above.rescue,
        contact=below.contact or above.contact,
        language=below.language if below.language != _NOTHING.language else above.language,
        others=above.others.stricter(below.others),
    )


def _lines(policy: PolicyDocument) -> Iterator[tuple[str, Json]]:
    """Yield the names of what has an origin; with its value where saying it is not enough to be that."""
    for name in _names(policy):
        yield name, None
    if policy.wipe is not None:
        yield from ((f"wipe/{name}", value) for name, value in policy.wipe.json().items())
    if policy.devices is not None:
        yield from ((f"devices/others/{kind}", target) for kind, target in policy.devices.others.json().items())


def _names(policy: PolicyDocument) -> Iterator[str]:
    yield from (f"modalities/{each.ae_title}" for each in policy.modalities)
    yield from (f"routes/{each.name}" for each in policy.routes)
    yield from ("keys", "receipt_key", "grading", "state_every_s", "pull_every_s")
    for name in ("dicom_trust", "coverage", "spool_quota_bytes", "frame_digests", "watch"):
        if getattr(policy, name):
            yield name
    if policy.devices is not None:
        yield "devices"
        yield from (f"devices/rules/{number}" for number in range(1, len(policy.devices.rules) + 1))
