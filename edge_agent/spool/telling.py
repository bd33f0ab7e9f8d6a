"""What `leadglass-agent spool` says, line by line, so that a spool of any size fits."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator

from edge_agent.spool.catalogue import HERE, Spooled, State
from edge_agent.spool.listing import Listed
from edge_agent.spool.verifier import Finding, Result
from shared import clock

_LIMITS = (
    "This does not prove that an image opens: only the centre has the keys, and tries them before it answers for an",
    "object. Of an object in a file of its own nothing here covers the wrapped key and the sealed index.",
)
_COLUMNS = "{:>8} {:32} {:9} {:>12} {:27} {:12} {:>6} {:26} {}"
_HEADINGS = ("number", "object", "state", "bytes", "captured", "grade", "policy", "lies in", "routes")


def table(coming_in: int, listed: Iterable[Listed]) -> Iterator[str]:
    """Yield a line for each object, one more for whatever is amiss with it, and a sum."""
    counts, size_bytes = Counter[State](), 0
    yield _COLUMNS.format(*_HEADINGS)
    for one in listed:
        spooled, state = one.row.spooled, one.row.state
        counts[state] += 1
        size_bytes += spooled.object_bytes
        shown = (spooled.number, str(spooled.object_id), state, spooled.object_bytes, *_signed(one), _lies_in(spooled))
        yield _COLUMNS.format(*shown, " ".join(one.record.routes) if one.record else "").rstrip()
        for amiss in filter(None, (one.row.why, one.no_record and f"no record: {one.no_record}")):
            yield f"{'':9}{amiss}"
    of_each = ", ".join(f"{counts[state]} {state}" for state in HERE)
    yield f"{counts.total()} objects: {of_each}; {size_bytes} bytes; {coming_in} coming in"


def lines(results: Iterable[Result], found: Counter[Finding]) -> Iterator[str]:
    """Yield a line for each result, then the counts, which are left in `found`, and what all this does not prove."""
    for result in _counted(results, found):
        number = "-" if result.number is None else result.number
        beside = "" if result.in_catalogue else "not in the catalogue, "
        why = f": {result.judged.why} ({result.place})" if result.judged.why else ""
        yield f"{number:>8} {result.object_id or '-'!s:32} {beside}{result.judged.finding}{why}"
    of_each = ", ".join(f"{count} {finding}" for finding, count in found.items())
    yield f"{found.total()} looked at: {of_each or 'nothing lies here'}"
    yield from _LIMITS


def json_lines(results: Iterable[Result], found: Counter[Finding]) -> Iterator[str]:
    """Yield one JSON object for each result, then one with the counts, which are left in `found`."""
    for result in _counted(results, found):
        yield json.dumps(result.json())
    yield json.dumps({"counts": {finding.value: count for finding, count in found.items()}})


def _counted(results: Iterable[Result], found: Counter[Finding]) -> Iterator[Result]:
    for result in results:
        found[result.judged.finding] += 1
        yield result


def _signed(one: Listed) -> tuple[str, str, str]:
    if one.record is None:
        return "unknown", "", ""
    return clock.text(one.record.captured), one.record.grade, str(one.record.policy_version)


def _lies_in(spooled: Spooled) -> str:
    place = spooled.place
    return "a file of its own" if place is None else f"segment {place.segment} at {place.offset}"
