"""Decides what a role may do. Default deny: what is not in the table is refused."""

from dataclasses import dataclass
from enum import StrEnum


class Permission(StrEnum):
    """`resource:action` of the people's door."""

    STATUS_READ = "status:read"
    OBJECT_FIND = "object:find"
    OBJECT_OPEN = "object:open"
    CONFLICT_SETTLE = "conflict:settle"
    POLICY_PUBLISH = "policy:publish"
    ROLLOUT_STEER = "rollout:steer"
    PERSON_ADD = "person:add"
    CODE_ISSUE = "enrolment-code:issue"
    HOST_REVOKE = "host:revoke"
    AUDIT_READ = "audit:read"
    LOSS_ACCEPT = "log:accept-loss"
    RECOVERY_DRILL = "recovery:drill"
    COVERAGE_COMPARE = "coverage:compare"
    COVERAGE_OPEN = "coverage:open"
    ROUTE_RETRY = "route:retry"
    SPOOL_MOVE = "spool:move"
    HOST_SETTLE = "host:settle"
    HOST_COMMAND = "host:command"


_ROLES: dict[str, frozenset[Permission]] = {"administrator": frozenset(Permission)}


@dataclass(frozen=True)
class Decision:
    allowed: bool
    reason: str


def decide(role: str, permission: Permission) -> Decision:
    if permission in _ROLES.get(role, frozenset()):
        return Decision(True, f"role {role} holds {permission.value}")
    return Decision(False, f"role {role} does not hold {permission.value}")
