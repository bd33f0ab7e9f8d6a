"""Objects of a spool as a person names them: by object id, or by number."""

import re
from collections.abc import Sequence
from typing import TypeAlias

from edge_agent.spool.catalogue import HERE, CatalogueReader, Row
from shared.errors import Malformed, Refused
from shared.identity import ObjectId

Name: TypeAlias = ObjectId | int

# An object id has 32 digits, so none is taken for a number; no spool comes to a number of more.
_NUMBER = re.compile(r"[0-9]{1,18}")


class NotInSpool(Refused):
    def __init__(self, name: Name) -> None:
        super().__init__(f"the spool holds no object {name}")
        self.name = name


def parse(text: str) -> Name:
    """Raises Malformed."""
    if _NUMBER.fullmatch(text):
        return int(text)
    try:
        return ObjectId.parse(text)
    except Malformed as exc:
        raise Malformed("name of an object", "expected a number or an object id, as `spool list` shows them") from exc


def rows(catalogue: CatalogueReader, names: Sequence[Name]) -> list[Row]:
    """Return the row of each, once and in the order given. Raises NotInSpool."""
    return list(dict.fromkeys(_row(catalogue, name) for name in names))


def _row(catalogue: CatalogueReader, name: Name) -> Row:
    row = catalogue.find(name) if isinstance(name, ObjectId) else catalogue.numbered(name)
    if row is None or row.state not in HERE:
        raise NotInSpool(name)
    return row
