"""`make test` leaves out no file of tests, and does none twice; what fails there fails all, or is named."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests import __main__ as tests
from tests.__main__ import RUNS, Ended, left_to_others, to_try_again

ROOT = Path(__file__).parents[1]


def runs_of(file: str) -> list[str]:
    return [run for run in RUNS if file.startswith(f"{run}/")
            and not any(file.startswith(f"{other}/") for other in left_to_others(run))]  # fmt: skip


def test_every_file_of_tests_is_in_one_run_and_no_run_is_empty() -> None:
    files = [str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("test_*.py")]
    found = {file: runs_of(file) for file in files}

    assert {file: runs for file, runs in found.items() if len(runs) != 1} == {}
    assert {run for runs in found.values() for run in runs} == set(RUNS)


def made(folder: Path, name: str, body: str) -> str:
    (folder / name).mkdir()
    (folder / name / f"test_{name}.py").write_text(body)
    return name


FAILS = "def test_it():\n    assert False, 'as ever'\n"
PASSES = "def test_it():\n    pass\n"
FAILS_ONCE = """
from pathlib import Path

def test_others():
    pass

def test_it():
    told = Path(__file__).with_name("told")
    been, _ = told.exists(), told.touch()
    assert been, "lost a race"
"""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Return what does runs of one file each, given what is in it, and returns the exit code."""
    monkeypatch.setattr(tests, "_place_in_memory", nullcontext)
    monkeypatch.chdir(tmp_path)

    def run(*bodies: str, never: bool = False) -> int:
        folders = [made(tmp_path, f"run{number}", body) for number, body in enumerate(bodies)]
        monkeypatch.setattr(tests, "RUNS", tuple(folders))
        monkeypatch.setattr(tests, "NEVER_UNSTEADY", {folders[0]} if never else set[str]())
        return tests.main([])

    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return run


def test_a_run_that_fails_is_the_exit_code_of_all(runs: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert runs(PASSES, FAILS, PASSES) == 1
    assert "not passed when tried again: 1 failed" in capsys.readouterr().out


def test_a_test_that_fails_once_is_named_unsteady(runs: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert runs(PASSES, FAILS_ONCE) == 0
    said = capsys.readouterr().out
    assert "lost a race" in said
    assert "UNSTEADY: passed when tried again: 1 passed" in said


SKIPPED_THEN = """
from pathlib import Path

import pytest

def test_it():
    told = Path(__file__).with_name("told")
    if told.exists():
        pytest.skip("it cannot run now")
    told.touch()
    raise AssertionError
"""


def test_what_is_skipped_the_second_time_has_not_passed(runs: Callable[..., int]) -> None:
    assert runs(SKIPPED_THEN) == 1


def test_where_an_image_is_at_stake_once_is_enough(runs: Callable[..., int]) -> None:
    assert runs(FAILS_ONCE, PASSES, never=True) == 1


@pytest.mark.parametrize(
    "ended",
    [
        pytest.param(Ended("tests/one", "", 2), id="a run that did not begin"),
        pytest.param(Ended("tests/one", "", 1, ("1", "2", "3", "4")), id="more than an accident"),
        pytest.param(Ended("tests/one", "", -9), id="a run that was killed"),
        pytest.param(Ended("tests/one", "1 passed, 1 error in 1s\n", 1, ("1",)), id="an error around a test"),
    ],
)
def test_what_is_wrong_for_certain_is_not_tried_again(ended: Ended) -> None:
    unlucky = Ended("tests/two", "", 1, ("5",))
    assert to_try_again([unlucky, ended]) == ()
    assert to_try_again([unlucky, Ended("tests/one", "", 0)]) == [unlucky]
