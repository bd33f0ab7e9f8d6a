"""The DICOM listener: accepts connections, and judges whose associations are served.

It listens only while a policy is in force: a closed port makes a modality use its documented fallback route, an open
one that cannot seal would only refuse. A calling AE title that the policy does not list gets an A-ASSOCIATE-RJ with
result 1 (permanent), source 1 (service user), reason 3 (calling AE title not recognised): PS3.8 section 9.3.4.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.audit.journal import Journal
from edge_agent.boundary import contained
from edge_agent.capture.admission import Admission, evaluate
from edge_agent.capture.association import Association, Patience
from edge_agent.capture.negotiation import LOCAL_LIMIT, Rejection, calling_ae_title_not_recognised
from edge_agent.capture.pipeline import CapturePipeline
from edge_agent.log import Log, why
from edge_agent.parts import Bell
from shared.audit.record import Action, Event, Happening, Outcome, Participant, Subject
from shared.errors import Unavailable
from shared.identity import HostId
from shared.policy.document import PolicyDocument

MAX_ASSOCIATIONS = 16
# Connections are counted before they have asked for anything; those beyond this are closed without a word.
_MAX_CONNECTIONS = 2 * MAX_ASSOCIATIONS
_BACKLOG = 64
_STOP_S = 5.0
_PAUSE_S = 0.1  # after an accept that failed, for lack of descriptors say


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
        patience: Patience = Patience(),  # noqa: B008  frozen
    ) -> None:
        self._address, self._host_id, self._policy = address, host_id, policy
        self._pipeline, self._journal, self._log, self._on_listening = pipeline, journal, log, on_listening
        self._patience = patience
        self._lock = threading.Lock()
        self._connections: dict[Association, threading.Thread] = {}
        self._associated: set[Association] = set()
        self.bell = Bell()
        self.port: int | None = None  # None: not listening

    def run(self, stop: threading.Event) -> None:
        while self._policy() is None:
            if stop.is_set():
                return
            self.bell.sleep()
        server = self._server()
        stopping = threading.Event()
        acceptor = threading.Thread(target=self._accept, args=(server, stopping), name="dicom-acceptor", daemon=True)
        acceptor.start()
        self.port = int(server.getsockname()[1])
        self._log.event("dicom.listening", address=self._address.host, port=self.port)
        try:
            self._on_listening()
            while not stop.is_set():
                self.bell.sleep()
        finally:
            self.port = None
            stopping.set()
            # Wakes the acceptor; closing alone would not.
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            server.close()
            self._end_associations()

    def _server(self) -> socket.socket:
        try:
            return socket.create_server((self._address.host, self._address.port), backlog=_BACKLOG)
        except OSError as exc:
            raise PortUnavailable(self._address, exc.strerror or "it failed") from exc

    def _accept(self, server: socket.socket, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                connection, address = server.accept()
            except OSError as exc:
                if not stopping.is_set():
                    self._log.event("dicom.accept-failed", why=why(exc))
                    stopping.wait(_PAUSE_S)
                continue
            if not contained(self._log, "dicom.accept", lambda: self._begin(connection, str(address[0]))):  # noqa: B023  called at once
                connection.close()

    def _begin(self, connection: socket.socket, address: str) -> None:
        with self._lock:
            full = len(self._connections) >= _MAX_CONNECTIONS
        if full:
            self._log.event("dicom.connection-refused", reason="too many connections are open")
            connection.close()
            return
        association = Association(
            connection,
            admit=lambda calling: self._judge(association, calling, address),
            pipeline=self._pipeline,
            log=self._log,
            patience=self._patience,
        )
        thread = threading.Thread(
            target=self._serve, args=(association,), name=f"dicom-{connection.fileno()}", daemon=True
        )
        with self._lock:
            self._connections[association] = thread
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            with self._lock:
                self._connections.pop(association, None)
            raise

    def _serve(self, association: Association) -> None:
        try:
            contained(self._log, "dicom.association", association.run)
        finally:
            with self._lock:
                self._associated.discard(association)
                self._connections.pop(association, None)

    def _end_associations(self) -> None:
        with self._lock:
            connections = dict(self._connections)
        for association in connections:
            association.stop()
        deadline = time.monotonic() + _STOP_S
        for thread in connections.values():
            thread.join(max(deadline - time.monotonic(), 0))

    def _judge(self, association: Association, calling: str, address: str) -> Rejection | None:
        """Return None to let a modality in. An error refuses too."""
        admission = Admission(False, "the request could not be judged")

        def judge() -> None:
            nonlocal admission
            judged = evaluate(self._policy(), calling)
            if not judged.admitted:
                self._record_refusal(calling, address, judged.reason)
            admission = judged

        contained(self._log, "dicom.admission", judge)
        if not admission.admitted:
            return calling_ae_title_not_recognised(admission.reason)
        with self._lock:
            if len(self._associated) >= MAX_ASSOCIATIONS:
                return LOCAL_LIMIT
            self._associated.add(association)
        return None

    def _record_refusal(self, calling: str, address: str, reason: str) -> None:
        who = (Participant("ae", calling, True), Participant("host", str(self._host_id), False))
        what = (Subject("address", address),)
        event = Event.ASSOCIATION_REFUSED
        self._journal.record(Happening(event, Action.EXECUTE, Outcome.MINOR_FAILURE, who, what, reason))
