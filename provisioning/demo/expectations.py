"""What the demo must show, named before it begins, and what came of each.

An expectation that nothing judged counts against the demo exactly as one that failed: a step that is skipped, or that
ends early, can never make the result greener.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    HELD = "held"
    FAILED = "failed"
    NOT_REACHED = "not reached"


@dataclass(frozen=True)
class Expectation:
    """`name` is how the code speaks of it; `says` completes the sentence "it is shown that ..."."""

    name: str
    says: str


@dataclass(frozen=True)
class Chapter:
    title: str
    expectations: tuple[Expectation, ...]


@dataclass(frozen=True)
class Verdict:
    expectation: Expectation
    state: State
    evidence: str


class Expectations:
    """The ledger of one run. Each expectation is judged once and the judgement stays."""

    def __init__(self, chapters: Sequence[Chapter]) -> None:
        self._chapters, self._verdicts = chapters, dict[str, Verdict]()
        for expectation in (one for chapter in chapters for one in chapter.expectations):
            if expectation.name in self._verdicts:
                raise ValueError(f"expectation {expectation.name!r} is listed twice")
            self._verdicts[expectation.name] = Verdict(expectation, State.NOT_REACHED, "")

    def judge(self, name: str, held: bool, evidence: str) -> Verdict:  # noqa: FBT001 (the fact itself, beside its evidence)
        """Record what came of `name`; `evidence` says what was seen, or what was seen instead.

        Raises ValueError: nobody expects `name`, or it was judged before.
        """
        before = self._verdicts.get(name)
        if before is None:
            raise ValueError(f"{name!r} is not an expectation of this run")
        if before.state is not State.NOT_REACHED:
            raise ValueError(f"expectation {name!r} is judged twice")
        verdict = Verdict(before.expectation, State.HELD if held else State.FAILED, evidence)
        self._verdicts[name] = verdict
        return verdict

    def verdicts(self) -> tuple[Verdict, ...]:
        """Return one verdict for each expectation, in the order in which they were listed."""
        return tuple(self._verdicts.values())

    def by_chapter(self) -> tuple[tuple[str, tuple[Verdict, ...]], ...]:
        """Return every chapter's title with the verdicts on its expectations."""
        return tuple(
            (chapter.title, tuple(self._verdicts[one.name] for one in chapter.expectations))
            for chapter in self._chapters
        )

    def all_held(self) -> bool:
        return bool(self._verdicts) and all(v.state is State.HELD for v in self._verdicts.values())
