"""A person who watches a wipe, and may stop it once it is so far."""


class Watched:
    def __init__(self, stop_at: int | None = None) -> None:
        self.told: list[tuple[int, int]] = []
        self._stop_at = stop_at

    def at(self, done: int, total: int) -> None:
        self.told.append((done, total))

    @property
    def is_stopped(self) -> bool:
        return self._stop_at is not None and bool(self.told) and self.told[-1][0] >= self._stop_at
