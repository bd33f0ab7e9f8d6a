"""What people say of the centre's own log, each told to the people's door."""

import json
from argparse import Namespace
from typing import Any

from control_plane.cli.people import door
from shared.errors import Refused

_OF_THE_LOG = "centre's log:"


class NothingLost(Refused):
    def __init__(self) -> None:
        super().__init__("nothing of the centre's log is known to be lost, so there is nothing to accept")


class HostsNotLookedAt(Refused):
    def __init__(self) -> None:
        super().__init__(
            "revocations may be among what is lost: look at every host above, and revoke again whoever was revoked "
            "(`hosts revoke`); then say so with --yes"
        )


def accept_loss(options: Namespace) -> int:
    """Accept what is lost, once somebody says that every host was looked at. Raises HostsNotLookedAt, NothingLost."""
    people = door(options)
    if not options.yes:
        status: Any = people.get("/api/v1/status")
        if not _lost(status):
            raise NothingLost
        show(status)
        raise HostsNotLookedAt
    answer: Any = people.post("/api/v1/log/accept-loss", {"reason": options.reason})
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        # After a restore nobody may have seen a number that is lost; it is said to begin with the next one then.
        print(
            f"what is lost of the centre's log from record {answer['first']} on, to {answer['last']} as far as is "
            "known, is given up for lost, in your name; certificates are issued again"
        )
    return 0


def show(status: Any) -> None:
    for gap in _lost(status):
        print(gap)
    for host in status["hosts"]:
        last = host["last_seen"] or "never"
        print(f"host       {host['asset']} ({host['host']}): {host['standing']}, last heard {last}")


def _lost(status: Any) -> list[str]:
    return [gap for gap in status["not_evaluated"] if gap.startswith(_OF_THE_LOG)]
