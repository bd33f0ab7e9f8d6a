"""What hypothesis draws for the tests of shared; apart from what is made, which children of tests import as well."""

from hypothesis import strategies as st

from shared.canonical import Json


@st.composite
def spoiled(draw: st.DrawFn, data: bytes) -> bytes:
    """Draw `data` with one small change: a byte changed, left out, put in, or the end cut or lengthened."""
    at = draw(st.integers(0, len(data) - 1))
    byte = bytes([draw(st.integers(0, 255))])
    return draw(
        st.sampled_from([
            data[:at] + byte + data[at + 1 :],
            data[:at] + data[at + 1 :],
            data[:at] + byte + data[at:],
            data[:at],
            data + byte,
        ])
    )  # fmt: skip


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)


@st.composite
def with_another_member(draw: st.DrawFn, value: Json) -> Json:
    """Draw a JSON value that differs from `value` in one place, however deep."""
    if isinstance(value, dict) and value and draw(st.booleans() | st.just(True)):
        name = draw(st.sampled_from(sorted(value)))
        how = draw(st.sampled_from(["inside", "without", "beside"]))
        if how == "without":
            return {other: value[other] for other in value if other != name}
        if how == "beside":
            return {**value, draw(st.text(st.characters(max_codepoint=127), max_size=8)): draw(json_values)}
        return {**value, name: draw(with_another_member(value[name]))}
    if isinstance(value, list) and value and draw(st.booleans()):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], draw(with_another_member(value[at])), *value[at + 1 :]]
    return draw(json_values)
