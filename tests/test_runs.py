"""`make test` leaves out no file of tests, and does none twice."""

from pathlib import Path

import pytest

from tests import __main__ as tests
from tests.__main__ import RUNS, left_to_others

ROOT = Path(__file__).parents[1]


def runs_of(file: str) -> list[str]:
    return [run for run in RUNS if file.startswith(f"{run}/")
            and not any(file.startswith(f"{other}/") for other in left_to_others(run))]  # fmt: skip


def test_every_file_of_tests_is_in_one_run_and_no_run_is_empty() -> None:
    files = [str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")]
    found = {file: runs_of(file) for file in files}

    assert {file: runs for file, runs in found.items() if len(runs) != 1} == {}
    assert {run for runs in found.values() for run in runs} == set(RUNS)


def test_a_run_that_fails_is_the_exit_code_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = {"tests/one": 0, "tests/two": 1, "tests/three": 0}
    monkeypatch.setattr(tests, "RUNS", tuple(codes))
    monkeypatch.setattr(tests, "_done", lambda _pytest, run, _memory: (run, "", codes[run]))

    assert tests.main([]) == 1
