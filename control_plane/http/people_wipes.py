"""The part of the people's door where wipes are ordered, approved, looked at and closed, and hosts held."""

from apiflask import APIFlask
from flask import Response

from control_plane.http.people_hosts_models import PendingRequest, ReasonRequest
from control_plane.http.people_services import PeopleServices, permitted
from control_plane.http.people_wipes_models import (
    DestructionRequest,
    HoldsAnswer,
    LeavingRequest,
    Left,
    WipeAnswer,
    WipeApproval,
    WipeReportRequest,
    WipeRequest,
    WipesAnswer,
    WipeSignature,
    WipesQuery,
)
from control_plane.people.decide import Permission
from control_plane.sanitize.holds import LIFT_HOLD
from control_plane.sanitize.wish import Wish
from shared.canonical import Json
from shared.envelope import MAX_ENVELOPE_BYTES
from shared.fields import Fields, decode_base64
from shared.identity import HostId
from shared.policy.wipe import LeastClass, ReadBack
from shared.sanitization.certificate import MAX_BYTES as MAX_CERTIFICATE_BYTES
from shared.sanitization.report import MAX_BYTES
from shared.sanitization.technique import Sequence, Technique
from shared.sanitization.ticket import Override, Reason, TargetDrive, TicketId

_MAX_SIGNED_REPORT_BYTES = MAX_BYTES + 256


def add_wipes(app: APIFlask, services: PeopleServices) -> None:
    _add_orders(app, services)
    _add_evidence(app, services)
    _add_holds(app, services)
    _add_leaving(app, services)


def _add_orders(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/api/v1/wipes")
    @app.input(WipesQuery, location="query", arg_name="wanted")
    @app.output(WipesAnswer)
    def list_wipes(wanted: WipesQuery) -> dict[str, Json]:
        """Return wipe orders, the newest first, each with the state that is proved."""
        permitted(services, Permission.STATUS_READ)
        host = None if wanted.host is None else HostId.parse(wanted.host)
        return {"orders": [*services.wipes.showing.orders(host)]}

    @app.post("/api/v1/wipes")
    @app.input(WipeRequest, location="json", arg_name="wanted")
    @app.output(WipeAnswer, status_code=201)
    def order_wipe(wanted: WipeRequest) -> dict[str, Json]:
        """Ask for a wipe of one drive; others have to sign its ticket."""
        person = permitted(services, Permission.WIPE_ORDER)
        return services.wipes.showing.order(services.wipes.orders.order(person.name, _wish(wanted)).ticket_id)

    @app.get("/api/v1/wipes/<order_id>")
    @app.output(WipeAnswer)
    def show_wipe(order_id: str) -> dict[str, Json]:
        """Return one order with its ticket, signatures, notes and reports."""
        permitted(services, Permission.STATUS_READ)
        return services.wipes.showing.order(TicketId.parse(order_id))

    @app.post("/api/v1/wipes/<order_id>/signature")
    @app.input(WipeApproval, location="json", arg_name="wanted")
    @app.output(WipeAnswer, status_code=201)
    def approve_wipe(order_id: str, wanted: WipeApproval) -> dict[str, Json]:
        """Take the approver's own signature over the ticket; whoever asked for the wipe gives none."""
        person = permitted(services, Permission.WIPE_APPROVE)
        signed = decode_base64(wanted.signed, "approval field 'signed'", MAX_ENVELOPE_BYTES)
        services.wipes.orders.approve(person.name, TicketId.parse(order_id), signed, wanted.beside)
        return services.wipes.showing.order(TicketId.parse(order_id))

    @app.post("/api/v1/wipes/<order_id>/refusal")
    @app.input(ReasonRequest, location="json", arg_name="wanted")
    @app.output(WipeAnswer)
    def refuse_wipe(order_id: str, wanted: ReasonRequest) -> dict[str, Json]:
        """Refuse an order; its host gets no ticket of it."""
        person = permitted(services, Permission.WIPE_APPROVE)
        services.wipes.orders.close(person.name, TicketId.parse(order_id), "refused", wanted.reason)
        return services.wipes.showing.order(TicketId.parse(order_id))

    @app.post("/api/v1/wipes/<order_id>/cancellation")
    @app.input(ReasonRequest, location="json", arg_name="wanted")
    @app.output(WipeAnswer)
    def cancel_wipe(order_id: str, wanted: ReasonRequest) -> dict[str, Json]:
        """Take an order back that its host has not begun."""
        person = permitted(services, Permission.WIPE_ORDER)
        services.wipes.orders.close(person.name, TicketId.parse(order_id), "cancelled", wanted.reason)
        return services.wipes.showing.order(TicketId.parse(order_id))

    @app.get("/api/v1/wipes/<order_id>/ticket")
    def carry_ticket(order_id: str) -> Response:
        """Return the approved ticket for a host without a network (docs/formats/wipe.md)."""
        permitted(services, Permission.WIPE_CARRY)
        return Response(services.wipes.orders.ticket(TicketId.parse(order_id)), content_type="application/json")


def _add_evidence(app: APIFlask, services: PeopleServices) -> None:
    @app.post("/api/v1/wipes/tickets")
    @app.input(WipeSignature, location="json", arg_name="wanted")
    @app.output(WipeAnswer, status_code=201)
    def bring_ticket(wanted: WipeSignature) -> dict[str, Json]:
        """Take an order back that a restored centre has lost, by its signed ticket."""
        person = permitted(services, Permission.WIPE_CARRY)
        signed = decode_base64(wanted.signed, "wipe ticket field 'signed'", MAX_ENVELOPE_BYTES)
        return services.wipes.showing.order(services.wipes.orders.bring(person.name, signed))

    @app.post("/api/v1/wipes/reports")
    @app.input(WipeReportRequest, location="json", arg_name="wanted")
    @app.output(WipeAnswer, status_code=201)
    def bring_report(wanted: WipeReportRequest) -> dict[str, Json]:
        """Take a host's signed report that a person carried here."""
        person = permitted(services, Permission.WIPE_CARRY)
        signed = decode_base64(wanted.signed, "wipe report field 'signed'", _MAX_SIGNED_REPORT_BYTES)
        return services.wipes.showing.order(services.wipes.intake.bring_report(person.name, signed))

    @app.post("/api/v1/wipes/<order_id>/destruction")
    @app.input(DestructionRequest, location="json", arg_name="wanted")
    @app.output(WipeAnswer, status_code=201)
    def record_destruction(order_id: str, wanted: DestructionRequest) -> dict[str, Json]:
        """Keep that the drive of an approved order was destroyed, and who saw it."""
        person = permitted(services, Permission.WIPE_CARRY)
        services.wipes.orders.destroyed(
            person.name, TicketId.parse(order_id), wanted.witness, wanted.means, wanted.photographs
        )  # fmt: skip
        return services.wipes.showing.order(TicketId.parse(order_id))


def _add_leaving(app: APIFlask, services: PeopleServices) -> None:
    @app.post("/api/v1/hosts/<host_id>/decommission-by-wipe")
    @app.input(LeavingRequest, location="json", arg_name="wanted")
    @app.output(Left)
    def decommission_by_wipe(host_id: str, wanted: LeavingRequest) -> dict[str, Json]:
        """Take a host out of service on the certificate of a wipe of its drive."""
        person = permitted(services, Permission.HOST_CHANGE)
        certificate = decode_base64(wanted.certificate, "request field 'certificate'", MAX_CERTIFICATE_BYTES)
        services.decommissioning.decommission(person.name, HostId.parse(host_id), certificate)
        return {"host": host_id}


def _add_holds(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/api/v1/holds")
    @app.output(HoldsAnswer)
    def list_holds() -> dict[str, Json]:
        """Return the hosts that are held for an incident."""
        permitted(services, Permission.STATUS_READ)
        return {"holds": [*services.wipes.holds.status()]}

    @app.post("/api/v1/hosts/<host_id>/hold")
    @app.input(ReasonRequest, location="json", arg_name="wanted")
    @app.output(HoldsAnswer, status_code=201)
    def hold_host(host_id: str, wanted: ReasonRequest) -> dict[str, Json]:
        """Hold a host: no drive of it is wiped until two persons lift that."""
        person = permitted(services, Permission.HOST_HOLD)
        services.wipes.holds.place(person.name, HostId.parse(host_id), wanted.reason)
        return {"holds": [one for one in services.wipes.holds.status() if one["host"] == host_id]}

    @app.post("/api/v1/hosts/<host_id>/hold-lift")
    @app.input(ReasonRequest, location="json", arg_name="wanted")
    @app.output(PendingRequest, status_code=202)
    def lift_hold(host_id: str, wanted: ReasonRequest) -> dict[str, Json]:
        """Ask that a hold be lifted; another person approves it."""
        person = permitted(services, Permission.HOST_HOLD)
        return services.two_persons.ask(person.name, LIFT_HOLD, str(HostId.parse(host_id)), wanted.reason).json()


def _wish(wanted: WipeRequest) -> Wish:
    """Raises Malformed."""
    fields = Fields(
        {"techniques": [*wanted.techniques], "sequence": wanted.sequence, "passes": [*wanted.passes]}, "wipe request"
    )
    drive = Fields(
        {"serial": wanted.serial, "wwn": wanted.wwn, "model": wanted.model, "size_bytes": wanted.size_bytes},
        "wipe request",
    )
    return Wish(
        host_id=HostId.parse(wanted.host),
        drive=TargetDrive.parse(drive),
        least=None if wanted.least is None else LeastClass(wanted.least),
        read_back=None if wanted.read_back is None else ReadBack(wanted.read_back),
        techniques=tuple(map(Technique, fields.choices("techniques", list(Technique)))),
        sequence=Sequence(fields.choice("sequence", list(Sequence))),
        passes=tuple(wanted.passes),
        reason=Reason(wanted.reason),
        text=wanted.text,
        technician=wanted.technician,
        overrides=tuple(map(Override, wanted.overrides)),
        hours=wanted.hours,
    )
