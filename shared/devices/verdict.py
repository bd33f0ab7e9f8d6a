"""What was decided about a device, and why."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.devices.device import Interface


class Target(StrEnum):
    ALLOW = "allow"
    BLOCK = "block"
    REJECT = "reject"  # blocked, and taken off the bus


class Access(StrEnum):
    """How storage of an allowed device may be used."""

    READ_WRITE = "read-write"
    READ_ONLY = "read-only"


class Cause(StrEnum):
    """Why a verdict is what it is; a person is told in their language, from this and `detail`."""

    RULE = "rule"  # the rule named matched
    DEFAULT = "default"  # no rule matched; `detail` names the attribute in which the nearest rule differed
    NO_POLICY = "no-policy"
    ROOT_HUB = "root-hub"  # part of the machine: never de-authorised, whatever rules say
    PINNED_CONSOLE = "pinned-console"
    RESCUE = "rescue"  # the named port, for a stated time after the machine's start
    LAPSED = "lapsed"  # the rule that would allow it is not in its time, or the time is not certain
    SUSPICIOUS = "suspicious"
    NOT_ENCRYPTED = "not-encrypted"
    NOT_READ_ONLY = "not-read-only"  # its storage may only be read, and could not be set so
    UNRECORDED = "unrecorded"  # the guard's journal cannot be written, and nothing is allowed without a record
    UNREADABLE = "unreadable"  # its descriptors could not be read, so no rule can be held against them


@dataclass(frozen=True)
class Verdict:
    """`rule` is the number of the deciding rule from 1, or of the nearest one where none matched; 0: there is none.

    `would_be` differs from `target` only in observe mode: what would have been done. Such a verdict is not enforced.
    """

    target: Target
    cause: Cause
    rule: int = 0
    detail: str = ""  # one printable line, in English: attribute, expected and found
    would_be: Target | None = None
    access: Access = Access.READ_WRITE
    only_encrypted: bool = False
    hardware_encrypted: bool = False  # as policy asserts of this device; nobody can measure it
    interfaces: frozenset[Interface] | None = None  # the only ones that are authorised; None: all of them
    until: datetime | None = None  # when this has to be decided anew

    @property
    def is_observed(self) -> bool:
        return self.would_be is not None and self.would_be is not self.target
