"""The people's door: plain HTTP on loopback, for named people with a token or a one-time sign-in link."""

import re
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from json import dumps

from apiflask import APIFlask
from flask import Response, abort, request

from control_plane.http import problems
from control_plane.http.people_accounts import add_accounts
from control_plane.http.people_audit import add_audit
from control_plane.http.people_certificates import add_certificates
from control_plane.http.people_codes import add_codes
from control_plane.http.people_hosts import add_hosts
from control_plane.http.people_log import add_log
from control_plane.http.people_models import (
    AgainRequest,
    AuditAnswer,
    AuditQuery,
    CommandRequest,
    CommandsAnswer,
    CommandsQuery,
    CoverageGapAnswer,
    CoverageGapRequest,
    CoverageQuery,
    CoverageRunRequest,
    CoverageStatus,
    DevicesAnswer,
    DevicesQuery,
    FindAnswer,
    FindRequest,
    LossAnswer,
    LossesAnswer,
    LossRequest,
    MoveRequest,
    MovesAnswer,
    OpenRequest,
    RetryAnswer,
    RoutesAnswer,
    SettleAnswer,
    SettleRequest,
    StatusAnswer,
    VerdictAnswer,
    VerifyRequest,
)
from control_plane.http.people_policy import add_policy
from control_plane.http.people_provider import add_provider
from control_plane.http.people_services import PeopleServices, permitted, recognise, record_failed
from control_plane.http.people_sign_in import add_sign_in
from control_plane.http.people_wipes import add_wipes
from control_plane.people.accounts import NotSignedIn
from control_plane.people.decide import Permission
from control_plane.routes.people import delivered
from control_plane.web import page
from control_plane.web.status_words import LANGUAGES
from shared.canonical import Json
from shared.envelope import MAX_ENVELOPE_BYTES
from shared.fields import decode_base64
from shared.identity import CommandId, HostId, ObjectId

_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)
MAX_BODY_BYTES = 8 << 20


def people_door(services: PeopleServices) -> APIFlask:
    app = problems.new_app(
        "Leadglass people's door", static_folder=page.STATIC, on_unforeseen=partial(record_failed, services)
    )
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.config["SECURITY_SCHEMES"] = {"credential": {"type": "http", "scheme": "bearer"}}
    app.before_request(_verify_host)
    app.before_request(partial(recognise, services))
    app.after_request(_harden)
    _add_pages(app, services)
    _add_devices(app, services)
    _add_objects(app, services)
    add_policy(app, services)
    add_accounts(app, services)
    add_sign_in(app, services)
    add_provider(app, services)
    _add_audit(app, services)
    _add_coverage(app, services)
    _add_routes(app, services)
    _add_moves(app, services)
    add_codes(app, services)
    add_hosts(app, services)
    add_audit(app, services)
    add_log(app, services)
    _add_commands(app, services)
    add_wipes(app, services)
    add_certificates(app, services)
    return app


def _add_pages(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/")
    def status_page() -> Response:
        """Show the status page to whoever is signed in."""
        try:
            permitted(services, Permission.STATUS_READ)
        except NotSignedIn:
            return Response(page.render_signed_out(), 401, content_type="text/html; charset=utf-8")
        shown = page.render_status(_status(services), _language())
        return Response(shown, content_type="text/html; charset=utf-8")

    @app.get("/api/v1/status")
    @app.output(StatusAnswer)
    def status() -> dict[str, Json]:
        """Return hosts, policy, objects, recovery, and what is not proved."""
        permitted(services, Permission.STATUS_READ)
        return _status(services)


def _language() -> str:
    """Return the language that is asked for, else the one that the browser likes best of those that there are."""
    asked = request.args.get("lang")
    if asked in LANGUAGES:
        return asked
    return request.accept_languages.best_match(LANGUAGES) or LANGUAGES[0]


def _status(services: PeopleServices) -> dict[str, Json]:
    return {**services.overview.status(), "tokens_running_out": list(services.tokens.running_out())}


def _add_devices(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/devices")
    @app.input(DevicesQuery, location="query", arg_name="wanted")
    def devices_page(wanted: DevicesQuery) -> Response:
        """Show what is plugged in to whoever is signed in."""
        try:
            permitted(services, Permission.STATUS_READ)
        except NotSignedIn:
            return Response(page.render_signed_out(), 401, content_type="text/html; charset=utf-8")
        shown = page.render_devices(services.devices.status(wanted.host), wanted.host)
        return Response(shown, content_type="text/html; charset=utf-8")

    @app.get("/api/v1/devices")
    @app.input(DevicesQuery, location="query", arg_name="wanted")
    @app.output(DevicesAnswer)
    def devices(wanted: DevicesQuery) -> dict[str, Json]:
        """Return each host's device tree with its verdicts, as its guard reported last."""
        permitted(services, Permission.STATUS_READ)
        return services.devices.status(wanted.host)


def _add_objects(app: APIFlask, services: PeopleServices) -> None:
    @app.post("/api/v1/objects/find")
    @app.input(FindRequest, location="json", arg_name="wanted")
    @app.output(FindAnswer)
    def find(wanted: FindRequest) -> dict[str, Json]:
        """Look images up through the blind index; the look-up itself is recorded."""
        # A body and not a query string: addresses end up in the logs of proxies, and this one would hold a patient.
        person = permitted(services, Permission.OBJECT_FIND)
        found = services.finder.find(
            person.name, patient_id=wanted.patient_id, study=wanted.study, sop_instance=wanted.sop_instance,
            conflicts=wanted.conflicts,
        )  # fmt: skip
        return {"objects": [one.json() for one in found]}

    @app.post("/api/v1/objects/<object_id>/open")
    @app.input(OpenRequest, location="json", arg_name="wanted")
    def open_object(object_id: str, wanted: OpenRequest) -> Response:
        """Release one image, after it was verified as a whole."""
        person = permitted(services, Permission.OBJECT_OPEN)
        opened = services.opener.open(ObjectId.parse(object_id), person.name, wanted.reason, wanted.form)
        response = Response(opened.pieces, content_type="application/octet-stream")
        response.content_length = opened.size_bytes
        response.headers["Leadglass-Checks"] = dumps([check.json() for check in opened.checks])
        return response

    @app.post("/api/v1/objects/<object_id>/settle")
    @app.input(SettleRequest, location="json", arg_name="wanted")
    @app.output(SettleAnswer)
    def settle(object_id: str, wanted: SettleRequest) -> dict[str, Json]:
        """Close the conflict of data sets that an object is in; everything is kept, and stays flagged."""
        person = permitted(services, Permission.CONFLICT_SETTLE)
        services.settling.settle(ObjectId.parse(object_id), person.name, wanted.reason)
        return {"settled": object_id}

    @app.get("/api/v1/losses")
    @app.output(LossesAnswer)
    def losses() -> dict[str, Json]:
        """Return which images the vault lost, and which of them a person gave up."""
        permitted(services, Permission.STATUS_READ)
        return services.final_losses.listed()

    @app.post("/api/v1/losses/<object_id>/settle")
    @app.input(SettleRequest, location="json", arg_name="wanted")
    @app.output(SettleAnswer)
    def settle_loss(object_id: str, wanted: SettleRequest) -> dict[str, Json]:
        """Give a lost image up: it is off what is not proved, and stays counted."""
        person = permitted(services, Permission.LOST_SETTLE)
        services.final_losses.settle(ObjectId.parse(object_id), person.name, wanted.reason)
        return {"settled": object_id}

    @app.post("/api/v1/objects/<object_id>/custody")
    def custody(object_id: str) -> Response:
        """Return what proves an image elsewhere (`leadglass-verify image`): no part of the image, and no patient."""
        person = permitted(services, Permission.AUDIT_READ)
        statement = services.custody.write(person.name, ObjectId.parse(object_id))
        return Response(statement, content_type="application/json")


def _add_audit(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/api/v1/audit/records")
    @app.input(AuditQuery, location="query", arg_name="wanted")
    @app.output(AuditAnswer)
    def audit_records(wanted: AuditQuery) -> dict[str, Json]:
        """Return audit records: of one source in order, or the newest of all."""
        person = permitted(services, Permission.AUDIT_READ)
        return {"records": list(services.audit.records(person.name, wanted.source, wanted.after, wanted.limit))}

    @app.post("/api/v1/audit/verify")
    @app.input(VerifyRequest, location="json", arg_name="wanted")
    @app.output(VerdictAnswer)
    def audit_verify(wanted: VerifyRequest) -> dict[str, Json]:
        """Prove every stored record again, source by source, and the Merkle log that they are in."""
        person = permitted(services, Permission.AUDIT_READ)
        verdicts = services.audit.verify(person.name, wanted.checkpoints)
        return {source: verdict.json() for source, verdict in verdicts.items()}

    @app.post("/api/v1/log/accept-loss")
    @app.input(LossRequest, location="json", arg_name="wanted")
    @app.output(LossAnswer)
    def accept_loss(wanted: LossRequest) -> dict[str, Json]:
        """Go on without records of the centre's own log that are lost; certificates are issued again."""
        person = permitted(services, Permission.LOSS_ACCEPT)
        lost = services.log.accept(person.name, wanted.reason)
        return {"first": lost.first, "last": lost.last, "tree": lost.tree}

    @app.get("/api/v1/audit/export")
    def audit_export() -> Response:
        """Return the whole log as lines that `leadglass-verify audit` judges offline."""
        person = permitted(services, Permission.AUDIT_READ)
        lines: Iterator[bytes] = services.audit.export(person.name)
        return Response(lines, content_type="application/jsonl")


def _add_coverage(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/api/v1/coverage")
    @app.input(CoverageQuery, location="query", arg_name="wanted")
    @app.output(CoverageStatus)
    def coverage(wanted: CoverageQuery) -> dict[str, Json]:
        """Return how far each modality's images are covered, on one day or the last ones."""
        permitted(services, Permission.STATUS_READ)
        return services.coverage.status(wanted.day).json()

    @app.post("/api/v1/coverage/runs")
    @app.input(CoverageRunRequest, location="json", arg_name="wanted")
    @app.output(CoverageStatus, status_code=202)
    def compare(wanted: CoverageRunRequest) -> dict[str, Json]:
        """Begin to compare a day with the archive; `running` says until when."""
        permitted(services, Permission.COVERAGE_COMPARE)
        services.comparisons.start(wanted.on)
        return services.coverage.status(wanted.on).json()

    @app.post("/api/v1/coverage/gap")
    @app.input(CoverageGapRequest, location="json", arg_name="wanted")
    @app.output(CoverageGapAnswer)
    def gap(wanted: CoverageGapRequest) -> dict[str, Json]:
        """Return which instances a gap consists of; the look is recorded with its reason."""
        person = permitted(services, Permission.COVERAGE_OPEN)
        return services.coverage.gap(wanted.on, wanted.modality, person.name, wanted.reason)


def _add_routes(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/api/v1/routes")
    @app.output(RoutesAnswer)
    def routes() -> dict[str, Json]:
        """Return how each way to an archive does, and what an archive has to trust."""
        permitted(services, Permission.STATUS_READ)
        return {"routes": list(services.routes.status()), "certificates": services.routes.certificates()}

    @app.post("/api/v1/routes/<name>/retry")
    @app.output(RetryAnswer)
    def retry(name: str) -> dict[str, Json]:
        """Have every image that was refused on a route tried again now."""
        person = permitted(services, Permission.ROUTE_RETRY)
        return {"count": services.routes.retry(name, person.name)}

    @app.post("/api/v1/routes/<name>/again")
    @app.input(AgainRequest, location="json", arg_name="wanted")
    @app.output(RetryAnswer)
    def again(name: str, wanted: AgainRequest) -> dict[str, Json]:
        """Have an archive that lost them get images once more that it was given."""
        person = permitted(services, Permission.ROUTE_RETRY)
        which = delivered(wanted.objects or (), wanted.since, wanted.until)
        return {"count": services.routes.again(name, which, person.name, wanted.reason)}


def _add_moves(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/api/v1/spool-moves")
    @app.output(MovesAnswer)
    def moves() -> dict[str, Json]:
        """Return every move of a spool to another host that was ever allowed, the newest first."""
        permitted(services, Permission.STATUS_READ)
        return {"moves": list(services.moves.status())}

    @app.post("/api/v1/spool-moves")
    @app.input(MoveRequest, location="json", arg_name="wanted")
    @app.output(MovesAnswer, status_code=201)
    def allow(wanted: MoveRequest) -> dict[str, Json]:
        """Let one host deliver what another one captured and signed."""
        person = permitted(services, Permission.SPOOL_MOVE)
        pair = HostId.parse(wanted.source), HostId.parse(wanted.bearer)
        move = services.moves.allow(person.name, *pair, wanted.reason, timedelta(days=wanted.days))
        return {"moves": [one for one in services.moves.status() if one["move"] == move.move_id]}

    @app.post("/api/v1/spool-moves/<move_id>/end")
    @app.output(MovesAnswer)
    def end(move_id: str) -> dict[str, Json]:
        """Take the word back; what came before it stays."""
        person = permitted(services, Permission.SPOOL_MOVE)
        services.moves.end(person.name, move_id)
        return {"moves": [one for one in services.moves.status() if one["move"] == move_id]}


def _add_commands(app: APIFlask, services: PeopleServices) -> None:
    @app.get("/api/v1/commands")
    @app.input(CommandsQuery, location="query", arg_name="wanted")
    @app.output(CommandsAnswer)
    def commands(wanted: CommandsQuery) -> dict[str, Json]:
        """Return commands to hosts, the newest first, and what became of each."""
        permitted(services, Permission.STATUS_READ)
        host = None if wanted.host is None else HostId.parse(wanted.host)
        command = None if wanted.command is None else CommandId.parse(wanted.command)
        return {"commands": list(services.commands.status(host, command))}

    @app.post("/api/v1/commands")
    @app.input(CommandRequest, location="json", arg_name="wanted")
    @app.output(CommandsAnswer, status_code=201)
    def issue_command(wanted: CommandRequest) -> dict[str, Json]:
        """Take a command that people signed, for its host to fetch."""
        person = permitted(services, Permission.HOST_COMMAND)
        signed = decode_base64(wanted.signed, "command request field 'signed'", MAX_ENVELOPE_BYTES)
        command = services.commands.issue(person.name, signed)
        return {"commands": list(services.commands.status(command_id=command.command_id))}


def _verify_host() -> None:
    # A name of somebody else's that resolves to this machine must not reach this door (DNS rebinding).
    if not _LOOPBACK.fullmatch(request.headers.get("Host", "")):
        abort(421, "this door answers to loopback names only")
    if "\x00" in request.path or any("\x00" in one for pair in request.args.items(multi=True) for one in pair):
        abort(422, "a text in the address has the character NUL")


def _harden(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", page.CONTENT_SECURITY_POLICY)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers.setdefault("Referrer-Policy", "no-referrer")
    response.headers.setdefault("Cache-Control", "no-store")
    return response
