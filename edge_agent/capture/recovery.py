"""Puts spool and journal in agreement after a stop at any moment, before anything new is taken."""

from edge_agent.audit.journal import Journal
from edge_agent.capture.spool import Spool
from edge_agent.log import Log
from shared.audit.record import Action, Event, Happening, Outcome, Participant, Subject
from shared.identity import HostId


def recover(spool: Spool, journal: Journal, host_id: HostId, log: Log) -> None:
    """Delete what was never acknowledged, and record what is in the spool without a record.

    Raises SpoolUnavailable, DatabaseUnavailable, DatabaseDamaged.
    """
    who = (Participant("host", str(host_id), True),)
    for name in spool.clear_incoming():
        reason = "unfinished when the agent stopped; never acknowledged, deleted after restart"
        what = (Subject("object", name),)
        journal.record(Happening(Event.IMAGE_REFUSED, Action.DELETE, Outcome.MINOR_FAILURE, who, what, reason))
        log.event("spool.unfinished-deleted", object=name)
    for spooled in spool.everything():
        name = str(spooled.object_id)
        if not journal.has_captured(name):
            what = (Subject("object", name),)
            reason = "recovered after restart"
            journal.record(Happening(Event.IMAGE_CAPTURED, Action.CREATE, Outcome.SUCCESS, who, what, reason))
            log.event("spool.recovered", object=name)
