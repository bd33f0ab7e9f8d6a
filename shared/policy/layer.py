"""The names of layers: the organisation, and parts of it with policies of their own.

organisation   every host
site-NAME      the hosts of a place
modality-NAME  the hosts of a type of modality, such as modality-ct, wherever they stand
"""

from collections.abc import Sequence

from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields

LAYER_PATTERN = r"[a-z][a-z0-9-]{0,31}"
SITE, MODALITY = "site-", "modality-"
PART_NAME_PATTERN = r"[a-z0-9][a-z0-9-]{0,22}"
MAX_PARTS = 2
PART_PATTERN = rf"({SITE}|{MODALITY}){PART_NAME_PATTERN}"


def is_part(layer: str) -> bool:
    """Return whether a layer is of a part, and not the organisation's."""
    return layer.startswith((SITE, MODALITY))


def named_parts(*, site: str | None, modality_type: str | None) -> tuple[str, ...]:
    """Return the layers of these names, each without what says its kind, in the order of a host's. Raises Malformed."""
    named = ((SITE, site), (MODALITY, modality_type))
    given = [(kind, Fields({"name": name}, "part")) for kind, name in named if name is not None]
    return tuple(kind + fields.text("name", PART_NAME_PATTERN) for kind, fields in given)


def read_parts(fields: Fields) -> tuple[str, ...]:
    """Take `parts`: the layers of a host besides the organisation's, at most one of a kind. Raises Malformed."""
    if not fields.has("parts"):
        return ()
    return parse_parts(fields.items("parts", most=MAX_PARTS))


def parse_parts(listed: Sequence[Json]) -> tuple[str, ...]:
    """Return the names of a host's parts. Raises Malformed."""
    parts = tuple(Fields({"layer": part}, "parts").text("layer", PART_PATTERN) for part in listed)
    verify_parts(parts)
    return parts


def verify_parts(parts: Sequence[str]) -> None:
    """Raises Malformed unless there is at most one site and one type of modality among them."""
    for kind in (SITE, MODALITY):
        if sum(part.startswith(kind) for part in parts) > 1:
            raise Malformed("parts of a host", f"it has more than one layer {kind}…")
