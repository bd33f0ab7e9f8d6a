"""What people do at their desk and at a host, by commands that end by themselves."""

from control_plane.__main__ import main as server
from edge_agent.__main__ import main as agent
from provisioning.demo.processes import Ran
from tests.fakes.terminal import done

ONE_CT = """\
layer: organisation
modalities: [{ae_title: CT1, description: "CT, room 1.14"}]
grading: {default: restricted}
timings: {state_every_s: 1, pull_every_s: 1}
"""
_PROGRAMS = {"leadglass-server": server, "leadglass-agent": agent}


def run(program: str, *arguments: str, text_in: str = "") -> Ran:
    return Ran(program, done(_PROGRAMS[program], arguments, text_in))
