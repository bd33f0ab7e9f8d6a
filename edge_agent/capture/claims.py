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
    """The image is here already, as this object; `by_receipt`: with the vault, by its word."""

    object_id: ObjectId
    by_receipt: bool = field(default=False, compare=False)


class Claims:
    """`is_kept` says whether the host or the vault still has an object, whatever has become of it.

    `is_whole` says whether the host has it whole; it may read all of it. `has_receipt` says whether the vault has it.
    """

    def __init__(
        self,
        instances: Instances,
        is_kept: Callable[[ObjectId], bool],
        is_whole: Callable[[ObjectId], bool],
        has_receipt: Callable[[ObjectId], bool] = lambda _: False,
    ) -> None:
        self._instances, self.is_kept, self._is_whole, self._has_receipt = instances, is_kept, is_whole, has_receipt
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
            elif isinstance(found, Claim):
                return found
            elif (safe := self._safe(found.object_id)) is not None:
                return safe
            else:
                lost.add(found.object_id)

    def is_safe(self, object_id: ObjectId) -> bool:
        """Return whether the vault has an object, or this host has it whole: its modality will hear that it is safe."""
        return self._safe(object_id) is not None

    def note(self, repeated: Repeated, note: Callable[[], object]) -> bool:
        """Call `note` within the transaction in which the vault's word still counts, and return whether it does."""
        with self._instances.transaction():
            if repeated.by_receipt and not self._has_receipt(repeated.object_id):
                return False
            note()
        return True

    def _safe(self, object_id: ObjectId) -> Repeated | None:
        if self._has_receipt(object_id):
            return Repeated(object_id, by_receipt=True)
        if self._is_whole(object_id):
            return Repeated(object_id)
        # Asked again, because it may have been delivered while it was looked at.
        return Repeated(object_id, by_receipt=True) if self._has_receipt(object_id) else None

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
