"""A process that is really killed while it does a command, and the next one on the same disk."""

import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from edge_agent.commands.executor import Done
from shared.audit.events import Event
from shared.fleet.command import Argument, Outcome
from tests.edge_agent.commands.bench import Bench


def never_end(_arguments: Mapping[str, Argument], _stop: threading.Event) -> Done:
    sys.stdout.write("begun\n")
    sys.stdout.flush()
    threading.Event().wait()
    raise AssertionError("unreachable")


def begin(folder: Path) -> None:
    bench = Bench(folder, do=never_end)
    bench.offer(bench.command())


def test_what_a_killed_process_had_begun_is_unknown_at_the_next_start(tmp_path: Path) -> None:
    program = f"from pathlib import Path; from {__name__} import begin; begin(Path({str(tmp_path)!r}))"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"begun\n"
        child.kill()

    bench = Bench(tmp_path)
    (result,) = bench.results()
    assert (result.outcome, bench.done) == (Outcome.UNKNOWN, [])
    assert bench.recorded()[-2:] == [Event.COMMAND_BEGUN, Event.COMMAND_ENDED]
    assert bench.store.is_taken(result.command_id)
