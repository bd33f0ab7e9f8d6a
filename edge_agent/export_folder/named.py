"""The export folders that a field engineer names: `AE_TITLE=/path`."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shared.errors import Malformed
from shared.fleet.state import MAX_FOLDERS
from shared.policy.routes import AE_TITLE_PATTERN

_OPTION = "--export-folder"


@dataclass(frozen=True)
class ExportFolder:
    """`path` is absolute; the folder need not be there yet."""

    ae_title: str
    path: bytes


def parse(text: str) -> ExportFolder:
    """Raises Malformed."""
    # An AE title may hold "=", a path that we take begins with "/".
    ae_title, separator, path = text.partition("=/")
    if not separator or not re.fullmatch(AE_TITLE_PATTERN, ae_title):
        raise Malformed(_OPTION, "expected AE_TITLE=PATH with an absolute path, such as CT1=/srv/ct1/export")
    return ExportFolder(ae_title, os.fsencode(os.path.normpath("/" + path)))


def verify_apart(folders: Iterable[ExportFolder], data: Path) -> None:
    """Raise Malformed unless the folders are of different modalities, and neither in one another nor in the agent's."""
    seen: list[bytes] = [os.path.realpath(os.fsencode(data))]
    titles: set[str] = set()
    for folder in folders:
        real = os.path.realpath(folder.path)
        if folder.ae_title in titles:
            raise Malformed(_OPTION, f"names {folder.ae_title} twice; put both below one folder and name that")
        if any(_overlap(real, other) for other in seen):
            raise Malformed(_OPTION, f"the folder of {folder.ae_title} lies in another one, or another one in it")
        titles.add(folder.ae_title)
        seen.append(real)
    if len(titles) > MAX_FOLDERS:
        raise Malformed(_OPTION, f"is given more than {MAX_FOLDERS} times")


def _overlap(one: bytes, other: bytes) -> bool:
    return os.path.commonpath([one, other]) in (one, other)
