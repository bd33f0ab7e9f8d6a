"""What may be there of the kinds of devices that are detected and not prevented: `others` of a policy's devices.

    {"optical": "allow", "thunderbolt": "block", ...}

It says what is told of such a device, and changes nothing of what it does.
"""

from dataclasses import dataclass
from enum import StrEnum

from shared.canonical import Json
from shared.devices.verdict import Target
from shared.errors import Malformed
from shared.fields import Fields

_SAYS = (Target.ALLOW, Target.BLOCK)  # in rising strictness; nothing can be taken off these buses


class OtherKind(StrEnum):
    """Only what does not hang on the USB; what does is judged with its USB device."""

    BLOCK = "block"
    INPUT = "input"
    NET = "net"
    OPTICAL = "optical"
    PCI = "pci"
    SD = "sd"
    THUNDERBOLT = "thunderbolt"


@dataclass(frozen=True, slots=True)
class OtherKinds:
    """What policy says of each kind that it names, in the order of their names.

    Raises Malformed: another order, a kind twice, or a target that says nothing here.
    """

    named: tuple[tuple[OtherKind, Target], ...] = ()

    def __post_init__(self) -> None:
        kinds = [kind for kind, _ in self.named]
        if kinds != sorted(set(kinds)):
            raise Malformed("others", "kinds are sorted, each once")
        if any(target not in _SAYS for _, target in self.named):
            raise Malformed("others", f"a kind is one of {', '.join(_SAYS)}")

    def of(self, kind: str) -> Target | None:
        """Return what is said of a kind; None: nothing."""
        return next((target for named, target in self.named if named == kind), None)

    def stricter(self, other: "OtherKinds") -> "OtherKinds":
        """Return each kind that either names, as the stricter of the two says."""
        said = dict(self.named)
        for kind, target in other.named:
            said[kind] = max(said.get(kind, target), target, key=_SAYS.index)
        return OtherKinds(tuple(sorted(said.items())))

    def json(self) -> dict[str, Json]:
        return {kind.value: target.value for kind, target in self.named}

    @classmethod
    def parse(cls, fields: Fields) -> "OtherKinds":
        """Raises Malformed: also where nothing is said, which is left out as a whole."""
        kinds = cls(tuple((kind, Target(fields.choice(kind, _SAYS))) for kind in OtherKind if fields.has(kind)))
        fields.done()
        if not kinds.named:
            raise Malformed("others", "what names no kind is left out")
        return kinds
