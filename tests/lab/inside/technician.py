"""In the guest: a person at a terminal. `technician.py STEPS COMMAND ...` prints each screen that was waited for.

STEPS is a JSON list of what is waited for on the screen and what is typed then; a line of JSON is printed for each.
"""

import json
import sys

sys.path.insert(0, "/run/technician")

from tests.edge_agent.sanitize.terminals import InTerminal, NotShown


def main(steps: str, *command: str) -> int:
    with InTerminal(command) as terminal:
        for shown, typed in json.loads(steps):
            try:
                print(json.dumps(terminal.until(shown, 600)), flush=True)
            except NotShown as exc:
                print(json.dumps(f"NOT SHOWN {exc}"), flush=True)
                return 99
            terminal.press(typed)
        return terminal.ended(300)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
