"""What lies in a guest's file system, to be compared: names, kinds, rights, owners, links, sizes and times of change.

Of folders the times are left out: a file that came and went changes that of its folder.
"""

from dataclasses import dataclass

from tests.lab.guest import Guest, quoted

# What any program leaves that runs at all: what is for now, the log, and the state of the machine's random numbers.
PASSING = ("/dev", "/proc", "/run", "/sys", "/tmp", "/var/log", "/var/tmp", "/opt/lab")  # noqa: S108  the guest's
_FACTS = "%p\\t%y\\t%m\\t%u:%g\\t%l\\t%s\\t%T@\\n"

Listing = dict[str, str]


@dataclass(frozen=True)
class Difference:
    added: frozenset[str]
    removed: frozenset[str]
    changed: frozenset[str]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def listing(guest: Guest, place: str = "/") -> Listing:
    """Return everything that is in a place of the root file system, by its path."""
    left_out = " ".join(f"-path {quoted(place)} -prune -o" for place in PASSING)
    found: Listing = {}
    for line in guest.run(f"find {quoted(place)} -xdev {left_out} -printf '{_FACTS}'", timeout_s=120).out.splitlines():
        path, kind, *facts = line.split("\t")
        found[path] = "\t".join([kind, *(facts[:2] if kind == "d" else facts)])
    return found


def difference(before: Listing, after: Listing) -> Difference:
    both = before.keys() & after.keys()
    return Difference(
        frozenset(after.keys() - before.keys()),
        frozenset(before.keys() - after.keys()),
        frozenset(path for path in both if before[path] != after[path]),
    )
