"""Which folders of a tree are watched, and by what name a change in one of them is known."""

from edge_agent.export_folder.inotify import CannotWatch, Change, Inotify
from edge_agent.log import Log, why


class Watches:
    """A folder that cannot be watched is found by the rescan all the same; that is said once."""

    def __init__(self, inotify: Inotify, log: Log) -> None:
        self._inotify, self._log = inotify, log
        self._paths: dict[int, bytes] = {}
        self._said = False

    def add(self, path: bytes, folder: int) -> None:
        try:
            self._paths[self._inotify.add(folder)] = path
        except CannotWatch as exc:
            if not self._said:
                self._log.event("export-folder.not-watched", why=why(exc))
            self._said = True

    def path_of(self, change: Change) -> bytes | None:
        """Return what a change is about, relative to the root; None where it is nothing that is watched now."""
        folder = self._paths.get(change.watch)
        if folder is None:
            return None
        return folder + b"/" + change.name if folder and change.name else folder or change.name

    def lapse(self, watch: int) -> None:
        """The system has dropped this watch."""
        self._paths.pop(watch, None)

    def drop(self, path: bytes) -> None:
        """Stop watching a folder and all below it: they are elsewhere now."""
        for watch, known in list(self._paths.items()):
            if known == path or known.startswith(path + b"/") or not path:
                del self._paths[watch]
                self._inotify.remove(watch)

    def __len__(self) -> int:
        return len(self._paths)
