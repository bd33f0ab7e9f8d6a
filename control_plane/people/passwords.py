"""Passwords by Argon2id with the second recommended parameters of RFC 9106 section 4: 3 passes, 64 MiB, 4 lanes."""

import unicodedata
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from secrets import token_bytes
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

from shared.errors import Refused, Unavailable

MIN_CHARS, MAX_CHARS = 12, 128
_AT_ONCE = 2


class Asker(Enum):
    """Who has a password looked at: anybody at all, or somebody who is signed in, or was in this browser."""

    STRANGER = auto()
    KNOWN = auto()


class PasswordsBusy(Unavailable):
    def __init__(self) -> None:
        super().__init__("too many passwords are being looked at just now; try again in some seconds")


class PasswordUnfit(Refused):
    def __init__(self, why: str) -> None:
        super().__init__(f"this password is not taken: {why}")
        self.why = why


def verify_fit(password: str, person: str) -> None:
    """Raises PasswordUnfit. No rule asks for digits or signs: they make passwords worse (NIST SP 800-63B)."""
    text = _normal(password)
    if not MIN_CHARS <= len(text) <= MAX_CHARS:
        raise PasswordUnfit(f"it has to have {MIN_CHARS} to {MAX_CHARS} characters, such as four words")
    if len(set(text)) < MIN_CHARS // 2:
        raise PasswordUnfit("it is made of too few different characters")
    if person.casefold() in text.casefold():
        raise PasswordUnfit("the person's name is in it")


class Passwords:
    """Hashes and verifies, few at once: each costs 64 MiB, and a stranger may ask for it.

    Nobody waits for room: a flood would hold every thread of the door. Strangers have room of their own, so that they
    keep nobody out whom we know. `hash` and `is_right` raise PasswordsBusy.
    """

    def __init__(self, hasher: PasswordHasher | None = None) -> None:
        self._hasher = hasher or PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._room = {asker: BoundedSemaphore(_AT_ONCE) for asker in Asker}
        self._nobodys = _nobodys(self._hasher)

    def hash(self, password: str) -> str:
        with self._entered(Asker.KNOWN):
            return self._hasher.hash(_normal(password))

    def is_right(self, password: str, stored: str | None, asker: Asker) -> bool:
        """Return whether it is the password. Without a stored one it takes as long and is not."""
        with self._entered(asker):
            try:
                self._hasher.verify(stored or self._nobodys, _normal(password))
            except (VerificationError, InvalidHashError):
                return False
        return stored is not None

    @contextmanager
    def _entered(self, asker: Asker) -> Iterator[None]:
        room = self._room[asker]
        if not room.acquire(blocking=False):
            raise PasswordsBusy
        try:
            yield
        finally:
            room.release()

    def is_outdated(self, stored: str) -> bool:
        """Return whether it was made with other parameters than these, so that it should be made anew."""
        return self._hasher.check_needs_rehash(stored)


def _nobodys(hasher: PasswordHasher) -> str:
    """Return what no password hashes to, and costs as much to compare with as what this hasher makes."""
    cost = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    salt, digest = (b64encode(token_bytes(size)).decode().rstrip("=") for size in (hasher.salt_len, hasher.hash_len))
    return f"$argon2id$v=19${cost}${salt}${digest}"


def _normal(password: str) -> str:
    # RFC 8265 section 4.2.2: what two keyboards write differently and shows alike is one password.
    return unicodedata.normalize("NFC", password.encode(errors="replace").decode())
