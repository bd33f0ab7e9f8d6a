"""Since when a host must have been heard for its last report to say how things are now."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from shared.identity import HostId
from shared.policy.document import MAX_STATE_EVERY_S, PolicyDocument
from shared.policy.part import PartContent, PartDocument

_MISSED_REPORTS = 3
_GRACE = timedelta(seconds=15)


class HeardSince:
    """`parts` are those published, by layer. Their order on a host is that of `shared.policy.effective`."""

    def __init__(self, policy: PolicyDocument | None, parts: Mapping[str, PartDocument], now: datetime) -> None:
        self._policy, self._parts, self._now = policy, parts, now

    def of(self, host: HostId, layers: Sequence[str]) -> datetime:
        """Return it for a host with these layers besides the organisation's."""
        every = timedelta(seconds=self._every_s(host, layers))
        return self._now - _MISSED_REPORTS * every - _GRACE

    def _every_s(self, host: HostId, layers: Sequence[str]) -> int:
        if self._policy is None:
            return MAX_STATE_EVERY_S  # hosts that no policy tells how often to report do so as they see fit
        parts = sorted((self._parts[layer] for layer in layers if layer in self._parts), key=lambda part: part.is_site)
        every_s = self._policy.state_every_s
        for part in parts:
            for content in (part.content, dict(part.hosts).get(host, PartContent())):
                every_s = content.state_every_s or every_s
        return every_s


def heard_since(policy: PolicyDocument | None, now: datetime) -> datetime:
    """Return it for a host that has the organisation's layer alone."""
    return HeardSince(policy, {}, now).of(HostId(bytes(16)), ())
