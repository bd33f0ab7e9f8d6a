"""Open requests for storage commitment, durable until the modality has acknowledged the report.

The UIDs stand here in clear, because the report has to repeat them, weeks later if need be: docs/adr/0012. They are
deleted with the request.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from edge_agent.commitment.judge import Verdict
from edge_agent.commitment.reports import FailureReason, Report
from edge_agent.commitment.requests import CommitmentRequest, Reference
from edge_agent.database import Database
from shared import clock as clocks
from shared.errors import Refused
from shared.identity import RandomBytes

# Of one AE title: a modality that never takes its reports must not fill the disk.
MAX_OPEN, MAX_OPEN_REFERENCES = 1000, 200_000

_SCHEMA = """
CREATE TABLE IF NOT EXISTS commitment_request (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, ae_title TEXT NOT NULL, transaction_uid TEXT NOT NULL,
    referenced BLOB NOT NULL, requested TEXT NOT NULL, UNIQUE (ae_title, transaction_uid)
) STRICT;
CREATE TABLE IF NOT EXISTS commitment_reference (
    request INTEGER NOT NULL REFERENCES commitment_request (number), position INTEGER NOT NULL,
    sop_class TEXT NOT NULL, sop_instance TEXT NOT NULL, outcome INTEGER, PRIMARY KEY (request, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS commitment_undecided ON commitment_reference (request, position) WHERE outcome IS NULL;
"""


class TransactionTaken(Refused):
    def __init__(self) -> None:
        super().__init__("the transaction UID is that of an open request for other instances")


class TooManyOpen(Refused):
    def __init__(self, ae_title: str) -> None:
        super().__init__(f"{ae_title} has too many requests open that it was not told of yet")
        self.ae_title = ae_title


@dataclass(frozen=True)
class OpenRequest:
    id: str
    ae_title: str
    requested: datetime


class CommitmentStore:
    def __init__(self, database: Database, random_bytes: RandomBytes = secrets.token_bytes) -> None:
        self._database, self._random = database, random_bytes
        database.create(_SCHEMA)

    def add(self, ae_title: str, request: CommitmentRequest, now: datetime) -> str | None:
        """Keep a request, durably, and return its id; None: it is open already, and was asked again.

        Raises TransactionTaken, TooManyOpen, DatabaseUnavailable, DatabaseDamaged.
        """
        digest = _digest(request.references)
        with self._database.transaction() as connection:
            known = connection.execute(
                "SELECT referenced FROM commitment_request WHERE ae_title = ? AND transaction_uid = ?",
                (ae_title, request.transaction_uid),
            ).fetchone()
            if known is not None:
                if known[0] != digest:
                    raise TransactionTaken
                return None
            self._refuse_if_full(ae_title, len(request.references))
            request_id = self._random(16).hex()
            row = (request_id, ae_title, request.transaction_uid, digest, clocks.text(now))
            number = connection.execute(
                "INSERT INTO commitment_request (id, ae_title, transaction_uid, referenced, requested) "
                "VALUES (?, ?, ?, ?, ?)",
                row,
            ).lastrowid
            connection.executemany(
                "INSERT INTO commitment_reference VALUES (?, ?, ?, ?, NULL)",
                (
                    (number, position, reference.sop_class_uid, reference.sop_instance_uid)
                    for position, reference in enumerate(request.references)
                ),
            )
        return request_id

    def open(self) -> list[OpenRequest]:
        """Return every request whose report was not acknowledged, oldest first."""
        with self._database.transaction() as connection:
            rows = connection.execute("SELECT id, ae_title, requested FROM commitment_request ORDER BY number")
            return [OpenRequest(name, ae_title, clocks.parse(requested)) for name, ae_title, requested in rows]

    def waiting(self) -> int:
        with self._database.transaction() as connection:
            return int(connection.execute("SELECT count(*) FROM commitment_request").fetchone()[0])

    def undecided(self, request_id: str, most: int) -> list[tuple[int, Reference]]:
        """Return the first instances of a request that nothing is decided of, with their positions."""
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT position, sop_class, sop_instance FROM commitment_reference "
                "WHERE request = (SELECT number FROM commitment_request WHERE id = ?) AND outcome IS NULL "
                "ORDER BY position LIMIT ?",
                (request_id, most),
            ).fetchall()
        return [(position, Reference(sop_class, sop_instance)) for position, sop_class, sop_instance in rows]

    def asked_for(self) -> set[str]:
        """Return the SOP Instance UIDs of every open request, decided or not."""
        with self._database.transaction() as connection:
            return {uid for (uid,) in connection.execute("SELECT DISTINCT sop_instance FROM commitment_reference")}

    def decide(self, request_id: str, verdicts: Mapping[int, Verdict]) -> None:
        """Keep what was decided of some instances, by position."""
        with self._database.transaction() as connection:
            connection.executemany(
                "UPDATE commitment_reference SET outcome = ? "
                "WHERE request = (SELECT number FROM commitment_request WHERE id = ?) AND position = ?",
                [(verdict.value, request_id, position) for position, verdict in verdicts.items()],
            )

    def reconsider(self) -> None:
        """Take back that instances are committed, where no report has said so: the vault may have lost them since."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE commitment_reference SET outcome = NULL WHERE outcome = ?", (Verdict.COMMITTED.value,)
            )

    def report(self, request_id: str) -> Report | None:
        """Return the report on a request of which everything is decided; None: it is not, or is closed."""
        with self._database.transaction() as connection:
            request = connection.execute(
                "SELECT number, transaction_uid FROM commitment_request WHERE id = ?", (request_id,)
            ).fetchone()
            if request is None:
                return None
            rows = connection.execute(
                "SELECT sop_class, sop_instance, outcome FROM commitment_reference WHERE request = ? ORDER BY position",
                (request[0],),
            ).fetchall()
        if any(outcome is None for _, _, outcome in rows):
            return None
        decided = [(Reference(sop_class, instance), outcome) for sop_class, instance, outcome in rows]
        committed = tuple(reference for reference, outcome in decided if outcome == Verdict.COMMITTED.value)
        failed = tuple(
            (reference, FailureReason(outcome)) for reference, outcome in decided if outcome != Verdict.COMMITTED.value
        )
        return Report(request_id, request[1], committed, failed)

    def close(self, request_id: str) -> bool:
        """Forget a request, UIDs and all; return whether it was open."""
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM commitment_reference WHERE request = (SELECT number FROM commitment_request WHERE id = ?)",
                (request_id,),
            )
            return connection.execute("DELETE FROM commitment_request WHERE id = ?", (request_id,)).rowcount > 0

    def _refuse_if_full(self, ae_title: str, more: int) -> None:
        with self._database.transaction() as connection:
            (requests,) = connection.execute(
                "SELECT count(*) FROM commitment_request WHERE ae_title = ?", (ae_title,)
            ).fetchone()
            (references,) = connection.execute(
                "SELECT count(*) FROM commitment_reference "
                "WHERE request IN (SELECT number FROM commitment_request WHERE ae_title = ?)",
                (ae_title,),
            ).fetchone()
        if requests >= MAX_OPEN or references + more > MAX_OPEN_REFERENCES:
            raise TooManyOpen(ae_title)


def _digest(references: Sequence[Reference]) -> bytes:
    lines = (f"{reference.sop_class_uid} {reference.sop_instance_uid}\n" for reference in references)
    return sha256("".join(lines).encode("ascii")).digest()
