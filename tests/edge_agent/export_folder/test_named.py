"""The folders that a field engineer names: read strictly, and kept apart."""

from pathlib import Path

import pytest

from edge_agent.export_folder.named import ExportFolder, parse, verify_apart
from shared.errors import Malformed


@pytest.mark.parametrize(
    "text, expected",
    [
        ("CT1=/srv/export", ExportFolder("CT1", b"/srv/export")),
        ("A=B=/srv//x/../export/", ExportFolder("A=B", b"/srv/export")),
        ("CT1=/a=/b", ExportFolder("CT1", b"/a=/b")),
        ("CT 1=/srv/caf\udce9", ExportFolder("CT 1", b"/srv/caf\xe9")),
    ],
)
def test_reads(text: str, expected: ExportFolder) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize("text", ["", "CT1", "CT1=", "CT1=export", "=/srv", "CT1/srv", " CT1=/srv", "A" * 17 + "=/srv"])
def test_refuses(text: str) -> None:
    with pytest.raises(Malformed):
        parse(text)


@pytest.mark.parametrize(
    "folders",
    [
        [("CT1", "a"), ("CT1", "b")],
        [("CT1", "a"), ("MR1", "a")],
        [("CT1", "a"), ("MR1", "a/b")],
        [("CT1", "a/b"), ("MR1", "a")],
        [("CT1", "data")],
        [("CT1", "data/spool")],
        [("CT1", ".")],
        [("CT1", "link")],
        [(f"CT{number}", f"f{number}") for number in range(17)],
    ],
)
def test_folders_that_are_not_apart_stop_the_start(tmp_path: Path, folders: list[tuple[str, str]]) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    with pytest.raises(Malformed):
        verify_apart([ExportFolder(ae, bytes(tmp_path / path)) for ae, path in folders], tmp_path / "data")


def test_folders_beside_each_other_are_taken(tmp_path: Path) -> None:
    verify_apart(
        [ExportFolder("CT1", bytes(tmp_path / "a")), ExportFolder("B", bytes(tmp_path / "ab"))], tmp_path / "d"
    )
