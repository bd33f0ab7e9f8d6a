"""The part of the people's door where the life of hosts is: settled, revoked, approved, renamed, replaced, ended."""

from datetime import timedelta

from apiflask import APIFlask

from control_plane.enrolment.decommissioning import DECOMMISSION
from control_plane.enrolment.taking_back import TAKE_BACK, Proved, said_of
from control_plane.enrolment.tombstones import LIFT
from control_plane.http.people_codes import shown
from control_plane.http.people_hosts_models import (
    ApprovalRequest,
    AsksAnswer,
    CodeAnswer,
    HostSettleRequest,
    PendingRequest,
    ReasonRequest,
    RenameAnswer,
    RenameRequest,
    ReplacementRequest,
    RequestsAnswer,
    RevocationAnswer,
    TakeBackRequest,
)
from control_plane.http.people_models import SettleAnswer
from control_plane.http.people_services import PeopleServices, permitted
from control_plane.people.decide import Permission
from shared import clock as clocks
from shared.canonical import Json
from shared.enrolment.claim import HostClaim
from shared.enrolment.exchange import MAX_BYTES as MAX_CLAIM_BYTES
from shared.errors import Malformed
from shared.fields import decode_base64
from shared.identity import HostId


def add_hosts(app: APIFlask, services: PeopleServices) -> None:
    _add_decisions(app, services)
    _add_asks(app, services)
    _add_changes(app, services)
    _add_two_persons(app, services)


def _add_decisions(app: APIFlask, services: PeopleServices) -> None:
    @app.post("/api/v1/hosts/<host_id>/settle")
    @app.input(HostSettleRequest, location="json", arg_name="wanted")
    @app.output(SettleAnswer)
    def settle_host(host_id: str, wanted: HostSettleRequest) -> dict[str, Json]:
        """Take note that somebody looked into a host whose reports told two histories."""
        person = permitted(services, Permission.HOST_SETTLE)
        act = services.doubts.rekey if wanted.rekey else services.doubts.settle
        act(HostId.parse(host_id), person.name, wanted.reason)
        return {"settled": host_id}

    @app.post("/api/v1/hosts/<host>/revocation")
    @app.input(ReasonRequest, location="json", arg_name="wanted")
    @app.output(RevocationAnswer, status_code=201)
    def revoke(host: str, wanted: ReasonRequest) -> dict[str, Json]:
        """Take a host's identity away for good, and end the session that it has with the broker."""
        person = permitted(services, Permission.HOST_REVOKE)
        revoked = services.revocation.revoke(person.name, HostId.parse(host), wanted.reason)
        return {"host": str(revoked.host_id), "asset": revoked.asset, "session": revoked.session}


def _add_asks(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/api/v1/hosts/asks")
    @app.output(AsksAnswer)
    def asks() -> dict[str, Json]:
        """Return which machines ask to go on as hosts that have no certificate left."""
        permitted(services, Permission.STATUS_READ)
        return {"asks": list(services.lapsed.asks()), "claims": [_claim(one) for one in services.taking_back.waiting()]}

    @app.post("/api/v1/hosts/<host_id>/approval")
    @app.input(ApprovalRequest, location="json", arg_name="wanted")
    @app.output(AsksAnswer)
    def approve_host(host_id: str, wanted: ApprovalRequest) -> dict[str, Json]:
        """Let the machine with this fresh key go on as the host."""
        person = permitted(services, Permission.HOST_APPROVE)
        services.lapsed.approve(person.name, HostId.parse(host_id), wanted.fingerprint)
        return {"asks": [ask for ask in services.lapsed.asks() if ask["host"] == host_id], "claims": []}


def _add_changes(app: APIFlask, services: PeopleServices) -> None:
    @app.post("/api/v1/hosts/<host_id>/name")
    @app.input(RenameRequest, location="json", arg_name="wanted")
    @app.output(RenameAnswer)
    def rename_host(host_id: str, wanted: RenameRequest) -> dict[str, Json]:
        """Give a host another asset; it learns that when it renews its certificate."""
        person = permitted(services, Permission.HOST_CHANGE)
        before = services.renaming.rename(person.name, HostId.parse(host_id), wanted.asset)
        return {"host": host_id, "before": before, "asset": wanted.asset}

    @app.post("/api/v1/hosts/<host_id>/replacement")
    @app.input(ReplacementRequest, location="json", arg_name="wanted")
    @app.output(CodeAnswer)
    def replace_host(host_id: str, wanted: ReplacementRequest) -> dict[str, Json]:
        """Issue a code for the hardware that takes a host's place; the old identity ends when it is used."""
        person = permitted(services, Permission.HOST_CHANGE)
        old, life = HostId.parse(host_id), timedelta(seconds=wanted.valid_s)
        return shown(services.code_for_replacement(person.name, old, life))


def _add_two_persons(app: APIFlask, services: PeopleServices) -> None:
    @app.post("/api/v1/hosts/<host_id>/lift")
    @app.input(ReasonRequest, location="json", arg_name="wanted")
    @app.output(PendingRequest, status_code=202)
    def lift(host_id: str, wanted: ReasonRequest) -> dict[str, Json]:
        """Ask that a revoked host's asset and machine may be enrolled again; another person approves it."""
        return _asked(host_id, LIFT, wanted)

    @app.post("/api/v1/hosts/<host_id>/decommission")
    @app.input(ReasonRequest, location="json", arg_name="wanted")
    @app.output(PendingRequest, status_code=202)
    def decommission(host_id: str, wanted: ReasonRequest) -> dict[str, Json]:
        """Ask that a host be taken out of service without proof of a wipe; another person approves it."""
        return _asked(host_id, DECOMMISSION, wanted)

    @app.post("/api/v1/hosts/take-back")
    @app.input(TakeBackRequest, location="json", arg_name="wanted")
    @app.output(PendingRequest, status_code=202)
    def take_back(wanted: TakeBackRequest) -> dict[str, Json]:
        """Ask that a host which the log lost be the same host again, by what it signed; another person approves it.

        It is done at once where there is nobody else who could.
        """
        person = permitted(services, Permission.HOST_CHANGE)
        claim = _looked_at(person.name, wanted)
        reason = said_of(claim) + wanted.reason
        return services.two_persons.ask_unless_alone(person.name, TAKE_BACK, str(claim.host_id), reason).json()

    @app.get("/api/v1/requests")
    @app.output(RequestsAnswer)
    def list_requests() -> dict[str, Json]:
        """Return what was asked for and is still open."""
        permitted(services, Permission.STATUS_READ)
        return {"requests": [request.json() for request in services.two_persons.open()]}

    @app.post("/api/v1/requests/<request_id>/approve")
    @app.output(PendingRequest)
    def approve_request(request_id: str) -> dict[str, Json]:
        """Do what another person asked for."""
        person = permitted(services, Permission.REQUEST_DECIDE)
        return services.two_persons.approve(person.name, request_id).json()

    @app.post("/api/v1/requests/<request_id>/refuse")
    @app.output(PendingRequest)
    def refuse_request(request_id: str) -> dict[str, Json]:
        """Close a request without doing it."""
        person = permitted(services, Permission.REQUEST_DECIDE)
        return services.two_persons.refuse(person.name, request_id).json()

    def _looked_at(person: str, wanted: TakeBackRequest) -> HostClaim:
        if (wanted.claim is None) == (wanted.host is None):
            raise Malformed("take-back", "either 'claim' or 'host'")
        if wanted.claim is None:
            return services.taking_back.kept(HostId.parse(wanted.host or ""))
        data = decode_base64(wanted.claim, "take-back field 'claim'", MAX_CLAIM_BYTES)
        return services.taking_back.offer(person, data)

    def _asked(host_id: str, action: str, wanted: ReasonRequest) -> dict[str, Json]:
        person = permitted(services, Permission.HOST_CHANGE)
        return services.two_persons.ask(person.name, action, str(HostId.parse(host_id)), wanted.reason).json()


def _claim(shown: Proved) -> dict[str, Json]:
    certified = clocks.text(shown.certificate.not_valid_before_utc)
    claim = shown.claim
    return {"host": str(claim.host_id), "asset": claim.asset, "layers": list(claim.layers), "certified": certified}
