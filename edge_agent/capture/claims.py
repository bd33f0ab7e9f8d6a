"""Tells a resend from a new image, also while the first one is still on its way.

The same SOP Instance UID with the same data set is one image, kept once. With another data set both are kept, and each
knows of the other. An instance counts while the host or the vault still has it; for a resend to be answered without
being kept, what is here has to be whole.
"""

import threading
from collections.abc import Callable, Set
from dataclasses import dataclass, field

from edge_agent.capture.instances import Instances
from shared.identity import ObjectId


@dataclass(frozen=True)
class Claim:
    """The right to keep an image; `conflicts` are others of the same SOP Instance UID. `Claims.end` ends it."""

    uid_hash: bytes
    dataset_sha256: bytes
    object_id: ObjectId
    conflicts: tuple[ObjectId, ...]
    ended: threading.Event = field(default_factory=threading.Event, compare=False)


@dataclass(frozen=True)
class Repeated:
    """The image is here already, as this object."""

    object_id: ObjectId


class Claims:
    """`is_kept` says whether the host or the vault still has an object, whatever has become of it.

    `is_safe` says whether it is whole, with one of them; it may read all of it.
    """

    def __init__(
        self, instances: Instances, is_kept: Callable[[ObjectId], bool], is_safe: Callable[[ObjectId], bool]
    ) -> None:
        self._instances, self.is_kept, self.is_safe = instances, is_kept, is_safe
        self._lock = threading.Lock()
        self._open: dict[bytes, list[Claim]] = {}

    def claim(self, uid_hash: bytes, dataset_sha256: bytes, object_id: ObjectId) -> Claim | Repeated:
        """Return the claim to an image, once nobody else is about to keep the very same. Raises DatabaseUnavailable."""
        lost = set[ObjectId]()
        while True:
            with self._lock:
                found = self._judged(uid_hash, dataset_sha256, object_id, lost)
            if isinstance(found, threading.Event):
                found.wait()
            elif isinstance(found, Repeated) and not self.is_safe(found.object_id):
                lost.add(found.object_id)
            else:
                return found

    def _judged(
        self, uid_hash: bytes, dataset_sha256: bytes, object_id: ObjectId, lost: Set[ObjectId]
    ) -> Claim | Repeated | threading.Event:
        on_their_way = self._open.get(uid_hash, [])
        for other in on_their_way:
            if other.dataset_sha256 == dataset_sha256:
                return other.ended
        conflicts = [other.object_id for other in on_their_way]
        for instance in self._instances.of(uid_hash):
            if instance.object_id in lost or not self.is_kept(instance.object_id):
                continue
            if instance.dataset_sha256 == dataset_sha256:
                return Repeated(instance.object_id)
            conflicts.append(instance.object_id)
        claim = Claim(uid_hash, dataset_sha256, object_id, tuple(conflicts))
        self._open.setdefault(uid_hash, []).append(claim)
        return claim

    def is_open(self, object_id: ObjectId) -> bool:
        """Return whether an object is about to be kept, or is durable and not in the table of instances yet."""
        with self._lock:
            return any(claim.object_id == object_id for claims in self._open.values() for claim in claims)

    def end(self, claim: Claim) -> None:
        """End a claim: its image stands in the table of instances now, or was given up."""
        with self._lock:
            left = [other for other in self._open[claim.uid_hash] if other is not claim]
            if left:
                self._open[claim.uid_hash] = left
            else:
                del self._open[claim.uid_hash]
        claim.ended.set()
