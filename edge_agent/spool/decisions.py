"""What a person decides on objects that were put aside: that they are tried again, or that they are worthless.

Each decision is one transaction with the records of it, and changes rows of what was put aside and no others. So it may
be made beside a running agent, which takes it up within a minute.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from edge_agent.audit.journal import Journal
from edge_agent.database import Database
from edge_agent.spool.catalogue import Catalogue, Row, Spooled, State
from edge_agent.spool.named import Name, rows
from edge_agent.spool.verifier import Finding, Judged
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.errors import Refused
from shared.identity import HostId, ObjectId

_NAMED_IN_A_RECORD = 60
ANSWERED_FOR = "the vault has answered for it"


class NotPutAside(Refused):
    def __init__(self, row: Row) -> None:
        state = row.state.value
        super().__init__(f"object {row.spooled.object_id} is {state}; only on what was put aside does a person decide")
        self.object_id, self.state = row.spooled.object_id, row.state


class StillWhole(Refused):
    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(
            f"object {object_id} is whole, this host signed it and the vault has not answered for it: it may be the "
            "only copy of an image, and is not discarded"
        )
        self.object_id = object_id


class NobodyKnows(Refused):
    def __init__(self, object_id: ObjectId, judged: Judged) -> None:
        super().__init__(
            f"object {object_id} is {judged.finding.value} ({judged.why}), so nobody can know that it is worthless"
        )
        self.object_id, self.judged = object_id, judged


class InDoubt(Refused):
    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"the vault may just have lost object {object_id}, which it had answered for; try again later")
        self.object_id = object_id


class StillOwed(Refused):
    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"an archive is still owed object {object_id}: first `leadglass-agent forward drop`")
        self.object_id = object_id


class Decisions:
    """`judge` says whether an object is whole, `has_receipt` whether the vault has answered for one, `is_owed` whether
    this host owes one to an archive.

    Every method raises NotInSpool, NotPutAside, DatabaseUnavailable, DatabaseDamaged, and then nothing was decided.
    """

    def __init__(
        self,
        database: Database,
        journal: Journal,
        host_id: HostId,
        *,
        judge: Callable[[Spooled], Judged],
        has_receipt: Callable[[ObjectId], bool],
        is_owed: Callable[[ObjectId], bool],
    ) -> None:
        self._database, self._journal, self._catalogue = database, journal, Catalogue(database)
        self._host = Participant("host", str(host_id), False)
        self._judge, self._has_receipt, self._is_owed = judge, has_receipt, is_owed

    def retry(self, names: Sequence[Name], person: str) -> int:
        """Let these wait for delivery again; return how many."""
        with self._database.transaction():
            return self._retry(self._aside(names), person)

    def retry_all(self, person: str) -> int:
        """Let everything that was put aside wait for delivery again; return how much."""
        with self._database.transaction():
            return self._retry(self._catalogue.in_state(State.PUT_ASIDE), person)

    def discard(self, names: Sequence[Name], person: str, reason: str) -> int:
        """Call these worthless, so that the agent lets go of them; return how many.

        `reason` is sealed, because people write names into reasons. Raises StillWhole, StillOwed, NobodyKnows, InDoubt.
        """
        found = [(row, self._worthless(row.spooled)) for row in self._aside(names)]
        with self._database.transaction() as connection:
            self._aside([row.spooled.object_id for row, _ in found])
            for row, why in found:
                if why == ANSWERED_FOR and not self._has_receipt(row.spooled.object_id):
                    raise InDoubt(row.spooled.object_id)
                self._catalogue.change(connection, row.spooled, State.DISCARDED, why)
                self._journal.record(
                    Happening(
                        Event.OBJECT_DISCARDED,
                        Action.DELETE,
                        Outcome.SUCCESS,
                        (Participant("person", person, True), self._host),
                        (Subject("object", str(row.spooled.object_id)),),
                        why,
                        {"reason": reason},
                    )
                )
        return len(found)

    def _retry(self, aside: Iterable[Row], person: str) -> int:
        count, left = 0, iter(aside)
        who = (Participant("person", person, True), self._host)
        while some := [row.spooled for row in islice(left, _NAMED_IN_A_RECORD)]:
            with self._database.transaction() as connection:
                for spooled in some:
                    self._catalogue.change(connection, spooled, State.WAITING)
                what = tuple(Subject("object", str(spooled.object_id)) for spooled in some)
                self._journal.record(
                    Happening(Event.DELIVERY_RETRIED, Action.EXECUTE, Outcome.SUCCESS, who, what, "was put aside")
                )
            count += len(some)
        return count

    def _aside(self, names: Sequence[Name]) -> list[Row]:
        found = rows(self._catalogue, names)
        for row in found:
            if row.state is not State.PUT_ASIDE:
                raise NotPutAside(row)
        return found

    def _worthless(self, spooled: Spooled) -> str:
        """Return why an object may be discarded."""
        if self._is_owed(spooled.object_id):
            raise StillOwed(spooled.object_id)
        if self._has_receipt(spooled.object_id):
            return ANSWERED_FOR
        judged = self._judge(spooled)
        if judged.finding is Finding.WHOLE:
            raise StillWhole(spooled.object_id)
        if judged.finding not in (Finding.DAMAGED, Finding.MISSING):
            raise NobodyKnows(spooled.object_id, judged)
        return f"{judged.finding.value}: {judged.why}"
