"""What every command of `leadglass-provision` shares: how it is added, and its exit codes.

A command lives in `command.py` of its package, whose `add_to` adds a parser with `set_defaults(run=...)`. What is heavy
is imported when it runs.
"""

import argparse
from typing import TypeAlias

OK, REFUSED, BAD_INPUT, UNAVAILABLE = range(4)

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
