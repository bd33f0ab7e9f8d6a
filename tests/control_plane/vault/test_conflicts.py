"""Several data sets under one SOP Instance UID: all are kept, and whoever looks is told."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from alembic import command
from alembic.config import Config

from control_plane.db import engine
from control_plane.vault.checks import CheckState, Name
from control_plane.vault.conflicts import Conflicts, count_open
from control_plane.vault.finding import AmbiguousLookUp, Found
from control_plane.vault.opening import ReasonMissing
from control_plane.vault.settling import NoOpenConflict, Settling
from control_plane.vault.siblings import MOST_NAMED, Siblings, lines
from shared.audit.events import Event, Outcome
from tests.control_plane.vault.bench import ENTRY, NOTHING_READ, Bench, HostBench, SealedImage

PERSON = "A. Admin"


@pytest.fixture
def other_host(bench: Bench) -> HostBench:
    return bench.enrol()


@pytest.fixture
def pair(bench: Bench, host: HostBench) -> tuple[SealedImage, SealedImage]:
    """Two data sets that one host captured under one SOP Instance UID."""
    return stored(bench, host.seal(b"first")), stored(bench, host.seal(b"second"))


def stored(bench: Bench, image: SealedImage) -> SealedImage:
    bench.receive(image)
    bench.clock.advance(timedelta(seconds=1))
    return image


def found(bench: Bench, image: SealedImage, conflicts: Conflicts | None = None) -> Siblings:
    siblings = (conflicts or bench.conflicts).of([str(image.object_id)])[str(image.object_id)]
    assert isinstance(siblings, Siblings)
    return siblings


def open_conflicts(bench: Bench) -> int:
    with bench.database() as session:
        return count_open(session)


def names(*images: SealedImage) -> tuple[str, ...]:
    return tuple(str(image.object_id) for image in images)


# ---- what is a conflict


def test_both_are_kept_and_each_names_the_other(bench: Bench, pair: tuple[SealedImage, SealedImage]) -> None:
    first, second = pair

    shown = {one.object_id: one.json() for one in bench.finder.find(PERSON, sop_instance=ENTRY.sop_instance_uid)}

    assert set(shown) == set(names(first, second))
    assert shown[str(first.object_id)]["conflicts_with"] == [str(second.object_id)]
    assert shown[str(second.object_id)]["conflicts_with"] == [str(first.object_id)]
    assert [bench.read(image) for image in pair] == [b"first", b"second"]
    assert open_conflicts(bench) == 1


def test_hosts_that_know_nothing_of_each_other_are_compared(
    bench: Bench, host: HostBench, other_host: HostBench
) -> None:
    mine, theirs = stored(bench, host.seal(b"first")), stored(bench, other_host.seal(b"second"))

    assert found(bench, mine).conflicts_with == names(theirs)
    assert open_conflicts(bench) == 1


def test_the_same_data_set_twice_or_from_two_hosts_is_no_conflict(
    bench: Bench, host: HostBench, other_host: HostBench
) -> None:
    first, again, theirs = (stored(bench, one.seal(b"image")) for one in (host, host, other_host))

    assert found(bench, first) == Siblings(3, same_as=names(again, theirs))
    assert list(lines(found(bench, first))) == [f"the same data set as {', '.join(names(again, theirs))}"]
    assert open_conflicts(bench) == 0
    assert Event.IMAGE_CONFLICTS not in bench.events()


def test_other_instances_are_no_siblings(bench: Bench, host: HostBench) -> None:
    image = stored(bench, host.seal(b"first"))
    stored(bench, host.seal(b"second", replace(ENTRY, sop_instance_uid="1.2.3")))

    assert found(bench, image) == Siblings(1)
    assert not list(lines(found(bench, image)))


def test_a_third_data_set_conflicts_with_both_and_is_still_one_conflict(
    bench: Bench, host: HostBench, pair: tuple[SealedImage, SealedImage]
) -> None:
    third = stored(bench, host.seal(b"third"))

    assert found(bench, third).conflicts_with == names(*pair)
    assert open_conflicts(bench) == 1


def test_of_an_object_that_could_not_be_read_nothing_is_claimed(bench: Bench, host: HostBench) -> None:
    image = stored(bench, host.seal(entry=NOTHING_READ))

    (shown,) = bench.finder.find(PERSON)

    assert bench.conflicts.of(names(image)) == {}
    assert (shown.json()["claims"], shown.json()["conflicts_with"]) == (None, None)


def test_an_upload_that_is_repeated_is_one_object(bench: Bench, host: HostBench) -> None:
    image = host.seal(b"first")
    bench.receive(image)
    bench.receive(image)

    assert found(bench, image) == Siblings(1)


def test_a_crowd_of_the_same_does_not_hide_the_one_that_differs(bench: Bench, host: HostBench) -> None:
    image = stored(bench, host.seal(b"image"))
    for _ in range(MOST_NAMED + 2):
        stored(bench, host.seal(b"image"))
    odd = stored(bench, host.seal(b"another"))

    siblings = found(bench, image)

    assert siblings.conflicts_with == names(odd)
    assert (siblings.claims, len(siblings.same_as)) == (MOST_NAMED + 4, MOST_NAMED)
    assert f"{MOST_NAMED + 4} objects claim this SOP Instance UID" in list(lines(siblings))[-1]


# ---- by what it is known


def test_no_image_is_opened(bench: Bench, pair: tuple[SealedImage, SealedImage]) -> None:
    for image in pair:
        bench.body(image.object_id).unlink()

    assert found(bench, pair[0]).conflicts_with == names(pair[1])


def test_what_the_hosts_signed_decides_and_not_what_the_table_says(
    bench: Bench, pair: tuple[SealedImage, SealedImage]
) -> None:
    bench.sql("UPDATE instances SET dataset_sha256 = x'00'")

    assert found(bench, pair[0]).conflicts_with == names(pair[1])


def test_an_altered_capture_record_is_neither_the_same_nor_another(
    bench: Bench, pair: tuple[SealedImage, SealedImage]
) -> None:
    first, second = pair
    bench.sql("UPDATE objects SET record = replace(record, '1', '2') WHERE object_id = :id", id=str(second.object_id))

    assert found(bench, first) == Siblings(2, not_compared=names(second))
    assert found(bench, second) == Siblings(2, not_compared=names(first))
    assert "a capture record is not authentic" in next(lines(found(bench, first)))


def test_another_object_s_capture_record_says_nothing_of_this_one(
    bench: Bench, pair: tuple[SealedImage, SealedImage]
) -> None:
    first, second = pair
    bench.sql(
        "UPDATE objects SET record = (SELECT record FROM objects WHERE object_id = :mine) WHERE object_id = :theirs",
        mine=str(first.object_id),
        theirs=str(second.object_id),
    )

    assert found(bench, first) == Siblings(2, not_compared=names(second))


def test_negative_control_a_comparison_that_always_agrees_would_show_no_conflict(
    bench: Bench, pair: tuple[SealedImage, SealedImage]
) -> None:
    """The comparison of signed digests is what finds it: without it, nothing does."""
    agreeing = Conflicts(bench.database, bench.evidence, same=lambda _, __: True)

    assert found(bench, pair[0]).conflicts_with
    assert not found(bench, pair[0], agreeing).conflicts_with
    opened = bench.opener_with(conflicts=agreeing).checks(pair[0].object_id)
    assert opened[-1].state is CheckState.PASSED


# ---- who is told


def test_a_conflict_is_recorded_with_the_new_object_first(bench: Bench, pair: tuple[SealedImage, SealedImage]) -> None:
    record = bench.last_record()

    assert (record.event, record.outcome) == (Event.IMAGE_CONFLICTS, Outcome.MINOR_FAILURE)
    assert [subject.name for subject in record.what] == [*names(*reversed(pair))]
    assert bench.events()[-2:] == [Event.OBJECT_STORED, Event.IMAGE_CONFLICTS]


def test_an_opening_says_it_and_opens_all_the_same(bench: Bench, pair: tuple[SealedImage, SealedImage]) -> None:
    opened = bench.opener.open(pair[0].object_id, PERSON, "second opinion", "dataset")

    (check,) = [check for check in opened.checks if check.check is Name.INSTANCE]
    assert check.state is CheckState.CONFLICT
    assert check.detail.startswith(f"conflicts with {pair[1].object_id}: other data sets")
    assert b"".join(opened.pieces) == b"first"
    assert bench.opener.checks(pair[0].object_id) == opened.checks


def test_an_opening_without_siblings_passes_and_one_without_attributes_is_not_evaluated(
    bench: Bench, host: HostBench
) -> None:
    alone, unread = stored(bench, host.seal(b"image")), stored(bench, host.seal(entry=NOTHING_READ))

    assert bench.opener.checks(alone.object_id)[-1].state is CheckState.PASSED
    assert bench.opener.checks(unread.object_id)[-1].state is CheckState.NOT_EVALUATED


def test_open_conflicts_are_found_and_nothing_else(
    bench: Bench, host: HostBench, pair: tuple[SealedImage, SealedImage]
) -> None:
    stored(bench, host.seal(b"alone", replace(ENTRY, sop_instance_uid="1.2.3")))

    shown = bench.finder.find(PERSON, conflicts=True)

    assert [one.object_id for one in shown] == [*names(*reversed(pair))]
    assert bench.last_record().what[0].name == "conflicts"
    with pytest.raises(AmbiguousLookUp):
        bench.finder.find(PERSON, patient_id="4711", conflicts=True)


# ---- settling


@pytest.fixture
def settling(bench: Bench) -> Settling:
    return Settling(bench.database, bench.journal, bench.clock)


def flagged(bench: Bench) -> Iterator[Found]:
    shown = bench.finder.find(PERSON)
    return (one for one in shown if one.siblings is not None and one.siblings.conflicts_with)


def test_a_settled_conflict_is_no_longer_open_and_stays_flagged(
    bench: Bench, settling: Settling, pair: tuple[SealedImage, SealedImage]
) -> None:
    settling.settle(pair[0].object_id, PERSON, "repeated after a corrupt transfer")

    record = bench.last_record()
    assert open_conflicts(bench) == 0
    assert bench.finder.find(PERSON, conflicts=True) == ()
    assert len(list(flagged(bench))) == 2
    assert (record.event, record.who[0].name) == (Event.CONFLICT_SETTLED, PERSON)
    assert [subject.name for subject in record.what] == [*names(*pair)]


def test_why_it_was_settled_is_sealed(bench: Bench, settling: Settling, pair: tuple[SealedImage, SealedImage]) -> None:
    settling.settle(pair[0].object_id, PERSON, "the second is Mrs Muster's")

    (row,) = bench.rows("SELECT public, sealed FROM audit_records ORDER BY seq DESC LIMIT 1")
    assert b"Muster" not in row.public
    assert bench.opened(row) == {"reason": "the second is Mrs Muster's"}


def test_one_more_data_set_opens_it_again_and_one_that_is_known_does_not(
    bench: Bench, host: HostBench, settling: Settling, pair: tuple[SealedImage, SealedImage]
) -> None:
    settling.settle(pair[0].object_id, PERSON, "looked into")
    stored(bench, host.seal(b"second"))
    assert open_conflicts(bench) == 0

    stored(bench, host.seal(b"third"))
    assert open_conflicts(bench) == 1


def test_only_an_open_conflict_is_settled_and_only_with_a_reason(
    bench: Bench, host: HostBench, settling: Settling, pair: tuple[SealedImage, SealedImage]
) -> None:
    alone = stored(bench, host.seal(b"alone", replace(ENTRY, sop_instance_uid="1.2.3")))

    with pytest.raises(NoOpenConflict):
        settling.settle(alone.object_id, PERSON, "looked into")
    with pytest.raises(ReasonMissing):
        settling.settle(pair[0].object_id, PERSON, "  ")
    settling.settle(pair[0].object_id, PERSON, "looked into")
    with pytest.raises(NoOpenConflict):
        settling.settle(pair[1].object_id, PERSON, "looked into")


# ---- a control plane that held images before


def test_what_was_stored_before_is_compared_too(
    bench: Bench, host: HostBench, pair: tuple[SealedImage, SealedImage]
) -> None:
    same = [stored(bench, host.seal(b"image", replace(ENTRY, sop_instance_uid="1.2.3"))) for _ in range(2)]
    config = Config()
    config.set_main_option("script_location", str(engine._MIGRATIONS))
    with bench.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0005")
        command.upgrade(config, "head")

    assert open_conflicts(bench) == 1
    assert found(bench, pair[0]).conflicts_with == names(pair[1])
    assert found(bench, same[0]) == Siblings(2, same_as=names(same[1]))
