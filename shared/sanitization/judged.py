"""What a wipe's evidence comes to, in names that a certificate holds.  docs/formats/wipe-certificate.md section 2"""

from dataclasses import dataclass
from enum import StrEnum

from shared.canonical import Json
from shared.devices.printable import FIT
from shared.errors import Malformed
from shared.fields import Fields
from shared.sanitization.report import MAX_RANGES, Extent
from shared.sanitization.technique import SanitizationClass

_MAX_DETAIL_CHARS = 300


class Result(StrEnum):
    PURGED_VERIFIED = "purged-verified"
    CLEARED_VERIFIED = "cleared-verified"
    CLEARED_HIDDEN_UNKNOWN = "cleared-hidden-area-unknown"
    CRYPTO_SHREDDED = "crypto-shredded"
    DESTROYED = "destroyed"
    PARTIAL = "partial"
    LOGICAL_DELETE_ONLY = "logical-delete-only"
    COMPLETION_NOT_PROVEN = "completion-not-proven"
    ABORTED = "aborted"
    FAILED = "failed"
    REFUSED = "refused"
    UNKNOWN = "unknown"


MAY_BE_CERTIFIED = frozenset({
    Result.PURGED_VERIFIED, Result.CLEARED_VERIFIED, Result.CLEARED_HIDDEN_UNKNOWN, Result.CRYPTO_SHREDDED,
    Result.DESTROYED,
})  # fmt: skip


class Why(StrEnum):
    """What a result rests on. Those of the first part are faults: with any of them nothing is certified."""

    NOT_THIS_TICKET = "not-this-ticket"
    OUT_OF_TIME = "out-of-time"
    CLOCK_UNSURE = "clock-unsure"
    TIMES_CONTRADICT = "times-contradict"
    NOT_THIS_DRIVE = "not-this-drive"
    SERIAL_UNKNOWN = "serial-unknown"
    DRIVE_CHANGED = "drive-changed"
    DRIVE_NOT_SEEN_AGAIN = "drive-not-seen-again"
    NOT_ALLOWED = "not-allowed"
    REFUSED = "refused"
    REFUSED_YET_WRITTEN = "refused-yet-written"
    ENDED_FAILED = "ended-failed"
    ENDED_ABORTED = "ended-aborted"
    ENDED_UNKNOWN = "ended-unknown"
    NOTHING_DONE = "nothing-done"
    STEP_FAILED = "step-failed"
    STEP_INTERRUPTED = "step-interrupted"
    STEP_UNKNOWN = "step-unknown"
    STEP_CONTRADICTS = "step-contradicts"
    PASSES_DIFFER = "passes-differ"
    NOT_ALL_WRITTEN = "not-all-written"
    SECTORS_UNWRITABLE = "sectors-unwritable"
    SEED_MISSING = "seed-missing"
    SEED_NOT_COMMITTED = "seed-not-committed"
    SEED_TWICE = "seed-twice"
    COMMAND_NOT_ACCEPTED = "command-not-accepted"
    COMMAND_NOT_COMPLETED = "command-not-completed"
    COMMAND_NOT_SEEN = "command-not-seen"
    PASSWORD_LEFT = "password-left"  # noqa: S105 (a name)
    KEYS_NOT_PROVED = "keys-not-proved"
    HIDDEN_AREA_LEFT = "hidden-area-left"
    NOT_READ_BACK = "not-read-back"
    READ_BACK_TOO_LITTLE = "read-back-too-little"
    READ_BACK_INCOMPLETE = "read-back-incomplete"
    READ_BACK_OF_ANOTHER = "read-back-of-another"
    READ_BACK_DIFFERS = "read-back-differs"
    SECTORS_UNREADABLE = "sectors-unreadable"
    BELOW_LEAST = "below-least"

    ALL_PASSES_WRITTEN = "all-passes-written"
    COMMAND_RAN = "command-ran"
    READ_BACK_WHOLE = "read-back-whole"
    READ_BACK_SAMPLES = "read-back-samples"
    HIDDEN_AREA_UNKNOWN = "hidden-area-unknown"
    OVERWRITE_IS_CLEAR = "overwrite-is-clear"
    KEYS_DESTROYED = "keys-destroyed"
    WENT_ON = "went-on"
    SERIAL_FROM_BRIDGE = "serial-from-bridge"
    SERIAL_FROM_PERSON = "serial-from-person"
    PERSON_DIFFERS = "person-differs"
    PERSON_SAYS_DESTROYED = "person-says-destroyed"


class Place(StrEnum):
    """What of a drive was not reached, or is not known to have been."""

    HIDDEN_AREA = "hidden-area"
    HIDDEN_AREA_UNKNOWN = "hidden-area-unknown"
    BOOT_PARTITIONS = "boot-partitions"
    SPARE_AREA = "spare-area"
    REMAPPED = "remapped-sectors"
    REMAPPED_UNKNOWN = "remapped-sectors-unknown"
    BEHIND_BRIDGE = "behind-bridge"
    BENEATH_VIRTUAL = "beneath-virtual"
    UNWRITABLE = "unwritable"
    DIFFERENT = "different"
    UNREADABLE = "unreadable"
    NOT_READ_BACK = "not-read-back"
    BESIDE_KEYS = "beside-keys"


@dataclass(frozen=True)
class NotReached:
    """`sectors` is None where nobody can count them; `listed` are the first runs of them where they are known."""

    place: Place
    sectors: int | None = None
    listed: tuple[Extent, ...] = ()
    detail: str = ""

    def json(self) -> Json:
        return {
            "place": self.place.value,
            "sectors": self.sectors,
            "listed": [[one.first, one.count] for one in self.listed],
            "detail": self.detail,
        }

    @classmethod
    def parse(cls, value: Json) -> "NotReached":
        """Raises Malformed."""
        fields = Fields(value, "judgement field 'not_reached'")
        one = cls(
            Place(fields.choice("place", list(Place))),
            None if fields.is_null("sectors") else fields.integer("sectors"),
            tuple(map(_extent, fields.items("listed", most=MAX_RANGES))),
            fields.text("detail", rf"{FIT}*", max_chars=_MAX_DETAIL_CHARS),
        )
        fields.done()
        return one


@dataclass(frozen=True)
class Judged:
    """`reached` is what was proved, whatever was asked for; `why` names every fault, or what the result rests on."""

    result: Result
    reached: SanitizationClass
    not_reached: tuple[NotReached, ...]
    why: tuple[Why, ...]

    @property
    def may_be_certified(self) -> bool:
        return self.result in MAY_BE_CERTIFIED

    def json(self) -> dict[str, Json]:
        return {
            "result": self.result.value,
            "reached": self.reached.value,
            "not_reached": [one.json() for one in self.not_reached],
            "why": [one.value for one in self.why],
        }

    @classmethod
    def parse(cls, fields: Fields) -> "Judged":
        """Raises Malformed."""
        judged = cls(
            Result(fields.choice("result", list(Result))),
            SanitizationClass(fields.choice("reached", list(SanitizationClass))),
            tuple(map(NotReached.parse, fields.items("not_reached", most=256))),
            tuple(map(Why, fields.choices("why", list(Why)))),
        )
        fields.done()
        return judged


def _extent(value: Json) -> Extent:
    match value:
        case [int(first), int(count)] if first >= 0 and count >= 1:
            return Extent(first, count)
    raise Malformed("judgement field 'listed'", "expected first sector and count")
