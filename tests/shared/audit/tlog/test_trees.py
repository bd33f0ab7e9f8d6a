"""Trees and proofs: against what others published, and against the definition of RFC 6962 itself."""

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.audit.tlog.growth import Growth
from shared.audit.tlog.proofs import (
    ProofWrong,
    make_consistency,
    make_inclusion,
    root_of,
    verify_consistency,
    verify_inclusion,
    verify_subtree,
)
from shared.audit.tlog.tiles import Tile, encode_bundle, nodes_of, parse_bundle, tiles_of
from shared.audit.tlog.tree import EMPTY_ROOT, CompactRange, leaf_hash, node_hash
from shared.errors import Malformed
from tests import vectors

_VECTORS = Path(vectors.__path__[0]) / "third_party" / "merkle"


def load(name: str) -> Any:
    return json.loads((_VECTORS / f"{name}.json").read_text())


RFC = load("rfc6962_hash_vectors")
LEAVES = [leaf_hash(bytes.fromhex(data)) for data in RFC["leaf_inputs_hex"]]


def defined_root(leaves: list[bytes]) -> bytes:
    """Say what RFC 6962 section 2.1 says, word by word."""
    if len(leaves) < 2:
        return leaves[0] if leaves else EMPTY_ROOT
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(defined_root(leaves[:split]), defined_root(leaves[split:]))


def grown(leaves: list[bytes], *steps: int) -> tuple[Growth, dict[tuple[int, int], bytes]]:
    """Return a tree that grew in steps, stored after each, and its tiles."""
    tiles, growth, at = dict[tuple[int, int], bytes](), Growth(), 0
    for end in (*sorted(steps), len(leaves)):
        growth = Growth(CompactRange.parse(growth.range.size, growth.range.encode()), lambda *key: tiles[key])
        growth.append(leaves[at:end])
        tiles.update(dict(growth.take_full()) | growth.partial)
        at = end
    return growth, tiles


def many(count: int) -> list[bytes]:
    return [leaf_hash(b"%d" % number) for number in range(count)]


def raw(case: dict[str, Any], name: str) -> bytes:
    return b64decode(case[name] or "")


# ---- what others published


def test_the_tree_of_eight_leaves_has_the_published_roots_and_proofs() -> None:
    assert [leaf_hash(bytes.fromhex(data)).hex() for data in RFC["leaf_hash"]] == list(RFC["leaf_hash"].values())
    left, right = (bytes.fromhex(RFC["node_hash"][side]) for side in ("left_hex", "right_hex"))
    assert node_hash(left, right).hex() == RFC["node_hash"]["hash"]
    for size, root in enumerate(RFC["roots_by_size"]):
        assert grown(LEAVES[:size])[0].range.root().hex() == root
    nodes = nodes_of(lambda *key: grown(LEAVES)[1][key])
    for case in RFC["inclusion"]:
        assert [one.hex() for one in make_inclusion(case["index"], case["size"], nodes)] == case["proof"]
    for case in RFC["consistency"]:
        assert [one.hex() for one in make_consistency(case["size1"], case["size2"], nodes)] == case["proof"]


@pytest.mark.parametrize("kind", ["inclusion", "subtreeinclusion"])
def test_every_published_inclusion_proof_is_judged_as_its_authors_do(kind: str) -> None:
    for name, case in load(kind).items():
        start, end = (case["start"], case["end"]) if kind == "subtreeinclusion" else (0, case["treeSize"])
        # A subtree is a tree of its own that begins at a multiple of a power of two which it does not exceed.
        is_subtree = 0 <= start < end and start % (1 << (end - start - 1).bit_length()) == 0
        path = [b64decode(one) for one in case["proof"] or ()]
        try:
            verify_inclusion(raw(case, "leafHash"), case["leafIdx"] - start, end - start, path, raw(case, "root"))
            holds = is_subtree or kind == "inclusion"
        except ProofWrong:
            holds = False
        assert holds is not case["wantErr"], name


@pytest.mark.parametrize("kind, count", [("consistency", 98), ("subtreeconsistency", 118)])
def test_every_published_consistency_proof_is_judged_as_its_authors_do(kind: str, count: int) -> None:
    cases = load(kind)
    for name, case in cases.items():
        proof = [b64decode(one) for one in case["proof"] or ()], raw(case, "root1"), raw(case, "root2")
        try:
            if kind == "subtreeconsistency":
                verify_subtree(case["start"], case["end"], case["size"], *proof)
            else:
                verify_consistency(case["size1"], case["size2"], *proof)
            holds = True
        except ProofWrong:
            holds = False
        assert holds is not case["wantErr"], name
    assert len(cases) == count


# ---- laws


@given(st.integers(0, 1100), st.lists(st.integers(0, 1100), max_size=4))
def test_a_tree_that_grew_in_whatever_steps_is_the_one_that_is_defined(size: int, steps: list[int]) -> None:
    leaves = many(size)
    growth, tiles = grown(leaves, *(min(step, size) for step in steps))

    assert growth.range.root() == defined_root(leaves)
    assert root_of(size, nodes_of(lambda *key: tiles[key])) == growth.range.root()
    assert {(one.level, one.number): one.width * 32 for one in tiles_of(size)} == {
        at: len(hashes) for at, hashes in tiles.items()
    }
    assert b"".join(tiles[0, number] for number in range(-(-size // 256))) == b"".join(leaves)


_ALL = many(70_000)
_TILES = grown(_ALL)[1]
_NODES = nodes_of(lambda *key: _TILES[key])


def test_the_tiles_of_a_tree_are_those_of_the_specification_s_example() -> None:
    tiles = [one.path() for one in tiles_of(70_000)]

    assert len(tiles) == 273 + 1 + 1 + 1 + 1
    assert tiles[-4:] == ["tile/0/273.p/112", "tile/1/000", "tile/1/001.p/17", "tile/2/000.p/1"]
    assert [one.path() for one in tiles_of(256)] == ["tile/0/000", "tile/1/000.p/1"]
    assert Tile(0, 1_234_067).path() == "tile/0/x001/x234/067"
    assert Tile.parse("tile/entries/x001/x234/067.p/8") == Tile(None, 1_234_067, 8)


@given(st.data())
def test_what_is_made_verifies_and_one_changed_hash_does_not(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70_000))
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    root, old_root = root_of(size, _NODES), root_of(old, _NODES)
    inclusion, consistency = make_inclusion(index, size, _NODES), make_consistency(old, size, _NODES)

    verify_inclusion(_ALL[index], index, size, inclusion, root)
    verify_consistency(old, size, consistency, old_root, root)

    other = leaf_hash(b"other")
    for at in range(len(inclusion)):
        with pytest.raises(ProofWrong):
            verify_inclusion(_ALL[index], index, size, [*inclusion[:at], other, *inclusion[at + 1 :]], root)
    for at in range(len(consistency)):
        with pytest.raises(ProofWrong):
            verify_consistency(old, size, [*consistency[:at], other, *consistency[at + 1 :]], old_root, root)
    with pytest.raises(ProofWrong):
        verify_inclusion(other, index, size, inclusion, root)


def defined_proof(start: int, end: int, leaves: list[bytes], known: bool = True) -> list[bytes]:
    """Say what draft-ietf-plants-merkle-tree-certs section 4.4.1 says, word by word."""
    if (start, end) == (0, len(leaves)):
        return [] if known else [defined_root(leaves)]
    split = 1 << ((len(leaves) - 1).bit_length() - 1)
    left, right = leaves[:split], leaves[split:]
    if end <= split:
        return [*defined_proof(start, end, left, known), defined_root(right)]
    if start >= split:
        return [*defined_proof(start - split, end - split, right, known), defined_root(left)]
    return [*defined_proof(0, end - split, right, known=False), defined_root(left)]


@given(st.data())
def test_a_subtree_is_proved_wherever_it_begins_and_no_other_is(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70))
    width = data.draw(st.integers(1, size))
    power = 1 << (width - 1).bit_length()
    start = power * data.draw(st.integers(0, (size - width) // power))
    leaves, end = many(size), start + width
    proof, subtree, root = defined_proof(start, end, leaves), defined_root(leaves[start:end]), defined_root(leaves)

    verify_subtree(start, end, size, proof, subtree, root)

    assert start or proof == make_consistency(end, size, nodes_of(lambda *key: grown(leaves)[1][key]))
    other = leaf_hash(b"other")
    wrong = [([*proof[:at], other, *proof[at + 1 :]], subtree, root) for at in range(len(proof))]
    wrong += [(proof, other, root), (proof, subtree, other), ([*proof, other], subtree, root)]
    for changed in wrong:
        with pytest.raises(ProofWrong):
            verify_subtree(start, end, size, *changed)


def test_leaves_that_are_no_subtree_are_proved_by_nothing_not_even_by_the_root_itself() -> None:
    root = defined_root(many(3))

    verify_subtree(0, 3, 3, [], root, root)
    with pytest.raises(ProofWrong, match="holds one of leaves 1 to 3"):
        verify_subtree(1, 3, 3, [], root, root)


@pytest.mark.parametrize(
    "path",
    ["tile/8/000", "tile/0/1", "tile/0/0000", "tile/0/x000/001", "tile/0/000.p/0", "tile/0/000.p/256", "tile/0/001/002",
     "tile/0/000.p/01", "tile/entries/x00a/001", "/tile/0/000", "tile/0/000/", "tile/0/x001/234\n"],
)  # fmt: skip
def test_a_path_that_no_tile_has_is_refused(path: str) -> None:
    with pytest.raises(Malformed):
        Tile.parse(path)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=256))
def test_a_bundle_reads_back(entries: list[bytes]) -> None:
    assert parse_bundle(encode_bundle(entries)) == tuple(entries)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x00\x02a", b"\x00\x01ab", encode_bundle([b"x"] * 257)])
def test_what_is_no_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse_bundle(data)


def test_hashes_that_no_tree_of_this_size_has_are_refused() -> None:
    for size, hashes in ((1, []), (3, [bytes(32)]), (1, [bytes(31)]), (-1, [])):
        with pytest.raises(Malformed):
            CompactRange(size, hashes)
    with pytest.raises(Malformed):
        CompactRange.parse(1, bytes(33))
