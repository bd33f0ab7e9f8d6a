"""Which of two choices among the same signed versions came later. TUF by itself knows only while it has its folder."""

from dataclasses import dataclass

from shared.canonical import Json
from shared.fields import Fields


@dataclass(frozen=True)
class Choice:
    """The snapshot that says how far roll-outs are, the id of the key that signs it, and the root that names that key.

    Nothing ties a snapshot to a root, so its number alone counts while its key is the same. A new key begins anew.
    """

    key: str = ""
    root: int = 0
    snapshot: int = 0  # all three: not known, which comes before everything

    def is_before(self, other: "Choice") -> bool:
        return self.snapshot < other.snapshot if self.key == other.key else self.root < other.root

    def json(self) -> dict[str, Json]:
        return dict(self.__dict__)

    @classmethod
    def parse(cls, fields: Fields) -> "Choice":
        """Take every member of `fields`. Raises Malformed."""
        choice = cls(
            fields.text("key", r"[0-9a-f]{64}"), fields.integer("root", least=1), fields.integer("snapshot", least=1)
        )
        fields.done()
        return choice
