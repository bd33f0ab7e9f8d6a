"""Whose policy a layer bundle is can be told without reading it, and is what reading it says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Malformed
from shared.policy.bundle import HeadBundle, LayerBundle, claimed_layer
from shared.policy.layer import LAYER_PATTERN

NAMES = st.from_regex(LAYER_PATTERN, fullmatch=True).filter(str.isascii)
WHOLE = LayerBundle("site-north", b"metadata", b"policy", b"stable")


@given(st.builds(LayerBundle, NAMES, st.binary(max_size=20), st.binary(max_size=20), st.binary(max_size=20)))
def test_a_bundle_is_of_the_layer_that_it_begins_with(bundle: LayerBundle) -> None:
    assert claimed_layer(bundle.encode()) == bundle.layer == LayerBundle.parse(bundle.encode()).layer


@given(st.integers(0, len(WHOLE.encode()) - 1), st.integers(0, 255))
def test_whatever_is_read_as_a_bundle_is_of_the_layer_that_it_begins_with(at: int, byte: int) -> None:
    data = bytearray(WHOLE.encode())
    data[at] = byte
    try:
        bundle = LayerBundle.parse(bytes(data))
    except Malformed:
        return

    assert claimed_layer(bytes(data)) == bundle.layer


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        HeadBundle((), b"", b"", b"").encode(),
        b" " + WHOLE.encode(),
        WHOLE.encode().replace(b"site-north", b"Site"),
        WHOLE.encode().replace(b"site-north", b"s" * 33),
    ],
)
def test_what_does_not_begin_as_a_layers_bundle_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        claimed_layer(data)
