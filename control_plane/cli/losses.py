"""Commands about images that the vault lost, each asked of the people's door."""

from argparse import Namespace
from typing import Any

from control_plane.cli.people import door, print_json
from shared.identity import ObjectId

_PATH = "/api/v1/losses"


def show(options: Namespace) -> int:
    answer: Any = door(options).get(_PATH)
    if options.json:
        return print_json(answer)
    for one in answer["losses"]:
        settled = f" {one['settled']}" if one["settled"] else ""
        print(f"{one['object']}  {one['state']}{settled}; {one['asset']} ({one['standing']}), found {one['found']}")
    print(f"{answer['open']} lost, {answer['settled']} lost and settled")
    return 0


def settle(options: Namespace) -> int:
    object_id = ObjectId.parse(options.object)
    answer: Any = door(options).post(f"{_PATH}/{object_id}/settle", {"reason": options.why})
    if options.json:
        return print_json(answer)
    print(f"{object_id} is given up for lost, in your name; it stays counted, and whoever brings it ends the loss")
    return 0
