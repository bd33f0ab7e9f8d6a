"""Which hosts do not report the policy in force that they should have, since when, and what they say about it.

They should have the newest one that a roll-out has brought to them. Decides only.

What counts is what a host reported last; one that never did is not taken to be up to date. A host that is silent stands
here as long as its last report was behind.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from shared import clock
from shared.canonical import Json
from shared.devices.printable import printable
from shared.fields import Fields
from shared.policy.document import ORGANISATION

_MAX_ERROR_CHARS = 500


@dataclass(frozen=True)
class Drift:
    """`part` is agent or guard, the two that each verify a policy for themselves. `in_force` None: not known."""

    host: str
    asset: str
    part: str
    in_force: int | None
    newest: int  # that it should have
    since: datetime | None  # when the first version that it lacks was published; None: it is ahead
    state: str
    error: str
    layer: str = ORGANISATION

    @property
    def text(self) -> str:
        what = "policy" if self.layer == ORGANISATION else self.layer
        known = "unknown" if self.in_force is None else f"{what} {self.in_force or 'none'}"
        since = "" if self.since is None else f", since {clock.text(self.since)}"
        error = f": {self.error}" if self.error else ""
        return f"{self.asset}: {self.part} at {known} and not at {self._newest}{since} ({self.state}){error}"

    @property
    def _newest(self) -> str:
        is_named = self.layer != ORGANISATION and self.in_force is None
        return f"{self.layer} {self.newest}" if is_named else f"{self.newest}"

    def json(self) -> dict[str, Json]:
        since = None if self.since is None else clock.text(self.since)
        return {**self.__dict__, "since": since, "text": self.text}


def drifts(
    hosts: Sequence[Mapping[str, Json]],
    expected: Mapping[str, int],
    published: Mapping[int, datetime],
    parts: Mapping[str, Mapping[int, datetime]] | None = None,
) -> Iterator[Drift]:
    """Yield each part of each active host that is not at its version in `expected`, or not at that of a further layer.

    `hosts` are those of the status, whose `layers` say what is newest for them; `parts` says when each version was
    published.
    """
    for host in hosts:
        newest = expected.get(str(host["host"]), 0)
        if not host["active"] or not newest:
            continue
        if "policy_in_force" not in host:
            yield _drift(host, "agent", None, newest, published, "")
            continue
        yield from _of_part(host, "agent", "policy_in_force", "policy_error", newest, published)
        if host["guard_policy"] is not None:
            yield from _of_part(host, "guard", "guard_policy", "guard_policy_error", newest, published)
        yield from _of_layers(host, parts or {})


def _of_part(
    host: Mapping[str, Json], part: str, version: str, error: str, newest: int, published: Mapping[int, datetime]
) -> Iterator[Drift]:
    in_force = host[version]
    if isinstance(in_force, int) and in_force != newest:
        yield _drift(host, part, in_force, newest, published, printable(str(host[error] or ""), _MAX_ERROR_CHARS))


def _of_layers(host: Mapping[str, Json], parts: Mapping[str, Mapping[int, datetime]]) -> Iterator[Drift]:
    layers = host.get("layers")
    for facts in layers if isinstance(layers, list) else []:
        layer = Fields(facts, "host in the status")
        name, newest, is_its = layer.text("layer"), layer.integer("newest"), layer.flag("enrolled")
        in_force, guard = _version(layer, "in_force"), _version(layer, "guard_in_force")
        if not is_its or not newest:
            continue
        if in_force != newest:
            error = printable(str(host["policy_error"] or ""), _MAX_ERROR_CHARS)
            yield replace(_drift(host, "agent", in_force, newest, parts.get(name, {}), error), layer=name)
        if guard not in (None, newest):  # one of an earlier version does not say
            error = printable(str(host["guard_policy_error"] or ""), _MAX_ERROR_CHARS)
            yield replace(_drift(host, "guard", guard, newest, parts.get(name, {}), error), layer=name)


def _version(layer: Fields, name: str) -> int | None:
    return None if layer.is_null(name) else layer.integer(name)


def _drift(
    host: Mapping[str, Json],
    part: str,
    in_force: int | None,
    newest: int,
    published: Mapping[int, datetime],
    error: str,
) -> Drift:
    since = _since(host, in_force, newest, published)
    if in_force is not None and in_force > newest:
        never = "it reports a version that was never published here"
        error = error or ("it has not gone back to what it should have" if in_force in published else never)
    return Drift(str(host["host"]), str(host["asset"]), part, in_force, newest, since, str(host["state"]), error)


def _since(
    host: Mapping[str, Json], in_force: int | None, newest: int, published: Mapping[int, datetime]
) -> datetime | None:
    """Return when it began to be behind: not before it was enrolled."""
    if in_force is not None and in_force > newest:
        return None
    lacking = [at for version, at in published.items() if (in_force or 0) < version <= newest]
    return max(min(lacking), clock.parse(str(host["enrolled"]))) if lacking else None
