import pytest

from control_plane.coverage.classify import Match, Watched, classify, is_unclear, may_hold
from control_plane.coverage.identifier import Series, Study
from shared.policy.document import Station

CT1 = Watched("CT1", Station("CT", "ROOM1"))
CT2 = Watched("CT2", Station("CT", "ROOM2"))
ANY_CT = Watched("CTX", Station("CT"))
MR = Watched("MR1", Station("MR", "ROOM1"))


def series(modality: str, station: str) -> Series:
    return Series("1.2", "1.2.3", modality, station, None)


@pytest.mark.parametrize(
    "made, expected",
    [
        (series("CT", "ROOM1"), {"CT1": False, "CTX": True}),
        (series("CT", "ROOM2"), {"CT2": False, "CTX": True}),
        (series("CT", "ROOM9"), {"CTX": True}),
        (series("CT", ""), {"CT1": True, "CT2": True, "CTX": True}),
        (series("MR", "ROOM1"), {"MR1": False}),
        (series("", "ROOM1"), {}),
    ],
)
def test_a_series_is_of_whoever_its_station_does_not_rule_out(made: Series, expected: dict[str, bool]) -> None:
    matches = classify(made, [CT1, CT2, ANY_CT, MR])

    assert {match.ae_title: match.by_modality_only for match in matches} == expected
    assert all(isinstance(match, Match) for match in matches)


def test_an_ae_title_at_two_places_is_matched_once_and_by_the_surest() -> None:
    north, south, anywhere = (Watched("CT9", Station("CT", room)) for room in ("NORTH", "SOUTH", ""))

    for watched in ([north, south, anywhere], [anywhere, south, north]):
        assert classify(series("CT", "SOUTH"), watched) == (Match("CT9", by_modality_only=False),)
        assert classify(series("CT", ""), watched) == (Match("CT9", by_modality_only=True),)


def test_a_series_without_a_modality_is_unclear_unless_every_station_rules_it_out() -> None:
    assert is_unclear(series("", ""), [CT1, MR])
    assert is_unclear(series("", "ROOM1"), [CT2, MR])
    assert is_unclear(series("", "ROOM9"), [CT1, ANY_CT])
    assert not is_unclear(series("", "ROOM9"), [CT1, CT2, MR])
    assert not is_unclear(series("US", ""), [CT1, ANY_CT])


def test_a_study_that_does_not_say_its_modalities_is_looked_into() -> None:
    assert may_hold(Study("1.2", frozenset(), None), [CT1])
    assert may_hold(Study("1.2", frozenset({"SR", "CT"}), None), [CT1])
    assert not may_hold(Study("1.2", frozenset({"SR", "MR"}), None), [CT1])
