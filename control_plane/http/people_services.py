"""What the people's door reaches, and who is asking: joined by every part of the door."""

from dataclasses import dataclass

from flask import g, request

from control_plane.audit_log.journal import CentreJournal
from control_plane.audit_log.reading import AuditReading
from control_plane.checkpoints.guard import LogGuard
from control_plane.coverage.runs import CoverageRuns
from control_plane.coverage.showing import CoverageShowing
from control_plane.custody.statements import CustodyStatements
from control_plane.enrolment import codes
from control_plane.enrolment.revocation import Revocation
from control_plane.fleet.commands import FleetCommands
from control_plane.fleet.devices import DeviceShowing
from control_plane.fleet.doubts import Doubts
from control_plane.fleet.overview import Overview
from control_plane.http.limits import FailureLimit
from control_plane.moving.grants import SpoolMoves
from control_plane.people.accounts import Accounts, NotSignedIn, SignedIn
from control_plane.people.decide import Permission
from control_plane.people.permissions import verify_permitted
from control_plane.policy.publisher import PolicyPublisher
from control_plane.policy.simulation.simulation import PolicySimulation
from control_plane.policy.versions import PolicyVersions
from control_plane.rollout.service import Rollouts
from control_plane.routes.people import RoutesForPeople
from control_plane.vault.finding import Finder
from control_plane.vault.opening import VaultOpener
from control_plane.vault.settling import Settling
from shared.audit.record import Participant

COOKIE = "leadglass_session"


@dataclass(frozen=True)
class PeopleServices:
    """Everything that people can reach through their door."""

    accounts: Accounts
    overview: Overview
    devices: DeviceShowing
    finder: Finder
    opener: VaultOpener
    settling: Settling
    doubts: Doubts
    commands: FleetCommands
    custody: CustodyStatements
    policy: PolicyPublisher
    rollouts: Rollouts
    versions: PolicyVersions
    simulation: PolicySimulation
    audit: AuditReading
    coverage: CoverageShowing
    comparisons: CoverageRuns
    routes: RoutesForPeople
    moves: SpoolMoves
    revocation: Revocation
    log: LogGuard
    journal: CentreJournal
    issue_code: codes.Issuer
    limit: FailureLimit


def recognise(services: PeopleServices) -> None:
    """Know who is asking before anything that they sent is read, so that a stranger learns nothing from refusals."""
    if request.path.startswith("/api/") and request.path != "/api/v1/openapi.json":
        g.person = _signed_in(services)


def permitted(services: PeopleServices, permission: Permission) -> SignedIn:
    """Return who is asking, once they may. Raises NotSignedIn, NotPermitted."""
    person: SignedIn = g.person if "person" in g else _signed_in(services)
    verify_permitted(person, permission)
    return person


def _signed_in(services: PeopleServices) -> SignedIn:
    """Return who is asking. A cookie serves reading only, so no other site can act by it. Raises NotSignedIn."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme == "Bearer":
        try:
            return services.accounts.by_token(token)
        except NotSignedIn:
            count_failure(services)
            raise
    if request.method == "GET":
        return services.accounts.by_session(request.cookies.get(COOKIE, ""))
    raise NotSignedIn


def count_failure(services: PeopleServices) -> None:
    """Raises TooManyFailures. After the secret was looked at: others' failures never keep a right one out."""
    source = request.remote_addr or ""
    services.limit.check(source)
    services.limit.failed(source)


def who_of(person: SignedIn) -> tuple[Participant, ...]:
    return (Participant("person", person.name, True),)
