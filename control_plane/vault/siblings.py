"""What else claims to be the image that an object is, as a value and in words."""

from collections.abc import Iterator
from dataclasses import dataclass

from shared.canonical import Json

MOST_NAMED = 10


@dataclass(frozen=True)
class Siblings:
    """The other objects of one SOP Instance UID, at most ten of each kind named; `claims` counts all, itself too.

    `not_compared` are those whose capture record is not authentic, and all where the object's own is not.
    """

    claims: int
    conflicts_with: tuple[str, ...] = ()
    same_as: tuple[str, ...] = ()
    not_compared: tuple[str, ...] = ()

    def json(self) -> dict[str, Json]:
        return {
            "claims": self.claims,
            "conflicts_with": list(self.conflicts_with),
            "same_as": list(self.same_as),
            "not_compared": list(self.not_compared),
        }


def lines(siblings: Siblings) -> Iterator[str]:
    """Say it in words, nothing where no other object claims the instance."""
    if siblings.conflicts_with:
        yield f"conflicts with {', '.join(siblings.conflicts_with)}: other data sets under the same SOP Instance UID"
    if siblings.same_as:
        yield f"the same data set as {', '.join(siblings.same_as)}"
    if siblings.not_compared:
        yield f"not compared with {', '.join(siblings.not_compared)}: a capture record is not authentic"
    named = 1 + len(siblings.conflicts_with) + len(siblings.same_as) + len(siblings.not_compared)
    if siblings.claims > named:
        yield f"{siblings.claims} objects claim this SOP Instance UID; {named - 1} of the others are named here"
