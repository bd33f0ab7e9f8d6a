"""Changes `agent.toml` on a host to the version that this program reads, and keeps the old file beside it."""

from collections.abc import Mapping
from dataclasses import replace
from difflib import unified_diff
from pathlib import Path

from edge_agent.settings_file.document import FILE, VERSION, parse
from edge_agent.settings_file.migrate import MIGRATIONS, Migration, migrate
from provisioning.install.item import Noted, Part, There, Wanted
from provisioning.install.local import LocalFiles
from provisioning.install.plan import Change, Step
from shared.errors import Refused


class OldFileInTheWay(Refused):
    def __init__(self, path: str) -> None:
        super().__init__(f"{path} is there already and is another file; nothing was changed: move it away first")
        self.path = path


def migrate_file(
    root: Path, *, dry: bool, migrations: Mapping[int, Migration] = MIGRATIONS, newest: int = VERSION
) -> list[str]:
    """Return what was done, or would be, as lines with the difference.

    Raises Malformed, OtherVersion, MigrationFailed, OldFileInTheWay, CannotChange, OSError.
    """
    files = LocalFiles(root)
    old = files.read(FILE)
    migrated = migrate(old.decode(errors="replace"), FILE, migrations, newest)
    if migrated.before == newest:
        return [f"{FILE} is of version {newest} already; nothing was changed"]
    if newest == VERSION:
        parse(migrated.text.encode(), FILE)
    keep = f"{FILE}.v{migrated.before}"
    there = files.there([FILE, keep])
    new_one = Wanted(FILE, Part.AGENT, content=migrated.text.encode(), rights=there[FILE].rights, theirs=True)
    old_one = Wanted(keep, Part.AGENT, content=old, rights=there[FILE].rights, theirs=True)
    if keep in there and there[keep].digest != old_one.digest:
        raise OldFileInTheWay(keep)
    difference = unified_diff(
        old.decode(errors="replace").splitlines(), migrated.text.splitlines(), keep, FILE, lineterm=""
    )
    if dry:
        return [*difference, "nothing was changed"]
    _note(files, there, old_one, new_one)
    for wanted, change in ((old_one, Change.MAKE), (new_one, Change.CHANGE)):
        files.take(Step(change, wanted.path, wanted.kind, wanted))
    return [*difference, f"{FILE} is of version {newest} now; the old one is {keep}"]


def _note(files: LocalFiles, there: Mapping[str, There], old: Wanted, new: Wanted) -> None:
    """Note what belongs to an installation of ours, so that uninstalling takes it back."""
    installed = files.noted()
    noted = installed.of(FILE)
    if noted is None:
        return
    entries = [entry for entry in installed.entries if entry.path not in (FILE, old.path)]
    entries.append(Noted(old.path, Part.AGENT, old.kind, (old.digest,), theirs=True))
    # What somebody changed stays somebody's.
    is_ours = there[FILE].digest in noted.digests
    entries.append(replace(noted, digests=(*noted.digests, new.digest) if is_ours else noted.digests))
    files.note(replace(installed, entries=tuple(entries)))
