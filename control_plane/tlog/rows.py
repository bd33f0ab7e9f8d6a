"""The Merkle log as rows: its head, and its tiles."""

from collections.abc import Callable
from typing import cast

from sqlalchemy import Table, insert, select, update
from sqlalchemy.orm import Session

from control_plane.db.models import AuditRow, LogHead, LogTile
from shared.audit.tlog.growth import Growth
from shared.audit.tlog.tiles import WIDTH, Tile
from shared.audit.tlog.tree import HASH_BYTES, CompactRange
from shared.errors import IntegrityFailure

_TILES, _HEAD = cast(Table, LogTile.__table__), cast(Table, LogHead.__table__)


class LogAltered(IntegrityFailure):
    def __init__(self, why: str) -> None:
        super().__init__(f"the Merkle log was altered: {why}; `leadglass-server audit verify` says more")
        self.why = why


def head(session: Session) -> tuple[int, bytes, str]:
    """Return size, compact range and checkpoint as they stand. Raises LogAltered: nothing, beside tiles or records."""
    row = session.execute(select(_HEAD.c.size, _HEAD.c.range, _HEAD.c.checkpoint)).first()
    if row is not None:
        return row.size, row.range, row.checkpoint
    for there in (_TILES.c.level, AuditRow.seq):
        if session.execute(select(there).limit(1)).first() is not None:
            raise LogAltered("it has no head")
    return 0, b"", ""


def keep_head(session: Session, grown: CompactRange, checkpoint: str) -> None:
    now = {"size": grown.size, "range": grown.encode(), "checkpoint": checkpoint}
    if session.scalar(select(_HEAD.c.one)) is None:
        session.execute(insert(_HEAD).values(one=1, **now))
    else:
        session.execute(update(_HEAD).values(now))


def keep_tiles(session: Session, size: int, growth: Growth) -> None:
    """Write the tiles by which the tree grew since it had `size` leaves."""
    new = list[dict[str, object]]()
    for (level, number), hashes in (*growth.take_full(), *growth.partial.items()):
        if size >> (8 * level) > number * WIDTH:
            here = (_TILES.c.level == level) & (_TILES.c.number == number)
            session.execute(update(_TILES).where(here).values(hashes=hashes))
        else:
            new.append({"level": level, "number": number, "hashes": hashes})
    if new:
        session.execute(insert(_TILES), new)


def reader(session: Session) -> Callable[[int, int], bytes]:
    """Return a reader of tiles as they stand, which reads each once."""
    read = dict[tuple[int, int], bytes]()

    def hashes(level: int, number: int) -> bytes:
        if (level, number) not in read:
            read[level, number] = tile(session, level, number) or b""
        return read[level, number]

    return hashes


def tile(session: Session, level: int, number: int) -> bytes | None:
    here = (_TILES.c.level == level) & (_TILES.c.number == number)
    return session.scalar(select(_TILES.c.hashes).where(here))


def hashes_of(session: Session, wanted: Tile) -> bytes | None:
    """Return the hashes of a tile, None where there are not as many."""
    held = tile(session, wanted.level or 0, wanted.number) or b""
    hashes = held[: wanted.width * HASH_BYTES]
    return hashes if len(hashes) == wanted.width * HASH_BYTES else None
