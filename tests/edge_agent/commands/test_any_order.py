"""In whatever order commands are offered, over restarts and clocks that jump: none is done twice, late or unsigned.

Nor is one that was refused.
"""

import tempfile
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.envelope import Signatories
from shared.fleet.command import Outcome
from shared.identity import HostId
from tests.edge_agent.commands.bench import ADA, BEA, HOUR, STRANGER, Bench

_SIGNERS = ((ADA,), (BEA,), (ADA, BEA), (STRANGER,), (ADA, STRANGER))
_ENOUGH = (ADA, BEA)


@dataclass(frozen=True)
class Offer:
    command: int
    signers: int


@dataclass(frozen=True)
class Jump:
    minutes: int


RESTART, CONFIRM = "restart", "confirm"
STEPS = st.one_of(
    st.builds(Offer, st.integers(0, 3), st.integers(0, len(_SIGNERS) - 1)),
    st.builds(Jump, st.integers(-90, 90)),
    st.sampled_from([RESTART, CONFIRM]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_nothing_is_done_twice_late_or_without_enough_signatures(steps: list[object]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), signatories=Signatories((ADA.public, BEA.public), 2))
        bench.signed_at = bench.clock.now() - 24 * HOUR
        commands = [
            bench.command(),
            bench.command(life=timedelta(minutes=30)),
            bench.command("wipe"),
            bench.command(host=HostId(bytes(16))),
        ]
        taken, answered = set[int](), set[int]()
        for step in steps:
            match step:
                case Offer(number, signers):
                    command, before = commands[number], len(bench.done)
                    bench.offer(command, *_SIGNERS[signers])
                    earliest, now = command.issued - timedelta(minutes=5), bench.clock.now()
                    may = (
                        number in (0, 1) and number not in answered and _SIGNERS[signers] == _ENOUGH
                        and earliest <= now < command.expires
                    )  # fmt: skip
                    assert len(bench.done) - before == may
                    answered.add(number)
                    if may:
                        taken.add(number)
                case Jump(minutes):
                    bench.clock.advance(timedelta(minutes=minutes))
                case "restart":
                    bench.restart()
                case _:
                    bench.confirm()
        done = {str(commands[number].command_id) for number in taken}
        assert {str(one.command_id) for one in bench.results() if one.outcome is Outcome.DONE} <= done
        bench.host.database.close()
