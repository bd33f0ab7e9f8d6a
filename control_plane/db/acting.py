"""Finds what acts by itself in a database of ours: we make tables and indexes alone, so whatever it is, is not ours.

A trigger, a rule, a policy for rows, or a view in the place of a table shows a question other rows than it shows to
whoever verifies, and each of them is told what is there just then.
"""

from sqlalchemy import bindparam, text
from sqlalchemy.orm import Session

from control_plane.db.models import Base

# A trigger of a table or view of ours has its name as `tbl_name`, in whatever case, as SQLite takes names.
_SQLITE = """
SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view') AND lower(tbl_name) IN :tables ORDER BY name
"""
_POSTGRESQL = """
WITH ours AS (SELECT * FROM pg_class WHERE relname IN :tables AND pg_table_is_visible(oid))
SELECT 'trigger', tgname FROM pg_trigger JOIN ours ON ours.oid = tgrelid WHERE NOT tgisinternal
UNION ALL SELECT 'rule', rulename FROM pg_rewrite JOIN ours ON ours.oid = ev_class WHERE relkind <> 'v'
UNION ALL SELECT 'row security on', relname FROM ours WHERE relrowsecurity
UNION ALL SELECT 'view or the like', relname FROM ours WHERE relkind NOT IN ('r', 'i', 'S')
ORDER BY 2
"""


def tables() -> list[str]:
    return sorted(Base.metadata.tables)


def acting(session: Session) -> list[str]:
    """Return each thing with its name."""
    question = _SQLITE if session.get_bind().dialect.name == "sqlite" else _POSTGRESQL
    ours = text(question).bindparams(bindparam("tables", expanding=True))
    found = session.execute(ours, {"tables": tables()})
    return [f"{kind} {name}" for kind, name in found]
