"""Programs that are asked something: found, ended, and kept from filling memory or waiting for ever."""

import time

import pytest

from edge_agent.sanitize.programs import MAX_BYTES, Ran, run


def test_returns_what_a_program_printed_and_how_it_ended() -> None:
    assert run(["sh", "-c", "echo out; echo err >&2; exit 3"]) == Ran(3, b"out\n", b"err\n")


def test_a_program_that_is_not_there_is_said_to_be_missing() -> None:
    assert run(["leadglass-no-such-program"]) == Ran(None, why="leadglass-no-such-program is not installed")


def test_speaks_no_language_but_one_and_has_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    assert b"SECRET" not in run(["env"]).stdout
    assert b"LC_ALL=C" in run(["env"]).stdout


def test_one_that_does_not_end_is_ended_with_all_that_it_started() -> None:
    began = time.monotonic()
    ran = run(["sh", "-c", "sleep 60 & sleep 60"], 0.2)

    assert ran == Ran(None, why="sh did not end within 0.2 s")
    assert time.monotonic() - began < 60  # nobody waited for what it left running


def test_one_that_prints_for_ever_ends_by_itself_at_a_fixed_size() -> None:
    ran = run(["dd", "if=/dev/zero", "bs=64K"], 20.0)

    assert len(ran.stdout) <= MAX_BYTES
    assert ran.code != 0
