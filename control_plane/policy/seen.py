"""The newest policy root that a signer has seen, in a file beside their credential or key: `FILE.root`.

    {"sha256": 64 hexadecimal digits, "v": 1, "version"}, canonical JSON

Hosts that were off know older roots still. Whoever hides the newest one from a signer could collect a signature under
an older one, which those hosts would count. The file appears with the second root; a copy of the credential without it
knows what its own signatures show.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from tuf.api.metadata import Root

from control_plane.durable import replace_whole
from control_plane.policy.roles import parse_role
from shared import canonical
from shared.errors import IntegrityFailure
from shared.fields import Fields

_MAX_BYTES = 1024


class RootHidden(IntegrityFailure):
    def __init__(self, seen: int, file: Path) -> None:
        super().__init__(
            f"policy root {seen}, which was seen on this machine before ({file}), is not among the roots shown now; "
            "somebody hides it, or shows another one. Nothing was signed"
        )
        self.seen, self.file = seen, file


class SeenRoot:
    def __init__(self, signs_with: Path) -> None:
        """`signs_with` is the credential, or the public file of a key."""
        self._file = signs_with.with_name(f"{signs_with.name}.root")

    def verify(self, roots: Sequence[bytes]) -> None:
        """Raise RootHidden unless the root that was seen last is among these. Raises Malformed."""
        try:
            with self._file.open("rb") as file:
                fields = Fields(canonical.parse(file.read(_MAX_BYTES), str(self._file)), str(self._file))
        except FileNotFoundError:
            return
        fields.version()
        version, digest = fields.integer("version", least=2), fields.hex("sha256", 32)
        fields.done()
        if digest not in [sha256(root).digest() for root in roots]:
            raise RootHidden(version, self._file)

    def remember(self, roots: Sequence[bytes]) -> None:
        """Keep the newest of these, which were verified."""
        newest = roots[-1]
        version = parse_role(Root, newest).signed.version
        data = canonical.encode({"v": 1, "version": version, "sha256": sha256(newest).hexdigest()})
        if version > 1 and not (self._file.exists() and self._file.read_bytes() == data):
            replace_whole(self._file, data)
