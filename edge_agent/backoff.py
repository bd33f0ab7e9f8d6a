"""How long to wait before the next try: doubling, capped, spread so that a fleet does not return all at once."""

FIRST_S = 1.0
LONGEST_S = 60.0


def delay_s(failures: int, spread: float) -> float:
    """Return the wait after `failures` failed tries in a row, the shorter half of it left to `spread` (0 to 1)."""
    whole = min(FIRST_S * (1 << min(failures - 1, 16)), LONGEST_S)
    return whole * (0.5 + spread / 2)
