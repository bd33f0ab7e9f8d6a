"""The guard's records: each follows the one before, or what is wrong has a name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.link.chain import Judged, Link, Position, judge
from shared.devices.record import GENESIS, GuardRecord
from tests.fakes.guard import chain, record

LINES = [GuardRecord.parse(line) for line in chain(5)]
AT_3 = Position(3, LINES[2].digest)


def test_a_chain_follows_from_its_first_record_to_its_last() -> None:
    held = Position()
    for one in LINES:
        assert judge(held, one, is_known=False) == Judged(Link.FOLLOWS)
        held = Position(one.number, one.digest)


@pytest.mark.parametrize(
    "one, is_known, link, why",
    [
        (LINES[3], True, Link.SEEN, ""),
        (LINES[4], False, Link.GAP, "records 4 to 4 are missing"),
        (record(9, bytes(32)), False, Link.GAP, "records 4 to 8 are missing"),
        (record(4, bytes(32)), False, Link.FORK, "record 4 does not follow record 3, which was relayed before"),
        (record(1, GENESIS, port="9-9"), False, Link.FORK, "record 1 does not follow record 3"),
        (LINES[2], True, Link.REPEAT, "record 3 came again after record 3"),
        (LINES[0], True, Link.REPEAT, "record 1 came again after record 3"),
        (LINES[4], True, Link.REPEAT, "record 5 came again after record 3"),
    ],
)
def test_what_does_not_follow_has_a_name(one: GuardRecord, is_known: bool, link: Link, why: str) -> None:
    judged = judge(AT_3, one, is_known=is_known)

    assert judged.link is link
    assert judged.why.startswith(why)
    assert bool(judged.why) == bool(why)


@given(st.integers(0, 9), st.binary(min_size=32, max_size=32), st.integers(1, 9), st.binary(min_size=32, max_size=32))
def test_nothing_follows_but_the_next_number_under_the_digest_held(
    held: int, digest: bytes, number: int, prev: bytes
) -> None:
    judged = judge(Position(held, digest), record(number, prev), is_known=False)

    assert (judged.link is Link.FOLLOWS) == (number == held + 1 and prev == digest)
