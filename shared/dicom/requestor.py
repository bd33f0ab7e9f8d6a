"""The requesting side of one association: asks for it, stores, queries, reports, gives it back (DICOM PS3.7, PS3.8).

It opens no socket: the connection is handed in, and closing it stays with whoever made it. An image is written while it
is read, so its size is no matter; what the peer can make us hold is one command, one association answer or one match.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from time import monotonic as system_monotonic
from typing import Protocol, TypeAlias

from shared.dicom import associate, dimse, pdu, requests
from shared.dicom.associate import Accepted, Proposed, Request
from shared.dicom.dimse import MAX_COMMAND_BYTES, VERIFICATION, CommandField
from shared.dicom.pdu import AbortReason, Control, Fragment, PduReader, PduType, ProtocolError
from shared.dicom.requests import EchoRefused, FindRefused, Outcome, StoreRefused
from shared.errors import Malformed, Refused, Unavailable

MAX_MATCH_BYTES = 1 << 20
_RECEIVE_BYTES = 64 << 10
_SEND_BYTES = 128 << 10
_HEADER = Struct(">BxIIBB")  # of a P-DATA PDU with one PDV
_PDV_BYTES = 6
_LAST = 2
_LEAST_FRAGMENT_BYTES = 64
_MAX_MESSAGE_ID = 0xFFFF
Monotonic: TypeAlias = Callable[[], float]


class Connection(Protocol):
    """A connected stream, plain or within TLS. What it raises is an OSError; a TimeoutError where time ran out."""

    def sendall(self, data: memoryview, /) -> None: ...
    def recv_into(self, buffer: memoryview, /) -> int: ...
    def settimeout(self, timeout_s: float | None, /) -> None: ...


class ConnectionLost(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"the connection to the peer broke: {why}")
        self.why = why


class PeerTooSlow(Unavailable):
    def __init__(self, what: str, patience_s: float) -> None:
        super().__init__(f"the peer did not {what} within {patience_s:g} s")
        self.patience_s = patience_s


class PeerBrokeProtocol(Unavailable):
    """What came is not DICOM, or not the answer to what was asked. The association was aborted."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the peer broke the protocol: {why}")
        self.why = why


class NotAccepted(Refused):
    """The peer takes part in the association and does not take this kind of object, or not in this encoding."""

    def __init__(self, abstract_syntax: str, transfer_syntax: str) -> None:
        within = f" in transfer syntax {transfer_syntax}" if transfer_syntax else ""
        super().__init__(f"the peer does not accept SOP class {abstract_syntax}{within}")
        self.abstract_syntax, self.transfer_syntax = abstract_syntax, transfer_syntax


@dataclass(frozen=True)
class Patience:
    """How long the peer is waited for, in seconds; for an answer, and for taking one piece of what we send."""

    associate_s: float = 30.0
    answer_s: float = 120.0  # an archive may index a large object before it answers
    send_s: float = 60.0  # for 128 KiB
    release_s: float = 5.0


@dataclass(frozen=True)
class Stored:
    """The peer's C-STORE response said that it has the instance: success, or a warning beside it."""

    status: int

    @property
    def warning(self) -> str:
        """What was not as it should be, in words; empty where nothing was said."""
        return "" if self.status == 0 else f"{self.status:04X}: {requests.store_words(self.status)}"


class Requestor:
    """One association on one connection, for one thread. An Unavailable ends it; after a Refused it goes on."""

    def __init__(
        self,
        connection: Connection,
        *,
        calling_ae_title: str,
        called_ae_title: str,
        contexts: Sequence[Proposed],
        patience: Patience = Patience(),
        monotonic: Monotonic = system_monotonic,
    ) -> None:
        self._connection, self._patience, self._monotonic = connection, patience, monotonic
        self._request = Request(calling_ae_title, called_ae_title, contexts, _RECEIVE_BYTES)
        self._accepted = Accepted({}, 0, {})
        self._reader = PduReader(_RECEIVE_BYTES)
        self._buffer = memoryview(bytearray(_RECEIVE_BYTES))
        self._events: Iterator[Control | Fragment] = iter(())
        self._message_id = 0

    def associate(self) -> Accepted:
        """Ask for the association; return what the peer accepted, which may be none of the contexts.

        Raises Rejected, Aborted, PeerTooSlow, ConnectionLost, PeerBrokeProtocol; Malformed: too many contexts.
        """
        self._send(self._request.encode())
        answer = self._control("answer the association request", self._patience.associate_s)
        if answer.type == PduType.ASSOCIATE_RJ:
            raise associate.rejected(answer.data)
        if answer.type != PduType.ASSOCIATE_AC:
            raise self._broken(f"a PDU of type {answer.type} where an association was asked for")
        try:
            self._accepted = Accepted.parse(answer.data, self._request)
        except Malformed as exc:
            raise self._broken(str(exc)) from exc
        return self._accepted

    def proposes(self, abstract_syntax: str, transfer_syntax: str) -> bool:
        """Say whether the kind was asked for at all, accepted or not."""
        return any(
            proposed.abstract_syntax == abstract_syntax and transfer_syntax in proposed.transfer_syntaxes
            for proposed in self._request.contexts
        )

    def accepts(self, abstract_syntax: str, transfer_syntax: str = "") -> bool:
        try:
            self._context(abstract_syntax, transfer_syntax)
        except NotAccepted:
            return False
        return True

    def echo(self) -> None:
        """Raises NotAccepted, EchoRefused, and for a peer that does not answer what `associate` raises."""
        context_id, message_id = self._context(VERIFICATION), self._next_message()
        self._command(context_id, requests.echo_request(message_id))
        status, _ = self._response(context_id, CommandField.C_ECHO_RQ, message_id)
        if status:
            raise EchoRefused(status)

    def store(
        self, sop_class_uid: str, sop_instance_uid: str, transfer_syntax: str, pieces: Iterable[bytes | memoryview]
    ) -> Stored:
        """Store one instance, whose data set is `pieces` one after the other, in `transfer_syntax`, unchanged.

        Whatever `pieces` raises aborts the association before its last fragment, so that the peer keeps nothing of it,
        and is raised here. Raises NotAccepted, StoreRefused, and what `associate` raises.
        """
        context_id, message_id = self._context(sop_class_uid, transfer_syntax), self._next_message()
        writer = _DataSetWriter(context_id, self._accepted.max_pdu_bytes, self._send)
        try:
            self._command(context_id, requests.store_request(message_id, sop_class_uid, sop_instance_uid))
            for piece in pieces:
                writer.write(piece)
            writer.finish()
        except BaseException:
            self.abort()
            raise
        status, _ = self._response(context_id, CommandField.C_STORE_RQ, message_id)
        if requests.store_outcome(status) is Outcome.FAILURE:
            raise StoreRefused(status)
        return Stored(status)

    def find(self, information_model: str, identifier: bytes) -> Iterator[bytes]:
        """Yield each match of a C-FIND as it is encoded, in the context's transfer syntax, as is `identifier`.

        Whoever stops before the end has ended the association too. Raises NotAccepted, FindRefused, and what
        `associate` raises.
        """
        context_id, message_id = self._context(information_model), self._next_message()
        most = self._accepted.max_pdu_bytes
        self._command(context_id, requests.find_request(message_id, information_model))
        self._send(pdu.data_set_pdus(context_id, identifier, most))
        ended = False
        try:
            while not ended:
                status, match = self._response(context_id, requests.C_FIND_RQ, message_id)
                if not requests.is_pending(status):
                    ended = True
                    if status:
                        raise FindRefused(status)
                elif match is None:
                    raise self._broken("a pending C-FIND response without a match")
                else:
                    yield match
        finally:
            if not ended:
                self.abort()

    def report_event(self, sop_class_uid: str, sop_instance_uid: str, event_type: int, data_set: bytes) -> int:
        """Report an event as the class's provider, for which its context was proposed; return the answer's status.

        `data_set` is in the context's transfer syntax. Raises NotAccepted, and what `associate` raises.
        """
        context_id, message_id = self._context(sop_class_uid), self._next_message()
        self._command(context_id, dimse.event_report(message_id, event_type, sop_class_uid, sop_instance_uid))
        self._send(pdu.data_set_pdus(context_id, data_set, self._accepted.max_pdu_bytes))
        status, _ = self._response(context_id, CommandField.N_EVENT_REPORT_RQ, message_id)
        return status

    def release(self) -> None:
        """Give the association back. A peer that does not answer in time loses nothing, so that is no error."""
        try:
            self._send(pdu.release_request())
            while self._control("release", self._patience.release_s).type == PduType.RELEASE_RQ:
                self._send(pdu.release_reply())  # both asked at once: PS3.8 section 7.2.2.7
        except Unavailable:
            return

    def abort(self) -> None:
        """End the association at once; what was being stored is not kept by the peer."""
        self._abort(pdu.user_abort())

    def _abort(self, data: bytes) -> None:
        try:
            self._connection.settimeout(self._patience.release_s)
            self._connection.sendall(memoryview(data))
        except OSError:
            return  # it is gone, which is an end too

    def _context(self, abstract_syntax: str, transfer_syntax: str = "") -> int:
        for number, transfer in self._accepted.contexts.items():
            proposed = self._request.contexts[number // 2]
            if proposed.abstract_syntax == abstract_syntax and transfer_syntax in ("", transfer):
                return number
        raise NotAccepted(abstract_syntax, transfer_syntax)

    def _next_message(self) -> int:
        self._message_id = self._message_id % _MAX_MESSAGE_ID + 1
        return self._message_id

    def _command(self, context_id: int, command: bytes) -> None:
        self._send(pdu.command_pdus(context_id, command, self._accepted.max_pdu_bytes))

    def _send(self, data: bytes | memoryview) -> None:
        try:
            self._connection.settimeout(self._patience.send_s)
            self._connection.sendall(memoryview(data))
        except TimeoutError as exc:
            raise PeerTooSlow("take what was sent", self._patience.send_s) from exc
        except OSError as exc:
            raise self._reason_it_gave() or ConnectionLost(_why(exc)) from exc

    def _reason_it_gave(self) -> Unavailable | None:
        """Return the abort that came before the connection broke, where one can still be read."""
        try:
            self._control("say why", 0.1)
        except associate.Aborted as exc:
            return exc
        except Unavailable:
            return None
        return None

    def _response(self, context_id: int, field: int, message_id: int) -> tuple[int, bytes | None]:
        """Return the status of the response to a message, and the data set that follows it or None."""
        deadline = self._monotonic() + self._patience.answer_s
        data = self._message(context_id, deadline, is_command=True, most=MAX_COMMAND_BYTES)
        try:
            response, status = requests.parse_response(data, field, message_id)
        except Malformed as exc:
            raise self._broken(str(exc)) from exc
        if not response.has_data_set:
            return status, None
        return status, self._message(context_id, deadline, is_command=False, most=MAX_MATCH_BYTES)

    def _message(self, context_id: int, deadline: float, *, is_command: bool, most: int) -> bytes:
        gathered = bytearray()
        while True:
            event = self._next("answer", deadline, self._patience.answer_s)
            if isinstance(event, Control):
                raise self._broken(f"a PDU of type {event.type} where a response was due")
            if (event.context_id, event.is_command) != (context_id, is_command):
                raise self._broken("a fragment of another message than the response that was due")
            if len(gathered) + len(event.data) > most:
                raise self._broken(f"a response of more than {most} bytes")
            gathered += event.data
            if event.last:
                return bytes(gathered)

    def _control(self, what: str, patience_s: float) -> Control:
        event = self._next(what, self._monotonic() + patience_s, patience_s)
        if not isinstance(event, Control):
            raise self._broken("data where none was due")
        return event

    def _next(self, what: str, deadline: float, patience_s: float) -> Control | Fragment:
        """Return what comes next. Raises Aborted, PeerTooSlow, ConnectionLost, PeerBrokeProtocol."""
        while True:
            try:
                event = next(self._events, None)
            except ProtocolError as exc:
                raise self._broken(exc.why, exc.reason) from exc
            if event is None:
                self._events = self._reader.feed(self._receive(what, deadline, patience_s))
            elif isinstance(event, Control) and event.type == PduType.ABORT:
                raise associate.aborted(event.data)
            else:
                return event

    def _receive(self, what: str, deadline: float, patience_s: float) -> memoryview:
        left = deadline - self._monotonic()
        try:
            # Never 0, which would mean not to wait at all and be no timeout.
            self._connection.settimeout(max(left, 0.001))
            count = self._connection.recv_into(self._buffer)
        except TimeoutError as exc:
            self.abort()
            raise PeerTooSlow(what, patience_s) from exc
        except OSError as exc:
            raise ConnectionLost(_why(exc)) from exc
        if not count:
            raise ConnectionLost("the peer closed it")
        return self._buffer[:count]

    def _broken(self, why: str, reason: AbortReason = AbortReason.UNEXPECTED_PDU) -> PeerBrokeProtocol:
        self._abort(pdu.provider_abort(reason))
        return PeerBrokeProtocol(why)


class _DataSetWriter:
    """Cuts a data set of unknown length into P-DATA PDUs of one PDV each, in one reused buffer.

    The last PDU waits until it is known to be the last, because its header says so.
    """

    def __init__(self, context_id: int, max_pdu_bytes: int, send: Callable[[memoryview], None]) -> None:
        # Fragments have an even number of bytes (PS3.8 annex E.1); 0 is a peer without a limit.
        most = min(max_pdu_bytes or _SEND_BYTES, _SEND_BYTES) - _PDV_BYTES
        self._most = max(most & ~1, _LEAST_FRAGMENT_BYTES)
        self._pdu = _HEADER.size + self._most
        self._slots = max(1, _SEND_BYTES // self._pdu)
        self._context_id, self._send, self._used = context_id, send, 0
        self._buffer = memoryview(bytearray(self._slots * self._pdu))
        for slot in range(self._slots):
            self._head(slot, self._most, 0)

    def write(self, data: bytes | memoryview) -> None:
        left = memoryview(data)
        while left:
            if self._used == self._slots * self._most:
                self._send(self._buffer)
                self._used = 0
            slot, filled = divmod(self._used, self._most)
            size = min(self._most - filled, len(left))
            start = slot * self._pdu + _HEADER.size + filled
            self._buffer[start : start + size] = left[:size]
            self._used += size
            left = left[size:]

    def finish(self) -> None:
        slot = max(self._used - 1, 0) // self._most
        size = self._used - slot * self._most
        self._head(slot, size, _LAST)
        self._send(self._buffer[: slot * self._pdu + _HEADER.size + size])

    def _head(self, slot: int, size: int, control: int) -> None:
        _HEADER.pack_into(
            self._buffer, slot * self._pdu, PduType.P_DATA, _PDV_BYTES + size, 2 + size, self._context_id, control
        )


def _why(exc: OSError) -> str:
    return exc.strerror or type(exc).__name__
