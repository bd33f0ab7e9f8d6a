"""What the policy of a site or a type of modality changes on the hosts that have it. Decides only.

A part alone says little: what its lines do depends on the organisation's policy, which they add to. So two versions of
it differ by what hosts act by under the one and under the other, and what of that may do harm is judged as ever.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from control_plane.policy.file.authored import AuthoredPart, AuthoredPolicy
from control_plane.policy.file.change import Change
from control_plane.policy.file.differences import differences
from shared.errors import Malformed
from shared.identity import SIZE_BYTES, HostId
from shared.policy.document import PolicyDocument
from shared.policy.effective import effective
from shared.policy.part import PartContent, PartDocument

_UNTOLD = "hosts act by what was in force before that, and what changes there cannot be told"
_ANY_HOST = HostId(bytes(SIZE_BYTES))


def part_differences(
    organisation: PolicyDocument,
    before: PartDocument | None,
    after: PartDocument | AuthoredPart,
    others: Sequence[PartDocument] = (),
) -> tuple[Change, ...]:
    """Return what changes on hosts of the part, then what changes otherwise where an exception or another part is.

    `before` is None where the layer was never published. `others` are parts that a host of this one may have too: what
    this one says anew may be what such a part said until now. Those of its own kind are passed over.

    Raises Malformed: `after` and the organisation's policy, or one of `others` too, are no valid policy together.
    """
    if isinstance(after, AuthoredPart):
        after = after.document(1 if before is None else before.version + 1)
    return tuple(_Versions(organisation, before, after).told(others))


@dataclass(frozen=True)
class _Versions:
    organisation: PolicyDocument
    before: PartDocument | None
    after: PartDocument

    def told(self, others: Sequence[PartDocument]) -> Iterator[Change]:
        everywhere = self._with(PartContent(), PartContent(), None)
        yield from everywhere
        told = set(everywhere)
        for other in (other for other in others if other.is_site != self.after.is_site):
            beside = [change for change in self._with(PartContent(), PartContent(), other) if change not in told]
            yield from _within(f"beside {other.layer}: ", beside)
            told |= set(beside)
        yield from self._for_hosts(told)

    def _for_hosts(self, told: set[Change]) -> Iterator[Change]:
        """Yield, of each host that has or had an exception, what is not told of every host of the part already."""
        was, now = ({} if part is None else dict(part.hosts) for part in (self.before, self.after))
        same = cache(self._with)  # many exceptions say the same
        for host in sorted({*was, *now}):
            changes = same(was.get(host, PartContent()), now.get(host, PartContent()), None)
            yield from _within(f"hosts[{host}].", [change for change in changes if change not in told])

    def _with(self, was: PartContent, now: PartContent, other: PartDocument | None) -> tuple[Change, ...]:
        """Return what changes on a host with these exceptions, beside another part or not."""
        beside = [] if other is None else [replace(other, hosts=())]
        after = [*beside, replace(self.after, hosts=((_ANY_HOST, now),))]
        before = [] if self.before is None else [replace(self.before, hosts=((_ANY_HOST, was),))]
        then = self._acts_by(after)
        try:
            return differences(self._acts_by([*beside, *before]), then)
        except Malformed as exc:
            # Another layer has changed since, so no host acts by the two together.
            told = f"no valid policy together with the organisation's: {exc}"
            return (Change("policy", told, "a valid one", _UNTOLD), *differences(self._acts_by([]), then))

    def _acts_by(self, parts: Sequence[PartDocument]) -> AuthoredPolicy:
        return AuthoredPolicy.of(effective(self.organisation, parts, _ANY_HOST).policy)


def _within(where: str, changes: Sequence[Change]) -> Iterator[Change]:
    yield from (replace(change, field=where + change.field) for change in changes)
