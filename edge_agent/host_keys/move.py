"""Moves a host's keys from one protection to another, whole or not at all, wherever it is cut off.

    1. every key is wrapped anew and written beside the old one, durably
    2. each is read from the disk again, opened, and compared
    3. `host.json` is exchanged: from this moment on the new ones count
    4. it is recorded, and the old files are erased

Cut off before 3, the old keys count and the new files are of no use to anybody who has not the TPM, or are erased by
the next start; after 3, the next start does 4. The caller holds the folder's lock: an agent that renews meanwhile
would write a key where it does not count any more.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace as changed
from pathlib import Path

from cryptography import x509

from edge_agent.audit.journal import Journal
from edge_agent.config import HOST_CONFIG, HostConfig
from edge_agent.enrol.store import IdentityNotStored, IdentityUnreadable, replace
from edge_agent.host_keys.erase import erase
from edge_agent.host_keys.plain import FILES
from edge_agent.host_keys.store import HostKeyStore, file_name
from edge_agent.host_keys.vault import KeyMisplaced, KeyName, KeyNotOfThisTpm, KeyVault
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.errors import IntegrityFailure
from shared.fleet.keys import KeyProtection

_CUT_OFF = "a move of the keys was cut off; these count, and what lay beside them is erased"
_UNREADABLE = (IdentityUnreadable, KeyNotOfThisTpm, KeyMisplaced)


class KeyCopyDiffers(IntegrityFailure):
    def __init__(self, file: Path) -> None:
        super().__init__(f"{file} does not give back the key that was put there; the old keys stay as they are")
        self.file = file


class KeyMove:
    """`who` asked for it, as the audit record will say."""

    def __init__(
        self,
        folder: Path,
        config: HostConfig,
        vault: Callable[[KeyProtection], KeyVault],
        journal: Journal,
        who: Sequence[Participant],
    ) -> None:
        self._folder, self._config, self._journal = folder, config, journal
        self._vault, self._who = vault, tuple(who)

    def move(self, to: KeyProtection) -> Sequence[Path]:
        """Return the old files, which are erased now.

        Raises KeyVaultUnavailable, KeyNotOfThisTpm, KeyMisplaced, IdentityUnreadable, IdentityNotStored,
        KeyCopyDiffers; the old keys then count, whatever lies beside them.
        """
        with self._journal.attempt(self._happening(to, Action.UPDATE)) as attempt:
            try:
                self._copy_all(to)
            except BaseException:
                # Also a key in clear, where keys were to become files. If this fails the next start sees to it.
                with suppress(IdentityNotStored):
                    self._erase(left_over(self._folder, self._config.keys))
                raise
            replace(self._folder / HOST_CONFIG, changed(self._config, keys=to).encode())
            attempt.succeeded()
        return self._erase(left_over(self._folder, to))

    def finish(self) -> Sequence[Path]:
        """Erase what an earlier move left that was cut off, and return it. The keys that count were opened before.

        That one never said how it ended, so it is recorded as failed. What people put there is no such thing.

        Raises KeyVaultUnavailable, IdentityNotStored.
        """
        left = left_over(self._folder, self._config.keys)
        if left:
            adopted, happening = self._adopt_dicom(), self._happening(self._config.keys, Action.EXECUTE)
            if left != adopted:
                happening = changed(happening, outcome=Outcome.MINOR_FAILURE, reason=_CUT_OFF)
            self._journal.record(happening)
        return self._erase(left)

    def _copy_all(self, to: KeyProtection) -> None:
        old = HostKeyStore(self._folder, self._vault(self._config.keys))
        new = HostKeyStore(self._folder, self._vault(to))
        for name in [name for name in KeyName if old.has(name)]:
            # One that was only asked for, and cannot be read, is made anew with the next ask.
            with suppress(*(_UNREADABLE if name is KeyName.FRESH else ())):
                _copy(name, old, new)

    def _adopt_dicom(self) -> list[Path]:
        """Take in the hospital's certificate for DICOM, which people put there as a plain file; return that file."""
        given = self._folder / file_name(KeyName.DICOM, KeyProtection.FILE)
        if self._config.keys is KeyProtection.FILE or not _holds_certificate(given):
            return []
        plain = HostKeyStore(self._folder, FILES)
        _copy(KeyName.DICOM, plain, HostKeyStore(self._folder, self._vault(self._config.keys)))
        return [given]

    def _happening(self, to: KeyProtection, action: Action) -> Happening:
        return Happening(Event.KEYS_MOVED, action, Outcome.SUCCESS, self._who, (Subject("key", to.value),))

    def _erase(self, files: Sequence[Path]) -> Sequence[Path]:
        for file in files:
            try:
                erase(file)
            except OSError as exc:
                raise IdentityNotStored(file, exc.strerror or "it failed") from exc
        return files


def left_over(folder: Path, protection: KeyProtection) -> list[Path]:
    """Return the keys in `folder` that do not count where those under `protection` do, drafts of theirs included."""
    return sorted(file for other in KeyProtection if other is not protection for file in _there(folder, other))


def _there(folder: Path, protection: KeyProtection) -> Iterator[Path]:
    for name in KeyName:
        file = folder / file_name(name, protection)
        yield from folder.glob(f".{file.name}-*")
        if file.exists():
            yield file


def _holds_certificate(file: Path) -> bool:
    """Return whether it is there whole: one that was being erased begins with zeros."""
    try:
        x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError, x509.InvalidVersion):
        return False
    return True


def _copy(name: KeyName, old: HostKeyStore, new: HostKeyStore) -> None:
    parts = old.load_parts(name)
    new.store(name, *parts)
    if new.load_parts(name) != parts:
        raise KeyCopyDiffers(new.file(name))
