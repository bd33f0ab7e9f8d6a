"""What the centre last said that it reads of a state report, so that one of an earlier version is told no more."""

from edge_agent.https import Answer
from shared.fleet.state import READS_HEADER


class CentreReads:
    """Told of every answer at the host door, by any thread."""

    def __init__(self) -> None:
        self._members = frozenset[str]()

    def heard(self, answer: Answer) -> None:
        said = answer.headers.get(READS_HEADER.lower(), "")
        self._members = frozenset(name.strip() for name in said.split(","))

    def knows(self, member: str) -> bool:
        return member in self._members
