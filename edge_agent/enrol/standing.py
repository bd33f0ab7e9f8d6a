"""What the centre last said about this host as such, from the answers at its door; kept, so that status can say it.

A host that is quarantined goes on: what it captures stays in the spool, and it tries again with growing pauses.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.config import AgentFolder, load_config
from edge_agent.database import Database
from edge_agent.host_keys.store import file_name
from edge_agent.host_keys.vault import KeyName
from edge_agent.https import Answer, problem
from edge_agent.log import Log
from shared import clock as clocks
from shared.canonical import Json
from shared.clock import Clock
from shared.enrolment.lapsed import fingerprint
from shared.errors import Refused

_SCHEMA = """
CREATE TABLE IF NOT EXISTS standing (one INTEGER PRIMARY KEY CHECK (one = 1), said TEXT NOT NULL, since TEXT NOT NULL,
    why TEXT NOT NULL) STRICT;
INSERT OR IGNORE INTO standing VALUES (1, '', '', '');
"""
QUARANTINED, BARRED, UNKNOWN = "quarantined", "barred", "unknown"
_SAID = {"HostQuarantined": QUARANTINED, "CertificateBarred": BARRED, "HostUnknown": UNKNOWN}
_FORBIDDEN = 403
# What a host may do only in good standing: an answer to one of these takes back what was said before.
_GOOD_STANDING = ("/api/v1/objects/", "/api/v1/audit/", "/api/v1/renewal")
# What any host may do that the centre knows. The exchange about its log is open to others too.
_KNOWN = (*_GOOD_STANDING, "/api/v1/state", "/api/v1/policy/")


@dataclass(frozen=True)
class LocalStanding:
    """`said` is empty where the centre found nothing amiss; `fingerprint` is of the key that is asked for, if any."""

    said: str = ""
    since: str = ""
    why: str = ""
    fingerprint: str = ""

    def json(self) -> dict[str, Json]:
        return {"said": self.said, "since": self.since, "why": self.why, "fingerprint": self.fingerprint}

    def lines(self) -> list[str]:
        lines = [f"{self.said} since {self.since}: {self.why}"] if self.said else []
        if self.fingerprint:
            lines.append(
                "asks the centre for a certificate: an administrator compares this fingerprint and approves it: "
                f"{self.fingerprint}"
            )
        return lines


class CentreSays:
    """Told of every answer at the host door, by any thread."""

    def __init__(self, database: Database, clock: Clock, log: Log) -> None:
        self._database, self._clock, self._log = database, clock, log
        self._listeners: dict[str, list[Callable[[], None]]] = {BARRED: [], UNKNOWN: []}
        database.create(_SCHEMA)
        ((self._said,),) = database.read("SELECT said FROM standing")

    def on_barred(self, listener: Callable[[], None]) -> None:
        self._listeners[BARRED].append(listener)

    def on_unknown(self, listener: Callable[[], None]) -> None:
        """Be told, each time that it says so: the centre lost that this host was enrolled, or ended its identity."""
        self._listeners[UNKNOWN].append(listener)

    def heard(self, path: str, answer: Answer) -> None:
        """Raises DatabaseUnavailable."""
        if answer.status == _FORBIDDEN:
            told = problem(answer)
            if (said := _SAID.get(told.get("error", ""))) is not None:
                self._note(said, told.get("detail", ""))
                for listener in self._listeners.get(said, ()):
                    listener()
        elif answer.status < 300 and path.startswith(_KNOWN if self._said == UNKNOWN else _GOOD_STANDING):
            self._note("", "")

    def _note(self, said: str, why: str) -> None:
        if said == self._said:
            return
        with self._database.transaction() as connection:
            since = clocks.text(self._clock.now()) if said else ""
            connection.execute("UPDATE standing SET said = ?, since = ?, why = ?", (said, since, why))
        self._said = said
        self._log.event("centre.standing", said=said or "in good standing")


def read_standing(connection: sqlite3.Connection | None, folder: AgentFolder) -> LocalStanding:
    """Return what status shows; `connection` is None where no agent ran here that knew of it."""
    said, since, why = ("", "", "")
    if connection is not None:
        said, since, why = connection.execute("SELECT said, since, why FROM standing").fetchone()
    return LocalStanding(said, since, why, _asked_for(folder))


def _asked_for(folder: AgentFolder) -> str:
    """Return the fingerprint of the key that this host asks for, by the request beside it: no vault is opened.

    A key that has its certificate is asked for no more, also where the agent was killed before it took the key away.
    """
    try:
        present, fresh = (
            (folder.identity / file_name(name, load_config(folder).keys)).read_bytes()
            for name in (KeyName.TLS, KeyName.FRESH)
        )
        request, end, _ = fresh.partition(b"-----END CERTIFICATE REQUEST-----\n")
        key = x509.load_pem_x509_csr(request + end).public_key()
        has_it = x509.load_pem_x509_certificate(present).public_key() == key
    except (OSError, ValueError, Refused):
        return ""
    return fingerprint(key) if isinstance(key, ec.EllipticCurvePublicKey) and not has_it else ""
