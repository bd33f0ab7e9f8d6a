"""One association with a modality: from the accepted connection to its end, in a thread of its own.

Images stream: what the socket gives is handed on as it comes, so an association holds one receive buffer however large
an image is. How it may end is in PS3.8 section 9.2; what a peer can make us wait for is bounded at every step.
"""

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge_agent.boundary import contained
from edge_agent.capture import negotiation
from edge_agent.capture.negotiation import Context, Rejection
from edge_agent.capture.pipeline import CapturePipeline, ImageHeader
from edge_agent.log import OUR_ERRORS, Log, why
from shared.dicom import dimse, pdu
from shared.dicom.dimse import Command, CommandField, Status
from shared.dicom.pdu import AbortReason, AssociationEnded, Control, Fragment, PduReader, PduType, ProtocolError
from shared.errors import Malformed

MAX_PDU_BYTES = 256 << 10
_RECEIVE_BYTES = 256 << 10
_LINGER_S = 2.0
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux only


@dataclass(frozen=True)
class Patience:
    """How long a peer may keep us waiting."""

    request_s: float = 30.0  # ARTIM: for the association request, whole
    idle_s: float = 300.0  # between two messages
    stall_s: float = 30.0  # within a message, for the next byte
    pace_s: float = 60.0  # within a message, for the next `pace_bytes`
    pace_bytes: int = 64 << 10


class ConnectionLost(AssociationEnded):
    def __init__(self, why: str) -> None:
        super().__init__(f"the connection ended: {why}")
        self.why = why


class TooSlow(AssociationEnded):
    def __init__(self, waited_for: str) -> None:
        super().__init__(f"the peer was too slow with {waited_for}")
        self.waited_for = waited_for


class Stopping(AssociationEnded):
    def __init__(self) -> None:
        super().__init__("the agent is stopping")


class Aborted(AssociationEnded):
    def __init__(self) -> None:
        super().__init__("the peer aborted the association")


class Association:
    """`admit` judges a calling AE title and returns None to let it in."""

    def __init__(
        self,
        connection: socket.socket,
        *,
        admit: Callable[[str], Rejection | None],
        pipeline: CapturePipeline,
        log: Log,
        patience: Patience,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection, self._admit, self._pipeline, self._log = connection, admit, pipeline, log
        self._patience, self._monotonic = patience, monotonic
        self._reader = PduReader(MAX_PDU_BYTES)
        self._buffer = memoryview(bytearray(_RECEIVE_BYTES))
        self._events = self._received()
        self._contexts: dict[int, Context] = {}
        self._peer_max_pdu_bytes = 0
        self._calling_ae_title = ""
        self._established = self._in_message = False
        self._stopping = False
        # What the peer has to bring by when; None: nothing is due, and it may be idle.
        self._due_s: float | None = None
        self._window_bytes = 0

    def run(self) -> None:
        """Serve the peer until either side ends it, and close the connection."""
        try:
            self._connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._serve()
        except ProtocolError as exc:
            self._log.event("dicom.association-aborted", why=why(exc))
            self._say_farewell(pdu.provider_abort(exc.reason))
        except Malformed as exc:
            self._log.event("dicom.association-aborted", why=why(exc))
            self._say_farewell(pdu.user_abort())
        except (TooSlow, Stopping) as exc:
            self._log.event("dicom.association-aborted", why=why(exc))
            self._say_farewell(pdu.provider_abort(AbortReason.NOT_SPECIFIED))
        except (AssociationEnded, OSError) as exc:
            self._log.event("dicom.association-lost", why=why(exc))
        finally:
            self._connection.close()

    def stop(self) -> None:
        """Have the association end soon. Called from another thread."""
        self._stopping = True
        # Wakes a thread that waits for the peer; what it was about to answer can still go out.
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RD)

    # ---- what the peer sends

    def _received(self) -> Iterator[Control | Fragment]:
        """Yield events as they arrive. Raises AssociationEnded."""
        while True:
            count = self._receive()
            yield from self._reader.feed(self._buffer[:count])

    def _receive(self) -> int:
        now = self._monotonic()
        if self._established:
            self._keep_pace(now)
        waited_for, wait_s = self._patience_left(now)
        if self._stopping:
            raise Stopping
        if wait_s <= 0:
            raise TooSlow(waited_for)
        self._connection.settimeout(wait_s)
        try:
            count = self._connection.recv_into(self._buffer)
            if _QUICKACK is not None:
                # A sender with Nagle's algorithm on holds its last bytes back until ours before them are acknowledged.
                self._connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        except TimeoutError as exc:
            raise TooSlow(waited_for) from exc
        except OSError as exc:
            raise ConnectionLost(exc.strerror or type(exc).__name__) from exc
        if self._stopping:
            raise Stopping
        if not count:
            raise ConnectionLost("the peer closed it")
        self._window_bytes += count
        return count

    def _keep_pace(self, now: float) -> None:
        if self._reader.between_pdus and not self._in_message:
            self._due_s = None
        elif self._due_s is None or self._window_bytes >= self._patience.pace_bytes:
            self._due_s, self._window_bytes = now + self._patience.pace_s, 0

    def _patience_left(self, now: float) -> tuple[str, float]:
        if self._due_s is None:
            return "its next message", self._patience.idle_s
        left_s = self._due_s - now
        if not self._established:
            return "its association request", left_s
        return "a message it had begun", min(left_s, self._patience.stall_s)

    def _next_fragment(self) -> Fragment:
        """Return the next piece of a message that has begun. Raises AssociationEnded."""
        event = next(self._events)
        if isinstance(event, Fragment):
            return event
        if event.type is PduType.ABORT:
            raise Aborted
        raise ProtocolError(f"{event.type.name} within a message", AbortReason.UNEXPECTED_PDU)

    # ---- the association

    def _serve(self) -> None:
        self._due_s = self._monotonic() + self._patience.request_s
        if not self._negotiate():
            return
        self._due_s = None
        for event in self._events:
            if isinstance(event, Fragment):
                self._message(event)
            elif event.type is PduType.RELEASE_RQ:
                self._say_farewell(pdu.release_reply())
                return
            elif event.type is PduType.ABORT:
                return
            else:
                raise ProtocolError(f"{event.type.name} in an association", AbortReason.UNEXPECTED_PDU)

    def _negotiate(self) -> bool:
        event = next(self._events)
        if not isinstance(event, Control) or event.type is not PduType.ASSOCIATE_RQ:
            raise ProtocolError("no association was requested", AbortReason.UNEXPECTED_PDU)
        requested = negotiation.parse(event.data)
        if isinstance(requested, Rejection):
            return self._reject(requested)
        if (rejection := self._admit(requested.calling_ae_title)) is not None:
            return self._reject(rejection)
        accepted = negotiation.accept(requested, MAX_PDU_BYTES)
        self._calling_ae_title, self._peer_max_pdu_bytes = requested.calling_ae_title, requested.max_pdu_bytes
        self._contexts = dict(accepted.contexts)
        self._send(accepted.answer)
        self._established = True
        return True

    def _reject(self, rejection: Rejection) -> bool:
        self._log.event("dicom.association-refused", reason=rejection.why)
        self._say_farewell(rejection.encode())
        return False

    def _message(self, first: Fragment) -> None:
        self._in_message = True
        context = self._contexts.get(first.context_id)
        if context is None:
            raise ProtocolError("a message in no accepted context", AbortReason.INVALID_PARAMETER)
        command = self._command(first)
        if command.field & 0x8000:
            raise Malformed("message", "a response to what nobody asked")
        status: Status | None = dimse.refusal(command, context.abstract_syntax)
        if command.has_data_set:
            data_set = self._data_set(first.context_id)
            if status is None and command.field == CommandField.C_STORE_RQ:
                status = self._store(command, context, data_set)
            for _ in data_set:
                pass
        self._in_message = False
        if command.field != CommandField.C_CANCEL_RQ:
            answer = dimse.response(command, Status.SUCCESS if status is None else status)
            self._send(pdu.command_pdus(first.context_id, answer, self._peer_max_pdu_bytes))

    def _command(self, fragment: Fragment) -> Command:
        """Gather and read a command. Raises AssociationEnded, Malformed."""
        context_id, gathered = fragment.context_id, bytearray()
        while True:
            if not fragment.is_command or fragment.context_id != context_id:
                raise ProtocolError("a data set where a command was due", AbortReason.UNEXPECTED_PARAMETER)
            gathered += fragment.data
            if fragment.last:
                return dimse.parse(gathered)
            if len(gathered) > dimse.MAX_COMMAND_BYTES:
                raise Malformed("command set", f"longer than {dimse.MAX_COMMAND_BYTES} bytes")
            fragment = self._next_fragment()

    def _data_set(self, context_id: int) -> Iterator[memoryview]:
        """Yield the data set of a message; each view is valid until the next. Raises AssociationEnded."""
        while True:
            fragment = self._next_fragment()
            if fragment.is_command or fragment.context_id != context_id:
                raise ProtocolError("a command where a data set was due", AbortReason.UNEXPECTED_PARAMETER)
            yield fragment.data
            if fragment.last:
                return

    def _store(self, command: Command, context: Context, data_set: Iterator[memoryview]) -> Status:
        """Capture one image; what is left of `data_set` when that fails is the caller's to drain.

        Raises AssociationEnded: the image was recorded as refused, and there is nobody to answer.
        """
        status = Status.OUT_OF_RESOURCES
        ended: AssociationEnded | None = None
        header = ImageHeader(
            self._calling_ae_title, command.sop_instance_uid, context.transfer_syntax, command.sop_class_uid
        )

        def capture() -> None:
            nonlocal status, ended
            try:
                with self._pipeline.begin(header) as image:
                    for data in data_set:
                        image.update(data)
                    object_id = image.finish()
                status = Status.SUCCESS
                self._log.event("image.captured", object=str(object_id), dataset_bytes=image.dataset_bytes)
            except AssociationEnded as exc:
                ended = exc
                self._log.event("image.refused", why=why(exc))
            except OUR_ERRORS as exc:
                if isinstance(exc, Malformed):
                    status = Status.CANNOT_UNDERSTAND
                self._log.event("image.refused", why=why(exc))

        contained(self._log, "capture", capture)
        if ended is not None:
            raise ended
        return status

    # ---- what we send

    def _send(self, data: bytes) -> None:
        self._connection.settimeout(self._patience.stall_s)
        try:
            self._connection.sendall(data)
        except TimeoutError as exc:
            raise TooSlow("taking our answer") from exc
        except OSError as exc:
            raise ConnectionLost(exc.strerror or type(exc).__name__) from exc

    def _say_farewell(self, data: bytes) -> None:
        """Send the last PDU and wait, not long, until the peer has closed: an earlier close may lose what was sent."""
        deadline = self._monotonic() + _LINGER_S
        with contextlib.suppress(OSError):
            self._connection.settimeout(_LINGER_S)
            self._connection.sendall(data)
            self._connection.shutdown(socket.SHUT_WR)
            while not self._stopping and (left_s := deadline - self._monotonic()) > 0:
                self._connection.settimeout(left_s)
                if not self._connection.recv_into(self._buffer):
                    return
