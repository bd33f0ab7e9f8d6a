"""Commands about spools that another host delivers, each asked of the people's door."""

import json
from argparse import Namespace
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from control_plane.cli.people import door


def allow(options: Namespace) -> int:
    body = {"from": options.source, "to": options.bearer, "reason": options.reason, "days": options.days}
    return _tell(options, door(options).post("/api/v1/spool-moves", body))


def show(options: Namespace) -> int:
    return _tell(options, door(options).get("/api/v1/spool-moves"))


def end(options: Namespace) -> int:
    return _tell(options, door(options).post(f"/api/v1/spool-moves/{quote(options.move, safe='')}/end", {}))


def line_of(move: Mapping[str, Any]) -> str:
    """Return a move in one line."""
    return (
        f"{move['move']} {move['state']}: from {move['from_asset']} ({move['from']}) to {move['to_asset']} "
        f"({move['to']}) until {move['until']}, allowed by {move['allowed_by']}; so far {move['objects']} objects, "
        f"{move['records']} audit records"
    )


def _tell(options: Namespace, answer: Any) -> int:
    if options.json:
        print(json.dumps(answer["moves"], indent=2))
        return 0
    for move in answer["moves"]:
        print(line_of(move))
    if not answer["moves"]:
        print("no move was ever allowed")
    return 0
