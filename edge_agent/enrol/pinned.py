"""The root that this host pins, and how it comes to the next one: by what the key that it pinned has signed.

Whoever answers may show roots; only a later one that the pinned root's key vouches for is kept, whatever the time is.
So a host whose root ran out while it was away follows too, and nobody leads it elsewhere.
docs/formats/enrolment.md section 6
"""

import ssl
from collections.abc import Callable, Sequence
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edge_agent.enrol.store import replace
from edge_agent.log import Log
from shared.enrolment.chain import Trust, follow, parse_chain


class PinnedRoot:
    """`fetch` gets what the centre shows of its roots, from whoever answers. `contexts` trust the pinned root alone."""

    def __init__(
        self,
        file: Path,
        trust: Trust,
        *,
        fetch: Callable[[], bytes],
        contexts: Sequence[ssl.SSLContext],
        log: Log,
        note: Callable[[str], None],
    ) -> None:
        self._file, self._trust, self._fetch = file, trust, fetch
        self._contexts, self._log, self._note = contexts, log, note

    @property
    def trust(self) -> Trust:
        return self._trust

    def has_ended(self, now: datetime) -> bool:
        return self._trust.roots[0].not_valid_after_utc <= now

    def follow(self) -> bool:
        """Return whether a later root is pinned now, durably and on every connection from the next one on.

        Raises DoorUnavailable, DoorRefused, Malformed, ChainBroken, IdentityNotStored; the pinned root then stays.
        """
        newest, *links = follow(self._trust.roots[0], parse_chain(self._fetch(), "roots of the centre")) or (None,)
        if newest is None:
            return False
        trust = Trust((newest,), tuple(links))
        replace(self._file, trust.pem())
        for context in self._contexts:
            context.load_verify_locations(cadata=trust.pem().decode())
        self._trust = trust
        self._log.event("root.followed", sha256=fingerprint(newest))
        self._note(fingerprint(newest))
        return True


def fingerprint(root: x509.Certificate) -> str:
    return sha256(root.public_bytes(Encoding.DER)).hexdigest()
