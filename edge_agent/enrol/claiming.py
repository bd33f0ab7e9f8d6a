"""Says, signed, who this host is, to a centre whose log lost that it was enrolled: at its door, or in a file."""

import os
import random
import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from edge_agent.backoff import ask_again_s
from edge_agent.config import EVIDENCE_CERTIFICATE, AgentFolder, Identity, load_identity
from edge_agent.enrol.lapsed import enrolment_door
from edge_agent.enrol.store import IdentityUnreadable
from edge_agent.https import HttpsDoor, problem
from edge_agent.log import Log, why
from edge_agent.parts import Bell
from shared.clock import Clock
from shared.enrolment.claim import PATH, ClaimFile, HostClaim, sign_claim
from shared.errors import Refused, Unavailable
from shared.identity import HostId

_TAKEN = 202
_QUIET_S = 3600.0


class ClaimNotWritten(Refused):
    def __init__(self, out: Path, why: str) -> None:
        super().__init__(f"{out} cannot be written: {why}; name a new file in a folder that is there")
        self.out, self.why = out, why


class Claiming:
    """A part of the agent. Rung whenever the centre says that it does not know this host; then it shows who that is.

    Nothing comes of it until people decide, and the centre says the same of a host that was revoked. So it is shown
    again, after growing pauses, for as long as the bell rings.
    """

    name = "claim"

    def __init__(
        self,
        folder: AgentFolder,
        identity: Identity,
        machine: Callable[[], Sequence[bytes]],
        clock: Clock,
        log: Log,
        *,
        door: Callable[[], HttpsDoor] | None = None,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._folder, self._identity, self._machine = folder, identity, machine
        self._clock, self._log, self._spread = clock, log, spread
        self._open = door or (lambda: enrolment_door(folder, identity.config))
        self.bell = Bell()

    def run(self, stop: threading.Event) -> None:
        shown = 0
        while not stop.is_set():
            if not self.bell.sleep(_QUIET_S):
                shown = 0
            elif not stop.is_set():
                self.show()
                shown += 1
                stop.wait(ask_again_s(shown, self._spread()))

    def show(self) -> bool:
        """Return whether the centre keeps it for people to decide about. What is in the way is logged."""
        try:
            file = claim_of(self._folder, self._identity, self._machine(), self._clock.now())
            door = self._open()
            try:
                answer = door.post(PATH, file.encode(), "application/json")
            finally:
                door.close()
        except (Refused, Unavailable) as exc:
            self._log.event("claim.not-shown", why=why(exc))
            return False
        if answer.status == _TAKEN:
            self._log.event("claim.shown")
            return True
        self._log.event("claim.not-taken", why=problem(answer).get("error", f"status {answer.status}"))
        return False


def claim_of(folder: AgentFolder, identity: Identity, machine: Sequence[bytes], now: datetime) -> ClaimFile:
    """Raises IdentityUnreadable."""
    config, file = identity.config, folder.identity / EVIDENCE_CERTIFICATE
    try:
        certificate = file.read_text(encoding="ascii")
    except (OSError, ValueError) as exc:
        raise IdentityUnreadable(file, "it cannot be read") from exc
    claim = HostClaim(config.host_id, config.asset, config.parts, tuple(machine), now)
    return sign_claim(claim, identity.signer, certificate)


def write_claim(folder: AgentFolder, machine: Sequence[bytes], now: datetime, out: Path) -> HostId:
    """Write a new file, and return whose it is. Raises NotEnrolled, IdentityUnreadable, ClaimNotWritten, and what a key
    that does not open raises.
    """
    identity = load_identity(folder)
    claim = claim_of(folder, identity, machine, now)
    try:
        with os.fdopen(os.open(out, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644), "wb") as written:
            written.write(claim.encode())
    except OSError as exc:
        raise ClaimNotWritten(out, exc.strerror or "it failed") from exc
    return identity.config.host_id
