"""An agent's folder as a person's command has it: whether or not an agent runs there, and every act with a name."""

import os
import pwd
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from edge_agent.audit.journal import Journal
from edge_agent.config import AgentFolder, Enrolment, load_enrolment
from edge_agent.database import Database
from edge_agent.log import JsonLog
from edge_agent.policy_sync.store import StoredPolicy
from shared.clock import Clock


@dataclass(frozen=True)
class Beside:
    enrolment: Enrolment
    database: Database
    journal: Journal


@contextmanager
def opened(folder: AgentFolder, clock: Clock) -> Iterator[Beside]:
    """Yield a database that exists, and this host's journal.

    Raises NotEnrolled, IdentityUnreadable, DatabaseUnavailable, DatabaseDamaged.
    """
    enrolment = load_enrolment(folder)
    with closing(Database(folder.database)) as database:
        config = enrolment.config
        policy = StoredPolicy(database, config.layers, config.host_id, JsonLog(clock))
        yield Beside(enrolment, database, Journal(database, config.host_id, key=policy.audit_key, clock=clock))


def account() -> str:
    """Return whose account the command runs under: the only name that a host can vouch for."""
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
