"""The server of a DICOM peer that ends when it is told to; pynetdicom's own looks for that every half second."""

import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from ssl import SSLContext
from threading import Thread
from typing import Any

from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.transport import ThreadedAssociationServer

from provisioning.demo.processes import wait_until

_LOOK_EVERY_S = 0.02
_WITHIN_S = 20.0


class _Server(ThreadedAssociationServer):
    def serve_forever(self, poll_interval: float = _LOOK_EVERY_S) -> None:
        super().serve_forever(poll_interval)

    def service_actions(self) -> None:
        """Collect no garbage: theirs does, every sixtieth time that it looks."""


def serve(
    entity: ApplicationEntity, port: int = 0, *, handlers: Sequence[Any], tls: SSLContext | None = None
) -> ThreadedAssociationServer:
    handlers = [(of, _once_established(done) if of is evt.EVT_N_EVENT_REPORT else done) for of, done in handlers]
    server = entity.make_server(("127.0.0.1", port), ssl_context=tls, evt_handlers=handlers, server_class=_Server)
    entity._servers.append(server)  # whence the entity ends it
    Thread(target=server.serve_forever, daemon=True).start()
    return server


def _once_established(handler: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Have a report wait until its association is noted as accepted: one that overtakes that is never answered."""

    def handle(event: Any) -> Any:
        wait_until(lambda: event.assoc.is_established or not event.assoc.is_alive(), _WITHIN_S)
        return handler(event)

    return handle


def end(entity: ApplicationEntity) -> None:
    """Go away, with the connections that are still open.

    pynetdicom aborts each association instead. Where one has just answered a release that abort is out of place, and
    ends its thread with an error.
    """
    for association in entity.active_associations:
        transport = association.dul.socket
        connection = None if transport is None else transport.socket
        if connection is not None:
            with suppress(OSError):
                # Of the socket below TLS: the association's thread may be reading from the one above.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        association.join(_WITHIN_S)
    entity.shutdown()
