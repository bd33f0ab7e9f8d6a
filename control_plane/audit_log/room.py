"""Says well ahead that the audit log will be full: from then on nothing is recorded, and so nothing is done."""

from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.objects import MAX_ENTRY
from control_plane.db import driver
from control_plane.db.engine import engine_of

_WARNING_PERCENT = 90


class LogRoom:
    def __init__(self, database: sessionmaker[Session], most: int = MAX_ENTRY) -> None:
        self._engine, self._most = engine_of(database), most

    def gaps(self) -> list[str]:
        """Raises DatabaseUnavailable."""
        sizes = (size for (size,) in driver.rows_by_itself(self._engine, "SELECT size FROM log_head"))
        # What is no number was altered, which others say.
        return [self._words(size) for size in sizes if isinstance(size, int) and self._is_late(size)]

    def _is_late(self, size: int) -> bool:
        return size * 100 >= self._most * _WARNING_PERCENT

    def _words(self, size: int) -> str:
        return (
            f"the audit log holds {size} of at most {self._most} entries; once it is full nothing is recorded, and "
            "so nothing is done, any more: move to a version that takes more before that"
        )
