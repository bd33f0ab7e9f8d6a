"""What people do at their desk and at a host, by commands that end by themselves."""

from collections.abc import Callable
from pathlib import Path

from control_plane.__main__ import main as server
from edge_agent.__main__ import main as agent
from provisioning.demo.processes import Ran, wait_until
from tests.fakes.terminal import done

ONE_CT = """\
layer: organisation
modalities: [{ae_title: CT1, description: "CT, room 1.14"}]
grading: {default: restricted}
timings: {state_every_s: 1, pull_every_s: 1}
"""
_PATIENCE_S = 120
_PROGRAMS = {"leadglass-server": server, "leadglass-agent": agent}


def run(program: str, *arguments: str, text_in: str = "") -> Ran:
    return Ran(program, done(_PROGRAMS[program], arguments, text_in))


def comes(answered: Callable[[], bool]) -> bool:
    """Say whether what people are told comes to this. They look again a few times a second: each question is work."""
    return wait_until(answered, _PATIENCE_S, look_every_s=0.25) is not None


def holds(data: Path, find: Callable[[], set[str]], count: int) -> bool:
    """Say whether so many images come to be found. Looking is a record, so nobody looks before they are there."""
    return comes(lambda: len(list(data.glob("objects/*/*.body"))) >= count and len(find()) == count)
