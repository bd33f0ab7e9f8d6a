"""What a host may do, by its standing. The one table that every door goes by.

standing         deliver  renew  report  ask   how it comes to it
active           yes      yes    yes     -     it was enrolled
quarantined      -        -      yes     -     two machines report under its identity; until a person decides
lapsed           -        -      -       yes   it has no certificate that is still good: it was off for too long, or
                                               people barred the one it had
revoked          -        -      -       -     a person took its identity away
decommissioned   -        -      -       -     two persons took it out of service
replaced         -        -      -       -     other hardware took its place

*Report* is also to be told: policy, and commands and what became of them. *Ask* is for a certificate, which a person
then has to approve.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from shared.errors import Refused
from shared.identity import HostId


class Standing(StrEnum):
    ACTIVE = "active"
    QUARANTINED = "quarantined"
    LAPSED = "lapsed"  # derived, and never in the database
    REVOKED = "revoked"
    DECOMMISSIONED = "decommissioned"
    REPLACED = "replaced"


class Act(StrEnum):
    DELIVER = "deliver"
    RENEW = "renew"
    REPORT = "report"
    ASK = "ask"


ENDED = frozenset({Standing.REVOKED, Standing.DECOMMISSIONED, Standing.REPLACED})
_MAY: dict[Standing, frozenset[Act]] = {
    Standing.ACTIVE: frozenset({Act.DELIVER, Act.RENEW, Act.REPORT}),
    Standing.QUARANTINED: frozenset({Act.REPORT}),
    Standing.LAPSED: frozenset({Act.ASK}),
}


class HostQuarantined(Refused):
    def __init__(self, host_id: HostId) -> None:
        super().__init__(
            f"{host_id} is quarantined: two machines report under its identity. Both keep what they capture; nothing "
            "of it is taken and no certificate renewed until an administrator has decided"
        )
        self.host_id = host_id


@dataclass(frozen=True)
class Decision:
    allowed: bool
    reason: str


def standing_of(kept: str, certified_until: datetime | None, now: datetime) -> Standing:
    """Return the standing of a host of which the database says `kept`.

    `certified_until` is the end of its newest certificate that opens doors; None: none does.
    """
    standing = Standing(kept)
    if standing is Standing.ACTIVE and (certified_until is None or certified_until <= now):
        return Standing.LAPSED
    return standing


def may(standing: Standing, act: Act) -> Decision:
    if act in _MAY.get(standing, frozenset()):
        return Decision(True, f"a host that is {standing} may {act}")
    return Decision(False, f"a host that is {standing} may not {act}")
