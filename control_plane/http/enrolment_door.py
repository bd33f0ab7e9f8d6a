"""The enrolment door: server TLS only, for hosts that have no identity yet."""

from collections.abc import Callable

from apiflask import APIFlask
from flask import Response, request

from control_plane.enrolment.enroller import Enroller
from control_plane.http import problems
from control_plane.http.limits import FailureLimit
from shared.enrolment.exchange import MAX_BYTES, Doors, EnrolmentRequest
from shared.errors import Refused


def enrolment_door(enroller: Enroller, ca_pem: bytes, doors: Callable[[], Doors], limit: FailureLimit) -> APIFlask:
    app = problems.new_app("Leadglass enrolment door")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES

    @app.get("/ca.pem")
    def ca_certificate() -> Response:
        """The CA certificate. Compare its SHA-256 with the enrolment code before believing it."""
        return Response(ca_pem, content_type="application/x-pem-file")

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
