"""Joins an account and a decision: who is asking, and whether they may."""

from control_plane.people.accounts import SignedIn
from control_plane.people.decide import Permission, decide
from shared.errors import Refused


class NotPermitted(Refused):
    def __init__(self, person: str, reason: str) -> None:
        super().__init__(f"{person} may not do this: {reason}")
        self.person, self.reason = person, reason


def verify_permitted(person: SignedIn, permission: Permission) -> None:
    """Raises NotPermitted."""
    decision = decide(person.role, permission, person.scope)
    if not decision.allowed:
        raise NotPermitted(person.name, decision.reason)
