"""Why the spool cannot take or give an object."""

from shared.errors import Unavailable


class SpoolUnavailable(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"the spool cannot take or give an object: {why}")
        self.why = why


class SpoolFull(Unavailable):
    def __init__(self, *, free_bytes: int, reserve_bytes: int) -> None:
        super().__init__(f"the disk of the spool has {free_bytes} bytes left, {reserve_bytes} are kept in reserve")
        self.free_bytes, self.reserve_bytes = free_bytes, reserve_bytes


class QuotaReached(Unavailable):
    """New images are refused before anything that was acknowledged is dropped; it never is."""

    def __init__(self, *, held_bytes: int, more_bytes: int, quota_bytes: int) -> None:
        held = f"the spool holds {held_bytes} bytes of the {quota_bytes} that policy lets it hold"
        super().__init__(f"{held}: no room for {more_bytes} more")
        self.held_bytes, self.more_bytes, self.quota_bytes = held_bytes, more_bytes, quota_bytes
