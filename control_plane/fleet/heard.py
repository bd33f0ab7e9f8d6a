"""Since when a host must have been heard for its last report to say how things are now."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from control_plane.policy.together import LayerDocument
from shared.identity import HostId
from shared.policy.document import MAX_STATE_EVERY_S, PolicyDocument
from shared.policy.part import PartContent, PartDocument

_MISSED_REPORTS = 3
_GRACE = timedelta(seconds=15)


class HeardSince:
    """`acted_by` are the policies that hosts act by, by layer: two where a roll-out is not at every host.

    Of two policies it goes by what has hosts report more seldom. The order of parts on a host is that of
    `shared.policy.effective`.
    """

    def __init__(self, acted_by: Mapping[str, Sequence[LayerDocument]], now: datetime) -> None:
        documents = [document for layer in acted_by.values() for document in layer]
        self._policies = [each for each in documents if isinstance(each, PolicyDocument)]
        self._parts = [each for each in documents if isinstance(each, PartDocument)]
        self._now = now

    def of(self, host: HostId, layers: Sequence[str]) -> datetime:
        """Return it for a host with these layers besides the organisation's."""
        every = timedelta(seconds=self._every_s(host, layers))
        return self._now - _MISSED_REPORTS * every - _GRACE

    def _every_s(self, host: HostId, layers: Sequence[str]) -> int:
        if not self._policies:
            return MAX_STATE_EVERY_S  # hosts that no policy tells how often to report do so as they see fit
        every_s = max(policy.state_every_s for policy in self._policies)
        mine = [part for part in self._parts if part.layer in layers]
        for of_site in (False, True):
            told = [_told(part, host, every_s) for part in mine if part.is_site is of_site]
            every_s = max(told, default=every_s)
        return every_s


def _told(part: PartDocument, host: HostId, otherwise_s: int) -> int:
    exception = dict(part.hosts).get(host, PartContent())
    return exception.state_every_s or part.content.state_every_s or otherwise_s
