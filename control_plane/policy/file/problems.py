"""What is wrong with a policy file, and where."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.errors import Malformed


@dataclass(frozen=True)
class Problem:
    line: int
    field: str  # such as modalities[2].ae_title; empty where the file as a whole is meant
    why: str

    def text(self, file: str) -> str:
        return f"{file}:{self.line}: " + (f"{self.field}: {self.why}" if self.field else self.why)


class PolicyFileMalformed(Malformed):
    """Everything that is wrong with a policy file, one problem a line."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file, self.problems = file, tuple(sorted(problems, key=lambda problem: problem.line))
        super().__init__(f"policy file {file}", "\n" + "\n".join(problem.text(file) for problem in self.problems))
