"""A signer signs under no root that is older than the newest one they have seen."""

from pathlib import Path

import pytest

from control_plane.policy.proposing import Wish
from control_plane.policy.seen import RootHidden, SeenRoot
from shared.errors import Malformed
from tests.control_plane.policy.centre import Centre
from tests.control_plane.policy.people import ada, change_root


@pytest.fixture
def roots(centre: Centre) -> tuple[bytes, ...]:
    for _ in range(2):
        change_root(centre, Wish(), ada(centre))
    return centre.publisher.parts().roots


def test_refuses_roots_from_which_the_newest_one_is_hidden(roots: tuple[bytes, ...], tmp_path: Path) -> None:
    seen = SeenRoot(tmp_path / "credential.json")
    seen.verify(roots[:2])
    seen.remember(roots)

    for hidden in (roots[:1], roots[:2]):
        with pytest.raises(RootHidden, match="policy root 3"):
            SeenRoot(tmp_path / "credential.json").verify(hidden)
    seen.verify(roots)
    seen.verify((*roots, b"newer"))


def test_one_that_was_replaced_by_another_of_its_number_is_hidden_too(roots: tuple[bytes, ...], tmp_path: Path) -> None:
    seen = SeenRoot(tmp_path / "credential.json")
    seen.remember(roots)

    with pytest.raises(RootHidden):
        seen.verify((*roots[:2], b"another third"))


def test_nothing_is_written_as_long_as_there_is_one_root(roots: tuple[bytes, ...], tmp_path: Path) -> None:
    seen = SeenRoot(tmp_path / "credential.json")
    seen.remember(roots[:1])
    seen.verify(roots[:1])

    assert list(tmp_path.glob("credential*")) == []


def test_a_file_that_was_damaged_is_named_and_not_passed_over(roots: tuple[bytes, ...], tmp_path: Path) -> None:
    seen = SeenRoot(tmp_path / "credential.json")
    (tmp_path / "credential.json.root").write_bytes(b"{}")

    with pytest.raises(Malformed, match=r"credential\.json\.root"):
        seen.verify(roots)
