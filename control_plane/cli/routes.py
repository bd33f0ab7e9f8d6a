"""Commands about the ways to archives, each asked of the people's door."""

import json
from argparse import Namespace
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from control_plane.cli.people import door
from control_plane.cli.times import instant
from shared import clock
from shared.canonical import Json
from shared.errors import Malformed


def show(options: Namespace) -> int:
    """Show each route; 1 where something waits for a reason or was refused."""
    answer: Any = door(options).get("/api/v1/routes")
    if options.json:
        print(json.dumps(answer["routes"], indent=2))
    else:
        for route in answer["routes"]:
            print("\n".join(lines_of(route)))
        if not answer["routes"]:
            print("no route: policy names none, and nothing was queued for one")
    return 1 if any(route["refused"] or route["unknown_route"] or route["error"] for route in answer["routes"]) else 0


def retry(options: Namespace) -> int:
    answer: Any = door(options).post(f"/api/v1/routes/{quote(options.route, safe='')}/retry", {})
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        refused = f"{answer['count']} of it the archive had refused"
        print(f"route {options.route}: all that waits is tried again now; {refused}")
    return 0


def again(options: Namespace) -> int:
    """Have an archive that lost them get images once more."""
    if options.until is not None and options.since is None:
        raise Malformed("--until", "it goes with --since alone; --object says which images by itself")
    times = {"since": options.since, "until": options.until}
    asked: dict[str, Json] = {"objects": options.object} | {
        name: clock.text(instant(f"--{name}", text)) for name, text in times.items() if text is not None
    }
    wanted = {name: value for name, value in asked.items() if value is not None} | {"reason": options.reason}
    answer: Any = door(options).post(f"/api/v1/routes/{quote(options.route, safe='')}/again", wanted)
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        print(f"route {options.route}: {answer['count']} images are sent again, behind what waits")
    return 0


def certificate(options: Namespace) -> int:
    """Print what an archive has to trust, to let us in where it asks for a certificate."""
    answer: Any = door(options).get("/api/v1/routes")
    if options.json:
        print(json.dumps({"certificates": answer["certificates"]}, indent=2))
    else:
        print(answer["certificates"], end="")
    return 0


def lines_of(route: Mapping[str, Any]) -> list[str]:
    peer = f"{route['peer']}{', TLS' if route['tls'] else ', no TLS'}" if route["peer"] else "not in the policy"
    since = f" since {route['waiting_since']}" if route["waiting_since"] else ""
    remarks = f", {route['delivered_with_remarks']} with a remark" if route["delivered_with_remarks"] else ""
    lines = [
        f"{route['route']}  {peer}",
        f"  waiting    {route['waiting']}{since}",
        f"  delivered  {route['delivered']}{remarks} ({route['proved_by']})",
        f"  refused    {route['refused']}",
    ]
    lines += [f"             {reason['count']} x {reason['why']}" for reason in route["reasons"]]
    if route["unknown_route"]:
        lines.append(f"  unknown    {route['unknown_route']} wait for a route that the policy does not have")
    if route["error"]:
        lines.append(f"  failing    since {route['failing_since']}, next try {route['next_try']}: {route['error']}")
    return lines
