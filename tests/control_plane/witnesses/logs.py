"""A log of somebody else's, that grows, and that can show two views of itself."""

from collections.abc import Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.audit.tlog.add_checkpoint import AddCheckpoint
from shared.audit.tlog.checkpoint import TreeHead, sign_checkpoint
from shared.audit.tlog.keys import NoteSigner
from shared.audit.tlog.proofs import make_consistency, root_of
from shared.audit.tlog.tree import leaf_hash, perfect_root


class OtherLog:
    def __init__(self, name: str = "example.com/log", key: Ed25519PrivateKey | None = None) -> None:
        self.signer = NoteSigner(name, key or Ed25519PrivateKey.generate())

    def checkpoint(self, size: int, view: str = "") -> str:
        leaves = _leaves(size, view)
        return sign_checkpoint(TreeHead(self.signer.public.name, size, _root(leaves)), self.signer)

    def request(self, old: int, size: int, view: str = "") -> bytes:
        leaves = _leaves(size, view)
        proof = make_consistency(old, size, lambda h, i: perfect_root(leaves[i << h : (i + 1) << h])) if old else []
        return AddCheckpoint(old, tuple(proof) if old < size else (), self.checkpoint(size, view)).encode()


def _leaves(size: int, view: str) -> Sequence[bytes]:
    return [leaf_hash(f"{number}{view}".encode()) for number in range(size)]


def _root(leaves: Sequence[bytes]) -> bytes:
    return root_of(len(leaves), lambda height, index: perfect_root(leaves[index << height : (index + 1) << height]))
