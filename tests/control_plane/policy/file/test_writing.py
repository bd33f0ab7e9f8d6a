"""A policy is written as a file that is read back as the same policy."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.file.problems import PolicyFileMalformed
from control_plane.policy.file.writing import NotWritable, text
from shared.policy.document import Modality, PolicyDocument
from tests.control_plane.policy.file.broken import DOCUMENT, Broken, as_yaml, broken
from tests.control_plane.policy.file.full import MEANT, organisation
from tests.control_plane.policy.file.test_reading import GOOD, document

CONTROLS = "".join(map(chr, [*range(32), 127]))


def parse(written: str) -> AuthoredPolicy:
    return organisation(written.encode(), "policy.yaml")


@pytest.mark.parametrize("policy", [MEANT, parse(GOOD), parse(as_yaml(DOCUMENT))], ids=["full", "short", "every field"])
def test_what_is_written_is_read_back_as_the_same(policy: AuthoredPolicy) -> None:
    assert parse(text(policy)) == policy


@given(broken)
def test_whatever_a_file_says_hosts_take_and_it_is_written_and_read_back(made: Broken) -> None:
    with suppress(PolicyFileMalformed):
        policy = parse(made.text)
        published = PolicyDocument.parse(document(policy).encode())
        assert parse(text(AuthoredPolicy.of(published))) == policy
        assert document(parse(text(policy))).encode() == published.encode()


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters=CONTROLS), min_size=1,
                max_size=100),
        min_size=1, max_size=5,
    )
)  # fmt: skip
def test_texts_of_any_characters_come_back_whole(descriptions: list[str]) -> None:
    modalities = tuple(Modality(f"CT{number}", each) for number, each in enumerate(descriptions))
    policy = replace(parse(GOOD), modalities=modalities)

    assert parse(text(policy)) == policy


def test_a_policy_of_another_tool_that_no_file_can_say_is_refused() -> None:
    with pytest.raises(NotWritable, match="description: expected 1 to 100 characters"):
        text(replace(MEANT, modalities=(Modality("CT1", ""),)))
    with pytest.raises(NotWritable, match="read back as another one"):
        text(replace(MEANT, spool_quota_bytes=(1 << 20) + 1))
