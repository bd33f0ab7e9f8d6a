"""Writes what a host acts by as a policy file, and behind each line who said it. Decides only.

timings:
state_every_s: 30                        # site-north 3, for this host
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.file.writing import Written, as_yaml, members
from shared.devices.printable import printable
from shared.identity import HostId
from shared.policy.document import PolicyDocument
from shared.policy.effective import Effective, Origin, effective
from shared.policy.part import PartDocument

_COLUMN = 44
_BLOCK_BEGINS = ("|", "|-", "|+")
_MEMBERS = {"spool": "spool_quota_bytes", "custody": "frame_digests"}  # where the document's name is another
_LISTED_BY = {"modalities": "ae_title", "routes": "name"}


def effective_lines(organisation: PolicyDocument, parts: Sequence[PartDocument], host: HostId) -> Iterator[str]:
    """Yield the lines of what `host`, which has exactly these parts, acts by. Raises Malformed, as `effective` does."""
    acts_by = effective(organisation, parts, host)
    written = members(AuthoredPolicy.of(acts_by.policy))
    for name, value in written.items():
        if name in _LISTED_BY and isinstance(value, list):
            yield from _listed((name,), value, [acts_by.origins[_line_of(name, item)] for item in value])
        elif name == "timings" and isinstance(value, dict):
            yield from _section((name,), value, acts_by.origins)
        elif name == "wipe" and isinstance(value, dict):
            yield from _section((name,), value, _within(acts_by.origins, "wipe/"))
        elif name == "devices" and isinstance(value, dict):
            yield from _devices(value, acts_by, _device_origins(organisation, parts, host))
        elif name != "layer":
            yield from _annotated(_yaml((name,), value), acts_by.origins[_MEMBERS.get(name, name)])


def _line_of(name: str, item: Written) -> str:
    assert isinstance(item, dict)  # noqa: S101  so `members` writes them
    return f"{name}/{item[_LISTED_BY[name]]}"


def _section(path: tuple[str, ...], value: Mapping[str, Written], origins: Mapping[str, Origin]) -> Iterator[str]:
    yield f"{'  ' * (len(path) - 1)}{path[-1]}:"
    for field, inner in value.items():
        yield from _annotated(_yaml((*path, field), inner)[len(path) :], origins[field])


def _within(origins: Mapping[str, Origin], prefix: str) -> dict[str, Origin]:
    return {line.removeprefix(prefix): origin for line, origin in origins.items() if line.startswith(prefix)}


def _devices(value: dict[str, Written], acts_by: Effective, said: Mapping[str, Origin]) -> Iterator[str]:
    rules = value.pop("rules")
    assert isinstance(rules, list)  # noqa: S101  so `members` writes them
    yield "devices:"
    origins = [acts_by.origins[f"devices/rules/{number}"] for number in range(1, len(rules) + 1)]
    yield from list(_listed(("devices", "rules"), rules, origins))[1:]
    for field, inner in value.items():
        if field == "others" and isinstance(inner, dict):
            yield from _section(("devices", field), inner, _within(acts_by.origins, "devices/others/"))
        else:
            yield from _annotated(_yaml(("devices", field), inner)[1:], said[field])


def _device_origins(organisation: PolicyDocument, parts: Sequence[PartDocument], host: HostId) -> dict[str, Origin]:
    """Return who said each field of the device rules last that made a difference: they are put together one by one."""
    found: dict[str, Origin] = {}
    before: Mapping[str, Written] = {}
    for origin, so_far in _steps(organisation, parts, host):
        written = members(AuthoredPolicy.of(effective(organisation, so_far, host).policy)).get("devices", {})
        now = written if isinstance(written, dict) else {}
        found |= {field: origin for field in now if field not in before or now[field] != before[field]}
        before = now
    return found


def _steps(
    organisation: PolicyDocument, parts: Sequence[PartDocument], host: HostId
) -> Iterator[tuple[Origin, list[PartDocument]]]:
    """Yield who adds to what a host acts by, one after the other, and what it is then made of."""
    yield Origin(organisation.layer, organisation.version), []
    so_far: list[PartDocument] = []
    for part in sorted(parts, key=lambda part: part.is_site):
        yield Origin(part.layer, part.version), [*so_far, replace(part, hosts=())]
        so_far.append(part)
        if host in dict(part.hosts):
            yield Origin(part.layer, part.version, is_exception=True), list(so_far)


def _listed(path: tuple[str, ...], items: list[Written], origins: Sequence[Origin]) -> Iterator[str]:
    headings = _yaml(path, [""])[: len(path)]
    if not items:
        headings[-1] += " []"
    yield from headings
    for item, origin in zip(items, origins, strict=True):
        yield from _annotated(_yaml(path, [item])[len(path) :], origin)


def _yaml(path: tuple[str, ...], value: Written) -> list[str]:
    """Return the lines of `value` under the names of `path`, those of the names first."""
    for name in reversed(path):
        value = {name: value}
    return as_yaml(value).splitlines()


def _annotated(lines: Sequence[str], origin: Origin) -> Iterator[str]:
    """Yield the lines with their origin, but for those of a text of several lines, which it would become part of."""
    deeper_than: int | None = None
    for line in lines:
        indent = len(line) - len(line.lstrip(" "))
        if deeper_than is not None and (not line or indent > deeper_than):
            yield printable(line, len(line))
            continue
        deeper_than = indent if line.endswith(_BLOCK_BEGINS) else None
        yield printable(f"{line:<{_COLUMN}} # {origin}", len(line) + _COLUMN + len(str(origin)))
