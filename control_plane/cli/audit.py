"""Questions to the log, its live tail, and the archive of an incident."""

import json
import re
from argparse import Namespace
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from control_plane.cli.client import PeopleDoor
from control_plane.cli.people import door, download, print_json, record_line
from shared import clock
from shared.canonical import Json

_AUDIT = "/api/v1/audit"
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NAMES = ("person", "host", "device", "event", "action", "outcome", "patient", "study")
_SAID = {"erased": "  [erased]", "not openable": "  [sealed, no key here]"}


def find(options: Namespace) -> int:
    asked: dict[str, Json] = {"question": question(options)}
    found = 0
    for page in _pages(door(options), f"{_AUDIT}/find", asked):
        found += _show(page["records"], as_json=options.json)
    if not options.json:
        print(f"{found} found; this question is in the log")
    return 0


def who_touched(options: Namespace) -> int:
    found = erased = 0
    page: Mapping[str, Any] = {}
    for page in _pages(door(options), f"{_AUDIT}/who-touched", {"patient": options.patient}):
        found += _show(page["records"], as_json=options.json)
        erased += sum(record["private"] == "erased" for record in page["records"])
    if options.json:
        return 0
    print(f"{found} records about {page['objects']} images of this patient; this question is in the log")
    if erased:
        print(f"of {erased} records the private part was erased")
    if page["not_evaluated"]:
        print(f"not evaluated: {page['not_evaluated']} images of which nobody knows whose they are")
    return 0


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
        body["kept"] = options.kept.read_text()
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
    """Return what the options of `find` ask for. Raises Malformed: no time."""
    asked: dict[str, Json] = {name: getattr(options, name) for name in _NAMES if getattr(options, name) is not None}
    if options.since is not None:
        asked["since"] = _instant(options.since)
    if options.until is not None:
        asked["until"] = _instant(options.until, whole_day=True)
    return asked


def _instant(text: str, *, whole_day: bool = False) -> str:
    """Read a time, or a day; `whole_day` means the end of that day."""
    is_day = _DAY.fullmatch(text) is not None
    instant = clock.parse(f"{text}T00:00:00Z" if is_day else text)
    return clock.text(instant + timedelta(days=1) if is_day and whole_day else instant)


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
