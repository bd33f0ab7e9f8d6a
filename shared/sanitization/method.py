"""How a drive is to be wiped, as a ticket says it."""

from dataclasses import dataclass

from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields
from shared.policy.wipe import LeastClass, ReadBack
from shared.sanitization.technique import Sequence, Technique

_MAX_PASSES = 16
_PATTERN = r"random|[0-9a-f]{2}"


@dataclass(frozen=True)
class Method:
    """`techniques` in the order of preference: the first that the drive has and that reaches `least` is taken.

    `passes` are those of `Sequence.CUSTOM`, each "random" or a byte as two hex digits, and empty for any other.
    """

    least: LeastClass
    techniques: tuple[Technique, ...]
    sequence: Sequence
    passes: tuple[str, ...]
    read_back: ReadBack

    def json(self) -> dict[str, Json]:
        return {
            "least": self.least.value,
            "techniques": [one.value for one in self.techniques],
            "sequence": self.sequence.value,
            "passes": [*self.passes],
            "read_back": self.read_back.value,
        }

    @classmethod
    def parse(cls, fields: Fields) -> "Method":
        """Raises Malformed."""
        passes: list[Json] = [{"pass": one} for one in fields.items("passes", most=_MAX_PASSES)]
        method = cls(
            least=LeastClass(fields.choice("least", list(LeastClass))),
            techniques=tuple(map(Technique, fields.choices("techniques", list(Technique)))),
            sequence=Sequence(fields.choice("sequence", list(Sequence))),
            passes=tuple(Fields(one, "wipe method").text("pass", _PATTERN) for one in passes),
            read_back=ReadBack(fields.choice("read_back", list(ReadBack))),
        )
        fields.done()
        if not method.techniques:
            raise Malformed("wipe method field 'techniques'", "expected one or more")
        if (method.sequence is Sequence.CUSTOM) != bool(method.passes):
            raise Malformed("wipe method field 'passes'", "expected for the custom sequence and for no other")
        return method
