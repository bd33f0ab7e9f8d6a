"""What is counted, and what of it a record has room for."""

from dataclasses import replace
from datetime import date
from hashlib import sha256
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from control_plane.coverage import results
from control_plane.coverage.identifier import Instance
from control_plane.coverage.tally import MOST_INSTANCES, MOST_STUDIES, Listing, State, Tally
from control_plane.db.transactions import in_one_commit
from shared.audit.events import Event
from tests.control_plane.coverage.day import CoverageDay

DAY = date(2026, 3, 1)


def instance(number: int) -> tuple[Instance, bytes]:
    """Return an instance whose UIDs are as long as a UID can be, and its token."""
    uid = f"1.{number:062d}"
    return Instance(uid, uid, uid), sha256(uid.encode()).digest()


def listing(numbers: list[int]) -> Listing:
    made = Listing()
    for number in numbers:
        made.add(*instance(number))
    return made


@given(st.lists(st.integers(0, 50), unique=True), st.randoms(use_true_random=False))
def test_the_order_in_which_an_archive_lists_instances_is_no_difference(numbers: list[int], random: Random) -> None:
    shuffled = random.sample(numbers, len(numbers))

    assert listing(numbers).fingerprint() == listing(shuffled).fingerprint()


@given(st.sets(st.integers(0, 50)), st.sets(st.integers(0, 50)))
def test_other_instances_are_a_difference(one: set[int], other: set[int]) -> None:
    same = listing(sorted(one)).fingerprint() == listing(sorted(other)).fingerprint()

    assert same == (one == other)


def test_the_longest_lists_have_room_in_a_record_and_counts_are_never_cut(today: CoverageDay) -> None:
    tally = Tally()
    for number in range(1000):
        found, token = instance(number)
        tally.add_known(found, token, is_captured=False, by_modality_only=False)
        tally.not_in_archive.add(found, token)
    result = tally.result(DAY, "CT1", "PACS", "", today.bench.clock.now(), is_listed=True)

    bench = today.bench
    in_one_commit(bench.database, lambda session: results.keep(session, bench.journal, result, tally.private()))

    assert (result.unprotected, result.not_in_archive) == (1000, 1000)
    listed = today.showing().gap(DAY, "CT1", "A. Admin", "a look")["unprotected"]
    assert isinstance(listed, dict)
    instances, studies = listed["instances"], listed["studies"]
    assert isinstance(instances, list)
    assert isinstance(studies, list)
    assert (listed["count"], len(instances), len(studies)) == (1000, MOST_INSTANCES, MOST_STUDIES)
    # Why somebody looks may name a patient: it is sealed, and what is public of a record is there for ever.
    looked = bench.last_record()
    assert (looked.event, looked.reason, looked.commitment is not None) == (Event.LOOKED_UP, "", True)
    assert b"a look" not in looked.encode()


def test_without_every_answer_no_gap_is_never_complete(today: CoverageDay) -> None:
    now = today.bench.clock.now()

    assert Tally().result(DAY, "CT1", "PACS", "", now, is_listed=True).state is State.COMPLETE
    assert Tally().result(DAY, "CT1", "PACS", "it broke off", now, is_listed=True).state is State.PARTIAL
    assert Tally().result(DAY, "CT1", "PACS", "it broke off", now, is_listed=False).state is State.NOT_EVALUATED
    assert not replace(Tally().result(DAY, "CT1", "PACS", "", now, is_listed=True)).has_gap
