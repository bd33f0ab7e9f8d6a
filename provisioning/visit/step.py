"""What a step of a visit is, and what it is given."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from provisioning import layout
from provisioning.finding import Finding
from provisioning.site import Site
from provisioning.visit.programs import Programs
from shared.clock import Clock


@dataclass(frozen=True)
class Places:
    """Where things lie on this host: below `root`, which is another folder in a test."""

    root: Path = Path("/")
    account: str = layout.ACCOUNT

    @property
    def agent_data(self) -> Path:
        return self.below(layout.AGENT_DATA)

    @property
    def guard_state(self) -> Path:
        return self.below(layout.GUARD_STATE)

    @property
    def own(self) -> Path:
        return self.below(layout.OWN_FOLDER)

    @property
    def guard_socket(self) -> Path:
        return self.below(layout.GUARD_SOCKET)

    @property
    def self_test(self) -> Path:
        return self.own / "self-test.json"

    def below(self, path: Path) -> Path:
        return self.root / path.relative_to("/")


@dataclass(frozen=True)
class Context:
    """`ask` shows a question and returns one line of what is typed, or empty at its end; it is never stored."""

    site: Site
    places: Places
    programs: Programs
    clock: Clock
    ask: Callable[[str], str] = field(repr=False)


class Step(Protocol):
    """One step. Begun again after it was cut off anywhere, it ends as if it had not been; done already, it says so."""

    @property
    def name(self) -> str: ...

    @property
    def advised(self) -> Collection[str]:
        """Return the checks that may fail without breaking the visit off."""

    def run(self, context: Context) -> Sequence[Finding]:
        """Raises Refused, Unavailable, IntegrityFailure, OSError: the step is broken, and may be run again."""
