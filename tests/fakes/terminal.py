"""A command of ours as somebody at a terminal gives it, done in this process: an interpreter of its own takes a second.

For commands that end by themselves. What serves, asks on a terminal, or is killed, is started as a program.
"""

import io
import os
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from subprocess import CompletedProcess
from unittest.mock import patch


def done(main: Callable[[Sequence[str]], int], arguments: Sequence[object], typed: str = "") -> "CompletedProcess[str]":
    assert arguments[0] != "run"
    given, written = [str(argument) for argument in arguments], (io.BytesIO(), io.BytesIO())
    out, errors = (io.TextIOWrapper(stream, "utf-8", write_through=True) for stream in written)
    mask = os.umask(0o022)
    try:
        with redirect_stdout(out), redirect_stderr(errors), patch("sys.stdin", io.StringIO(typed)):
            code = main(given)
    except SystemExit as exc:  # what argparse makes of options that it does not know
        code = int(exc.code or 0)
    finally:
        os.umask(mask)
    printed, complained = (stream.getvalue().decode() for stream in written)
    assert "Traceback" not in complained, complained
    return CompletedProcess(given, code, printed, complained)
