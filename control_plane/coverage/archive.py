"""An archive that can be asked, as far as it is needed here, and the ways in which it does not answer."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from threading import Lock
from typing import Protocol, TypeAlias

from control_plane.coverage.identifier import EXPLICIT_LE, IMPLICIT_LE, MAX_BYTES, STUDY_ROOT_FIND
from shared.dicom.associate import Proposed
from shared.dicom.requestor import Connection, NotAccepted, Patience, Requestor
from shared.dicom.requests import FindRefused
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.policy.document import Coverage
from shared.policy.routes import Peer


class QueryFailed(Refused):
    """The archive ended one query with something else than success. It can be asked another."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the archive ended a query with status {status:#06x}")
        self.status = status


class ArchiveUnavailable(Unavailable):
    """No association, or not any more: nothing else can be asked on it."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the archive cannot be asked: {why}")
        self.why = why


class Archive(Protocol):
    """One association with an archive, for C-FIND in the Study Root model (DICOM PS3.4 C.6.2)."""

    @property
    def syntax(self) -> str:
        """The transfer syntax of identifiers, explicit or implicit VR little endian."""

    def find(self, identifier: bytes) -> Iterator[bytes]:
        """Yield the identifier of each answer. It ends by itself only where the archive says that this was all.

        One query at a time: it is read to its end before the next. Raises QueryFailed, ArchiveUnavailable.
        """


OpenArchive: TypeAlias = Callable[[Coverage], AbstractContextManager[Archive]]
"""Opens an association with the archive that a policy names. Raises ArchiveUnavailable."""


class Line(Connection, Protocol):
    """A connection that another thread may end."""

    def break_off(self) -> None: ...


Connect: TypeAlias = Callable[[Peer], AbstractContextManager[Line]]
"""Connects, by TLS where the peer has it. Raises Unavailable; IntegrityFailure: somebody else answers there."""


class Archives:
    """Opens associations with archives, one at a time."""

    def __init__(self, connect: Connect, patience: Patience | None = None) -> None:
        self._connect, self._patience = connect, patience or Patience()
        self._lock = Lock()
        self._line: Line | None = None
        self._is_closed = False

    @contextmanager
    def open(self, coverage: Coverage) -> Iterator[Archive]:
        """Yield an association. Raises ArchiveUnavailable."""
        with ExitStack() as open_until:
            with _answering():
                line = open_until.enter_context(self._connect(coverage.peer))
                self._hold(line)
                open_until.callback(self._let_go)
                archive = _associate(line, coverage, self._patience)
            open_until.callback(archive.end)
            yield archive

    def close(self) -> None:
        """End the association that is open, from another thread, and open no more."""
        with self._lock:
            self._is_closed = True
            if self._line is not None:
                self._line.break_off()

    def _hold(self, line: Line) -> None:
        with self._lock:
            if self._is_closed:
                raise ArchiveUnavailable("the control plane is stopping")
            self._line = line

    def _let_go(self) -> None:
        with self._lock:
            self._line = None


def _associate(connection: Connection, coverage: Coverage, patience: Patience) -> "_Associated":
    requestor = Requestor(
        connection,
        calling_ae_title=coverage.calling_ae_title,
        called_ae_title=coverage.peer.ae_title,
        contexts=[Proposed(STUDY_ROOT_FIND, (EXPLICIT_LE, IMPLICIT_LE))],
        patience=patience,
    )
    accepted = requestor.associate()
    if not accepted.contexts:
        requestor.release()
        raise ArchiveUnavailable("it does not answer C-FIND in the Study Root model")
    return _Associated(requestor, next(iter(accepted.contexts.values())))


class _Associated:
    def __init__(self, requestor: Requestor, syntax: str) -> None:
        self._requestor, self.syntax, self._is_over = requestor, syntax, False

    def find(self, identifier: bytes) -> Iterator[bytes]:
        if self._is_over:
            raise ArchiveUnavailable("the association has ended")
        # Whoever does not read an answer to its end has ended the association too.
        self._is_over = True
        try:
            for match in self._requestor.find(STUDY_ROOT_FIND, identifier):
                if len(match) > MAX_BYTES:
                    raise ArchiveUnavailable(f"an answer of more than {MAX_BYTES} bytes")
                yield match
            self._is_over = False
        except FindRefused as exc:
            self._is_over = False
            raise QueryFailed(exc.status) from exc
        except (Unavailable, NotAccepted, Malformed) as exc:
            raise exc if isinstance(exc, ArchiveUnavailable) else ArchiveUnavailable(str(exc)) from exc

    def end(self) -> None:
        if not self._is_over:
            self._requestor.release()


@contextmanager
def _answering() -> Iterator[None]:
    """Raise one error of ours, whatever kept the archive from being asked."""
    try:
        yield
    except ArchiveUnavailable:
        raise
    except (Refused, IntegrityFailure, Unavailable) as exc:
        raise ArchiveUnavailable(str(exc)) from exc
