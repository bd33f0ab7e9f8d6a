"""The keys of subjects that were destroyed, beside the root key and in no backup: a restored one revives nobody.

canonical JSON {"v": 1, "erased": [key id, 32 hex digits]}; an id is random and says nothing of whose key it was
"""

from collections.abc import Iterable
from pathlib import Path

from control_plane.durable import replace_whole
from shared import canonical
from shared.errors import Unavailable
from shared.fields import Fields

_MOST = 10_000_000
_WHAT = "list of erased subjects"


class ErasedFileUnusable(Unavailable):
    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} cannot be read or written: {why}")
        self.path, self.why = path, why


class ErasedFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> frozenset[str]:
        """Return what was written last, nothing where there is no file. Raises ErasedFileUnusable, Malformed."""
        try:
            return _parse(self.path.read_bytes())
        except FileNotFoundError:
            return frozenset()
        except OSError as exc:
            raise ErasedFileUnusable(self.path, exc.strerror or "it cannot be read") from exc

    def add(self, key_ids: Iterable[str]) -> None:
        """Once this returns it survives a power cut. Raises ErasedFileUnusable, Malformed."""
        known = self.read()
        if set(key_ids) <= known:
            return
        try:
            replace_whole(self.path, canonical.encode({"v": 1, "erased": [*sorted(known.union(key_ids))]}))
        except OSError as exc:
            raise ErasedFileUnusable(self.path, exc.strerror or "it cannot be written") from exc


def _parse(data: bytes) -> frozenset[str]:
    fields = Fields(canonical.parse(data, _WHAT), _WHAT)
    fields.version()
    listed = fields.items("erased", most=_MOST)
    fields.done()
    return frozenset(Fields({"key": one}, _WHAT).text("key", "[0-9a-f]{32}") for one in listed)
