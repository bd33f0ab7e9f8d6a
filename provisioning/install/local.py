"""Looks at a host's files, and changes them so that each is there whole, before and after a power cut."""

import contextlib
import grp
import os
import pwd
import stat
from collections.abc import Iterable
from pathlib import Path

from edge_agent.files import make_folder, sync_folder, write_over
from provisioning.install.item import Kind, Rights, There, digest_of
from provisioning.install.noted import MAX_BYTES, Installed
from provisioning.install.plan import Change, Step
from shared.errors import Unavailable

STATE = "/var/lib/leadglass-provision"
COMMAND_LINE = "/proc/cmdline"
_ROOT = Path("/")


class CannotChange(Unavailable):
    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path} cannot be changed: {why}")
        self.path, self.why = path, why


class LocalFiles:
    """The files below `root`, which tests lay elsewhere. Names of accounts are those of that system."""

    def __init__(self, root: Path = _ROOT) -> None:
        self.root = root
        self._state = self._at(STATE)

    # ---- what was noted

    def noted(self) -> Installed:
        """Raises Malformed, OSError."""
        try:
            with (self._state / "installed.json").open("rb") as file:
                return Installed.parse(file.read(MAX_BYTES + 1))
        except FileNotFoundError:
            return Installed()

    def note(self, installed: Installed) -> None:
        """Write down durably what is about to be, or was, changed. Raises CannotChange."""
        try:
            make_folder(self._state)
            write_over(self._state / "installed.json", installed.encode())
        except OSError as exc:
            raise CannotChange(f"{STATE}/installed.json", exc.strerror or type(exc).__name__) from exc

    def forget(self) -> list[str]:
        """Nothing is noted any more; return what lies in our own folder still. Raises OSError."""
        for path in (self._state / "installed.json", self._state / ".installed.json.new"):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            (self._state / "replaced").rmdir()
        with contextlib.suppress(OSError):
            self._state.rmdir()
        return sorted(f"{STATE}/{path.name}" for path in self._state.iterdir()) if self._state.is_dir() else []

    # ---- what is there

    def there(self, paths: Iterable[str]) -> dict[str, There]:
        """Return what is at each path; what is not there is left out. Raises OSError."""
        found = {path: self._there(path) for path in paths}
        return {path: there for path, there in found.items() if there is not None}

    def has(self, path: str) -> bool:
        return os.path.lexists(self._at(path))

    def read(self, path: str) -> bytes:
        """Raises OSError."""
        return self._at(path).read_bytes()

    def is_account(self, name: str) -> bool:
        return self._number(name, "passwd") is not None

    # ---- changing it

    def take(self, step: Step) -> bool:
        """Take one step; return False where a folder is not empty and stays. Raises CannotChange."""
        try:
            return self._take(step)
        except OSError as exc:
            raise CannotChange(step.path, exc.strerror or type(exc).__name__) from exc

    def sweep(self, paths: Iterable[str]) -> None:
        """Remove what was half written beside these paths when somebody cut us off. Raises OSError."""
        for draft in (self._draft(self._at(path)) for path in paths):
            # Where a unit may not write, unlink(2) says EROFS of what is not there too.
            if os.path.lexists(draft):
                draft.unlink(missing_ok=True)

    def _take(self, step: Step) -> bool:
        path = self._at(step.path)
        if step.change is Change.LEAVE:
            return True
        if step.change is Change.REMOVE:
            return self._remove(path, step.kind)
        if step.change is Change.PUT_BACK and step.kept is not None:
            kept = step.kept
            self._put(path, kept.kind, (self._state / "replaced" / kept.digest).read_bytes(), kept.rights)
            (self._state / "replaced" / kept.digest).unlink(missing_ok=True)
            return True
        if step.wanted is None:
            raise CannotChange(step.path, "the plan does not say what is wanted")
        if step.kept is not None:
            self._keep(step.kept, self._content(path, step.kept.kind))
        if step.change is Change.RIGHTS:
            self._give(path, step.wanted.rights)
        else:
            self._put(path, step.wanted.kind, step.wanted.content, step.wanted.rights)
        return True

    def _there(self, path: str) -> There | None:
        at = self._at(path)
        try:
            status = at.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        kinds = ((stat.S_ISREG, Kind.FILE), (stat.S_ISLNK, Kind.LINK), (stat.S_ISDIR, Kind.FOLDER))
        kind = next((kind for is_one, kind in kinds if is_one(status.st_mode)), Kind.OTHER)
        rights = Rights(0o777) if kind is Kind.LINK else self._rights(status)
        return There(kind, digest_of(kind, self._content(at, kind)), rights)

    def _content(self, path: Path, kind: Kind) -> bytes:
        if kind is Kind.FILE:
            return path.read_bytes()
        return os.fsencode(path.readlink()) if kind is Kind.LINK else b""

    def _put(self, path: Path, kind: Kind, content: bytes, rights: Rights) -> None:
        if kind is Kind.FOLDER:
            path.mkdir(mode=0o700, exist_ok=True)
            self._give(path, rights)
            sync_folder(path.parent)
            return
        draft = self._draft(path)
        draft.unlink(missing_ok=True)
        if kind is Kind.LINK:
            draft.symlink_to(os.fsdecode(content))
        else:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                self._give(draft, rights)
                os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path.parent)

    def _remove(self, path: Path, kind: Kind) -> bool:
        if kind is not Kind.FOLDER:
            path.unlink(missing_ok=True)
        else:
            try:
                path.rmdir()
            except OSError:
                return not path.is_dir()
        sync_folder(path.parent)
        return True

    def _keep(self, there: There, content: bytes) -> None:
        make_folder(self._state / "replaced")
        write_over(self._state / "replaced" / there.digest, content)

    def _draft(self, path: Path) -> Path:
        # One name, so that what a kill leaves is found; none that systemd, udev or grub would read.
        return path.with_name(f".{path.name}.leadglass-new")

    def _give(self, path: Path, rights: Rights) -> None:
        owner, group = self._number(rights.owner, "passwd"), self._number(rights.group, "group")
        if owner is None or group is None:
            raise CannotChange(str(path), f"there is no account or group {rights.owner}:{rights.group}")
        # The owner first: changing it may take bits of the mode away.
        os.chown(path, owner, group, follow_symlinks=False)
        path.chmod(rights.mode)

    def _rights(self, status: os.stat_result) -> Rights:
        owner, group = self._name(status.st_uid, "passwd"), self._name(status.st_gid, "group")
        return Rights(stat.S_IMODE(status.st_mode), owner, group)

    def _number(self, name: str, database: str) -> int | None:
        if name.isdigit():
            return int(name)
        if self.root == _ROOT:
            try:
                return pwd.getpwnam(name).pw_uid if database == "passwd" else grp.getgrnam(name).gr_gid
            except KeyError:
                return None
        return next((number for known, number in self._accounts(database) if known == name), None)

    def _name(self, number: int, database: str) -> str:
        if self.root == _ROOT:
            try:
                return pwd.getpwuid(number).pw_name if database == "passwd" else grp.getgrgid(number).gr_name
            except KeyError:
                return str(number)
        return next((known for known, found in self._accounts(database) if found == number), str(number))

    def _accounts(self, database: str) -> list[tuple[str, int]]:
        """Read the accounts of the system below `root`, where nobody else can be asked for them."""
        file = self._at(f"/etc/{database}")
        lines = [line.split(":") for line in file.read_text().splitlines()] if file.exists() else []
        # Blank lines, and those by which NIS is asked, are no accounts of this system.
        named = [line for line in lines if len(line) > 2 and line[2].isdecimal()]
        return [("root", 0), *((line[0], int(line[2])) for line in named)]

    def _at(self, path: str) -> Path:
        return self.root / path.lstrip("/")
