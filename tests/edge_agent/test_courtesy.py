"""Work that can wait, on a clock that moves only when somebody waits: units done are counted, nothing is timed."""

import threading

import pytest

from edge_agent.courtesy import DELIVERY, Courtesy, Pace, at_once, courteously
from edge_agent.examination import QUIET_S, Examination, SeenFromBeside, Taken

PACE = Pace(at_once=3, every_s=0.5)


class Time(threading.Event):
    """What a worker waits on: waiting is what makes time pass, and `ends_s` is when the agent stops."""

    def __init__(self, ends_s: float) -> None:
        super().__init__()
        self.now_s, self._ends_s = 1000.0, 1000.0 + ends_s

    def __call__(self) -> float:
        return self.now_s

    def is_set(self) -> bool:
        return self.now_s >= self._ends_s

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.now_s += timeout
        return self.is_set()


@pytest.fixture
def time() -> Time:
    return Time(ends_s=60.0)


def _units(time: Time, courtesy: Courtesy | None, unit_s: float = 0.01) -> int:
    """Work until the agent stops, as a part does; return how many units were done."""
    done = 0
    while not time.is_set():
        (courtesy.yield_to_it if courtesy else at_once)(time)
        if not time.is_set():
            done += 1
            time.now_s += unit_s
    return done


def test_without_an_examination_nothing_waits(time: Time) -> None:
    assert _units(time, Courtesy(Examination(time).ends_in_s, PACE, time)) == pytest.approx(6000, abs=1)


def test_while_images_come_in_work_keeps_its_pace_and_does_not_stop(time: Time) -> None:
    examination = Examination(time)
    examination.image_begins()  # and never ends
    assert _units(time, Courtesy(examination.ends_in_s, PACE, time)) == pytest.approx(3 + 60 / 0.5, abs=2)


def test_control_a_worker_that_yields_to_nobody_takes_the_processor_all_the_time(time: Time) -> None:
    Examination(time).image_begins()
    assert _units(time, None) == pytest.approx(6000, abs=1)


def test_the_pace_is_made_up_for_once_the_examination_is_over(time: Time) -> None:
    examination = Examination(time)
    examination.image_begins()
    examination.image_ends(1)
    # The last image was now: for QUIET_S it is slow, after that it is not.
    slow = 3 + QUIET_S / 0.5
    assert _units(time, Courtesy(examination.ends_in_s, PACE, time)) == pytest.approx(
        slow + (60 - QUIET_S) / 0.01, abs=10
    )


def test_a_worker_that_waits_goes_on_as_soon_as_the_examination_ends() -> None:
    time = Time(ends_s=10.0)
    examination = Examination(time)
    examination.association()
    courtesy = Courtesy(examination.ends_in_s, Pace(at_once=1, every_s=3600.0), time)
    courtesy.yield_to_it(time)
    courtesy.yield_to_it(time)
    assert time.now_s == pytest.approx(1000.0 + QUIET_S)


def test_a_stop_ends_the_waiting() -> None:
    time = Time(ends_s=0.0)
    examination = Examination(time)
    examination.image_begins()
    courtesy = Courtesy(examination.ends_in_s, Pace(at_once=1, every_s=3600.0), time)
    courtesy.yield_to_it(time)
    courtesy.yield_to_it(time)
    assert time.now_s == 1000.0


def test_delivery_goes_on_through_an_examination_without_an_end() -> None:
    time = Time(ends_s=3600.0)
    examination = Examination(time)
    examination.image_begins()
    assert _units(time, Courtesy(examination.ends_in_s, DELIVERY, time)) > 7000


def test_an_association_that_brings_nothing_is_no_examination_for_long(time: Time) -> None:
    examination = Examination(time)
    assert not examination.is_running()
    examination.association()
    assert examination.is_running()
    time.now_s += QUIET_S
    assert not examination.is_running()


def test_images_of_two_associations_are_one_examination(time: Time) -> None:
    examination = Examination(time)
    examination.image_begins()
    examination.image_begins()
    examination.image_ends(10)
    time.now_s += 100
    assert examination.is_running(), "the other image is still coming in"
    examination.image_ends(20)
    time.now_s += QUIET_S
    assert not examination.is_running()
    assert examination.taken() == Taken(2, 30)


def test_from_beside_an_examination_is_seen_by_what_it_brings(time: Time) -> None:
    number = 7
    seen = SeenFromBeside(lambda: number, time)
    assert seen.ends_in_s() == 0
    number = 8
    assert seen.ends_in_s() == QUIET_S
    time.now_s += QUIET_S
    assert seen.ends_in_s() == 0


def test_what_is_read_courteously_is_all_of_it_in_order() -> None:
    assert list(courteously(range(5), Courtesy(lambda: 0.0, PACE))) == [0, 1, 2, 3, 4]
