"""What is wrong with a log, by what somebody saw of it."""

from hypothesis import given
from hypothesis import strategies as st

from control_plane.checkpoints.judge import Finding, Kind, judge
from shared.audit.batch import ChainHead
from shared.audit.checkpoint import Checkpoint

LEAF, OTHER = bytes(32), bytes(31) + b"\1"
HEAD = ChainHead(10, LEAF)


def test_a_log_that_has_what_was_seen_is_whole() -> None:
    assert judge(Checkpoint(7, LEAF), HEAD, LEAF, []) is None


def test_a_log_that_ends_before_what_was_seen_shrank() -> None:
    seen = Checkpoint(15, LEAF)

    assert judge(seen, HEAD, None, []) == Finding(Kind.SHRANK, seen, 11)


def test_a_log_with_another_record_there_or_none_forked() -> None:
    seen = Checkpoint(7, LEAF)

    assert judge(seen, HEAD, OTHER, []) == Finding(Kind.FORKED, seen, 7)
    assert judge(seen, HEAD, None, []) == Finding(Kind.FORKED, seen, 7)


def test_what_lies_before_a_loss_that_was_found_says_nothing_new_and_what_lies_after_it_does() -> None:
    assert judge(Checkpoint(15, LEAF), HEAD, None, [15]) is None
    assert judge(Checkpoint(16, LEAF), HEAD, None, [15]) is not None


@given(seen=st.integers(1, 20), head=st.integers(0, 20), same=st.booleans(), known=st.lists(st.integers(1, 20)))
def test_only_a_log_with_the_leaf_or_a_loss_that_is_known_passes(
    seen: int, head: int, same: bool, known: list[int]
) -> None:
    there = LEAF if same and seen <= head else None
    found = judge(Checkpoint(seen, LEAF), ChainHead(head, LEAF), there, known)

    assert (found is None) == (there is not None or max(known, default=0) >= seen)
