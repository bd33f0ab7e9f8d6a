"""What hosts act by before and after a policy that is tried, each put together and made ready once."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property

from control_plane.policy.file.authored import Authored, AuthoredPart, AuthoredPolicy
from control_plane.policy.simulation.outcomes import JudgedPolicy
from control_plane.policy.together import OrganisationFirst
from control_plane.policy.verified import VerifiedPolicy
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.identity import HostId
from shared.policy.document import PolicyDocument
from shared.policy.effective import effective
from shared.policy.part import PartDocument

_FILE = -1  # in the place of a version: the organisation's policy that comes after


@dataclass(frozen=True)
class ActsBy:
    authored: AuthoredPolicy

    @cached_property
    def judged(self) -> JudgedPolicy:
        return JudgedPolicy(self.authored.devices)


class Compared:
    """`newest` and `parts` are what is published, `after` is what is tried; a text says why there is no policy."""

    def __init__(
        self,
        verified: VerifiedPolicy,
        newest: PolicyDocument | None,
        parts: Mapping[str, PartDocument],
        after: Authored,
    ) -> None:
        """Raises OrganisationFirst: a part is tried, and nothing is published that it adds to."""
        self._verified = verified
        self._only = after.layer if isinstance(after, AuthoredPart) else None
        self._after = _after(newest, after)
        self._parts_before = parts
        self._parts_after = parts
        if isinstance(after, AuthoredPart):
            self._parts_after = {**parts, after.layer: after.document(_next(parts.get(after.layer)))}
        self._organisations: dict[int, PolicyDocument | str] = {}
        self._made: dict[object, ActsBy | str] = {}

    def is_for(self, layers: tuple[str, ...]) -> bool:
        """Return whether what is tried is for a host with these layers besides the organisation's."""
        return self._only is None or self._only in layers

    def before(self, version: int, host: HostId, layers: tuple[str, ...]) -> ActsBy | str:
        """Return what a host acts by that has this version of the organisation's policy."""
        organisation = self._organisation(version)
        if isinstance(organisation, str):
            return organisation
        return self._together(version, organisation, self._parts_before, host, layers)

    def guarded_before(self, version: int, host: HostId, layers: tuple[str, ...]) -> JudgedPolicy | str:
        """Return what the guard of such a host goes by; 0: it has no policy yet."""
        if version == 0:
            return JudgedPolicy(None)
        before = self.before(version, host, layers)
        return before if isinstance(before, str) else before.judged

    def after(self, host: HostId, layers: tuple[str, ...]) -> ActsBy | str:
        return self._together(_FILE, self._after, self._parts_after, host, layers)

    def _organisation(self, version: int) -> PolicyDocument | str:
        if version not in self._organisations:
            try:
                self._organisations[version] = self._verified.version(version)
            except (Refused, IntegrityFailure) as exc:
                self._organisations[version] = str(exc)
        return self._organisations[version]

    def _together(
        self,
        version: int,
        organisation: PolicyDocument | AuthoredPolicy,
        published: Mapping[str, PartDocument],
        host: HostId,
        layers: tuple[str, ...],
    ) -> ActsBy | str:
        parts = [published[layer] for layer in layers if layer in published]
        excepted = [host for part in parts if host in dict(part.hosts)]
        named = (version, tuple(part.layer for part in parts), *excepted)
        if named not in self._made:
            self._made[named] = _acts_by(organisation, parts, host)
        return self._made[named]


def _after(newest: PolicyDocument | None, after: Authored) -> PolicyDocument | AuthoredPolicy:
    """Return the organisation's policy that comes after; with keys as soon as there are any to put parts together."""
    if isinstance(after, AuthoredPart):
        if newest is None:
            raise OrganisationFirst(after.layer)
        return newest
    if newest is None:
        return after
    return replace(newest, **{each.name: getattr(after, each.name) for each in fields(after)})


def _next(published: PartDocument | None) -> int:
    return 1 if published is None else published.version + 1


def _acts_by(organisation: PolicyDocument | AuthoredPolicy, parts: list[PartDocument], host: HostId) -> ActsBy | str:
    if isinstance(organisation, AuthoredPolicy):
        return ActsBy(organisation)  # before the first publication there are no parts
    if not parts:
        return ActsBy(AuthoredPolicy.of(organisation))
    try:
        return ActsBy(AuthoredPolicy.of(effective(organisation, parts, host).policy))
    except Malformed as exc:
        return str(exc)
