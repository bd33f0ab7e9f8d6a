"""Inclusion and consistency proofs: RFC 6962 sections 2.1.1 and 2.1.2 make them, RFC 9162 section 2.1 verifies them.

Consistency is verified as that of a subtree (draft-ietf-plants-merkle-tree-certs section 4.4.3), and an older tree is
one that begins with the first leaf. From one of size 0 nothing is proved, and a hash that is not 32 bytes long is none.
"""

from collections.abc import Callable, Sequence

from shared.audit.tlog.tree import EMPTY_ROOT, HASH_BYTES, MAX_SIZE, fold, node_hash
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
    verify_subtree(0, old, new, path, old_root, new_root)


def verify_subtree(start: int, end: int, size: int, path: Sequence[bytes], subtree: bytes, root: bytes) -> None:
    """Raises ProofWrong: the tree of `size` with `root` is not proved to hold one of root `subtree`, `start` to `end`.

    Leaf `end` is not in it. Such a tree begins at a multiple of the power of two that it does not exceed; of one that
    holds nothing there is nothing to prove.
    """
    if path:  # else nothing is hashed, and two roots are compared as they are
        _verify_hashes("consistency", (subtree, root, *path))
    if not 0 <= start <= end <= size <= MAX_SIZE or start % _bit_ceil(end - start):
        raise ProofWrong("consistency", f"no tree of {size} holds one of leaves {start} to {end}")
    if start == end:
        if path or subtree != EMPTY_ROOT:
            raise ProofWrong("consistency", "of no leaves there is one tree, and it needs no hashes")
        return
    first, at, last, left = start, end - 1, size - 1, list(path)
    while first != at and (at == last or at & 1):
        first, at, last = first >> 1, at >> 1, last >> 1
    if first == at:
        left.insert(0, subtree)
    if not left:
        raise ProofWrong("consistency", "it has too few hashes")
    before = after = left.pop(0)
    while last and left:
        hashed = left.pop(0)
        if at & 1 or at == last:
            before = node_hash(hashed, before) if first < at else before
            after = node_hash(hashed, after)
            while not at & 1 and at:
                first, at, last = first >> 1, at >> 1, last >> 1
        else:
            after = node_hash(after, hashed)
        first, at, last = first >> 1, at >> 1, last >> 1
    if last or left:
        raise ProofWrong("consistency", "it has too few or too many hashes")
    if (before, after) != (subtree, root):
        raise ProofWrong("consistency", "it leads to other roots")


def root_of(size: int, nodes: Nodes) -> bytes:
    """Return the root of the tree of the first `size` leaves."""
    return _root(0, size, nodes)


def _verify_hashes(what: str, hashes: Sequence[bytes]) -> None:
    if any(len(one) != HASH_BYTES for one in hashes):
        raise ProofWrong(what, f"a hash is not {HASH_BYTES} bytes long")


def _bit_ceil(count: int) -> int:
    """Return the smallest power of two that is not below `count`."""
    return 1 << max(count - 1, 0).bit_length()


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
