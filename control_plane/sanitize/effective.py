"""What policy asks of a wipe on one host: the strictest that any policy says by which it may be acting now."""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from itertools import product

from control_plane.policy.together import LayerDocument
from shared.identity import HostId
from shared.policy.document import ORGANISATION, PolicyDocument
from shared.policy.effective import effective
from shared.policy.part import PartDocument
from shared.policy.wipe import WipePolicy


def wipe_policy(
    acted_by: Mapping[str, Sequence[LayerDocument]], parts: Sequence[str], host: HostId
) -> WipePolicy | None:
    """Return it for a host with these parts, None where none of its policies lets a drive be wiped.

    While a policy is rolled out there are two; the host itself goes by the one that it has. Raises Malformed.
    """
    found = [policy for policy in _each(acted_by, parts, host) if policy is not None]
    return reduce(WipePolicy.stricter, found) if found else None


def _each(
    acted_by: Mapping[str, Sequence[LayerDocument]], parts: Sequence[str], host: HostId
) -> Iterator[WipePolicy | None]:
    layers = [acted_by[part] for part in parts if part in acted_by]
    for organisation, *others in product(acted_by.get(ORGANISATION, ()), *layers):
        if isinstance(organisation, PolicyDocument):
            told = [each for each in others if isinstance(each, PartDocument)]
            yield effective(organisation, told, host).policy.wipe
