"""Asks witnesses of other sites to cosign, by C2SP tlog-witness: in the background, never in the way of a record."""

import http.client
import logging
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from socket import SHUT_RDWR, socket
from threading import Event as Signal
from threading import Timer
from typing import Protocol
from urllib.parse import urlsplit

from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import LogWitness
from control_plane.db.transactions import in_one_commit, snapshot
from control_plane.enrolment.enroller import Journal
from control_plane.settings import AskedWitness
from control_plane.tlog import rows
from control_plane.witnesses.gathering import Gathering, Witness
from control_plane.witnesses.rounds import Rounds
from shared.audit.checkpoint import tree_subject
from shared.audit.events import Action, Event, Happening, Outcome, Participant
from shared.audit.record import readable
from shared.audit.tlog.add_checkpoint import MAX_ANSWER_BYTES, PATH, AddCheckpoint, parse_signatures, parse_size
from shared.audit.tlog.checkpoint import TreeHead, claimed_head
from shared.audit.tlog.proofs import make_consistency
from shared.audit.tlog.tiles import nodes_of
from shared.errors import IntegrityFailure, Refused, Unavailable

_LOG = logging.getLogger(__name__)
_TIMEOUT_S, _LONGEST_S = 15.0, 60.0
_TRIES = 3
_MAX_SAID_CHARS = 300
_OK, _CONFLICT, _INCONSISTENT = 200, 409, 422
_DISAGREES = "it says"
"""How everything begins that a witness holds against the log; what it only failed at begins otherwise."""


class WitnessSilent(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"it does not answer as it should: {why}")
        self.why = why


class WitnessDisagrees(IntegrityFailure):
    """It says that it saw what this log does not have. It has not proved that, so nothing stops by its word."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


class Post(Protocol):
    def __call__(self, url: str, body: bytes, /) -> Answer:
        """Raises WitnessSilent."""


class WitnessAsking:
    """`post` sends a request to a witness; the scheduler calls `ask_all`, one call at a time."""

    def __init__(
        self,
        database: sessionmaker[Session],
        journal: Journal,
        rounds: Rounds,
        gathering: Gathering,
        asked: Sequence[AskedWitness],
        post: Post,
    ) -> None:
        self._database, self._journal, self._rounds = database, journal, rounds
        self._gathering, self._asked, self._post = gathering, tuple(asked), post

    def ask_all(self) -> None:
        """Have each witness cosign the checkpoint of this round that has not yet. Never raises for what one does."""
        for witness in self._asked:
            try:
                shown, known = self._rounds.current(), self._known(witness)
                if known.said or known.heard is None or known.heard < shown.begun:
                    self._ask(witness, known.size, shown.note)
            except WitnessDisagrees as exc:
                self._say(witness, str(exc), disagrees=True)
            except (Unavailable, Refused, IntegrityFailure) as exc:
                self._say(witness, str(exc), disagrees=False)

    def _ask(self, witness: AskedWitness, old: int, note: str) -> None:
        head = claimed_head(note)
        old = min(old, head.size)
        for _ in range(_TRIES):
            answer = self._post(witness.url + PATH, AddCheckpoint(old, self._proof(old, head), note).encode())
            if answer.status == _OK:
                text, _, signed = note.rpartition("\n\n")
                lines = "".join(one.line() for one in parse_signatures(answer.body, note))
                self._gathering.take(Witness(witness.key), f"{text}\n\n{signed}{lines}")
                return
            if answer.status == _INCONSISTENT:
                raise WitnessDisagrees(f"{_DISAGREES} that this log does not go on from what it cosigned")
            if answer.status != _CONFLICT:
                raise WitnessSilent(f"status {answer.status}")
            knows = parse_size(answer.body)
            if knows > head.size:
                raise WitnessDisagrees(f"{_DISAGREES} that it cosigned {knows} entries, and this log has {head.size}")
            if knows == old:
                raise WitnessDisagrees(
                    f"{_DISAGREES} that the {old} entries that it cosigned are not those of this log"
                )
            old = knows
        raise WitnessSilent("it says another size each time")

    def _proof(self, old: int, head: TreeHead) -> tuple[bytes, ...]:
        if old in (0, head.size):
            return ()
        with snapshot(self._database) as session:
            return tuple(make_consistency(old, head.size, nodes_of(rows.reader(session))))

    def _known(self, witness: AskedWitness) -> LogWitness:
        with snapshot(self._database) as session:
            row = session.get(LogWitness, witness.key.name)
            same = row is not None and row.vkey == witness.key.vkey
            return row if same and row is not None else _nothing(witness)

    def _say(self, witness: AskedWitness, said: str, *, disagrees: bool) -> None:
        """Keep why a witness does not cosign; a disagreement is a record, once."""
        said = readable(said, _MAX_SAID_CHARS)
        if self._known(witness).said == said:
            return
        _LOG.warning("log.witness-failed", extra={"witness": witness.key.name, "why": said})

        def keep(session: Session) -> None:
            row = session.get(LogWitness, witness.key.name)
            if row is None:
                row = _nothing(witness)
                session.add(row)
            if disagrees and not row.said.startswith(_DISAGREES):
                who = Participant("service", witness.key.name[:200], True)
                size, _, _ = rows.head(session)
                self._journal.append(
                    session,
                    Happening(Event.WITNESS_DISAGREES, Action.EXECUTE, Outcome.MAJOR_FAILURE, (who,),
                              (tree_subject(size),), said),
                )  # fmt: skip
            row.said = said

        in_one_commit(self._database, keep)


def _nothing(witness: AskedWitness) -> LogWitness:
    return LogWitness(
        name=witness.key.name, vkey=witness.key.vkey, size=0, root=b"", line="", cosigned=0, heard=None, said=""
    )


def post_to(contexts: Callable[[], ssl.SSLContext] = ssl.create_default_context, longest_s: float = _LONGEST_S) -> Post:
    """Return how a witness is asked over HTTPS, verified by the system's authorities, or over plain HTTP.

    What it answers proves itself, so a plain connection can withhold a cosignature and forge none. One that answers a
    byte at a time is cut off after `longest_s`: the others wait behind it.
    """

    def post(url: str, body: bytes, /) -> Answer:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        connection = (
            http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_S, context=contexts())
            if parts.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
        )
        try:
            connection.connect()
            with _cut_off_after(longest_s, connection.sock):
                connection.request("POST", parts.path, body, {"Content-Type": "text/plain; charset=utf-8"})
                response = connection.getresponse()
                return Answer(response.status, response.read(MAX_ANSWER_BYTES))
        except (OSError, http.client.HTTPException) as exc:
            raise WitnessSilent(f"{type(exc).__name__}: {exc}") from exc
        finally:
            connection.close()

    return post


@contextmanager
def _cut_off_after(seconds: float, held: socket) -> Iterator[None]:
    """Raises WitnessSilent: what was read had no end by then."""
    is_cut = Signal()

    def cut() -> None:
        is_cut.set()
        with suppress(OSError):
            # Of the connection beneath TLS, which another thread is reading.
            socket.shutdown(held, SHUT_RDWR)

    timer = Timer(seconds, cut)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
    if is_cut.is_set():
        raise WitnessSilent(f"it took more than {seconds:g} s")
