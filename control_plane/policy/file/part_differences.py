"""What the policy of a site or a type of modality changes on the hosts that have it. Decides only.

A part alone says little: what its lines do depends on the organisation's policy, which they add to. So two versions of
it differ by what hosts act by under the one and under the other, and what of that may do harm is judged as ever.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

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
_ADDED_TO = {"modalities", "devices", "wipe"}  # what a host puts together; the nearest to it takes the rest's place


def differences_beside(
    organisations: Sequence[PolicyDocument],
    before: PartDocument | None,
    after: PartDocument | AuthoredPart,
    others: Sequence[PartDocument] = (),
) -> tuple[Change, ...]:
    """Return what `part_differences` does beside each of these versions of the organisation's policy, each change once.

    There are two of them, and a part is twice among `others`, while hosts go by either.
    """
    found = (change for each in organisations for change in part_differences(each, before, after, others))
    return tuple(dict.fromkeys(found))


def part_differences(
    organisation: PolicyDocument,
    before: PartDocument | None,
    after: PartDocument | AuthoredPart,
    others: Sequence[PartDocument] = (),
) -> tuple[Change, ...]:
    """Return what changes on hosts of the part, then what changes otherwise where an exception or another part is.

    `before` is None where the layer was never published. `others` are parts that a host of this one may have too: what
    this one says anew may be what such a part, or its exception for a host, said until now. Those of its own kind are
    passed over.

    Raises Malformed: `after` and the organisation's policy, or one of `others` too, are no valid policy together.
    """
    if isinstance(after, AuthoredPart):
        after = after.document(1 if before is None else before.version + 1)
    beside = tuple(_beside(other for other in others if other.is_site != after.is_site))
    return tuple(_Versions(organisation, before, after, beside).told())


@dataclass(frozen=True)
class _Beside:
    """What else a host may have: another part, with its exception for that host or without one."""

    where: str
    part: PartDocument | None


_ALONE = _Beside("", None)


def _beside(others: Iterable[PartDocument]) -> Iterator[_Beside]:
    for other in others:
        yield _Beside(f"beside {other.layer}: ", replace(other, hosts=()))
        by_content: dict[PartContent, HostId] = {}  # of the hosts for which it says the same, the first
        for host, content in other.hosts:
            by_content.setdefault(content, host)
        for content, host in by_content.items():
            excepted = replace(other, hosts=((_ANY_HOST, content),))
            yield _Beside(f"beside {other.layer} with its exception for {host}: ", excepted)


@dataclass(frozen=True)
class _Versions:
    organisation: PolicyDocument
    before: PartDocument | None
    after: PartDocument
    beside: tuple[_Beside, ...]

    def told(self) -> Iterator[Change]:
        told: set[Change] = set()
        yield from self._new(PartContent(), PartContent(), told)
        yield from self._for_hosts(told)

    def _for_hosts(self, told: set[Change]) -> Iterator[Change]:
        """Yield, of each host that has or had an exception, what is not told of every host of the part already."""
        was, now = ({} if part is None else dict(part.hosts) for part in (self.before, self.after))
        same: dict[tuple[PartContent, PartContent], list[Change]] = {}  # many exceptions say the same
        for host in sorted({*was, *now}):
            both = was.get(host, PartContent()), now.get(host, PartContent())
            if both[0] == both[1] and not _ADDED_TO & {*both[0].says()}:
                continue  # it only hides something of what changes on every host
            if both not in same:
                same[both] = list(self._new(*both, set(told)))
            yield from _within(f"hosts[{host}].", same[both])

    def _new(self, was: PartContent, now: PartContent, told: set[Change]) -> Iterator[Change]:
        """Yield what changes on a host with these exceptions, alone and then beside each other part, and was not told.

        What it yields is told then.
        """
        for beside in (_ALONE, *self.beside):
            changes = [change for change in self._with(was, now, beside.part) if change not in told]
            yield from _within(beside.where, changes)
            told |= set(changes)

    def _with(self, was: PartContent, now: PartContent, other: PartDocument | None) -> tuple[Change, ...]:
        """Return what changes on a host with these exceptions, beside another part or not."""
        if self.before is not None and (self.before.content, was) == (self.after.content, now):
            return ()
        beside = [] if other is None else [other]
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
