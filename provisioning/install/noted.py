"""`installed.json`: what was, or was about to be, changed on this host, written down before it is.

    {"v": 1, "accounts": [name, ...], "entries": [entry, ...], "pending": [action, ...]}

`accounts` are those that were not there before. `pending` are actions (plan.py) that may not have been done yet. An
entry is one path (item.py). Canonical JSON, 0600, below /var/lib/leadglass-provision.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from provisioning.install.item import Noted, Part
from shared import canonical
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields

MAX_BYTES = 1 << 20
_MOST_ENTRIES, _MOST_ACTIONS, _MOST_ACCOUNTS = 1024, 64, 8
_ACTION = r"[a-z-]+( [A-Za-z0-9@._-]+)?"
_ACCOUNT = r"[a-z][a-z0-9-]{0,30}"


@dataclass(frozen=True)
class Installed:
    entries: tuple[Noted, ...] = ()
    accounts: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()

    @property
    def parts(self) -> frozenset[Part]:
        return frozenset(entry.part for entry in self.entries)

    def of(self, path: str) -> Noted | None:
        return next((entry for entry in self.entries if entry.path == path), None)

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "accounts": list(self.accounts),
                "entries": [entry.json() for entry in self.entries],
                "pending": list(self.pending),
            }
        )

    @classmethod
    def parse(cls, data: bytes) -> "Installed":
        """Raises Malformed."""
        if len(data) > MAX_BYTES:
            raise Malformed("installed.json", f"larger than {MAX_BYTES} bytes")
        fields = Fields(canonical.parse(data, "installed.json"), "installed.json")
        fields.version()
        installed = cls(
            entries=tuple(map(Noted.parse, fields.items("entries", most=_MOST_ENTRIES))),
            accounts=_texts(fields.items("accounts", most=_MOST_ACCOUNTS), _ACCOUNT),
            pending=_texts(fields.items("pending", most=_MOST_ACTIONS), _ACTION),
        )
        fields.done()
        if len({entry.path for entry in installed.entries}) != len(installed.entries):
            raise Malformed("installed.json", "it names a path twice")
        return installed


def _texts(values: Iterable[Json], pattern: str) -> tuple[str, ...]:
    return tuple(Fields({"text": value}, "installed.json").text("text", pattern, max_chars=64) for value in values)
