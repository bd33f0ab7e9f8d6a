"""What takes two persons, as the second one sees it."""

import json
from argparse import Namespace
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from control_plane.cli.people import door


def show(options: Namespace) -> int:
    answer: Any = door(options).get("/api/v1/requests")
    if options.json:
        print(json.dumps(answer["requests"], indent=2))
        return 0
    for request in answer["requests"]:
        print(line_of(request))
    if not answer["requests"]:
        print("nothing waits for a second person")
    return 0


def decide(options: Namespace) -> int:
    answer: Any = door(options).post(f"/api/v1/requests/{quote(options.request, safe='')}/{options.do}", {})
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        done = "approved, and done" if options.do == "approve" else "refused; nothing was done"
        print(f"request {answer['request']} ({answer['action']} of {answer['subject']}) is {done}")
    return 0


def line_of(request: Mapping[str, Any]) -> str:
    return (
        f"{request['request']} {request['action']} of {request['subject']}, asked by {request['asked_by']} at "
        f"{request['asked']}, until {request['expires']}: {request['reason']}"
    )
