"""`leadglass-provision completion`: what a shell is told of our programs."""

import argparse
from importlib import import_module

from provisioning.command import OK, Commands

PROGRAMS = {
    "leadglass-agent": "edge_agent.__main__",
    "leadglass-guard": "edge_agent.guard_main",
    "leadglass-provision": "provisioning.__main__",
    "leadglass-server": "control_plane.__main__",
    "leadglass-verify": "provisioning.verify.__main__",
    "leadglass-wipe": "edge_agent.wipe_main",
}
SHELLS = ("bash", "zsh", "fish")
_DESCRIPTION = """\
Print completion for our programs, all or those that are named:

  leadglass-provision completion bash > /etc/bash_completion.d/leadglass
  leadglass-provision completion zsh  > ~/.leadglass.zsh       (and `source ~/.leadglass.zsh` in ~/.zshrc)
  leadglass-provision completion fish > ~/.config/fish/conf.d/leadglass.fish
"""


def add_to(commands: Commands) -> None:
    """Add `completion` to the commands of `leadglass-provision`."""
    parser = commands.add_parser(
        "completion",
        help="completion of our programs for bash, zsh or fish",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS, help="for which shell")
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=f"of {', '.join(PROGRAMS)} [all]")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from provisioning.completion.bash import FOR_ZSH, bash
    from provisioning.completion.fish import fish
    from provisioning.completion.tree import tree
    from shared.errors import Malformed

    script = fish if options.shell == "fish" else bash
    print(FOR_ZSH if options.shell == "zsh" else "", end="")
    for program in options.programs or PROGRAMS:
        if program not in PROGRAMS:
            raise Malformed("PROGRAM", f"{program!r} is none of {', '.join(PROGRAMS)}")
        parser = import_module(PROGRAMS[program]).command_line()
        print(script(program, tree(parser)), end="")
    return OK
