"""What a real archive knows of a day, held against what real vault rows hold."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

from control_plane.coverage.showing import NoGapRecorded
from control_plane.coverage.tally import State
from control_plane.vault.opening import ReasonMissing
from shared.audit.events import Event
from shared.errors import IntegrityFailure
from shared.policy.document import Modality, Station
from tests.control_plane.coverage.day import CT1, CoverageDay, Image, series_of
from tests.fakes.orthanc import Orthanc

PERSON = "A. Admin"


def archive(pacs: Orthanc, images: Sequence[Image]) -> None:
    for image in images:
        pacs.post("/instances", image.part10())


def test_a_day_that_came_through_us_whole_has_no_gap(with_pacs: CoverageDay, pacs: Orthanc) -> None:
    images = series_of(with_pacs.day, 4)
    archive(pacs, images)
    for image in images:
        with_pacs.capture(image)

    found = with_pacs.compare()

    assert (found.state, found.why) == (State.COMPLETE, "")
    assert (found.known, found.protected, found.unprotected) == (4, 4, 0)
    assert (found.captured, found.not_in_archive, found.not_evaluated) == (4, 0, 0)
    assert not found.by_modality_only
    assert with_pacs.events() == [Event.COVERAGE_COMPARED]


def test_images_that_took_another_way_are_unprotected_and_listed_to_whoever_says_why(
    with_pacs: CoverageDay, pacs: Orthanc
) -> None:
    images = series_of(with_pacs.day, 5)
    archive(pacs, images)
    for image in images[:2]:
        with_pacs.capture(image)

    found = with_pacs.compare()

    assert (found.state, found.known, found.protected, found.unprotected) == (State.COMPLETE, 5, 2, 3)
    assert with_pacs.events() == [Event.COVERAGE_GAP]
    listed = with_pacs.showing().gap(with_pacs.day, "CT1", PERSON, "phone call from the ward")
    unprotected = listed["unprotected"]
    assert isinstance(unprotected, dict)
    assert isinstance(unprotected["instances"], list)
    assert set(unprotected["instances"]) == {image.uid for image in images[2:]}
    assert unprotected["studies"] == [{"study": images[0].study, "instances": 3}]
    last = with_pacs.bench.last_record()
    assert (last.event, last.who[0].name, last.reason) == (Event.LOOKED_UP, PERSON, "")


def test_a_look_up_that_always_says_captured_hides_the_gap(with_pacs: CoverageDay, pacs: Orthanc) -> None:
    """The negative control of the test above: what finds a gap is the look-up in the vault."""
    archive(pacs, series_of(with_pacs.day, 3))

    def always(_: Session, tokens: Sequence[bytes]) -> Sequence[bytes]:
        return tokens

    assert with_pacs.compare(held=always).unprotected == 0
    assert with_pacs.compare().unprotected == 3


def test_the_gap_closes_when_its_images_arrive_late(with_pacs: CoverageDay, pacs: Orthanc) -> None:
    images = series_of(with_pacs.day, 3)
    archive(pacs, images)
    assert with_pacs.compare().unprotected == 3
    with_pacs.bench.clock.advance(timedelta(days=1))
    for image in images:
        with_pacs.capture(image)

    found = with_pacs.compare()

    assert (found.state, found.unprotected, found.protected) == (State.COMPLETE, 0, 3)
    assert with_pacs.events() == [Event.COVERAGE_GAP, Event.COVERAGE_COMPARED]
    (shown,) = with_pacs.showing().status(with_pacs.day).results
    assert (shown.state, shown.unprotected) == ("complete", 0)


def test_what_the_vault_lost_is_unprotected_until_it_is_here_again(with_pacs: CoverageDay, pacs: Orthanc) -> None:
    kept, lost = series_of(with_pacs.day, 2)
    archive(pacs, [kept, lost])
    with_pacs.capture(kept)
    sealed, bench = with_pacs.capture(lost), with_pacs.bench
    bench.body(sealed.object_id).unlink()
    with pytest.raises(IntegrityFailure):
        bench.read(sealed)

    found = with_pacs.compare()
    # Sent again, it is another object that holds the same image.
    with_pacs.capture(lost)
    later = with_pacs.compare()

    assert (found.state, found.protected, found.unprotected) == (State.COMPLETE, 1, 1)
    assert (later.state, later.protected, later.unprotected) == (State.COMPLETE, 2, 0)


def test_a_gap_is_recorded_once_and_again_when_it_changes(with_pacs: CoverageDay, pacs: Orthanc) -> None:
    images = series_of(with_pacs.day, 3)
    archive(pacs, images[:2])
    with_pacs.compare()
    with_pacs.compare()
    # As many as before, and others.
    archive(pacs, images[2:])
    with_pacs.capture(images[0])
    with_pacs.compare()

    gap, same = Event.COVERAGE_GAP, Event.COVERAGE_COMPARED
    assert with_pacs.events() == [gap, same, gap]


def test_another_modality_of_the_kind_is_told_apart_by_its_station(with_pacs: CoverageDay, pacs: Orthanc) -> None:
    archive(pacs, [*series_of(with_pacs.day, 2), *series_of(with_pacs.day, 3, station="CTROOM2")])
    archive(pacs, series_of(with_pacs.day, 1, modality="MR"))

    found = with_pacs.compare()

    assert (found.known, found.by_modality_only) == (2, False)


@pytest.mark.parametrize("policy_station", ["CTROOM114", ""])
def test_without_a_station_a_match_is_by_modality_and_says_so(
    with_pacs: CoverageDay, pacs: Orthanc, policy_station: str
) -> None:
    with_pacs.modalities = (replace(CT1, station=Station("CT", policy_station)),)
    archive(pacs, series_of(with_pacs.day, 2, station=""))

    found = with_pacs.compare()

    assert (found.state, found.unprotected, found.by_modality_only) == (State.COMPLETE, 2, True)


def test_what_was_captured_and_never_archived_is_found(with_pacs: CoverageDay, pacs: Orthanc) -> None:
    images = series_of(with_pacs.day, 3)
    archive(pacs, images[:1])
    for image in images:
        with_pacs.capture(image)

    found = with_pacs.compare()

    assert (found.state, found.unprotected, found.captured, found.not_in_archive) == (State.COMPLETE, 0, 3, 2)
    assert with_pacs.events() == [Event.COVERAGE_GAP]


def test_an_image_captured_today_of_a_study_of_another_day_is_not_missed(with_pacs: CoverageDay, pacs: Orthanc) -> None:
    earlier = series_of(with_pacs.day - timedelta(days=400), 2)
    archive(pacs, earlier)
    for image in earlier:
        with_pacs.capture(image)

    found = with_pacs.compare()

    assert (found.state, found.known, found.captured, found.not_in_archive) == (State.COMPLETE, 0, 2, 0)


def test_an_image_of_nobody_knows_whom_is_not_evaluated(with_pacs: CoverageDay, pacs: Orthanc) -> None:
    """The host's record of the capture has not arrived, so no record says which modality sent it."""
    with_pacs.capture(series_of(with_pacs.day, 1)[0], ae_title=None)

    found = with_pacs.compare()

    assert (found.state, found.captured, found.not_evaluated) == (State.PARTIAL, 0, 1)
    assert "not known whether the archive has them" in found.why


def test_a_modality_without_a_station_has_nothing_to_compare(with_pacs: CoverageDay) -> None:
    with_pacs.modalities = (CT1, Modality("US7", "ultrasound"), Modality("LEADGLASS-TEST", "self-test"))

    results = with_pacs.runs().run(with_pacs.day)

    assert {one.ae_title: one.state for one in results} == {"CT1": State.COMPLETE, "US7": State.NOTHING}
    status = with_pacs.showing().status()
    assert status.unknown == ("coverage of US7: nothing to compare, the policy does not name its station",)


def test_a_gap_is_shown_only_for_a_reason(with_pacs: CoverageDay, pacs: Orthanc) -> None:
    archive(pacs, series_of(with_pacs.day, 1))
    with_pacs.compare()

    with pytest.raises(ReasonMissing):
        with_pacs.showing().gap(with_pacs.day, "CT1", PERSON, " ")
    with pytest.raises(NoGapRecorded):
        with_pacs.showing().gap(with_pacs.day, "CT2", PERSON, "a reason")


def test_no_uid_and_no_name_is_in_clear_on_the_centres_disk(with_pacs: CoverageDay, pacs: Orthanc) -> None:
    images = series_of(with_pacs.day, 4)
    archive(pacs, images[:3])
    for image in images[1:]:
        with_pacs.capture(image)
    found = with_pacs.compare()
    assert (found.unprotected, found.not_in_archive) == (1, 1)
    with_pacs.showing().gap(with_pacs.day, "CT1", PERSON, "looking for it")

    kept = b"".join(path.read_bytes() for path in Path(with_pacs.bench.folder).rglob("*") if path.is_file())

    assert b"coverage.gap-found" in kept
    names = [text for image in images for text in (image.uid, image.study, image.series)]
    assert [name for name in (*names, "PID-4711", "Muster") if name.encode() in kept] == []


def test_ten_series_of_many_studies_are_counted_to_the_last(with_pacs: CoverageDay, pacs: Orthanc) -> None:
    images = [image for _ in range(10) for image in series_of(with_pacs.day, 13)]
    archive(pacs, images)
    for image in images[::2]:
        with_pacs.capture(image)

    found = with_pacs.compare()

    assert (found.known, found.protected, found.unprotected) == (130, 65, 65)
    listed = with_pacs.showing().gap(with_pacs.day, "CT1", PERSON, "a count")["unprotected"]
    assert isinstance(listed, dict)
    assert listed["count"] == 65
