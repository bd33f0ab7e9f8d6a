"""What is plugged into the hosts, asked of the people's door."""

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from control_plane.cli.people import door


def show(options: Namespace) -> int:
    """Show each host's device tree; 1 where anything of it is not proved."""
    answer: Any = door(options).get("/api/v1/devices", {"host": options.host})
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        for host in answer["hosts"]:
            print("\n".join(lines_of(host)))
        if not answer["hosts"]:
            print("no host is enrolled")
    return 1 if any(host["not_proved"] for host in answer["hosts"]) else 0


def guard_line(host: Mapping[str, Any]) -> str:
    """Return a host's guard in one line, for the status."""
    counts = host["devices"]
    if counts is None:
        return f"{host['guard']}; what is plugged in is not evaluated"
    told = [f"{counts['devices']} USB devices", f"{counts['blocked']} blocked"]
    kinds = (
        ("not_enforced", "not enforced"),
        ("unknown", "unknown"),
        ("suspicious", "suspicious"),
        ("not_allowed", "on other buses not allowed: detected, not prevented"),
    )
    told += [f"{counts[name]} {what}" for name, what in kinds if counts[name]]
    return f"{host['guard']}: {', '.join(told)}"


def lines_of(host: Mapping[str, Any]) -> Iterator[str]:
    guard = f"device guard: {host['guard']}"
    yield f"{host['asset']} ({host['host']}): {guard}; {host['state']}, last report {host['last_seen']}"
    report = host["report"]
    if report is None:
        yield "  what is plugged in is not evaluated"
    else:
        yield f"  device policy {report['policy'] or 'none'}, unauthorised by default: {report['default_deny']}"
        for device in report["devices"]:
            yield from _device(device)
        if report["sidecar"]:
            yield "  modality's own ports: not evaluated"
        for other in report["others"]:
            yield f"  {other['kind']} {other['name']}: {other['verdict']}; {other['detail']}"
        for finding in report["findings"]:
            yield f"  check {finding['check']}: {finding['state']}; {finding['detail']}"
        if report["left_out"]:
            yield f"  {report['left_out']} more, for which its report has no room"
    for item in host["not_proved"]:
        yield f"  not proved {item}"


def _device(device: Mapping[str, Any]) -> Iterator[str]:
    indent = "  " * (1 + min(device["depth"], 6))
    serial = f" serial {device['serial']}" if device["serial"] else ""
    marks = [device["enforcement"], *filter(None, [device["observed"]]), *["suspicious"] * device["suspicious"]]
    yield f"{indent}{device['port']} {device['id']} {device['name']}{serial}: {device['verdict']}, {', '.join(marks)}"
    yield f"{indent}  {device['reason']}"
