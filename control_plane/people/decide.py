"""Decides what a role may do. Default deny: what is not in the table is refused."""

from dataclasses import dataclass
from enum import StrEnum


class Permission(StrEnum):
    """`resource:action` of the people's door."""

    STATUS_READ = "status:read"
    OBJECT_FIND = "object:find"
    OBJECT_OPEN = "object:open"
    CONFLICT_SETTLE = "conflict:settle"
    LOST_SETTLE = "object:settle-lost"
    POLICY_PUBLISH = "policy:publish"
    ROLLOUT_STEER = "rollout:steer"
    PERSON_ADD = "person:add"
    PERSON_CHANGE = "person:change"
    PERSON_LIST = "person:list"
    ACCOUNT_OWN = "account:own"
    CODE_ISSUE = "enrolment-code:issue"
    HOST_REVOKE = "host:revoke"
    AUDIT_READ = "audit:read"
    AUDIT_OPEN = "audit:open"
    KEY_ERASE = "key:erase"
    LOSS_ACCEPT = "log:accept-loss"
    RECOVERY_DRILL = "recovery:drill"
    BACKUP_MAKE = "backup:make"
    BACKUP_READ = "backup:read"
    BACKUP_FORGET = "backup:forget"
    RESTORE_SETTLE = "restore:settle"
    COVERAGE_COMPARE = "coverage:compare"
    COVERAGE_OPEN = "coverage:open"
    ROUTE_RETRY = "route:retry"
    SPOOL_MOVE = "spool:move"
    HOST_SETTLE = "host:settle"
    HOST_COMMAND = "host:command"
    AUTHORITY_CHANGE = "authority:change"
    HOST_APPROVE = "host:approve"
    HOST_CHANGE = "host:change"
    REQUEST_DECIDE = "request:decide"
    WIPE_ORDER = "wipe:order"
    WIPE_APPROVE = "wipe:approve"
    WIPE_CARRY = "wipe:carry"
    HOST_HOLD = "host:hold"


Scope = frozenset[Permission] | None
"""What a token is good for; None: for whatever its person may do."""

_P = Permission
_ROLES: dict[str, frozenset[Permission]] = {
    "administrator": frozenset(Permission),
    "field-engineer": frozenset(
        {_P.STATUS_READ, _P.CODE_ISSUE, _P.ROUTE_RETRY, _P.SPOOL_MOVE, _P.WIPE_ORDER, _P.WIPE_CARRY, _P.ACCOUNT_OWN},
    ),
    "technician": frozenset({_P.STATUS_READ, _P.WIPE_ORDER, _P.WIPE_CARRY, _P.ACCOUNT_OWN}),
    "auditor": frozenset({_P.STATUS_READ, _P.AUDIT_READ, _P.PERSON_LIST, _P.ACCOUNT_OWN}),
}
ADMINISTRATOR = "administrator"
ROLES = tuple(_ROLES)
NEVER_IN_A_SCOPE = frozenset(
    {
        _P.ACCOUNT_OWN,
        _P.PERSON_ADD,
        _P.PERSON_CHANGE,
        _P.REQUEST_DECIDE,
        _P.AUTHORITY_CHANGE,
        _P.LOSS_ACCEPT,
        _P.LOST_SETTLE,
        _P.WIPE_APPROVE,
        _P.KEY_ERASE,
    }
)
"""What makes other ways in, or takes a person's own judgement: no script for a part of their work is to have it."""


@dataclass(frozen=True)
class Decision:
    allowed: bool
    reason: str


def decide(role: str, permission: Permission, scope: Scope = None) -> Decision:
    if permission not in _ROLES.get(role, frozenset()):
        return Decision(False, f"role {role} does not hold {permission.value}")
    if scope is not None and permission not in scope - NEVER_IN_A_SCOPE:
        return Decision(False, f"this token's scope does not hold {permission.value}")
    return Decision(True, f"role {role} holds {permission.value}")


def holds(role: str) -> frozenset[Permission]:
    return _ROLES.get(role, frozenset())
