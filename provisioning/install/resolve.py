"""Asks this host's resolver for the addresses of names."""

import socket
from collections.abc import Sequence

from provisioning.install.addresses import NameNotResolved, Peer


def resolve(peers: Sequence[Peer]) -> dict[str, tuple[str, ...]]:
    """Return the addresses of every name among these. Raises NameNotResolved."""
    return {peer.address: _addresses(peer) for peer in peers if peer.is_name}


def _addresses(peer: Peer) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(peer.address, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise NameNotResolved(peer.address, peer.what, getattr(exc, "strerror", None) or str(exc)) from exc
    return tuple(sorted({str(entry[4][0]).partition("%")[0] for entry in found}))
