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
from edge_agent.capture.attempts import Reason
from edge_agent.capture.negotiation import Context, Rejection
from edge_agent.capture.pipeline import CapturePipeline, ImageHeader
from edge_agent.capture.stream import stream_of
from edge_agent.capture.tls import HandshakeFailed, Secured
from edge_agent.commitment import requests
from edge_agent.commitment.conversation import Conversation
from edge_agent.commitment.desk import CommitmentDesk
from edge_agent.log import OUR_ERRORS, Log, why
from shared.dicom import dimse, pdu
from shared.dicom.dimse import STORAGE_COMMITMENT, Command, CommandField, Status
from shared.dicom.pdu import AbortReason, AssociationEnded, Control, Fragment, PduReader, PduType, ProtocolError
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable

MAX_PDU_BYTES = 256 << 10
_RECEIVE_BYTES = 256 << 10
_LINGER_S = 2.0
_SILENT_S = 0.25  # a peer that has been silent for so long is between two messages, and may be told something
# Pieces smaller than this are gathered: sealing costs as much for a small piece as for a large one.
_WORTH_SEALING_BYTES = 64 << 10


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


class NotSecured(AssociationEnded):
    def __init__(self, why: str, *, by_peer: bool) -> None:
        super().__init__(f"the connection could not be secured: {why}")
        self.why, self.by_peer = why, by_peer


class Stopping(AssociationEnded):
    def __init__(self) -> None:
        super().__init__("the agent is stopping")


class Aborted(AssociationEnded):
    def __init__(self) -> None:
        super().__init__("the peer aborted the association")


class Dismissed(AssociationEnded):
    def __init__(self, reason: Reason) -> None:
        super().__init__(f"the peer is not let in any more: {reason.value}")
        self.reason = reason


class NotStorable(Refused):
    """A request to store that cannot be met whatever its data set is; `status` is the answer."""

    def __init__(self, status: Status) -> None:
        super().__init__(f"the request to store is answered {status:04X}, {status.name}")
        self.status = status


class Association:
    """`admit` judges calling AE title and certificate (None: no TLS) and returns None to let the peer in.

    `secure` puts TLS on the connection, for an association that has it; `suspect` is told of what no modality would
    do, with the calling AE title as far as one was given; `commitments` is None where none are taken.
    """

    def __init__(
        self,
        connection: socket.socket,
        *,
        admit: Callable[[str, str | None], Rejection | None],
        pipeline: CapturePipeline,
        log: Log,
        patience: Patience,
        secure: Callable[[socket.socket, float], Secured] | None = None,
        suspect: Callable[[Reason, str], None] = lambda _reason, _calling: None,
        commitments: CommitmentDesk | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection, self._admit, self._pipeline, self._log = connection, admit, pipeline, log
        self._secure, self._suspect, self._commitments = secure, suspect, commitments
        self._patience, self._monotonic = patience, monotonic
        self._reader = PduReader(MAX_PDU_BYTES)
        self._stream = stream_of(connection)
        self._buffer = memoryview(bytearray(_RECEIVE_BYTES))
        self._gathered: memoryview | None = None
        self._events = self._received()
        self._contexts: dict[int, Context] = {}
        self._peer_max_pdu_bytes = 0
        self._calling_ae_title = ""
        self._certificate_sha256: str | None = None
        self._conversation: Conversation | None = None
        self._established = self._rejected = self._in_message = False
        self._stopping = False
        self._dismissed: Reason | None = None
        # What the peer has to bring by when; None: nothing is due, and it may be idle.
        self._due_s: float | None = None
        self._window_bytes = 0

    def run(self) -> None:
        """Serve the peer until either side ends it, and close the connection."""
        try:
            self._serve()
        except ProtocolError as exc:
            is_garbage = exc.reason in (AbortReason.UNRECOGNISED_PDU, AbortReason.INVALID_PARAMETER)
            # A modality that is let in may err in the order of things; it sends no garbage and no impossible lengths.
            self._end("aborted", exc, Reason.BROKE_PROTOCOL if is_garbage or not self._established else None)
            self._say_farewell(pdu.provider_abort(exc.reason))
        except Malformed as exc:
            self._end("aborted", exc, None)
            self._say_farewell(pdu.user_abort())
        except Dismissed as exc:
            self._end("aborted", exc, exc.reason)
            self._say_farewell(pdu.user_abort())
        except (TooSlow, Stopping) as exc:
            self._end("aborted", exc, None if isinstance(exc, Stopping) else self._unless_asked())
            self._say_farewell(pdu.provider_abort(AbortReason.NOT_SPECIFIED))
        except NotSecured as exc:
            self._end("lost", exc, Reason.TLS_FAILED if exc.by_peer and not self._stopping else None)
        except (AssociationEnded, OSError) as exc:
            self._end("lost", exc, self._unless_asked())
        finally:
            try:
                if self._conversation is not None:
                    self._conversation.close()
            finally:
                self._connection.close()

    def stop(self) -> None:
        """Have the association end soon. Called from another thread."""
        self._stopping = True
        with contextlib.suppress(OSError):
            # The one of the plain socket: that of TLS takes the encryption away under the thread that reads.
            socket.socket.shutdown(self._connection, socket.SHUT_RD)

    def judge(self, refused: Reason | None) -> bool:
        """Note why policy does not let the peer in any more, None: it does; return whether that is new.

        A peer that is not let in is told nothing, and its next request ends the association; an image on its way is
        taken. Called from another thread.
        """
        is_new, self._dismissed = refused is not self._dismissed, refused
        return is_new

    def _end(self, how: str, exc: Exception, reason: Reason | None) -> None:
        self._log.event(f"dicom.association-{how}", why=why(exc))
        if reason is not None:
            self._suspect(reason, self._calling_ae_title)

    def _unless_asked(self) -> Reason | None:
        return None if self._established or self._rejected else Reason.SAID_NOTHING

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
        conversation = self._conversation if self._due_s is None else None
        count: int | None = None
        while count is None:
            if self._stopping:
                raise Stopping
            if wait_s <= 0:
                raise TooSlow(waited_for)
            piece_s = wait_s if conversation is None else min(wait_s, _SILENT_S)
            count = self._read(piece_s)
            wait_s -= piece_s
            if count is None and conversation is not None and self._dismissed is None:
                self._speak(conversation)
        if self._stopping:
            raise Stopping
        if not count:
            raise ConnectionLost("the peer closed it")
        self._window_bytes += count
        return count

    def _read(self, timeout_s: float) -> int | None:
        """Return how many bytes came, None: none within `timeout_s`. Raises ConnectionLost."""
        try:
            return self._stream.read(self._buffer, timeout_s, self._reader.left_of_pdu)
        except OSError as exc:
            raise ConnectionLost(exc.strerror or type(exc).__name__) from exc

    def _speak(self, conversation: Conversation) -> None:
        """Send a report of storage commitment if one is due. Raises AssociationEnded."""
        try:
            said = conversation.say()
        except OUR_ERRORS as exc:
            self._log.event("commitment.waits", why=why(exc))
            return
        if said is not None:
            self._send(said)

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
        if self._secure is not None:
            self._handshake(self._secure)
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

    def _handshake(self, secure: Callable[[socket.socket, float], Secured]) -> None:
        try:
            secured = secure(self._connection, self._patience.request_s)
        except (Refused, Unavailable) as exc:
            raise NotSecured(str(exc), by_peer=isinstance(exc, HandshakeFailed)) from exc
        self._connection, self._certificate_sha256 = secured.connection, secured.certificate_sha256
        self._stream = stream_of(self._connection)

    def _negotiate(self) -> bool:
        event = next(self._events)
        if not isinstance(event, Control) or event.type is not PduType.ASSOCIATE_RQ:
            raise ProtocolError("no association was requested", AbortReason.UNEXPECTED_PDU)
        requested = negotiation.parse(event.data)
        if isinstance(requested, Rejection):
            return self._reject(requested)
        if (rejection := self._admit(requested.calling_ae_title, self._certificate_sha256)) is not None:
            return self._reject(rejection)
        accepted = negotiation.accept(requested, MAX_PDU_BYTES)
        self._calling_ae_title, self._peer_max_pdu_bytes = requested.calling_ae_title, requested.max_pdu_bytes
        self._contexts = dict(accepted.contexts)
        self._send(accepted.answer)
        self._established = True
        self._begin_conversation()
        return True

    def _begin_conversation(self) -> None:
        """Have an association with a context for storage commitment carry reports as well."""
        for context_id, context in self._contexts.items():
            if self._commitments is not None and context.abstract_syntax == STORAGE_COMMITMENT:
                self._conversation = Conversation(
                    self._commitments,
                    self._calling_ae_title,
                    context_id,
                    context.transfer_syntax,
                    self._peer_max_pdu_bytes,
                    self._monotonic,
                )
                return

    def _reject(self, rejection: Rejection) -> bool:
        self._rejected = True
        self._log.event("dicom.association-refused", reason=rejection.why)
        self._say_farewell(rejection.encode())
        return False

    def _message(self, first: Fragment) -> None:
        if (refused := self._dismissed) is not None:
            raise Dismissed(refused)
        self._in_message = True
        context = self._contexts.get(first.context_id)
        if context is None:
            raise ProtocolError("a message in no accepted context", AbortReason.INVALID_PARAMETER)
        command = self._command(first)
        if command.is_response:
            self._hear(command, first.context_id)
            return
        status: Status | None = dimse.refusal(command, context.abstract_syntax)
        data_set = self._data_set(first.context_id) if command.has_data_set else iter(())
        if command.field == CommandField.C_STORE_RQ:
            status = self._store(command, context, data_set, status)
        elif command.field == CommandField.N_ACTION_RQ and status is None:
            status = self._commit(context, data_set)
        for _ in data_set:
            pass
        self._in_message = False
        if command.field != CommandField.C_CANCEL_RQ:
            answer = dimse.response(command, Status.SUCCESS if status is None else status)
            self._send(pdu.command_pdus(first.context_id, answer, self._peer_max_pdu_bytes))

    def _hear(self, response: Command, context_id: int) -> None:
        """Take the answer to a report of ours. Raises AssociationEnded, Malformed."""
        if self._conversation is None:
            raise Malformed("message", "a response to what nobody asked")
        if response.has_data_set:
            for _ in self._data_set(context_id):
                pass
        self._in_message = False
        try:
            self._conversation.hear(response)
        except (Unavailable, IntegrityFailure) as exc:
            self._log.event("commitment.waits", why=why(exc))  # and is reported again

    def _commit(self, context: Context, data_set: Iterator[memoryview]) -> Status:
        """Take in a request for storage commitment. Raises AssociationEnded."""
        conversation, gathered = self._conversation, bytearray()
        if conversation is None:
            return Status.SOP_CLASS_NOT_SUPPORTED
        for data in data_set:
            if len(gathered) + len(data) > requests.MAX_BYTES:
                return Status.RESOURCE_LIMITATION
            gathered += data
        status = Status.PROCESSING_FAILURE

        def commit() -> None:
            nonlocal status
            status = conversation.request(bytes(gathered), context.transfer_syntax)

        contained(self._log, "commitment", commit)
        return status

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

    def _gather(self, pieces: Iterator[memoryview]) -> Iterator[memoryview]:
        """Yield the same bytes in pieces that are worth sealing; each view is valid until the next."""
        filled = 0
        for piece in pieces:
            if not filled and len(piece) >= _WORTH_SEALING_BYTES:
                yield piece
                continue
            if self._gathered is None:
                self._gathered = memoryview(bytearray(2 * _WORTH_SEALING_BYTES))
            left = piece
            while left:
                taken = left[: len(self._gathered) - filled]
                self._gathered[filled : filled + len(taken)] = taken
                filled, left = filled + len(taken), left[len(taken) :]
                if filled >= _WORTH_SEALING_BYTES:
                    yield self._gathered[:filled]
                    filled = 0
        if filled and self._gathered is not None:
            yield self._gathered[:filled]

    def _store(
        self, command: Command, context: Context, data_set: Iterator[memoryview], refusal: Status | None
    ) -> Status:
        """Capture one image, or record with what status it is refused.

        What is left of `data_set` when that fails is the caller's to drain.
        Raises AssociationEnded: the image was recorded as refused, and there is nobody to answer.
        """
        status = refusal or Status.OUT_OF_RESOURCES
        ended: AssociationEnded | None = None
        header = ImageHeader(
            self._calling_ae_title, command.sop_instance_uid, context.transfer_syntax, command.sop_class_uid
        )

        def capture() -> None:
            nonlocal status, ended
            try:
                with self._pipeline.begin(header) as image:
                    if refusal is not None:
                        raise NotStorable(refusal)
                    for data in self._gather(data_set):
                        image.update(data)
                    object_id = image.finish()
                status = Status.SUCCESS
                if self._commitments is not None:
                    self._commitments.captured(self._calling_ae_title)
                self._log.event("image.captured", object=str(object_id), dataset_bytes=image.dataset_bytes)
            except AssociationEnded as exc:
                ended = exc
                self._log.event("image.refused", why=why(exc))
            except OUR_ERRORS as exc:
                if isinstance(exc, Malformed):
                    status = refusal or Status.CANNOT_UNDERSTAND
                self._log.event("image.refused", why=why(exc))

        contained(self._log, "capture", capture)
        if ended is not None:
            raise ended
        return status

    # ---- what we send

    def _send(self, data: bytes) -> None:
        try:
            self._stream.write(data, self._patience.stall_s)
        except TimeoutError as exc:
            raise TooSlow("taking our answer") from exc
        except OSError as exc:
            raise ConnectionLost(exc.strerror or type(exc).__name__) from exc

    def _say_farewell(self, data: bytes) -> None:
        """Send the last PDU and wait, not long, until the peer has closed: an earlier close may lose what was sent."""
        deadline = self._monotonic() + _LINGER_S
        with contextlib.suppress(OSError):
            self._stream.write(data, _LINGER_S)
            self._stream.say_last()
            while not self._stopping and (left_s := deadline - self._monotonic()) > 0:
                if not self._stream.read(self._buffer, left_s, 0):
                    return
