"""The DICOM listener: C-STORE and C-ECHO over pynetdicom, the dataset taken as the bytes that came.

It listens only while a policy is in force: a closed port makes a modality use its documented fallback route, an open
one that cannot seal would only refuse. A calling AE title that the policy does not list gets an A-ASSOCIATE-RJ with
result 1 (permanent), source 1 (service user), reason 3 (calling AE title not recognised): PS3.8 section 9.3.4.
"""

import contextlib
import socket
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from socketserver import BaseServer
from typing import Any

from pynetdicom import _config, evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

from edge_agent.audit.journal import Journal
from edge_agent.boundary import contained
from edge_agent.capture.admission import Admission, evaluate
from edge_agent.capture.pipeline import CapturePipeline, ReceivedImage
from edge_agent.log import OUR_ERRORS, Log, why
from edge_agent.parts import Bell
from shared.audit.record import Action, Event, Happening, Outcome, Participant, Subject
from shared.errors import Unavailable
from shared.identity import HostId
from shared.policy.document import PolicyDocument

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700  # PS3.4 table B.2-1: refused, the modality keeps the image and may send it again
MAX_PDU_BYTES = 256 << 10
_MAX_ASSOCIATIONS = 16
_REQUEST_TIMEOUT_S = 10  # a connection that asks for nothing holds a thread this long


@dataclass(frozen=True)
class Address:
    """Where modalities send to. Port 0 lets the system choose."""

    host: str
    port: int
    ae_title: str


class PortUnavailable(Unavailable):
    def __init__(self, address: Address, why: str) -> None:
        super().__init__(f"cannot listen for modalities on {address.host} port {address.port}: {why}")
        self.address, self.why = address, why


class DicomListener:
    """A part of the agent: listens from the first policy until the agent stops."""

    name = "dicom-listener"

    def __init__(
        self,
        address: Address,
        *,
        host_id: HostId,
        policy: Callable[[], PolicyDocument | None],
        pipeline: CapturePipeline,
        journal: Journal,
        log: Log,
        on_listening: Callable[[], None] = lambda: None,
        poll_s: float = 1.0,
    ) -> None:
        self._address, self._host_id, self._policy = address, host_id, policy
        self._pipeline, self._journal, self._log, self._on_listening = pipeline, journal, log, on_listening
        self._poll_s = poll_s  # how long a stop may take to be noticed
        self.bell = Bell()
        self.port: int | None = None  # None: not listening

    def run(self, stop: threading.Event) -> None:
        while self._policy() is None:
            if stop.is_set():
                return
            self.bell.sleep()
        server = self._server()
        acceptor = threading.Thread(
            target=server.serve_forever, args=(self._poll_s,), name="dicom-acceptor", daemon=True
        )
        acceptor.start()
        self.port = int(server.server_address[1])
        self._log.event("dicom.listening", address=self._address.host, port=self.port)
        try:
            self._on_listening()
            while not stop.is_set():
                self.bell.sleep()
        finally:
            self.port = None
            server.shutdown()
            acceptor.join()

    def _server(self) -> ThreadedAssociationServer:
        _configure_pynetdicom()
        entity = ApplicationEntity(self._address.ae_title)
        entity.maximum_pdu_size = MAX_PDU_BYTES
        entity.maximum_associations = _MAX_ASSOCIATIONS
        entity.acse_timeout = _REQUEST_TIMEOUT_S
        entity.add_supported_context(Verification)
        handlers: list[Any] = [(evt.EVT_REQUESTED, self._on_requested), (evt.EVT_C_STORE, self._on_store)]
        try:
            return entity.make_server(
                (self._address.host, self._address.port),
                evt_handlers=handlers,
                server_class=partial(_NoDelayServer, log=self._log),  # type: ignore[arg-type]
            )
        except OSError as exc:
            raise PortUnavailable(self._address, exc.strerror or "it failed") from exc

    def _on_requested(self, event: evt.Event) -> None:
        """Refuse whom the policy does not list. Errors refuse too: pynetdicom would log them and go on."""
        association = event.assoc
        requested = association.requestor.primitive
        calling = (requested.calling_ae_title if requested is not None else None) or ""
        admission = Admission(False, "the request could not be judged")

        def judge() -> None:
            nonlocal admission
            judged = evaluate(self._policy(), calling)
            if not judged.admitted:
                self._record_refusal(association, calling, judged.reason)
            admission = judged

        contained(self._log, "dicom.association", judge)
        if not admission.admitted:
            self._log.event("dicom.association-refused", reason=admission.reason)
            association.acse.send_reject(0x01, 0x01, 0x03)
            # Waits until the peer has closed, as pynetdicom does after its own refusals; else the answer may be lost.
            association.kill()

    def _record_refusal(self, association: Association, calling: str, reason: str) -> None:
        who = (Participant("ae", calling, True), Participant("host", str(self._host_id), False))
        what = (Subject("address", association.requestor.address or ""),)
        event = Event.ASSOCIATION_REFUSED
        self._journal.record(Happening(event, Action.EXECUTE, Outcome.MINOR_FAILURE, who, what, reason))

    def _on_store(self, event: evt.Event) -> int:
        captured = False

        def capture() -> None:
            nonlocal captured
            try:
                self._capture(event)
                captured = True
            except OUR_ERRORS as exc:
                self._log.event("image.refused", why=why(exc))

        contained(self._log, "capture", capture)
        return SUCCESS if captured else OUT_OF_RESOURCES

    def _capture(self, event: evt.Event) -> None:
        request: Any = event.request
        # Not event.dataset: that would decode what only passes through here.
        with request.DataSet.getbuffer() as dataset:
            object_id = self._pipeline.capture(
                ReceivedImage(
                    calling_ae_title=event.assoc.requestor.ae_title,
                    sop_instance_uid=str(request.AffectedSOPInstanceUID),
                    transfer_syntax=str(event.context.transfer_syntax),
                    dataset=dataset,
                )
            )
            self._log.event("image.captured", object=str(object_id), dataset_bytes=len(dataset))


class _Connection(socket.socket):
    """Takes a shutdown after the peer has gone without complaint; pynetdicom would skip the close that follows."""

    def shutdown(self, how: int) -> None:
        with contextlib.suppress(OSError):
            super().shutdown(how)


class _NoDelayServer(ThreadedAssociationServer):
    """Sends each response at once: a sender that waits for it is otherwise held up by Nagle's algorithm."""

    daemon_threads = True

    def __init__(self, *args: Any, log: Log, **kwargs: Any) -> None:
        self._log = log
        self._connections: weakref.WeakSet[_Connection] = weakref.WeakSet()
        super().__init__(*args, **kwargs)

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        accepted, address = super().get_request()
        connection = _Connection(fileno=accepted.detach())
        self._connections.add(connection)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection, address

    def shutdown(self) -> None:
        """Stop listening and hang up. pynetdicom's own expects it on a list where only `start_server` puts it."""
        BaseServer.shutdown(self)
        self.server_close()
        # To a modality this is an A-P-ABORT: what was not acknowledged it keeps, and sends again.
        for connection in list(self._connections):
            connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, _request: object, _client_address: object) -> None:
        self._log.event("dicom.connection-failed")


def _configure_pynetdicom() -> None:
    _config.UNRESTRICTED_STORAGE_SERVICE = True  # private and future SOP Classes are images to be protected too
    _config.LOG_HANDLER_LEVEL = "none"
