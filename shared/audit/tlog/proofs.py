"""Inclusion and consistency proofs: RFC 6962 sections 2.1.1 and 2.1.2 make them, RFC 9162 section 2.1 verifies them.

Nothing is proved from a tree of size 0, and a hash that is not 32 bytes long is none.
"""

from collections.abc import Callable, Sequence

from shared.audit.tlog.tree import HASH_BYTES, MAX_SIZE, fold, node_hash
from shared.errors import IntegrityFailure

Nodes = Callable[[int, int], bytes]
"""Returns the root of the perfect subtree of a height (0: leaves) with an index among those of that height."""
MAX_HASHES = 63


class ProofWrong(IntegrityFailure):
    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"the {what} proof does not hold: {why}")
        self.what, self.why = what, why


def make_inclusion(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """Return the audit path of leaf `index` in the tree of `size`, from the leaf's sibling up."""
    spans, first, last = list[tuple[int, int]](), 0, size
    while last - first > 1:
        middle = first + _split(last - first)
        if index < middle:
            spans.append((middle, last))
            last = middle
        else:
            spans.append((first, middle))
            first = middle
    return [_root(*span, nodes) for span in reversed(spans)]


def make_consistency(old: int, new: int, nodes: Nodes) -> list[bytes]:
    """Return the proof that the tree of `new` begins with that of `old`, which is at least 1."""
    spans, first, last, is_whole = list[tuple[int, int]](), 0, new, True
    while first + (old - first) < last:
        middle = first + _split(last - first)
        if old <= middle:
            spans.append((middle, last))
            last = middle
        else:
            spans.append((first, middle))
            first, is_whole = middle, False
    if not is_whole:
        spans.append((first, last))
    return [_root(*span, nodes) for span in reversed(spans)]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """Raises ProofWrong: `leaf` is not proved to be number `index`, from 0, of the tree of `size` with `root`."""
    _verify_hashes("inclusion", (leaf, root, *path))
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofWrong("inclusion", f"there is no leaf {index} in a tree of {size}")
    node, at, last, left = leaf, index, size - 1, list(path)
    while last and left:
        if at & 1 or at == last:
            node = node_hash(left.pop(0), node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, left.pop(0))
        at, last = at >> 1, last >> 1
    if last or left:
        raise ProofWrong("inclusion", "it has too few or too many hashes")
    if node != root:
        raise ProofWrong("inclusion", "it leads to another root")


def verify_consistency(old: int, new: int, path: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Raises ProofWrong: the tree of `new` with `new_root` is not proved to begin with that of `old`."""
    if not 0 < old <= new <= MAX_SIZE:
        raise ProofWrong("consistency", f"nothing leads from a tree of {old} to one of {new}")
    if old == new:
        if path or old_root != new_root:
            raise ProofWrong("consistency", "two trees of one size have to be the same, and need no hashes")
        return
    _verify_hashes("consistency", (old_root, new_root, *path))
    left = [old_root, *path] if old & (old - 1) == 0 else list(path)
    if not left:
        raise ProofWrong("consistency", "it has too few hashes")
    at, last = old - 1, new - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    before = after = left.pop(0)
    while last and left:
        if at & 1 or at == last:
            hashed = left.pop(0)
            before, after = node_hash(hashed, before), node_hash(hashed, after)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            after = node_hash(after, left.pop(0))
        at, last = at >> 1, last >> 1
    if last or left:
        raise ProofWrong("consistency", "it has too few or too many hashes")
    if (before, after) != (old_root, new_root):
        raise ProofWrong("consistency", "it leads to other roots")


def root_of(size: int, nodes: Nodes) -> bytes:
    """Return the root of the tree of the first `size` leaves."""
    return _root(0, size, nodes)


def _verify_hashes(what: str, hashes: Sequence[bytes]) -> None:
    if any(len(one) != HASH_BYTES for one in hashes):
        raise ProofWrong(what, f"a hash is not {HASH_BYTES} bytes long")


def _split(count: int) -> int:
    """Return the largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def _root(first: int, last: int, nodes: Nodes) -> bytes:
    """Return the root over leaves `first` to `last`, without the last; `first` is a multiple of the largest power."""
    perfect = list[bytes]()
    while first < last:
        height = (last - first).bit_length() - 1
        perfect.append(nodes(height, first >> height))
        first += 1 << height
    return fold(perfect)
