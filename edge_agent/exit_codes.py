"""How `leadglass-guard` and `leadglass-wipe` end: what they say, and by which exit code.

0 done, 1 refused, 2 usage or bad input, 3 something it needs does not answer.
"""

import sys
from collections.abc import Callable

from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable

_OK, _REFUSED, _USAGE, _UNAVAILABLE = range(4)


def exit_code(act: Callable[[], int | None], *, program: str, failed: str) -> int:
    """Return what `act` does, or 0, and what its error stands for; `failed` is the event of one that nobody foresaw."""
    try:
        return act() or _OK
    except (Refused, IntegrityFailure, Unavailable) as exc:
        sys.stderr.write(f"{program}: {exc}\n")
        if isinstance(exc, Unavailable):
            return _UNAVAILABLE
        return _USAGE if isinstance(exc, Malformed) else _REFUSED
    except KeyboardInterrupt:
        return _REFUSED
    except BrokenPipeError:
        # Whoever read our output has read enough; nothing more can be written, also not at the end.
        sys.stdout = None
        return _OK
    # The last resort: whatever was not foreseen ends the command with its place in the log and no foreign text.
    except Exception as exc:  # noqa: BLE001
        from edge_agent.log import JsonLog, where, why
        from shared.clock import SystemClock

        JsonLog(SystemClock()).event(failed, why=why(exc), where=where(exc))
        return _UNAVAILABLE
