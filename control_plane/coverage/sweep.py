"""Asks an archive for everything it knows of a day, level by level, and never takes a part for the whole.

An archive is somebody else's program: it may break off, refuse, lie about its numbers, repeat itself, or go on for
ever. Whatever it does is bounded here, and each way in which an answer may be less than everything is a fault. A day
with a fault was not compared completely, whatever was found of it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

from control_plane.coverage import identifier
from control_plane.coverage.archive import Archive, ArchiveUnavailable, QueryFailed
from control_plane.coverage.classify import Match, Watched, classify, is_unclear, may_hold
from control_plane.coverage.identifier import Instance, Series, Study
from shared.errors import Malformed, Unavailable

T = TypeVar("T", Study, Series, Instance)


@dataclass(frozen=True)
class Limits:
    """How much of an archive's answers is taken; a large hospital's day has 3,000 studies."""

    studies: int = 10_000
    series_of_study: int = 2_000
    instances_of_series: int = 50_000
    instances: int = 200_000
    faults: int = 20


class Incomplete(Unavailable):
    """What was yielded before is true, and need not be all."""

    def __init__(self, faults: Sequence[str]) -> None:
        distinct = list(dict.fromkeys(faults))
        more = f"; and {len(distinct) - 3} other faults" if len(distinct) > 3 else ""
        super().__init__("; ".join(distinct[:3]) + more)
        self.faults = tuple(faults)


class TooMuch(Unavailable):
    def __init__(self, what: str, most: int) -> None:
        super().__init__(f"the archive answers with more than {most} {what}")
        self.what, self.most = what, most


class OutOfTime(Unavailable):
    def __init__(self) -> None:
        super().__init__("the comparison was stopped before the archive had answered everything")


@dataclass(frozen=True)
class Known:
    """An instance that the archive knows, and whose it may be."""

    matches: tuple[Match, ...]
    instance: Instance


class Sweep:
    """One pass over one association. `is_over` is asked before every answer; True ends it with a fault."""

    def __init__(self, archive: Archive, is_over: Callable[[], bool], limits: Limits | None = None) -> None:
        self._archive, self._is_over, self._limits = archive, is_over, limits or Limits()
        self._faults: list[str] = []
        self._left = self._limits.instances
        self.unclear = 0  # series told of without the modality that says whose they are

    def known(self, day: date, watched: Sequence[Watched]) -> Iterator[Known]:
        """Yield every instance of `day` in a series that may be of one of `watched`.

        Raises Incomplete, at its end: the archive did not answer everything, or not in a way that can be believed.
        """
        try:
            for study in self._studies(day):
                if may_hold(study, watched):
                    yield from self._of_study(study, watched)
        except (ArchiveUnavailable, TooMuch, OutOfTime) as exc:
            self._faults.append(str(exc))
        # One fault for all of them: an archive that never tells a modality must not keep the others from being counted.
        if self.unclear:
            self._faults.append(f"the archive does not tell the modality of {self.unclear} series")
        if self._faults:
            raise Incomplete(self._faults)

    def is_known(self, instance: Instance) -> bool:
        """Ask for this one, whatever its day. Raises Incomplete: nothing can be said of it."""
        faults_before = len(self._faults)
        query = identifier.of_series(instance.study, instance.series, self._archive.syntax, instance.uid)
        try:
            found = list(self._answers(query, "instances of one UID", 2, self._instance_of(instance)))
        except (ArchiveUnavailable, TooMuch, OutOfTime) as exc:
            raise Incomplete([str(exc)]) from exc
        # An archive that does not match on the instance answers with others of its series: that says nothing.
        if len(self._faults) > faults_before or any(one.uid != instance.uid for one in found):
            raise Incomplete(self._faults[faults_before:] or ["the archive answers about other instances"])
        return bool(found)

    def _studies(self, day: date) -> list[Study]:
        query, syntax = identifier.of_day(day, self._archive.syntax), self._archive.syntax
        most = self._limits.studies
        found = self._answers(query, "studies of a day", most, lambda data: identifier.parse_study(data, syntax))
        return list({study.uid: study for study in found}.values())

    def _of_study(self, study: Study, watched: Sequence[Watched]) -> Iterator[Known]:
        query, syntax = identifier.of_study(study.uid, self._archive.syntax), self._archive.syntax
        most = self._limits.series_of_study
        answers = self._answers(
            query, "series of a study", most, lambda data: identifier.parse_series(data, syntax, study.uid)
        )
        found = {series.uid: series for series in answers}
        self._compare_counts("series of a study", study.series, len(found))
        for series in found.values():
            if matches := classify(series, watched):
                yield from self._of_series(series, matches)
            elif is_unclear(series, watched):
                self.unclear += 1

    def _of_series(self, series: Series, matches: tuple[Match, ...]) -> Iterator[Known]:
        query = identifier.of_series(series.study, series.uid, self._archive.syntax)
        most = min(self._left, self._limits.instances_of_series)
        seen: set[str] = set()
        parse = self._instance_of(Instance(series.study, series.uid, ""))
        for instance in self._answers(query, "instances", most, parse):
            if instance.uid not in seen:
                seen.add(instance.uid)
                yield Known(matches, instance)
        self._left -= len(seen)
        self._compare_counts("instances of a series", series.instances, len(seen))

    def _instance_of(self, asked: Instance) -> Callable[[bytes], Instance]:
        return lambda data: identifier.parse_instance(data, self._archive.syntax, asked.study, asked.series)

    def _answers(self, query: bytes, what: str, most: int, parse: Callable[[bytes], T]) -> Iterator[T]:
        """Yield what can be read of the answers to one query. Raises ArchiveUnavailable, TooMuch, OutOfTime."""
        self._verify_going_on()
        count = 0
        try:
            for data in self._archive.find(query):
                self._verify_going_on()
                count += 1
                if count > most:
                    raise TooMuch(what, most)
                try:
                    yield parse(data)
                except Malformed as exc:
                    self._faults.append(f"an answer cannot be read: {exc}")
        except QueryFailed as exc:
            self._faults.append(str(exc))

    def _verify_going_on(self) -> None:
        if self._is_over():
            raise OutOfTime
        if len(self._faults) >= self._limits.faults:
            raise TooMuch("faults", self._limits.faults)

    def _compare_counts(self, what: str, said: int | None, found: int) -> None:
        # More than it said may have arrived since; fewer is a list that was cut off without a word.
        if said is not None and found < said:
            self._faults.append(f"the archive counts {said} {what} and lists {found}")
