"""The one host that a person means by an asset or an id."""

from collections.abc import Mapping, Sequence
from typing import Any

from shared.errors import Refused


class HostNotNamed(Refused):
    """No host is called so, or several are."""

    def __init__(self, wanted: str, found: Sequence[str]) -> None:
        why = f"several are called so, name one of {', '.join(found)}" if found else "`status` lists those there are"
        super().__init__(f"there is not one host {wanted!r}: {why}")
        self.wanted, self.found = wanted, tuple(found)


def named_host(hosts: Sequence[Mapping[str, Any]], wanted: str) -> Mapping[str, Any]:
    """Return the one host of that id or asset. Raises HostNotNamed."""
    matching = [host for host in hosts if wanted in (host["host"], host["asset"])]
    if len(matching) != 1:
        raise HostNotNamed(wanted, [host["host"] for host in matching])
    return matching[0]
