"""What the doors reach of wipes, joined."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.people.two_persons import Journal
from control_plane.sanitize.holds import Holds
from control_plane.sanitize.intake import WipeIntake
from control_plane.sanitize.orders import WipeOrders
from control_plane.sanitize.reading import Judge, PolicyOf, WipeReading
from control_plane.sanitize.showing import WipeShowing
from shared.clock import Clock
from shared.envelope import Signatories
from shared.identity import HostId


@dataclass(frozen=True)
class WipeDesk:
    orders: WipeOrders
    intake: WipeIntake
    holds: Holds
    showing: WipeShowing
    reading: WipeReading

    @classmethod
    def of(
        cls,
        database: sessionmaker[Session],
        journal: Journal,
        evidence: EvidenceKeys,
        clock: Clock,
        judge: Judge,
        *,
        policy_of: PolicyOf,
        signatories: Callable[[], Signatories],
        hint: Callable[[HostId], None] = lambda _host: None,
    ) -> "WipeDesk":
        reading, holds = WipeReading(evidence, policy_of, signatories, judge), Holds(database, journal, clock, hint)
        return cls(
            WipeOrders(database, journal, evidence, reading, clock, hint=hint),
            WipeIntake(database, journal, reading, judge, clock),
            holds,
            WipeShowing(database, reading, holds, clock),
            reading,
        )
