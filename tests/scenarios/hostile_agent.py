"""What an agent that was taken over does at the guard's socket: everything that it can.

python -m tests.scenarios.hostile_agent ACCOUNT SOCKET < OFFERS

ACCOUNT is whose rights it has. OFFERS is a JSON list of [head, layer] in base64; each is offered until the guard has
judged it. Prints one JSON object {"judged": what the guard said of each, "policy": the version then in force}.
"""

import json
import os
import pwd
import socket
import sys
import time
from base64 import b64decode
from contextlib import suppress
from pathlib import Path

from edge_agent.link.client import GuardClient, GuardRefused
from edge_agent.link.frames import frame
from edge_agent.link.protocol import MAX_REQUEST_BYTES

_WAIT_S = 60.0


def main(account: str, path: Path) -> None:
    offers = [(b64decode(head), b64decode(layer)) for head, layer in json.load(sys.stdin)]
    become(account)
    shout(path)
    with GuardClient(path) as guard:
        judged = [judge(guard, *offer) for offer in offers]
        written = guard.hello().records
        guard.confirm(written)
        with suppress(GuardRefused):
            guard.confirm(written + 1_000_000)
        print(json.dumps({"judged": judged, "policy": guard.report().policy}))


def become(account: str) -> None:
    entry = pwd.getpwnam(account)
    os.setgroups([])
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)


def shout(path: Path) -> None:
    """Send what is no request, and what pretends to be one that decides."""
    told = (b"\xff" * 64, frame(b'{"ask":"allow","port":"1-1","v":1}', MAX_REQUEST_BYTES), b"\x7f\xff\xff\xff{")
    for data in told:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.fspath(path))
            with suppress(OSError):
                connection.sendall(data)
                connection.recv(4096)


def judge(guard: GuardClient, head: bytes, layer: bytes) -> str:
    """Offer a policy, and return why it was refused, or that it was not."""
    before = said(guard)
    guard.offer(head, layer)
    deadline = time.monotonic() + _WAIT_S
    while said(guard) == before:
        if time.monotonic() > deadline:
            raise SystemExit("the guard did not judge what it was offered")
        time.sleep(0.05)
    return guard.report().policy_error


def said(guard: GuardClient) -> tuple[int, str]:
    report = guard.report()
    return report.policy, report.policy_error


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
