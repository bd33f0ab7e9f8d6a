"""The list of who is revoked, beside the root key and in no backup of the database: a restored one forgets nobody.

canonical JSON {"v": 1, "revoked": {host id: number of the record that revoked it}}
"""

from collections.abc import Mapping
from pathlib import Path

from control_plane.durable import replace_whole
from shared import canonical
from shared.errors import Unavailable
from shared.fields import Fields
from shared.identity import HostId

_MOST = 1_000_000
_WHAT = "list of revoked hosts"


class RevokedFileUnusable(Unavailable):
    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} cannot be read or written: {why}")
        self.path, self.why = path, why


class RevokedFile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[HostId, int]:
        """Return what was written last, nothing where there is no file. Raises RevokedFileUnusable, Malformed."""
        try:
            return _parse(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except OSError as exc:
            raise RevokedFileUnusable(self.path, exc.strerror or "it cannot be read") from exc

    def write(self, revoked: Mapping[HostId, int]) -> None:
        """Once this returns it survives a power cut. Raises RevokedFileUnusable."""
        try:
            replace_whole(self.path, _text(revoked))
        except OSError as exc:
            raise RevokedFileUnusable(self.path, exc.strerror or "it cannot be written") from exc


def _text(revoked: Mapping[HostId, int]) -> bytes:
    return canonical.encode({"v": 1, "revoked": {str(host): seq for host, seq in revoked.items()}})


def _parse(data: bytes) -> dict[HostId, int]:
    fields = Fields(canonical.parse(data, _WHAT), _WHAT)
    fields.version()
    listed = fields.mapping("revoked", most=_MOST)
    fields.done()
    each = Fields(listed, _WHAT)
    return {HostId.parse(host): each.integer(host, least=1) for host in listed}
