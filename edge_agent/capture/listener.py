"""The DICOM listener: accepts connections, and judges whose associations are served.

It listens only while a policy is in force: a closed port makes a modality use its documented fallback route, an open
one that cannot seal would only refuse. A calling AE title that the policy does not list gets an A-ASSOCIATE-RJ with
result 1 (permanent), source 1 (service user), reason 3 (calling AE title not recognised): PS3.8 section 9.3.4. Whom a
later policy does not let in any more is aborted at the next request.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_agent.boundary import contained
from edge_agent.capture.admission import evaluate, knows_address
from edge_agent.capture.association import Association, Patience
from edge_agent.capture.attempts import Reason
from edge_agent.capture.crowd import Crowd, Limits
from edge_agent.capture.interception import Interception
from edge_agent.capture.negotiation import LOCAL_LIMIT, Rejection, calling_ae_title_not_recognised
from edge_agent.capture.pipeline import CapturePipeline
from edge_agent.capture.tls import DicomTls
from edge_agent.commitment.desk import CommitmentDesk
from edge_agent.log import Log, why
from edge_agent.parts import Bell
from shared.errors import Unavailable
from shared.policy.document import PolicyDocument

_BACKLOG = 64
# On a loopback a segment holds 64 KiB. A sender with Nagle's algorithm then keeps each TLS record of 16 KiB back until
# we have woken and acknowledged the one before. Two full segments the kernel acknowledges at once, without us.
_MOST_SEGMENT_BYTES = 7000
_STOP_S = 5.0
_PAUSE_S = 0.1  # after an accept that failed, for lack of descriptors say
_TELL_EVERY_S = 15.0  # how often is looked which numbers of attempts are to be recorded


@dataclass(frozen=True)
class Address:
    """Where modalities send to. Port 0 lets the system choose; `tls_port` None: no DICOM over TLS."""

    host: str
    port: int
    ae_title: str
    tls_port: int | None = None


class PortUnavailable(Unavailable):
    def __init__(self, host: str, port: int, why: str) -> None:
        super().__init__(f"cannot listen for modalities on {host} port {port}: {why}")
        self.host, self.port, self.why = host, port, why


@dataclass(frozen=True)
class _LetIn:
    """Whom policy let in: what is judged again under the next one."""

    calling: str
    address: str
    certificate_sha256: str | None


class DicomListener:
    """A part of the agent: listens from the first policy until the agent stops."""

    name = "dicom-listener"

    def __init__(
        self,
        address: Address,
        *,
        policy: Callable[[], PolicyDocument | None],
        pipeline: CapturePipeline,
        interception: Interception,
        log: Log,
        tls: DicomTls | None = None,
        commitments: CommitmentDesk | None = None,
        on_listening: Callable[[], None] = lambda: None,
        patience: Patience = Patience(),  # noqa: B008  frozen
        limits: Limits = Limits(),  # noqa: B008  frozen
        is_open: Callable[[], bool] = lambda: True,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`tls` is what secures connections to the TLS port; without it that port stays closed.

        `is_open` says whether anything may come in at all; rung, the listener asks again.
        """
        self._address, self._policy = address, policy
        self._pipeline, self._interception, self._log, self._on_listening = pipeline, interception, log, on_listening
        self._tls, self._commitments, self._patience = tls, commitments, patience
        self._is_open, self._monotonic = is_open, monotonic
        self._lock = threading.Lock()
        self._connections: dict[Association, threading.Thread] = {}
        self._let_in: dict[Association, _LetIn] = {}
        self._crowd = Crowd(limits)
        self.bell = Bell()
        self.port: int | None = None  # None: not listening
        self.is_serving = False  # from before its port is open until it is closed and the associations have been ended
        self.tls_port: int | None = None

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            # Said before it is asked, so that who closes it meanwhile does not take it for closed already.
            self.is_serving = True
            try:
                if self._policy() is not None and self._is_open():
                    self._listen(stop)
                    continue
            finally:
                self.is_serving = False
            self.bell.sleep()

    def _listen(self, stop: threading.Event) -> None:
        stopping = threading.Event()
        with contextlib.ExitStack() as open_ports:
            # What is entered first comes last: nobody is accepted any more when these are run.
            open_ports.callback(contained, self._log, "dicom.interception", self._interception.tell_all)
            open_ports.callback(self._end_associations)
            plain = self._open(self._address.port)
            open_ports.callback(plain.close)
            secured = None
            if self._tls is not None and self._address.tls_port is not None:
                secured = self._open(self._address.tls_port)
                open_ports.callback(secured.close)
            try:
                open_ports.callback(self._serve_port(plain, None, stopping))
                self.port = _port(plain)
                if secured is not None:
                    open_ports.callback(self._serve_port(secured, self._tls, stopping))
                    self.tls_port = _port(secured)
                self._on_listening()
                while not stop.is_set() and self._is_open():
                    self.bell.sleep(_TELL_EVERY_S)
                    contained(self._log, "dicom.admission", self._judge_anew)
                    contained(self._log, "dicom.interception", self._interception.tell)
            finally:
                self.port = self.tls_port = None
                stopping.set()

    def _open(self, port: int) -> socket.socket:
        host = self._address.host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            server = socket.create_server((host, port), family=family, backlog=_BACKLOG)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _MOST_SEGMENT_BYTES)
        except OSError as exc:
            raise PortUnavailable(host, port, exc.strerror or "it failed") from exc
        return server

    def _serve_port(self, server: socket.socket, tls: DicomTls | None, stopping: threading.Event) -> Callable[[], None]:
        """Accept on one port from now on; return what ends that, once `stopping` is set."""
        name = "dicom-acceptor" if tls is None else "dicom-tls-acceptor"
        acceptor = threading.Thread(target=self._accept, args=(server, tls, stopping), name=name, daemon=True)
        acceptor.start()
        self._log.event("dicom.listening", address=self._address.host, port=_port(server), tls=tls is not None)

        def end() -> None:
            # Wakes the acceptor; closing alone would not.
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            acceptor.join()

        return end

    def _accept(self, server: socket.socket, tls: DicomTls | None, stopping: threading.Event) -> None:
        while not stopping.is_set():
            try:
                connection, address = server.accept()
            except OSError as exc:
                if not stopping.is_set():
                    self._log.event("dicom.accept-failed", why=why(exc))
                    stopping.wait(_PAUSE_S)
                continue
            if not contained(self._log, "dicom.accept", lambda: self._begin(connection, str(address[0]), tls)):  # noqa: B023  called at once
                connection.close()

    def _begin(self, connection: socket.socket, address: str, tls: DicomTls | None) -> None:
        association = Association(
            connection,
            admit=lambda calling, certificate: self._judge(association, calling, address, certificate),
            pipeline=self._pipeline,
            log=self._log,
            patience=self._patience,
            secure=tls.secure if tls is not None else None,
            suspect=lambda reason, calling: self._suspect(address, reason, calling),
            commitments=self._commitments,
            monotonic=self._monotonic,
        )
        known = knows_address(self._policy(), address)
        with self._lock:
            is_in = self._crowd.connect(association, address, known=known)
        if not is_in:
            connection.close()
            self._log.event("dicom.connection-refused", reason=Reason.NO_ROOM.value)
            self._suspect(address, Reason.NO_ROOM, "")
            return
        thread = threading.Thread(
            target=self._serve, args=(association,), name=f"dicom-{connection.fileno()}", daemon=True
        )
        with self._lock:
            self._connections[association] = thread
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            self._forget(association)
            raise

    def _serve(self, association: Association) -> None:
        try:
            contained(self._log, "dicom.association", association.run)
        finally:
            self._forget(association)

    def _forget(self, association: Association) -> None:
        with self._lock:
            self._crowd.leave(association)
            self._connections.pop(association, None)
            self._let_in.pop(association, None)

    def _end_associations(self) -> None:
        with self._lock:
            connections = dict(self._connections)
        for association in connections:
            association.stop()
        deadline = self._monotonic() + _STOP_S
        for thread in connections.values():
            thread.join(max(deadline - self._monotonic(), 0))

    def _judge(
        self, association: Association, calling: str, address: str, certificate_sha256: str | None
    ) -> Rejection | None:
        """Return None to let a modality in. An error refuses too."""
        rejection: Rejection | None = calling_ae_title_not_recognised("the request could not be judged")
        bound = False

        def judge() -> None:
            nonlocal rejection, bound
            judged = evaluate(self._policy(), calling, address, certificate_sha256)
            if judged.refused is None:
                rejection, bound = None, judged.bound
                return
            rejection = calling_ae_title_not_recognised(judged.reason)
            certificate = certificate_sha256 or ""
            self._interception.note(
                address, judged.refused, calling=calling, why=judged.reason, certificate=certificate
            )

        contained(self._log, "dicom.admission", judge)
        if rejection is not None:
            return rejection
        with self._lock:
            is_in = self._crowd.associate(association, bound=bound)
            if is_in:
                self._let_in[association] = _LetIn(calling, address, certificate_sha256)
        if not is_in:
            self._suspect(address, Reason.TOO_MANY, calling)
            return LOCAL_LIMIT
        self._pipeline.examination.association()
        return None

    def _judge_anew(self) -> None:
        """Have those who were let in know whether they would be now."""
        with self._lock:
            let_in = dict(self._let_in)
        for association, who in let_in.items():
            judged = evaluate(self._policy(), who.calling, who.address, who.certificate_sha256)
            if association.judge(judged.refused) and judged.refused is not None:
                self._log.event("dicom.association-dismissed", reason=judged.reason)

    def _suspect(self, address: str, reason: Reason, calling: str) -> None:
        contained(self._log, "dicom.interception", lambda: self._interception.note(address, reason, calling=calling))


def _port(server: socket.socket) -> int:
    return int(server.getsockname()[1])
