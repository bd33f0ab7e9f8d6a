"""A folder that the demo cannot use is named before anything is started."""

from pathlib import Path

import pytest

from provisioning.demo.stage import Folders, FolderTaken, FolderUnusable


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("theirs")

    with pytest.raises(FolderUnusable, match="demo cannot be made or written: Not a directory"):
        Folders(tmp_path / "file" / "demo").make()
    with pytest.raises(FolderTaken, match="never writes over anything"):
        Folders(tmp_path).make()
