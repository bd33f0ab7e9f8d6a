"""Turns our errors into RFC 9457 problem documents. The only place that knows status codes for them."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from apiflask import APIFlask, HTTPError
from flask import Response
from werkzeug.exceptions import HTTPException

from control_plane.enrolment.code_service import CodeUnknown
from control_plane.enrolment.codes import CodeOfAnotherAsset, CodeRefused
from control_plane.enrolment.lapsed import NoSuchAsk
from control_plane.enrolment.tombstones import Tombstoned
from control_plane.fleet.devices import NoSuchHost
from control_plane.http.expected import in_words
from control_plane.http.limits import TooManyFailures
from control_plane.moving.grants import MoveUnknown
from control_plane.people.accounts import NotSignedIn
from control_plane.people.attempts import NotProved
from control_plane.people.factors import FactorUnknown
from control_plane.people.people import PersonUnknown
from control_plane.people.permissions import NotPermitted
from control_plane.people.provider_sign_in import NotBound
from control_plane.people.sessions import SessionUnknown
from control_plane.people.tokens import TokenUnknown
from control_plane.people.two_persons import RequestUnknown
from control_plane.policy.versions import VersionUnknown
from control_plane.sanitize.certifying import NotCertifiedYet
from control_plane.sanitize.reading import OrderUnknown
from control_plane.tlog.proofs import NotInLog
from control_plane.tlog.reading import NoSuchTile
from control_plane.vault.opening import ObjectUnknown
from control_plane.witnesses.showing import NothingCosigned
from shared.audit.batch import AuditGap
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.routes.queue import RouteUnknown

_LOG = logging.getLogger(__name__)
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (NotSignedIn, 401),
    (NotProved, 403),
    (CodeRefused, 403),
    (CodeOfAnotherAsset, 403),
    (Tombstoned, 403),
    (NotPermitted, 403),
    (TooManyFailures, 429),
    (ObjectUnknown, 404),
    (RouteUnknown, 404),
    (MoveUnknown, 404),
    (NoSuchHost, 404),
    (NoSuchAsk, 404),
    (CodeUnknown, 404),
    (RequestUnknown, 404),
    (PersonUnknown, 404),
    (FactorUnknown, 404),
    (NotBound, 404),
    (SessionUnknown, 404),
    (TokenUnknown, 404),
    (VersionUnknown, 404),
    (NotInLog, 404),
    (NoSuchTile, 404),
    (OrderUnknown, 404),
    (NotCertifiedYet, 404),
    (NothingCosigned, 404),
    (AuditGap, 409),
    (Malformed, 400),
    (IntegrityFailure, 422),
    (Unavailable, 503),
    (Refused, 409),
)


def problem(status: int, title: str, detail: str, **members: object) -> Response:
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail, **members}
    return Response(json.dumps(body) + "\n", status, content_type="application/problem+json")


def new_app(
    title: str,
    overrides: tuple[tuple[type[Exception], int], ...] = (),
    *,
    static_folder: Path | None = None,
    on_unforeseen: Callable[[Exception], None] = lambda _error: None,
) -> APIFlask:
    """Return an app whose every error is a problem document; `overrides` come before the common table.

    `on_unforeseen` is told of each error that is none of ours, in the request that it ended.
    """
    app = APIFlask(
        __name__,
        title=title,
        version="1",
        docs_path=None,
        spec_path="/api/v1/openapi.json",
        static_folder=static_folder and str(static_folder),  # type: ignore[arg-type]  # None is taken, as in Flask
    )
    _install(app, overrides + _STATUS, on_unforeseen)
    return app


def _install(
    app: APIFlask, table: tuple[tuple[type[Exception], int], ...], on_unforeseen: Callable[[Exception], None]
) -> None:
    def ours(error: Exception) -> Response:
        status = next(status for kind, status in table if isinstance(error, kind))
        name = type(error).__name__
        _LOG.info("request refused", extra={"error": name, "status": status})
        members = {"held": error.held} if isinstance(error, AuditGap) else {}
        response = problem(status, _in_words(name), str(error), error=name, **members)
        if isinstance(error, TooManyFailures):
            response.headers["Retry-After"] = str(error.retry_after_s)
        if status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response

    def of_http(error: HTTPException) -> Response:
        return problem(error.code or 500, error.name, error.description or "")

    def unexpected(error: Exception) -> Response:
        # The last HTTP handler: a bug. The unit of work failed; its traceback is in the log and not in the answer.
        _LOG.error("request failed", exc_info=error)
        try:
            on_unforeseen(error)
        except Exception as exc:  # noqa: BLE001 (still the last handler: it may be the audit log itself that failed)
            _LOG.error("and could not be recorded", exc_info=exc)
        return problem(500, "Internal error", "the control plane failed at this; its log has the details")

    for parent in (Refused, IntegrityFailure, Unavailable):
        app.register_error_handler(parent, ours)
    app.register_error_handler(Exception, unexpected)

    @app.error_processor
    def of_apiflask(error: HTTPError) -> Response:
        return problem(error.status_code, error.message or "Bad request", "; ".join(_faults(error.detail)))

    # Last, because the decorator above installs its own handler, which drops the description.
    app.register_error_handler(HTTPException, of_http)


def _faults(detail: object, path: str = "") -> Iterator[str]:
    """Yield `field: what is wrong with it` from APIFlask's nested form, `{where: {field: [what]}}`."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            yield from _faults(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(detail, list):
        yield from (f"{path.partition('.')[2] or path}: {in_words(str(what))}" for what in detail)


def _in_words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()
