"""The enrolment door: server TLS only, for hosts that have no identity yet, and for logs that this centre witnesses."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from apiflask import APIFlask
from flask import Response, request

from control_plane.enrolment.enroller import Enroller
from control_plane.enrolment.lapsed import AskRefused, LapsedHosts, Waits
from control_plane.enrolment.taking_back import NotTakenBack, TakingBack
from control_plane.fleet.states import HostUnknown
from control_plane.http import problems
from control_plane.http.limits import FailureLimit
from control_plane.witnesses.serving import OthersWitness
from control_plane.witnesses.submission import LogNotSigned, LogUnknown, NotConsistent, SizeDiffers
from shared import canonical
from shared.audit.tlog import add_checkpoint
from shared.enrolment import claim
from shared.enrolment.exchange import MAX_BYTES, Doors, EnrolmentRequest
from shared.enrolment.lapsed import LapsedRequest
from shared.errors import IntegrityFailure, Malformed, Refused

WITNESS_STATUS: dict[type[Exception], int] = {
    Malformed: 400,
    LogNotSigned: 403,
    LogUnknown: 404,
    SizeDiffers: 409,
    NotConsistent: 422,
}
"""What C2SP tlog-witness says of each refusal."""

_OVERRIDES: tuple[tuple[type[Exception], int], ...] = (
    (HostUnknown, 403),
    (AskRefused, 403),
    (NotTakenBack, 403),
    *WITNESS_STATUS.items(),
    (IntegrityFailure, 403),
)


class Roots(Protocol):
    """Who certifies here, in PEM: what codes name, and all of it."""

    @property
    def pem(self) -> bytes: ...

    @property
    def roots_pem(self) -> bytes: ...


def enrolment_door(
    enroller: Enroller,
    lapsed: LapsedHosts,
    taking_back: TakingBack,
    authority: Roots,
    doors: Callable[[], Doors],
    limit: FailureLimit,
    witness: OthersWitness,
    witness_limit: FailureLimit,
) -> APIFlask:
    app = problems.new_app("Leadglass enrolment door", _OVERRIDES)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES
    _add_witness(app, witness, witness_limit)

    @app.get("/ca.pem")
    def ca_certificate() -> Response:
        """The root's certificate. Compare its SHA-256 with the enrolment code before believing it."""
        return Response(authority.pem, content_type="application/x-pem-file")

    @app.get("/roots.pem")
    def roots() -> Response:
        """The newest root, the ones before it, and their links. Believe what the root that you pinned has signed."""
        return Response(authority.roots_pem, content_type="application/x-pem-file")

    @app.post("/api/v1/enrol")
    def enrol() -> Response:
        """Enrol a host: one EnrolmentRequest in, one EnrolmentAnswer out (docs/formats/enrolment.md)."""
        with _limited(limit):
            answer = enroller.enrol(EnrolmentRequest.parse(request.get_data()), doors())
        return Response(answer.encode(), content_type="application/json")

    @app.post("/api/v1/lapsed")
    def ask() -> Response:
        """Take the ask of a host that has no certificate left; 202 until a person approves it, then its next one."""
        with _limited(limit):
            answer = lapsed.ask(LapsedRequest.parse(request.get_data()), request.remote_addr or "")
        if isinstance(answer, Waits):
            waits = canonical.encode({"v": 1, "waits": answer.fingerprint})
            return Response(waits, 202, content_type="application/json")
        return Response(answer.encode(), content_type="application/json")

    @app.post(claim.PATH)
    def show_claim() -> Response:
        """Keep what a host says of itself whose enrolment the log lost; 202: people decide about it."""
        with _limited(limit):
            taking_back.shown(request.get_data())
        return Response(status=202)

    return app


def _add_witness(app: APIFlask, witness: OthersWitness, limit: FailureLimit) -> None:
    @app.post(add_checkpoint.PATH)
    def add() -> Response:
        """Cosign a checkpoint of a log that this centre witnesses (C2SP tlog-witness)."""
        with _limited(limit):
            try:
                line = witness.add(request.get_data())
            except SizeDiffers as exc:
                # How a log learns where to go on from, so it is no failure that counts against whoever asked.
                status = WITNESS_STATUS[SizeDiffers]
                return Response(f"{exc.size}\n", status, content_type=add_checkpoint.SIZE_TYPE)
        return Response(line, content_type="text/plain; charset=utf-8")


@contextmanager
def _limited(limit: FailureLimit) -> Iterator[None]:
    """Raises TooManyFailures, before anything is looked at."""
    source = request.remote_addr or ""
    limit.check(source)
    try:
        yield
    except (Refused, IntegrityFailure):
        limit.failed(source)
        raise
