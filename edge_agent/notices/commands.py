"""`leadglass-guard tell`: the notices as sentences, for a terminal or a desktop."""

import argparse
import sys
from pathlib import Path

DESCRIPTION = """\
Prints what happened to devices at this machine, why, and whom to call. Everybody may run it.

--follow goes on with what comes; with --desktop each is also shown by the desktop, so that this line in a session's
autostart tells whoever sits there: leadglass-guard tell --follow --desktop
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--follow", action="store_true", help="print new notices as they come, and only those")
    parser.add_argument("--desktop", action="store_true", help="show each by notify-send too")
    parser.add_argument("--language", choices=("en", "zh"), help="instead of the one that policy names")
    parser.add_argument(
        "--notices", type=Path, default=Path("/run/leadglass-guard/notices.json"), help="the file (%(default)s)"
    )


def act(arguments: argparse.Namespace) -> None:
    """Raises NoticesUnavailable, Malformed."""
    from threading import Event

    from edge_agent.notices.board import read
    from edge_agent.notices.desktop import Desktop
    from edge_agent.notices.follow import Follower, follow
    from edge_agent.notices.sentences import sentence, title

    desktop = Desktop() if arguments.desktop else None
    if desktop and not desktop.is_there:
        sys.stderr.write(
            "notify-send is not installed, so nothing is shown on the desktop (Debian package libnotify-bin)\n"
        )
    if not arguments.follow and not arguments.notices.exists():
        sys.stderr.write(f"there is no {arguments.notices}: no guard runs here, or it had nothing to tell yet\n")
    if arguments.follow:
        notices = follow(Follower(arguments.notices, from_start=False), Event().wait)
    else:
        notices = iter(read(arguments.notices))
    language = arguments.language or ""
    for notice in notices:
        text = sentence(notice.told, language)
        sys.stdout.write(f"{notice.told.time:%Y-%m-%d %H:%M:%SZ}  {text}\n")
        sys.stdout.flush()
        if desktop:
            desktop.show(title(language or notice.told.language), text)
