"""A log that remembers."""

from edge_agent.log import Field


class MemoryLog:
    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Field]]] = []

    def event(self, name: str, **fields: Field) -> None:
        self.events.append((name, fields))

    def names(self) -> list[str]:
        return [name for name, _ in self.events]
