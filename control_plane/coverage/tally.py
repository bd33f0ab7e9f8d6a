"""Counts one modality's day: what an archive knows and we hold, what took another way, and what it does not know."""

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from hashlib import sha256

from control_plane.coverage.identifier import Instance
from shared.canonical import Json

# A sealed private part has 32 KiB: these fit with UIDs of full length. Counts are never cut.
MOST_INSTANCES, MOST_STUDIES = 100, 60
_TOKEN_BYTES = 32


class State(StrEnum):
    """How far a day was compared. Only `COMPLETE` may be read as *no gap* where it counts none."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    NOT_EVALUATED = "not evaluated"
    NOTHING = "nothing to compare"  # the policy does not say how an archive knows this modality's images; never kept


@dataclass
class Listing:
    """A set of instances: how many, which as far as they fit, and a fingerprint of exactly this set.

    Tokens are added up, so the order in which an archive lists them does not matter; they are keyed hashes under a
    secret of the centre, so nobody can make two sets that look alike.
    """

    count: int = 0
    instances: list[str] = field(default_factory=list)
    studies: dict[str, int] = field(default_factory=dict)
    _sum: int = 0

    def add(self, instance: Instance, token: bytes) -> None:
        self.count += 1
        self._sum = (self._sum + int.from_bytes(token)) % (1 << 8 * _TOKEN_BYTES)
        if len(self.instances) < MOST_INSTANCES:
            self.instances.append(instance.uid)
        if instance.study in self.studies or len(self.studies) < MOST_STUDIES:
            self.studies[instance.study] = self.studies.get(instance.study, 0) + 1

    def fingerprint(self) -> bytes:
        return self.count.to_bytes(8) + self._sum.to_bytes(_TOKEN_BYTES)

    def json(self) -> dict[str, Json]:
        """Return what may name a patient: for a sealed private part only."""
        studies: list[Json] = [{"study": uid, "instances": count} for uid, count in self.studies.items()]
        return {"count": self.count, "instances": list(self.instances), "studies": studies}


@dataclass(frozen=True)
class Result:
    """One comparison of one modality's day.

    `known` = `protected` + `unprotected`. `captured` on that day by this modality, as its hosts' records say; of them
    `not_in_archive` are unknown to the archive, and of `not_evaluated` that was not found out.
    """

    day: date
    ae_title: str
    archive: str
    state: State
    why: str
    compared: datetime
    known: int = 0
    protected: int = 0
    unprotected: int = 0
    captured: int = 0
    not_in_archive: int = 0
    not_evaluated: int = 0
    by_modality_only: bool = False
    difference: bytes = b""

    @property
    def has_gap(self) -> bool:
        return bool(self.unprotected or self.not_in_archive)


@dataclass
class Tally:
    """Counts while the answers stream past; memory does not grow with them."""

    known: int = 0
    protected: int = 0
    captured: int = 0
    not_evaluated: int = 0
    by_modality_only: bool = False
    unprotected: Listing = field(default_factory=Listing)
    not_in_archive: Listing = field(default_factory=Listing)

    def add_known(self, instance: Instance, token: bytes, *, is_captured: bool, by_modality_only: bool) -> None:
        self.known += 1
        self.by_modality_only = self.by_modality_only or by_modality_only
        if is_captured:
            self.protected += 1
        else:
            self.unprotected.add(instance, token)

    def result(self, day: date, ae_title: str, archive: str, why: str, now: datetime, *, is_listed: bool) -> Result:
        """Return what was found; `why` is why it need not be everything, empty where it is.

        `is_listed`: the archive told something of the day.
        """
        state = State.COMPLETE if not why else State.PARTIAL if is_listed else State.NOT_EVALUATED
        return Result(
            day=day,
            ae_title=ae_title,
            archive=archive,
            state=state,
            why=why,
            compared=now,
            known=self.known,
            protected=self.protected,
            unprotected=self.unprotected.count,
            captured=self.captured,
            not_in_archive=self.not_in_archive.count,
            not_evaluated=self.not_evaluated,
            by_modality_only=self.by_modality_only,
            difference=self.difference(),
        )

    def difference(self) -> bytes:
        return sha256(self.unprotected.fingerprint() + self.not_in_archive.fingerprint()).digest()

    def private(self) -> dict[str, Json]:
        return {"unprotected": self.unprotected.json(), "not_in_archive": self.not_in_archive.json()}
