import pytest

from shared.policy.wipe import LeastClass, ReadBack
from shared.sanitization.method import Method
from shared.sanitization.sequences import is_run, passes
from shared.sanitization.technique import Sequence, Technique


def method(sequence: Sequence, *custom: str) -> Method:
    return Method(LeastClass.CLEAR, (Technique.OVERWRITE,), sequence, custom, ReadBack.WHOLE)


@pytest.mark.parametrize(
    "sequence, expected",
    [
        (Sequence.RANDOM, "random"),
        (Sequence.ZERO, "00"),
        (Sequence.THREE_PASS, "00 ff random"),
        (Sequence.BMB21, "ff 00 random random random ff"),
        (Sequence.DOD_SHORT, "3c c3 random"),
    ],
)
def test_the_passes_of_a_sequence(sequence: Sequence, expected: str) -> None:
    assert " ".join(passes(method(sequence), 0x3C)) == expected
    assert is_run(method(sequence), expected.split())


def test_a_custom_sequence_is_what_it_says() -> None:
    assert passes(method(Sequence.CUSTOM, "a5", "random", "00"), 0) == ("a5", "random", "00")


@pytest.mark.parametrize("patterns", ["", "3c c3", "3c 3c random", "c3 random 3c", "3c c3 random random"])
def test_passes_left_out_added_or_swapped_are_no_run(patterns: str) -> None:
    assert not is_run(method(Sequence.DOD_SHORT), patterns.split())


def test_every_sequence_has_passes() -> None:
    for sequence in Sequence:
        assert passes(method(sequence, *(["00"] if sequence is Sequence.CUSTOM else [])), 7)
