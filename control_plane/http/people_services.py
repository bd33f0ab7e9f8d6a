"""What the people's door reaches, and who is asking: joined by every part of the door."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Address, ip_address

from flask import g, request

from control_plane.audit_log.archiving import Archiving
from control_plane.audit_log.finding import AuditFinding
from control_plane.audit_log.following import Following
from control_plane.audit_log.journal import CentreJournal
from control_plane.audit_log.reading import AuditReading
from control_plane.checkpoints.guard import LogGuard
from control_plane.coverage.runs import CoverageRuns
from control_plane.coverage.showing import CoverageShowing
from control_plane.custody.statements import CustodyStatements
from control_plane.enrolment.code_service import EnrolmentCodes
from control_plane.enrolment.codes import IssuedCode
from control_plane.enrolment.lapsed import LapsedHosts
from control_plane.enrolment.renaming import Renaming
from control_plane.enrolment.revocation import Revocation
from control_plane.enrolment.taking_back import TakingBack
from control_plane.erasure.erasing import Erasing
from control_plane.fleet.commands import FleetCommands
from control_plane.fleet.devices import DeviceShowing
from control_plane.fleet.doubts import Doubts
from control_plane.fleet.overview import Overview
from control_plane.http.limits import FailureLimit
from control_plane.moving.grants import SpoolMoves
from control_plane.people import signed_request
from control_plane.people.accounts import Accounts, NotSignedIn, SignedIn
from control_plane.people.certificates import PersonCertificates
from control_plane.people.decide import Permission
from control_plane.people.factors import Factors
from control_plane.people.people import People
from control_plane.people.permissions import NotPermitted, verify_permitted
from control_plane.people.provider_sign_in import ProviderSignIn
from control_plane.people.sessions import Sessions
from control_plane.people.signing_in import SigningIn
from control_plane.people.tokens import Tokens
from control_plane.people.two_persons import TwoPersons
from control_plane.policy.publisher import PolicyPublisher
from control_plane.policy.simulation.simulation import PolicySimulation
from control_plane.policy.versions import PolicyVersions
from control_plane.rollout.service import Rollouts
from control_plane.routes.people import RoutesForPeople
from control_plane.sanitize.certifying import Certifying
from control_plane.sanitize.decommissioning import DecommissioningByWipe
from control_plane.sanitize.desk import WipeDesk
from control_plane.tlog.reading import LogReading
from control_plane.vault.final_losses import FinalLosses
from control_plane.vault.finding import Finder
from control_plane.vault.opening import VaultOpener
from control_plane.vault.settling import Settling
from shared.audit.attempt import failure
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.errors import Malformed
from shared.identity import HostId, ObjectId

COOKIE = "leadglass_session"
RENEWED = "renewed"
"""In the address of a page that its browser fetched again by itself: nobody did anything in that session."""
_THIS_MACHINE = "127.0.0.1"
_OPEN = frozenset({"/api/v1/openapi.json", "/api/v1/sign-in", "/api/v1/sign-in/certificate"})


@dataclass(frozen=True)
class PeopleServices:
    """Everything that people can reach through their door."""

    accounts: Accounts
    people: People
    factors: Factors
    signing_in: SigningIn
    sessions: Sessions
    tokens: Tokens
    certificates: PersonCertificates
    provider: ProviderSignIn
    overview: Overview
    devices: DeviceShowing
    finder: Finder
    opener: VaultOpener
    settling: Settling
    final_losses: FinalLosses
    doubts: Doubts
    commands: FleetCommands
    custody: CustodyStatements
    policy: PolicyPublisher
    rollouts: Rollouts
    versions: PolicyVersions
    simulation: PolicySimulation
    audit: AuditReading
    asking: AuditFinding
    following: Following
    archiving: Archiving
    erasing: Erasing
    merkle: LogReading
    coverage: CoverageShowing
    comparisons: CoverageRuns
    routes: RoutesForPeople
    moves: SpoolMoves
    revocation: Revocation
    log: LogGuard
    journal: CentreJournal
    codes: EnrolmentCodes
    code_for_replacement: Callable[[str, HostId, timedelta], IssuedCode]
    lapsed: LapsedHosts
    taking_back: TakingBack
    renaming: Renaming
    two_persons: TwoPersons
    wipes: WipeDesk
    certifying: Certifying
    decommissioning: DecommissioningByWipe
    limit: FailureLimit
    tried_in_vain: FailureLimit
    """Of each person, what their role does not hold."""


def recognise(services: PeopleServices) -> None:
    """Know who is asking before anything that they sent is read, so that a stranger learns nothing from refusals."""
    if request.path.startswith("/api/") and request.path not in _OPEN:
        g.person = g.acting = _signed_in(services)


def permitted(services: PeopleServices, permission: Permission) -> SignedIn:
    """Return who is asking, once they may; that they may not is a record.

    Raises NotSignedIn, NotPermitted; TooManyFailures, which is none: a token alone is not to fill the log.
    """
    person: SignedIn = g.person if "person" in g else _signed_in(services)
    g.acting, g.permission = person, permission
    try:
        verify_permitted(person, permission)
    except NotPermitted as exc:
        services.tried_in_vain.check(person.name)
        services.tried_in_vain.failed(person.name)
        tried = _tried(person, permission)
        services.journal.record(failure(tried, tried.event, exc))
        raise
    return person


def record_failed(services: PeopleServices, error: Exception) -> None:
    """Record that what somebody was doing ended in an error that nobody foresaw, and of that its class alone.

    Of whom nobody knows who they are there is no record: a stranger is not to fill the log.
    """
    person: SignedIn | None = g.get("acting")
    if person is None or request.url_rule is None:
        return
    permission: Permission | None = g.get("permission")
    took = (Subject("permission", permission.value),) if permission else ()
    asked = Subject("request", f"{request.method} {request.url_rule.rule}")
    who = (Participant("person", person.name, True),)
    tried = Happening(Event.ACTION_FAILED, Action.EXECUTE, Outcome.SUCCESS, who, (*took, asked, *_image()))
    services.journal.record(failure(tried, tried.event, error))


def _tried(person: SignedIn, permission: Permission) -> Happening:
    who, what = (Participant("person", person.name, True),), (Subject("permission", permission.value),)
    return Happening(Event.NOT_PERMITTED, Action.EXECUTE, Outcome.SUCCESS, who, what + _image())


def _image() -> tuple[Subject, ...]:
    """Return the image that a request is about: what else was typed there may name a patient, and stay for ever."""
    try:
        return (Subject("object", str(ObjectId.parse((request.view_args or {}).get("object_id", "")))),)
    except Malformed:
        return ()


def _signed_in(services: PeopleServices) -> SignedIn:
    """Return who is asking. A cookie serves reading only, so no other site can act by it. Raises NotSignedIn."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    try:
        if scheme == "Bearer":
            return services.accounts.by_token(token)
        if signed_request.INPUT in request.headers:
            return services.certificates.by_request(_proof(), request.get_data)
    except NotSignedIn:
        count_failure(services)
        raise
    if request.method == "GET":
        acted = RENEWED not in request.args
        return services.accounts.by_session(request.cookies.get(COOKIE, ""), acted=acted)
    raise NotSignedIn


def _proof() -> signed_request.Proof:
    """Raises NotSignedIn: it is of another form."""
    target = str(request.environ.get("REQUEST_URI", request.full_path))
    asked = signed_request.Asked(request.method, request.headers.get("Host", ""), target)
    names = signed_request.CERTIFICATE, signed_request.DIGEST, signed_request.INPUT, signed_request.SIGNATURE
    try:
        return signed_request.Proof.parse(asked, *(request.headers.get(name, "") for name in names))
    except signed_request.SignatureWrong as exc:
        raise NotSignedIn from exc


def by_own_page(services: PeopleServices) -> SignedIn:
    """Return whose session a form of our own pages was sent in. Raises NotSignedIn: also for one of another page."""
    verify_own_page()
    # Not `person`, by which `permitted` lets somebody act: a cookie alone does not.
    g.acting = person = services.accounts.by_session(request.cookies.get(COOKIE, ""))
    return person


def verify_own_page() -> None:
    """Raises NotSignedIn. Cookies tell neither ports nor the pages of one host apart; the origin does."""
    if request.headers.get("Origin", "") != request.host_url.rstrip("/"):
        raise NotSignedIn


def address_of_request() -> str:
    """Return where a request comes from. Whoever is on this machine has 16 million addresses, and counts as one."""
    address = (request.remote_addr or "")[:64]
    try:
        source = ip_address(address)
    except ValueError:
        return address
    mapped = source.ipv4_mapped if isinstance(source, IPv6Address) else None
    return _THIS_MACHINE if (mapped or source).is_loopback else address


def count_failure(services: PeopleServices) -> None:
    """Raises TooManyFailures. After the secret was looked at: others' failures never keep a right one out."""
    source = address_of_request()
    services.limit.check(source)
    services.limit.failed(source)
