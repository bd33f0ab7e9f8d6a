"""What `leadglass-agent spool list` shows of an object: its row, and what its host signed of it. Nothing is opened."""

from collections.abc import Iterator
from dataclasses import dataclass

from edge_agent.spool.catalogue import HERE, CatalogueReader, Row
from edge_agent.spool.reader import SpoolReader
from edge_agent.spool.whole import Keys
from shared import clock
from shared.canonical import Json
from shared.errors import IntegrityFailure, Malformed
from shared.identity import ObjectId
from shared.sealing import object_file
from shared.sealing.open import StoredObject, verify_parts
from shared.sealing.record import CaptureRecord


@dataclass(frozen=True)
class Listed:
    """`record` is None where there is none that holds; `no_record` says why. Whether the body is whole is not known."""

    row: Row
    record: CaptureRecord | None
    no_record: str = ""

    def json(self) -> dict[str, Json]:
        spooled, record = self.row.spooled, self.record
        return {
            "number": spooled.number,
            "object": str(spooled.object_id),
            "state": self.row.state.value,
            "bytes": spooled.object_bytes,
            "captured": clock.text(record.captured) if record else None,
            "grade": record.grade if record else None,
            "policy_version": record.policy_version if record else None,
            "routes": list(record.routes) if record else None,
            "place": spooled.where(),
            "why": self.row.why,
            "no_record": self.no_record,
        }


def coming_in(object_id: ObjectId) -> dict[str, Json]:
    """Return what is to be shown of an image that is still on its way: of all members of `Listed.json`, no more."""
    unknown: dict[str, Json] = dict.fromkeys(
        ("number", "bytes", "captured", "grade", "policy_version", "routes", "place"), None
    )
    return {**unknown, "object": str(object_id), "state": "coming in", "why": "", "no_record": ""}


def listed(catalogue: CatalogueReader, files: SpoolReader, keys: Keys) -> Iterator[Listed]:
    """Yield everything that is here, in order. Raises DatabaseUnavailable, DatabaseDamaged."""
    for row in catalogue.in_state(*HERE):
        found = _looked_at(row, files, keys)
        if found.record is None:
            # What an agent delivers at this moment is on the disk no more, and then in the catalogue neither.
            now = catalogue.find(row.spooled.object_id)
            if now is None or now.state not in HERE:
                continue
            if now != row:
                found = _looked_at(now, files, keys)
        yield found


def _looked_at(row: Row, files: SpoolReader, keys: Keys) -> Listed:
    try:
        with files.peek(row.spooled) as source:
            parts = object_file.parse(source)
        key = keys(parts)
        if key is None:
            return Listed(row, None, f"{parts.binding.host_id} captured it, whose key is not here")
        stored = StoredObject(row.spooled.object_id, parts.binding.encode(), parts.wrap, parts.record)
        return Listed(row, verify_parts(stored, key)[1])
    except (Malformed, IntegrityFailure) as exc:
        return Listed(row, None, str(exc))
    except FileNotFoundError:
        return Listed(row, None, "it is not where the catalogue says")
    except OSError as exc:
        return Listed(row, None, exc.strerror or type(exc).__name__)
