"""The Merkle log as rows: its head, and its tiles."""

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.db import driver
from control_plane.db.models import AuditRow, LogTile
from shared.audit.tlog.growth import Growth
from shared.audit.tlog.tiles import WIDTH, Tile
from shared.audit.tlog.tree import HASH_BYTES, CompactRange
from shared.errors import IntegrityFailure

FOUND_AMONG = 1 << 20
"""How many entries, of the newest, a hash is sought among: 32 MiB of hashes."""

_READ_TILE = "SELECT hashes FROM log_tiles WHERE level = ? AND number = ?"
_MOVE_TILE = "UPDATE log_tiles SET hashes = ? WHERE level = ? AND number = ?"
_READ_HEAD = "SELECT size, range, checkpoint FROM log_head"
_MOVE_HEAD = "UPDATE log_head SET size = ?, range = ?, checkpoint = ?"
_FIRST_HEAD = "INSERT INTO log_head (size, range, checkpoint, one) VALUES (?, ?, ?, 1)"


class LogAltered(IntegrityFailure):
    def __init__(self, why: str) -> None:
        super().__init__(f"the Merkle log was altered: {why}; `leadglass-server audit verify` says more")
        self.why = why


def head(session: Session) -> tuple[int, bytes, str]:
    """Return size, compact range and checkpoint as they stand.

    Raises LogAltered: there is nothing, beside tiles or records; or what there is is of another type.
    """
    row = driver.row(session, _READ_HEAD)
    if row is not None:
        size, encoded, checkpoint = row
        if not isinstance(size, int) or not isinstance(checkpoint, str):
            raise LogAltered("its head is no size and no checkpoint")
        return size, driver.blob(encoded), checkpoint
    for there in (LogTile.level, AuditRow.seq):
        if session.execute(select(there).limit(1)).first() is not None:
            raise LogAltered("it has no head")
    return 0, b"", ""


def keep_head(session: Session, grown: CompactRange, checkpoint: str) -> None:
    now = grown.size, grown.encode(), checkpoint
    if not driver.run(session, _MOVE_HEAD, now):
        driver.run(session, _FIRST_HEAD, now)


def keep_tiles(session: Session, size: int, growth: Growth) -> None:
    """Write the tiles by which the tree grew since it had `size` leaves."""
    new = list[driver.Values]()
    for (level, number), hashes in (*growth.take_full(), *growth.partial.items()):
        if size >> (8 * level) > number * WIDTH:
            driver.run(session, _MOVE_TILE, (hashes, level, number))
        else:
            new.append((level, number, hashes))
    driver.insert(session, "log_tiles (level, number, hashes)", new)


def reader(session: Session) -> Callable[[int, int], bytes]:
    """Return a reader of tiles as they stand, which reads each once."""
    read = dict[tuple[int, int], bytes]()

    def hashes(level: int, number: int) -> bytes:
        if (level, number) not in read:
            read[level, number] = tile(session, level, number) or b""
        return read[level, number]

    return hashes


def tile(session: Session, level: int, number: int) -> bytes | None:
    row = driver.row(session, _READ_TILE, (level, number))
    return None if row is None else driver.blob(row[0])


def entry_of(session: Session, leaf: bytes, among: int = FOUND_AMONG) -> int | None:
    """Return the newest entry with this hash among the last `among`, in whole tiles.

    Who asks does so of what came lately, so the newest tiles are read first; a hash that nobody has reads all of these.
    """
    within = "instr(hashes, ?)" if session.get_bind().dialect.name == "sqlite" else "position(?::bytea IN hashes)"
    # From where, as a value of its own: planned together, an engine may look into every tile first.
    (last,) = driver.row(session, "SELECT coalesce(max(number), 0) FROM log_tiles WHERE level = 0")
    tiles = f"SELECT number, hashes FROM log_tiles WHERE level = 0 AND number > ? AND {within} > 0 ORDER BY number DESC LIMIT 1"  # noqa: S608, E501 (ours)
    number, hashes = driver.row(session, tiles, (last - among // WIDTH, leaf)) or (0, b"")
    held = [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]
    return int(number) * WIDTH + held.index(leaf) if leaf in held else None


def hashes_of(session: Session, wanted: Tile) -> bytes | None:
    """Return the hashes of a tile, None where there are not as many."""
    held = tile(session, wanted.level or 0, wanted.number) or b""
    hashes = held[: wanted.width * HASH_BYTES]
    return hashes if len(hashes) == wanted.width * HASH_BYTES else None
