"""The fuzz targets without atheris: every seed, and some hundreds of inputs made from them, the same on each run.

`make fuzz` lets atheris look for more.
"""

import tracemalloc
from itertools import count

import pytest

from shared.errors import Malformed
from tests.fuzz.every import EVERY
from tests.fuzz.mutate import mutations
from tests.fuzz.target import Hang, Target, coming_back

# pydicom warns about what it reads; the agent's process has warnings and logging off.
pytestmark = pytest.mark.filterwarnings("ignore:::pydicom", "ignore::UserWarning", "ignore::DeprecationWarning")

_INPUTS, _SEED = 250, 20
_HELD_BYTES = 48 << 20


def run(target: Target, inputs: int = _INPUTS) -> int:
    """Try seeds and mutations; return how many were read."""
    with coming_back():
        return sum(target.try_one(data) for data in mutations(target.seeds, _SEED, inputs))


@pytest.mark.parametrize("name", EVERY)
def test_every_seed_is_read(name: str) -> None:
    target = EVERY[name]

    for seed in target.seeds:
        target.read(seed)


@pytest.mark.parametrize("name", EVERY)
def test_no_input_brings_anything_but_a_value_or_an_error_of_ours(name: str) -> None:
    tracemalloc.start()
    try:
        read = run(EVERY[name])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert read >= len(EVERY[name].seeds)
    assert peak < _HELD_BYTES


def test_the_same_seed_makes_the_same_inputs() -> None:
    seeds = EVERY["dimse"].seeds
    first, again, other = (list(mutations(seeds, number, 50)) for number in (1, 1, 2))

    assert first == again
    assert first != other


# ---- that a finding would be seen


def fragile(data: bytes) -> None:
    if data[:1] != b"A":
        raise Malformed("letter", "not an A")
    if len(data) > 30:
        raise IndexError


def test_control_an_error_that_is_not_ours_is_a_finding() -> None:
    with pytest.raises(IndexError):
        run(Target("fragile", fragile, (b"A" * 20,)))


def test_control_what_does_not_come_back_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.target.HANG_S", 1)
    with pytest.raises(Hang), coming_back():
        any(number < 0 for number in count())
