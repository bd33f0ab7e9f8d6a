"""Commands about coverage, each asked of the people's door."""

import json
from argparse import Namespace
from time import sleep
from typing import Any

from control_plane.cli.people import door

_ASK_EVERY_S = 0.5


def run(options: Namespace) -> int:
    """Have a day compared, wait until it is, and say what was found: 0 all protected, 1 a gap or not evaluated."""
    people = door(options)
    answer: Any = people.post("/api/v1/coverage/runs", {"day": options.day})
    while answer["running"]:
        sleep(_ASK_EVERY_S)
        answer = people.get("/api/v1/coverage", {"day": options.day})
    return _tell(options, answer)


def show(options: Namespace) -> int:
    """Show counts; with a reason, which instances a gap consists of."""
    if options.reason is not None:
        return _show_gap(options)
    answer: Any = door(options).get("/api/v1/coverage", {"day": options.day})
    return _tell(options, answer)


def line_of(result: Any) -> str:
    """Return a comparison in one line, what is not known in words."""
    found = (
        f"{result['protected']} protected, unprotected {result['unprotected']}, "
        f"not in {result['archive']} {result['not_in_archive']}"
    )
    if result["state"] == "not evaluated":
        found = "not evaluated"
    elif result["state"] == "partial":
        found += f", not evaluated {result['not_evaluated']}; partial"
    by = " (by modality only: other devices of the kind may be counted)" if result["by_modality_only"] else ""
    found += _found_then(result)
    why = f": {result['why']}" if result["why"] else ""
    return f"{result['day']} {result['modality']}: {found}{why}{by}"


def _found_then(result: Any) -> str:
    """Return what was found earlier and is more than now, which nothing since shows closed."""
    counts = (("unprotected", "unprotected"), ("not_in_archive", f"not in {result['archive']}"))
    more = [f"{what} {result[name + '_then']}" for name, what in counts if result[name + "_then"] > result[name]]
    return f"; {', '.join(more)} by {result['then']}" if more else ""


def _show_gap(options: Namespace) -> int:
    body = {"day": options.day, "modality": options.modality, "reason": options.reason}
    answer: Any = door(options).post("/api/v1/coverage/gap", body)
    if options.json:
        print(json.dumps(answer, indent=2))
        return 0
    for name, what in (("unprotected", "unprotected"), ("not_in_archive", "not in the archive")):
        listing = answer[name]
        print(f"{what}: {listing['count']}, as recorded at {answer['recorded']}")
        for study in listing["studies"]:
            print(f"  study    {study['study']}: {study['instances']}")
        for uid in listing["instances"]:
            print(f"  instance {uid}")
        if listing["count"] > len(listing["instances"]):
            print(f"  and {listing['count'] - len(listing['instances'])} more, for which a record has no room")
    return 0


def _tell(options: Namespace, answer: Any) -> int:
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        for result in answer["results"]:
            print(line_of(result))
        for unknown in answer["unknown"]:
            print(f"not proved {unknown}")
    return 0 if all(_is_covered(result) for result in answer["results"]) and not answer["unknown"] else 1


def _is_covered(result: Any) -> bool:
    return result["state"] == "complete" and not result["unprotected"] and not result["not_in_archive"]
