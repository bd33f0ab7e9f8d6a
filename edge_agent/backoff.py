"""How long to wait before the next try: doubling, capped, spread so that a fleet does not return all at once."""

FIRST_S = 1.0
LONGEST_S = 60.0


def delay_s(failures: int, spread: float, *, first_s: float = FIRST_S, longest_s: float = LONGEST_S) -> float:
    """Return the wait after `failures` failed tries in a row, the shorter half of it left to `spread` (0 to 1)."""
    whole = min(first_s * (1 << min(failures - 1, 16)), longest_s)
    return whole * (0.5 + spread / 2)


def ask_again_s(refusals: int, spread: float) -> float:
    """Return the wait after the centre has said so often in a row that nobody allows it: that takes a person."""
    return delay_s(refusals, spread, first_s=60.0, longest_s=600.0)
