"""What a policy file would change, asked of the people's door: hosts' devices and what was captured lately."""

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from control_plane.cli.people import door
from control_plane.cli.policies import authored_from
from control_plane.policy.file.writing import text

_SAME = "as before"


def simulate(options: Namespace) -> int:
    """Show what a file would change; 1 where it changes anything, or that is not known of everything."""
    # Written anew, for the centre sees no file beside it.
    asked = {"policy": text(authored_from(options.file)), "days": options.days}
    answer: Any = door(options).post("/api/v1/policy/simulate", asked)
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        print("\n".join(lines(answer)))
    return 0 if _is_all_the_same(answer) else 1


def lines(answer: Mapping[str, Any]) -> Iterator[str]:
    yield f"what is plugged in, as hosts last reported it, and what was in the last {answer['days']} days"
    for host in answer["hosts"]:
        yield from _devices(host)
    if without := answer["hosts_without_layer"]:
        yield f"  {without} hosts do not have this layer, and nothing changes there"
    elif not answer["hosts"]:
        yield "  no host is enrolled"
    if answer["attachments_unreadable"]:
        yield f"  {answer['attachments_unreadable']} attachments more: unknown; their records cannot be read any more"
    if answer["attachments_left_out"]:
        yield f"  {answer['attachments_left_out']} attachments more: not evaluated; they are older than the newest"
    yield f"what arrived in the last {answer['days']} days"
    captures = [(host, capture) for host in answer["hosts"] for capture in host["captures"]]
    yield from (_capture(host, capture) for host, capture in captures)
    for name, why in (("captures_unreadable", "cannot be read"), ("captures_left_out", "are older than the newest")):
        if answer[name]:
            yield f"  {answer[name]} more: not evaluated; they {why}"
    if not captures:
        yield "  nothing"


def _devices(host: Mapping[str, Any]) -> Iterator[str]:
    devices = host["devices"]
    if devices is None:
        yield f"  {host['asset']}: {host['state'].upper()}: {host['why']}"
        return
    title = f"  {host['asset']}: under device policy {devices['policy'] or 'none'}"
    title += f", {host['why']}" if host["why"] else ""
    gone = f" and {devices['gone_same']} that were there" * bool(devices["gone_same"])
    yield f"{title}: {devices['same']} USB devices{gone} as now, {len(devices['differ'])} not"
    for one in devices["differ"]:
        mark = "LOOSER  " if one["loosens"] else "        "
        named = " ".join(filter(None, (one["where"], one["id"], one["name"], one["serial"])))
        gone = f", last attached {one['last_attached']}" if one["last_attached"] else ""
        yield f"    {mark}{named}{gone}: {one['now']} -> {one['then'] or 'not evaluated'} ({one['why']})"
    if devices["left_out"]:
        yield f"    {devices['left_out']} more: not evaluated; its report had no room for them"


def _capture(host: Mapping[str, Any], capture: Mapping[str, Any]) -> str:
    told = {"refused": "WOULD BE REFUSED", "otherwise": f"would be {capture['then']}"}
    treated = told.get(capture["treated"], capture["treated"])
    why = f" ({capture['why']})" if capture["why"] else ""
    return f"  {host['asset']}: {capture['ae_title'] or 'unknown sender'}: {capture['count']} images {treated}{why}"


def _is_all_the_same(answer: Mapping[str, Any]) -> bool:
    devices = [host["devices"] for host in answer["hosts"]]
    captures = [capture for host in answer["hosts"] for capture in host["captures"]]
    return (
        all(one is not None and not one["differ"] and not one["left_out"] for one in devices)
        and all(host["state"] == "reported" for host in answer["hosts"])
        and all(capture["treated"] == _SAME for capture in captures)
        and not answer["captures_unreadable"]
        and not answer["captures_left_out"]
        and not answer["attachments_unreadable"]
        and not answer["attachments_left_out"]
    )
