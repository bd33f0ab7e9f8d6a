"""Questions to the log, its live tail, and the archive of an incident."""

import json
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from control_plane.cli.client import PeopleDoor
from control_plane.cli.people import door, download, kept_checkpoint, print_json, record_line
from control_plane.cli.times import instant
from shared import clock
from shared.audit.events import Event
from shared.canonical import Json
from shared.errors import Malformed
from shared.identity import HostId

_AUDIT = "/api/v1/audit"
_NAMES = ("person", "host", "device", "event", "action", "outcome", "patient", "study")
_SAID = {"erased": "  [erased]", "not openable": "  [sealed, no key here]"}


def find(options: Namespace) -> int:
    asked: dict[str, Json] = {"question": question(options)}
    found = altered = 0
    for page in _pages(door(options), f"{_AUDIT}/find", asked):
        found += _show(page["records"], as_json=options.json)
        altered += sum(record["altered"] for record in page["records"])
    if not options.json:
        print(f"{found} found; this question is in the log")
        _say_altered(altered)
    if not found and options.event is not None and options.event not in set(Event):
        # A newer host may record what is unknown here, so it is asked all the same.
        print(f"is this meant? this version knows no event {options.event}", file=sys.stderr)
    return 0


def who_touched(options: Namespace) -> int:
    found = erased = altered = 0
    page: Mapping[str, Any] = {}
    for page in _pages(door(options), f"{_AUDIT}/who-touched", {"patient": options.patient}):
        found += _show(page["records"], as_json=options.json)
        erased += sum(record["private"] == "erased" for record in page["records"])
        altered += sum(record["altered"] for record in page["records"])
    if options.json:
        return 0
    print(f"{found} records about {page['objects']} images of this patient; this question is in the log")
    _say_altered(altered)
    if erased:
        print(f"of {erased} records the private part was erased")
    if page["not_evaluated"]:
        print(f"not evaluated: {page['not_evaluated']} images of which nobody knows whose they are")
    return 0


def _say_altered(count: int) -> None:
    if count:
        print(f"ALTERED: {count} of these are not the records that were entered in the log; ask `audit verify`")


def follow(options: Namespace) -> int:
    """Print each record once it is in the log, until somebody ends this."""
    people = door(options)
    begun: Any = people.post(f"{_AUDIT}/follow", {})
    after = begun["after"]
    while True:
        told: Any = people.get(f"{_AUDIT}/follow/{begun['follow']}", {"after": after})
        after = told["after"]
        _show(told["records"], as_json=options.json)


def archive(options: Namespace) -> int:
    body: dict[str, Json] = {"question": question(options)}
    if options.kept is not None:
        body["kept"] = kept_checkpoint(options.kept)
    size, _ = download(options, "POST", f"{_AUDIT}/archive" + "/opened" * options.open, body)
    if options.json:
        return print_json({"file": str(options.out), "bytes": size})
    print(f"{options.out}: {size} bytes; check it with: leadglass-verify archive {options.out} --ca CA.pem")
    return 0


def erase(options: Namespace) -> int:
    people, whose = door(options), _whose(options)
    answer: Any = people.post("/api/v1/keys/erasure", {**whose, "reason": options.reason})
    if options.json:
        return print_json(answer)
    request = answer["request"]["request"]
    print(f"asked: another person approves it with: leadglass-server requests approve {request}")
    print(f"they tell whose it is by: leadglass-server keys subject, which has to name {answer['subject']}")
    _show_copies(answer["copies"])
    return 0


def subject(options: Namespace) -> int:
    answer: Any = door(options).post("/api/v1/keys/subject", _whose(options))
    if options.json:
        return print_json(answer)
    print(answer["subject"])
    _show_copies(answer["copies"])
    return 0


def question(options: Namespace) -> dict[str, Json]:
    """Return what the options of `find` ask for. Raises Malformed: no time, or none between the two."""
    asked: dict[str, Json] = {name: getattr(options, name) for name in _NAMES if getattr(options, name) is not None}
    if options.host is not None:
        HostId.parse(options.host)
    since = None if options.since is None else instant("--from", options.since)
    until = None if options.until is None else instant("--to", options.until, whole_day=True)
    if since is not None and until is not None and until <= since:
        raise Malformed("--to", f"{options.until} is not after {options.since}, so no record can answer")
    times = {"since": since, "until": until}
    return asked | {name: clock.text(time) for name, time in times.items() if time is not None}


def _pages(people: PeopleDoor, path: str, asked: dict[str, Json]) -> Iterator[Any]:
    while True:
        page: Any = people.post(path, asked)
        yield page
        if page["rest"] is None:
            return
        asked = {**asked, "after": page["rest"]}


def _show(records: list[Mapping[str, Any]], *, as_json: bool) -> int:
    for record in records:
        said = _SAID.get(str(record["private"]), "")
        print(json.dumps(record) if as_json else f"{record['entry']:>8}  {record_line(record)}{said}", flush=True)
    return len(records)


def _whose(options: Namespace) -> dict[str, Json]:
    kinds = ("patient", "person", "object")
    return next({"kind": kind, "value": getattr(options, kind)} for kind in kinds if getattr(options, kind) is not None)


def _show_copies(copies: list[Mapping[str, str]]) -> None:
    for copy in copies:
        print(f"still held by backup {copy['label']} in {copy['place']}, begun {copy['begun']}")
