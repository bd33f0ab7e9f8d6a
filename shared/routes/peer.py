"""A peer at the other end of a route: how it was reached, who it proved to be, and why it was not reached."""

from dataclasses import dataclass
from typing import Protocol

from shared.dicom.requestor import Connection
from shared.errors import IntegrityFailure, Unavailable
from shared.policy.routes import Peer


class PeerUnreachable(Unavailable):
    def __init__(self, peer: Peer, why: str) -> None:
        super().__init__(f"{peer.ae_title} at {peer.host}:{peer.port} cannot be reached: {why}")
        self.peer, self.why = peer, why


class PeerNotTrusted(IntegrityFailure):
    """Somebody answers there who is not the peer that policy names. Nothing was sent."""

    def __init__(self, peer: Peer, why: str) -> None:
        super().__init__(f"{peer.ae_title} at {peer.host}:{peer.port} does not show the certificate that policy "
                         f"trusts: {why}")  # fmt: skip
        self.peer, self.why = peer, why


@dataclass(frozen=True)
class PeerProof:
    """Who was at the other end. `certificate_sha256` and `tls_version` are empty where policy asks for no TLS."""

    address: str
    certificate_sha256: str
    tls_version: str


class PeerStream(Connection, Protocol):
    @property
    def proof(self) -> PeerProof: ...

    def break_off(self) -> None:
        """End it from another thread; whoever reads or writes gets an OSError."""
