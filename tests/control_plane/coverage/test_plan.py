from datetime import UTC, date, datetime, timedelta

from control_plane.coverage.plan import due, missed

NIGHT = datetime(2026, 3, 10, 3, 0, tzinfo=UTC)
YESTERDAY, BEFORE = date(2026, 3, 9), date(2026, 3, 8)


def test_nothing_is_due_before_the_night_is_over() -> None:
    assert due(NIGHT - timedelta(seconds=1), ["CT1"], {}, {}, ()) == ()


def test_yesterday_and_the_day_before_are_due_each_night() -> None:
    assert due(NIGHT, ["CT1"], {}, {}, ()) == (YESTERDAY, BEFORE)
    last_night = NIGHT - timedelta(days=1)
    assert due(NIGHT, ["CT1"], {(BEFORE, "CT1"): last_night}, {}, ()) == (YESTERDAY, BEFORE)


def test_a_day_compared_tonight_is_not_due_again() -> None:
    compared = {(YESTERDAY, "CT1"): NIGHT, (BEFORE, "CT1"): NIGHT + timedelta(minutes=1)}

    assert due(NIGHT + timedelta(hours=5), ["CT1"], compared, {}, ()) == ()


def test_a_day_that_one_modality_is_missing_from_stays_due() -> None:
    compared = {(day, "CT1"): NIGHT for day in (YESTERDAY, BEFORE)} | {(BEFORE, "MR1"): NIGHT}

    assert due(NIGHT + timedelta(hours=1), ["CT1", "MR1"], compared, {}, ()) == (YESTERDAY,)


def test_without_modalities_nothing_is_due() -> None:
    assert due(NIGHT, [], {}, {}, ()) == ()


def test_an_earlier_day_with_a_gap_is_compared_each_night_for_two_weeks() -> None:
    open_days = {date(2026, 3, 1), date(2026, 2, 23), YESTERDAY}

    assert due(NIGHT, ["CT1"], {}, {}, open_days) == (YESTERDAY, BEFORE, date(2026, 3, 1))
    compared = {(date(2026, 3, 1), "CT1"): NIGHT}
    assert due(NIGHT + timedelta(hours=1), ["CT1"], compared, {}, open_days) == (YESTERDAY, BEFORE)


def test_a_day_that_was_due_and_that_nobody_tried_is_missed() -> None:
    since = {"CT1": date(2026, 3, 6), "MR1": date(2026, 3, 9)}
    tried = {(date(2026, 3, 7), "CT1"): NIGHT - timedelta(days=1), (YESTERDAY, "MR1"): NIGHT}

    assert missed(NIGHT, since, tried) == ((YESTERDAY, "CT1"), (BEFORE, "CT1"), (date(2026, 3, 6), "CT1"))
    assert missed(NIGHT - timedelta(seconds=1), since, tried) == ((BEFORE, "CT1"), (date(2026, 3, 6), "CT1"))


def test_a_day_that_was_compared_only_while_it_lasted_is_missed() -> None:
    at_noon = {(YESTERDAY, "CT1"): NIGHT - timedelta(hours=15)}

    assert missed(NIGHT, {"CT1": YESTERDAY}, at_noon) == ((YESTERDAY, "CT1"),)


def test_what_was_missed_is_looked_for_in_two_weeks() -> None:
    assert len(missed(NIGHT, {"CT1": date(2020, 1, 1)}, {})) == 14


def test_a_day_on_which_the_archive_cannot_be_asked_is_tried_again_less_and_less_often() -> None:
    """By the hour, as it is looked at; an attempt takes its time."""
    failed: dict[tuple[date, str], datetime] = {}
    tries = []
    for hour in range(24):
        now = NIGHT + timedelta(hours=hour, minutes=17)
        if YESTERDAY in due(now, ["CT1"], {(BEFORE, "CT1"): NIGHT}, failed, ()):
            tries.append(hour)
            failed[YESTERDAY, "CT1"] = now + timedelta(seconds=40)

    assert tries == [0, 1, 3, 7, 15]
    assert YESTERDAY in due(NIGHT + timedelta(days=1), ["CT1"], {}, failed, ())
