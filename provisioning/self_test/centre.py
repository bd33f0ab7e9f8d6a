"""Asks the centre at the hosts' door, as this host: to compare the phantom, and what it has published."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, timedelta
from email.utils import parsedate_to_datetime

from edge_agent.config import AgentFolder, Identity
from edge_agent.https import Answer, DoorRefused, DoorUnavailable, HttpsDoor, accepted, problem, verified_context
from edge_agent.memory_file import in_memory
from shared.audit.tlog import exchange as log_exchange
from shared.audit.tlog.exchange import InclusionAnswer, InclusionQuestion
from shared.clock import Clock
from shared.policy.bundle import HeadBundle, LayerBundle
from shared.self_test import exchange
from shared.self_test.exchange import CentresWord

_TIMEOUT_S = 20.0
_NOT_FOUND = 404
_JSON = "application/json"


class Centre:
    """`ahead` is how far this host's clock was ahead of the centre's at its last answer, None: it never said."""

    def __init__(self, door: HttpsDoor, clock: Clock) -> None:
        self._door, self._clock = door, clock
        self.ahead: timedelta | None = None

    def compare(self, signed_question: bytes) -> CentresWord:
        """Raises DoorUnavailable: also while the host's record of the capture is on its way; DoorRefused, Malformed."""
        return CentresWord.parse(self._accepted(self._door.post(exchange.PATH, signed_question, _JSON)).body)

    def inclusion(self, leaf: bytes) -> str:
        """Return the proof of one of this host's records. Raises what `compare` does; nothing of it is believed."""
        asked = InclusionQuestion(leaf).encode()
        return InclusionAnswer.parse(self._accepted(self._door.post(log_exchange.PATH, asked, _JSON)).body).proof

    def head(self) -> HeadBundle | None:
        """Return the published head, None: there is none. Raises DoorUnavailable, DoorRefused, Malformed."""
        body = self._published("/api/v1/policy/head")
        return None if body is None else HeadBundle.parse(body)

    def layer(self, name: str) -> LayerBundle | None:
        """Return what is published of a layer. Raises what `head` does."""
        body = self._published(f"/api/v1/policy/layers/{name}")
        return None if body is None else LayerBundle.parse(body)

    def _published(self, path: str) -> bytes | None:
        answer = self._door.get(path)
        return None if answer.status == _NOT_FOUND else self._accepted(answer).body

    def _accepted(self, answer: Answer) -> Answer:
        with suppress(ValueError):
            said = parsedate_to_datetime(answer.headers.get("date", "")).astimezone(UTC)
            self.ahead = self._clock.now() - said
        try:
            return accepted(self._door.name, answer)
        except (DoorRefused, DoorUnavailable) as exc:
            # Whoever stands at the machine is helped by what the centre says in full.
            if detail := problem(answer).get("detail", ""):
                exc.args = (f"{exc}: {detail}",)
            raise


@contextmanager
def connected(folder: AgentFolder, identity: Identity, clock: Clock) -> Iterator[Centre]:
    """Raises CertificateUnusable."""
    with in_memory(identity.tls) as file:
        context = verified_context(folder.ca, file)
    doors = identity.config.doors
    door = HttpsDoor(doors.host, doors.https_port, context, timeout_s=_TIMEOUT_S)
    try:
        yield Centre(door, clock)
    finally:
        door.close()
