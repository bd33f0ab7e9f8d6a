"""The enrolment door: server TLS only, for hosts that have no identity yet."""

from collections.abc import Callable
from typing import Protocol

from apiflask import APIFlask
from flask import Response, request

from control_plane.enrolment.enroller import Enroller
from control_plane.http import problems
from control_plane.http.limits import FailureLimit
from shared.enrolment.exchange import MAX_BYTES, Doors, EnrolmentRequest
from shared.errors import Refused


class Roots(Protocol):
    """Who certifies here, in PEM: what codes name, and all of it."""

    @property
    def pem(self) -> bytes: ...

    @property
    def roots_pem(self) -> bytes: ...


def enrolment_door(enroller: Enroller, authority: Roots, doors: Callable[[], Doors], limit: FailureLimit) -> APIFlask:
    app = problems.new_app("Leadglass enrolment door")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES

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
        source = request.remote_addr or ""
        limit.check(source)
        try:
            answer = enroller.enrol(EnrolmentRequest.parse(request.get_data()), doors())
        except Refused:
            limit.failed(source)
            raise
        return Response(answer.encode(), content_type="application/json")

    return app
