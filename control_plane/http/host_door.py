"""The host door: mutual TLS only. Sealed objects and audit batches in, policy out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from apiflask import APIFlask
from flask import Response, abort, request
from werkzeug.exceptions import ClientDisconnected, HTTPException
from werkzeug.wrappers import Response as AnyResponse
from werkzeug.wsgi import get_content_length, get_input_stream

from control_plane.audit_log.intake import AuditIntake, BatchOfAnotherHost
from control_plane.checkpoints.exchange import CheckpointExchange
from control_plane.enrolment.certified import CertificateBarred
from control_plane.enrolment.enroller import Renewer
from control_plane.enrolment.standing import Act, HostQuarantined
from control_plane.fleet.commands import FleetCommands
from control_plane.fleet.states import HostUnknown, StateIntake, StateOfAnother, StateReplayed
from control_plane.http import batches, problems
from control_plane.http.host_identity import HostIdentities, NotAHost
from control_plane.moving.grants import MoveOver
from control_plane.policy.publisher import PolicyPublisher
from control_plane.sanitize.intake import WipeIntake
from control_plane.sanitize.orders import WipeOrders
from control_plane.tlog.proofs import LogProofs
from control_plane.vault.losses import Losses
from control_plane.vault.receive import NotHeld, ObjectConflict, ObjectOfAnotherHost, VaultIntake
from control_plane.vault.self_test import SelfTestDesk
from control_plane.witnesses.gathering import Gathering
from shared.audit import batch, checkpoint, packed
from shared.audit.tlog import exchange as log_exchange
from shared.audit.tlog import witnessing
from shared.enrolment import exchange
from shared.enrolment.renewal import EVIDENCE_PATH, EvidenceRenewalRequest, RenewalRequest
from shared.errors import Malformed
from shared.fleet import command, receipt, state
from shared.identity import CommandId, ObjectId
from shared.sanitization import exchange as wipes_exchange
from shared.sanitization import note, report
from shared.sanitization.exchange import ListedWipes
from shared.sanitization.ticket import TicketId
from shared.self_test import exchange as self_test

MAX_OBJECT_BYTES = 8 << 30
_MAX_SIGNED_RESULT_BYTES = command.MAX_RESULT_BYTES + 256
_MAX_SIGNED_REPORT_BYTES = report.MAX_BYTES + 256
_OCTETS = "application/octet-stream"
_OVERRIDES: tuple[tuple[type[Exception], int], ...] = (
    (NotAHost, 403),
    (CertificateBarred, 403),
    (HostUnknown, 403),
    (HostQuarantined, 403),
    (StateOfAnother, 403),
    # Somebody may allow it later, so what was sent is not at fault and the host keeps it waiting.
    (ObjectOfAnotherHost, 403),
    (BatchOfAnotherHost, 403),
    (MoveOver, 403),
    (NotHeld, 404),
    (StateReplayed, 409),
    (ObjectConflict, 409),
    (Malformed, 422),
)


@dataclass(frozen=True)
class HostServices:
    """Everything that hosts can reach through their door."""

    identities: HostIdentities
    vault: VaultIntake
    audit: AuditIntake
    policy: PolicyPublisher
    states: StateIntake
    renewer: Renewer
    commands: FleetCommands
    checkpoints: CheckpointExchange
    self_tests: SelfTestDesk
    proofs: LogProofs
    wipes: WipeOrders
    wipe_intake: WipeIntake
    gathering: Gathering
    losses: Losses
    restored: str  # the mark of the last restore, empty where there was none


def host_door(services: HostServices) -> APIFlask:
    app = problems.new_app("Leadglass host door", _OVERRIDES)
    said = _said_to_all(services.restored)
    app.after_request(partial(_says, said))
    _add_deliveries(app, services)
    _add_policy(app, services)
    _add_renewals(app, services)
    _add_log(app, services)
    _add_state(app, services)
    _add_commands(app, services)
    _add_wipes(app, services)
    app.wsgi_app = batches.Batches(app.wsgi_app, partial(_take_batch, services), said)  # type: ignore[method-assign]  # as Flask has it done
    return app


def _add_deliveries(app: APIFlask, services: HostServices) -> None:
    @app.put("/api/v1/objects/<object_id>")
    def put_object(object_id: str) -> Response:
        """Take one sealed object file; the answer is the vault's signed receipt (docs/formats/sealed-object.md)."""
        host = services.identities.of(request, Act.DELIVER)
        size = _content_length(request.environ, MAX_OBJECT_BYTES)
        signed = services.vault.receive(ObjectId.parse(object_id), host, request.stream, size)
        return Response(signed, content_type=_OCTETS)

    @app.get("/api/v1/objects/<object_id>")
    def get_receipt(object_id: str) -> Response:
        """Give the receipt of an object that is held once more (docs/formats/host-state.md)."""
        host = services.identities.of(request, Act.DELIVER)
        return Response(services.vault.receipt_of(ObjectId.parse(object_id), host), content_type=_OCTETS)

    @app.post(batches.PATH)
    def post_batch() -> dict[str, int]:
        """Take one signed batch of audit records; `held` is the last record that is durable here."""
        raise batches.failed(request.environ)

    @app.post(self_test.PATH)
    def compare_phantom() -> Response:
        """Open a host's own phantom, and say whether it is what that host sent (docs/formats/self-test.md)."""
        sent = _body(self_test.MAX_QUESTION_BYTES)
        word = services.self_tests.answer(services.identities.of(request, Act.DELIVER), sent)
        return Response(word.encode(), content_type="application/json")


def _add_policy(app: APIFlask, services: HostServices) -> None:
    @app.get("/api/v1/policy/head")
    def policy_head() -> AnyResponse:
        """Return the current policy head bundle (docs/formats/policy.md)."""
        host, head = services.identities.of(request, Act.REPORT), services.policy.head()
        return _telling_losses(_bundle(None if head is None else head.encode()), services.losses.untold(host))

    @app.get("/api/v1/policy/layers/<name>")
    def policy_layer(name: str) -> AnyResponse:
        """Return the current bundle of one policy layer."""
        services.identities.of(request, Act.REPORT)
        layer = services.policy.layer(name)
        return _bundle(None if layer is None else layer.encode())


def _add_renewals(app: APIFlask, services: HostServices) -> None:
    @app.post("/api/v1/renewal")
    def renew() -> Response:
        """Give the host its next certificate, for a fresh key (docs/formats/enrolment.md)."""
        sent = _body(exchange.MAX_BYTES)
        answer = services.renewer.renew(services.identities.of(request, Act.RENEW), RenewalRequest.parse(sent))
        return Response(answer.encode(), content_type="application/json")

    @app.post(EVIDENCE_PATH)
    def renew_evidence() -> Response:
        """Certify the host's evidence key for another year, when that is due (docs/formats/enrolment.md)."""
        sent = _body(exchange.MAX_BYTES)
        answer = services.renewer.renew_evidence(
            services.identities.of(request, Act.RENEW), EvidenceRenewalRequest.parse(sent)
        )
        return Response(answer.encode(), content_type="application/json")


def _add_log(app: APIFlask, services: HostServices) -> None:
    @app.post(checkpoint.PATH)
    def hold_against_log() -> Response:
        """Take what a host saw of the centre's log, and answer what it is now (docs/formats/log-checkpoint.md)."""
        host, question = services.identities.certified(request), _body(witnessing.MAX_QUESTION_BYTES)
        return Response(services.checkpoints.answer(host, question), content_type="application/json")

    @app.post(witnessing.COSIGNATURE_PATH)
    def take_cosignature() -> Response:
        """Take a checkpoint of the Merkle log that a host cosigned (docs/formats/log-checkpoint.md)."""
        sent = _body(witnessing.MAX_COSIGNATURE_BYTES)
        services.gathering.take_of_host(services.identities.of(request, Act.DELIVER), sent)
        return Response(status=204)

    @app.post(log_exchange.PATH)
    def prove_inclusion() -> Response:
        """Prove where one of the host's own records is in the Merkle log (docs/formats/audit-log.md)."""
        host = services.identities.of(request, Act.REPORT)
        question = log_exchange.InclusionQuestion.parse(_body(log_exchange.MAX_QUESTION_BYTES))
        answer = log_exchange.InclusionAnswer(services.proofs.of_leaf(host, question.leaf))
        return Response(answer.encode(), content_type="application/json")


def _add_state(app: APIFlask, services: HostServices) -> None:
    @app.post("/api/v1/state")
    def post_state() -> AnyResponse:
        """Take one signed state report (docs/formats/host-state.md)."""
        sent = _body(state.MAX_BYTES)
        host = services.identities.of(request, Act.REPORT)
        services.states.take(host, sent)
        return _telling_losses(Response(status=204), services.losses.untold(host))


def _add_commands(app: APIFlask, services: HostServices) -> None:
    @app.get("/api/v1/commands")
    def get_commands() -> Response:
        """Return the commands that the host has not answered yet (docs/formats/command.md)."""
        listed = command.encode_commands(services.commands.waiting(services.identities.of(request, Act.REPORT)))
        return Response(listed, content_type="application/json")

    @app.post("/api/v1/commands/<command_id>/result")
    def post_result(command_id: str) -> Response:
        """Take the host's signed word on what became of a command."""
        sent = _body(_MAX_SIGNED_RESULT_BYTES)
        services.commands.take_result(services.identities.of(request, Act.REPORT), CommandId.parse(command_id), sent)
        return Response(status=204)


def _add_wipes(app: APIFlask, services: HostServices) -> None:
    @app.get(wipes_exchange.PATH)
    def get_wipes() -> Response:
        """Return the wipe tickets that wait for the host, and whether an incident holds it (docs/formats/wipe.md)."""
        hold, tickets = services.wipes.waiting(services.identities.of(request, Act.REPORT))
        return Response(ListedWipes(hold, tickets).encode(), content_type="application/json")

    @app.post(f"{wipes_exchange.PATH}/<order_id>/notes")
    def post_wipe_note(order_id: str) -> Response:
        """Take what the host says it does with a ticket."""
        sent = _body(note.MAX_BYTES)
        services.wipe_intake.take_note(services.identities.of(request, Act.REPORT), TicketId.parse(order_id), sent)
        return Response(status=204)

    @app.post(f"{wipes_exchange.PATH}/<order_id>/report")
    def post_wipe_report(order_id: str) -> Response:
        """Take the host's signed report of a wipe: the evidence."""
        sent = _body(_MAX_SIGNED_REPORT_BYTES)
        services.wipe_intake.take_report(services.identities.of(request, Act.REPORT), TicketId.parse(order_id), sent)
        return Response(status=204)


def _take_batch(services: HostServices, environ: batches.Environ) -> int:
    sent = _body_of(environ, batch.MAX_BYTES)
    sender = services.identities.sender(environ, Act.DELIVER)
    return services.audit.take(sender.host_id, sent, sender.keys)


def _said_to_all(restored: str) -> tuple[tuple[str, str], ...]:
    reads = (state.READS_HEADER, ", ".join((*state.READS, packed.MEMBER, receipt.MEMBER)))
    return (reads, (receipt.RESTORED_HEADER, restored)) if restored else (reads,)


def _says(said: Sequence[tuple[str, str]], response: AnyResponse) -> AnyResponse:
    for name, value in said:
        response.headers[name] = value
    return response


def _telling_losses(response: AnyResponse, lost: Sequence[ObjectId]) -> AnyResponse:
    if lost:
        response.headers[receipt.LOST_HEADER] = ", ".join(map(str, lost))
    return response


def _content_length(environ: batches.Environ, most: int) -> int:
    size = get_content_length(environ)
    if size is None:
        abort(411)
    if size > most:
        raise _TooLarge(f"at most {most} bytes are taken here, {size} were announced")
    return size


def _body(most: int) -> bytes:
    """Read the whole body. Before the sender is judged: who sends slowly is not let in by what held when it began."""
    return _body_of(request.environ, most)


def _body_of(environ: batches.Environ, most: int) -> bytes:
    size = _content_length(environ, most)
    sent = get_input_stream(environ).read(size)
    # Whoever is cut off has sent nothing yet, also nothing that could be refused.
    if len(sent) < size:
        raise ClientDisconnected
    return sent


def _bundle(data: bytes | None) -> AnyResponse:
    if data is None:
        abort(404, "no policy is published yet")
    response = Response(data, content_type="application/json")
    response.add_etag()
    return response.make_conditional(request)


class _TooLarge(HTTPException):
    code = 413
