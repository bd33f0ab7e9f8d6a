"""A host in a dict: what is at each path, and what of it was copied. It takes the steps of a plan, as a disk would."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from provisioning.install.item import Kind, Noted, There, Wanted, digest_of
from provisioning.install.noted import Installed
from provisioning.install.plan import Change, Plan, Step, folders_above


@dataclass
class ModelHost:
    files: dict[str, There] = field(default_factory=dict)
    copies: dict[str, There] = field(default_factory=dict)
    noted: Installed = field(default_factory=Installed)

    def there(self, wanted: Sequence[Wanted]) -> dict[str, There]:
        paths = [*(item.path for item in wanted), *(entry.path for entry in self.noted.entries)]
        return {path: self.files[path] for path in (*folders_above(paths), *paths) if path in self.files}

    def do(self, plan: Plan, most: int | None = None) -> None:
        """Do what the plan says; cut off after `most` steps."""
        self.noted = plan.before
        for step in plan.steps[:most]:
            self._take(step)
        if most is None:
            self.noted = plan.after

    def _take(self, step: Step) -> None:
        match step.change:
            case Change.LEAVE:
                return
            case Change.REMOVE:
                if not any(path.startswith(f"{step.path}/") for path in self.files):
                    self.files.pop(step.path, None)
            case Change.PUT_BACK:
                assert step.kept is not None
                self.files[step.path] = self.copies[step.kept.digest]
            case _:
                assert step.wanted is not None
                if step.kept is not None:
                    assert self.files[step.path] == step.kept
                    self.copies[step.kept.digest] = step.kept
                self.files[step.path] = as_there(step.wanted)


def as_there(item: Wanted) -> There:
    return There(item.kind, item.digest, item.rights)


def file_of(content: bytes, item: Wanted) -> There:
    return There(Kind.FILE, digest_of(Kind.FILE, content), item.rights)


def noted_paths(entries: Sequence[Noted]) -> set[str]:
    return {entry.path for entry in entries}
