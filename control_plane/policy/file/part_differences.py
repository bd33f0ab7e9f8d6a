"""What the policy of a site or a type of modality changes on the hosts that have it. Decides only.

A part alone says little: what its lines do depends on the organisation's policy, which they add to. So two versions of
it differ by what hosts act by under the one and under the other, and what of that may do harm is judged as ever.
"""

from collections.abc import Iterator
from dataclasses import replace

from control_plane.policy.file.authored import AuthoredPart, AuthoredPolicy
from control_plane.policy.file.change import Change
from control_plane.policy.file.differences import differences
from shared.errors import Malformed
from shared.identity import SIZE_BYTES, HostId
from shared.policy.document import PolicyDocument
from shared.policy.effective import effective
from shared.policy.part import PartDocument

_UNTOLD = "hosts act by what was in force before that, and what changes there cannot be told"
_ANY_HOST = HostId(bytes(SIZE_BYTES))


def part_differences(
    organisation: PolicyDocument, before: PartDocument | None, after: PartDocument | AuthoredPart
) -> tuple[Change, ...]:
    """Return what changes on hosts of the part, then what changes otherwise on those that there is an exception for.

    None: the layer was never published, so that its hosts act by the organisation's policy alone.

    Raises Malformed: `after` and the organisation's policy are no valid policy together.
    """
    if isinstance(after, AuthoredPart):
        after = after.document(1 if before is None else before.version + 1)
    everywhere = _everywhere(organisation, before, after)
    return (*everywhere, *_for_hosts(organisation, before, after, everywhere))


def _everywhere(organisation: PolicyDocument, before: PartDocument | None, after: PartDocument) -> tuple[Change, ...]:
    """Return what changes on a host without an exception."""
    old = None if before is None else replace(before, hosts=())
    return _on_host(organisation, old, replace(after, hosts=()), _ANY_HOST)


def _for_hosts(
    organisation: PolicyDocument, before: PartDocument | None, after: PartDocument, everywhere: tuple[Change, ...]
) -> Iterator[Change]:
    """Yield, of each host that has or had an exception, what is not told of every host of the part already."""
    excepted = {host for part in (before, after) if part is not None for host, _ in part.hosts}
    for host in sorted(excepted):
        for change in _on_host(organisation, before, after, host):
            if change not in everywhere:
                yield replace(change, field=f"hosts[{host}].{change.field}")


def _on_host(
    organisation: PolicyDocument, before: PartDocument | None, after: PartDocument, host: HostId
) -> tuple[Change, ...]:
    then = AuthoredPolicy.of(effective(organisation, [after], host).policy)
    try:
        now = effective(organisation, [] if before is None else [before], host).policy
    except Malformed as exc:
        # The organisation's policy has changed since, so no host acts by the two together.
        told = f"no valid policy together with the organisation's: {exc}"
        return (Change("policy", told, "a valid one", _UNTOLD), *differences(AuthoredPolicy.of(organisation), then))
    return differences(AuthoredPolicy.of(now), then)
