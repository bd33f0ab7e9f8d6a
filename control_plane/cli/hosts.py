"""Commands about hosts as such, each asked of the people's door."""

import json
from argparse import Namespace
from typing import Any
from urllib.parse import quote

from control_plane.cli.people import door


def show(options: Namespace) -> int:
    answer: Any = door(options).get("/api/v1/status")
    active = [host for host in answer["hosts"] if host["active"]]
    if options.json:
        print(json.dumps([{"host": host["host"], "asset": host["asset"]} for host in active], indent=2))
    else:
        print("".join(f"{host['host']}\n" for host in active), end="")
    return 0


def revoke(options: Namespace) -> int:
    """Revoke a host; 1 where its session at the broker may still be open."""
    answer: Any = door(options).post(
        f"/api/v1/hosts/{quote(options.host, safe='')}/revocation", {"reason": options.reason}
    )
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        print(f"{answer['asset']} ({answer['host']}) is revoked; its requests are refused from now on")
        print(f"session at the broker: {answer['session']}")
    return 0 if answer["session"] == "ended" else 1
