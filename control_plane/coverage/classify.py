"""Decides whose a series is, from what an archive says of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from control_plane.coverage.identifier import Series, Study
from shared.policy.document import Station


@dataclass(frozen=True)
class Watched:
    """A modality of the policy that says how an archive knows its images."""

    ae_title: str
    station: Station


@dataclass(frozen=True)
class Match:
    """`by_modality_only`: the station is unknown or not asked for, so another modality of the kind may have made it."""

    ae_title: str
    by_modality_only: bool


def may_hold(study: Study, watched: Iterable[Watched]) -> bool:
    """Return whether a study can have series of any of `watched`: also where the archive does not say."""
    return not study.modalities or any(one.station.modality.strip() in study.modalities for one in watched)


def classify(series: Series, watched: Sequence[Watched]) -> tuple[Match, ...]:
    """Return whose `series` may be. A station that is named and another rules one out; one not named does not.

    An AE title that modalities at several places have is there once, by the surest of them.
    """
    matches = [
        Match(one.ae_title, by_modality_only=not (one.station.station_name and series.station_name))
        for one in watched
        if series.modality == one.station.modality.strip() and _may_be_of_station(series, one.station)
    ]
    surest_last = sorted(matches, key=lambda match: not match.by_modality_only)
    return tuple({match.ae_title: match for match in surest_last}.values())


def is_unclear(series: Series, watched: Iterable[Watched]) -> bool:
    """Return whether the archive leaves out the modality of a series that no station rules out for all of `watched`."""
    return not series.modality and any(_may_be_of_station(series, one.station) for one in watched)


def _may_be_of_station(series: Series, station: Station) -> bool:
    return not station.station_name or series.station_name in ("", station.station_name.strip())
