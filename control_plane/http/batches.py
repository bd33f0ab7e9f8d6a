"""Answers for a batch of audit records once it is taken, without Flask, which takes as long as verifying a record does.

Only what was taken is answered here. Whatever was refused or failed, and whatever asks for something else, is the
application's: it alone turns errors into answers.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

PATH = "/api/v1/audit/batches"

Environ = dict[str, Any]
Wsgi = Callable[[Environ, Any], Iterable[bytes]]
_FAILED = "leadglass.failed"


class Batches:
    """Stands before `app`, whose route of `PATH` is to raise `failed`; `said` are headers that every answer has."""

    def __init__(self, app: Wsgi, take: Callable[[Environ], int], said: Sequence[tuple[str, str]]) -> None:
        self._app, self._take, self._said = app, take, said

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != PATH or environ["REQUEST_METHOD"] != "POST":
            return self._app(environ, start_response)
        try:
            held = self._take(environ)
        except Exception as exc:  # noqa: BLE001 (the application answers it, and logs what is a bug)
            environ[_FAILED] = exc
            try:
                return self._app(environ, start_response)
            finally:
                # An error holds what was sent, by its traceback; were it left here, it would hold itself as well.
                del environ[_FAILED]
        body = b'{"held":%d}\n' % held
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *self._said]
        start_response("200 OK", headers)
        return [body]


def failed(environ: Environ) -> Exception:
    """Return what became of a batch that was not taken."""
    error: Exception = environ[_FAILED]
    return error
