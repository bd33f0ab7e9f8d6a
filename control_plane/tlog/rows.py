"""The Merkle log as rows: its head, and its tiles."""

from collections.abc import Callable
from typing import Any, cast

from sqlalchemy import CursorResult, Table, bindparam, insert, select, update
from sqlalchemy.orm import Session

from control_plane.db.models import AuditRow, LogHead, LogTile
from shared.audit.tlog.growth import Growth
from shared.audit.tlog.tiles import WIDTH, Tile
from shared.audit.tlog.tree import HASH_BYTES, CompactRange
from shared.errors import IntegrityFailure

_TILES, _HEAD = cast(Table, LogTile.__table__), cast(Table, LogHead.__table__)
# Made once: each record runs them, and making one takes longer than running it.
_HERE = (_TILES.c.level == bindparam("at_level")) & (_TILES.c.number == bindparam("at_number"))
_READ_TILE = select(_TILES.c.hashes).where(_HERE)
_MOVE_TILE = update(_TILES).where(_HERE).values(hashes=bindparam("hashes"))
_READ_HEAD = select(_HEAD.c.size, _HEAD.c.range, _HEAD.c.checkpoint)
_MOVE_HEAD = update(_HEAD).values({name: bindparam(name) for name in ("size", "range", "checkpoint")})


class LogAltered(IntegrityFailure):
    def __init__(self, why: str) -> None:
        super().__init__(f"the Merkle log was altered: {why}; `leadglass-server audit verify` says more")
        self.why = why


def head(session: Session) -> tuple[int, bytes, str]:
    """Return size, compact range and checkpoint as they stand. Raises LogAltered: nothing, beside tiles or records."""
    row = session.execute(_READ_HEAD).first()
    if row is not None:
        return row.size, row.range, row.checkpoint
    for there in (_TILES.c.level, AuditRow.seq):
        if session.execute(select(there).limit(1)).first() is not None:
            raise LogAltered("it has no head")
    return 0, b"", ""


def keep_head(session: Session, grown: CompactRange, checkpoint: str) -> None:
    now = {"size": grown.size, "range": grown.encode(), "checkpoint": checkpoint}
    if not cast("CursorResult[Any]", session.execute(_MOVE_HEAD, now)).rowcount:
        session.execute(insert(_HEAD), {"one": 1, **now})


def keep_tiles(session: Session, size: int, growth: Growth) -> None:
    """Write the tiles by which the tree grew since it had `size` leaves."""
    new = list[dict[str, object]]()
    for (level, number), hashes in (*growth.take_full(), *growth.partial.items()):
        if size >> (8 * level) > number * WIDTH:
            session.execute(_MOVE_TILE, {"at_level": level, "at_number": number, "hashes": hashes})
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
    return session.scalar(_READ_TILE, {"at_level": level, "at_number": number})


def hashes_of(session: Session, wanted: Tile) -> bytes | None:
    """Return the hashes of a tile, None where there are not as many."""
    held = tile(session, wanted.level or 0, wanted.number) or b""
    hashes = held[: wanted.width * HASH_BYTES]
    return hashes if len(hashes) == wanted.width * HASH_BYTES else None
