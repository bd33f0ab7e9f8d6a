"""From one version of `agent.toml` to the next: one function each, that changes the text and leaves the comments.

A new version N+1 of the form: change `document.py`, and enter here at N what makes a file of N one of N+1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from edge_agent.settings_file.document import FILE, VERSION, OtherVersion, version_of
from shared.errors import IntegrityFailure

Migration = Callable[[str], str]

MIGRATIONS: Mapping[int, Migration] = {}


class MigrationFailed(IntegrityFailure):
    def __init__(self, file: str, version: int, found: str) -> None:
        super().__init__(f"{file}: migrating from version {version} gave {found}; nothing was changed, report this")
        self.file, self.version = file, version


@dataclass(frozen=True)
class Migrated:
    """`text` is of the newest version; `before` is that of the file as it was."""

    before: int
    text: str


def migrate(
    text: str, file: str = FILE, migrations: Mapping[int, Migration] = MIGRATIONS, newest: int = VERSION
) -> Migrated:
    """Return the file as the newest version has it. Raises Malformed, OtherVersion: too new, MigrationFailed."""
    before = version_of(text.encode(), file)
    if before > newest:
        raise OtherVersion(file, before, newest, "install the newer leadglass-agent again; there is no way back")
    for version in range(before, newest):
        if version not in migrations:
            raise OtherVersion(file, before, newest, f"there is no way from version {version}; write it anew")
        text = migrations[version](text)
        if (found := version_of(text.encode(), file)) != version + 1:
            raise MigrationFailed(file, version, f"version {found}")
    return Migrated(before, text)
