"""Keeps the host's TLS certificate young: the next one, for a fresh key, at two thirds of its life."""

import random
import ssl
import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.backoff import delay_s
from edge_agent.config import AgentFolder
from edge_agent.enrol.judge import verify_certificate
from edge_agent.enrol.keys import private_pem, request
from edge_agent.enrol.store import replace
from edge_agent.https import DoorUnavailable, HttpsDoor, accepted
from edge_agent.log import Log, why
from edge_agent.parts import Bell
from shared import clock as clocks
from shared.audit.record import readable
from shared.clock import Clock
from shared.enrolment.renewal import RenewalAnswer, RenewalRequest, renewal_due
from shared.errors import Refused, Unavailable
from shared.fleet.state import MAX_SAID_CHARS
from shared.identity import HostId

_LOOK_EVERY_S = 3600.0
# How the door answers a host that it knows, whether or not a policy is published.
_LET_IN = {200, 404}


class ConnectionUnproved(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"the new certificate is in use, and no connection with it was answered yet: {why}")
        self.why = why


class CertificateRenewal:
    """A part of the agent. `contexts` are those of its connections; each new connection then uses the new certificate.

    The old certificate serves until the new one is verified and durable.
    """

    name = "certificate-renewal"

    def __init__(
        self,
        door: HttpsDoor,
        folder: AgentFolder,
        *,
        host_id: HostId,
        present: x509.Certificate,
        ca: x509.Certificate,
        contexts: Sequence[ssl.SSLContext],
        clock: Clock,
        log: Log,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._door, self._folder, self._host_id, self._ca = door, folder, host_id, ca
        self._contexts, self._clock, self._log, self._spread = contexts, clock, log, spread
        self._present, self._error = present, ""
        self._turn = threading.Lock()  # the door is one thread's at a time
        self.bell = Bell()

    def run(self, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                self.renew_if_due()
                failures = 0
                self.bell.sleep(_LOOK_EVERY_S)
            except (Unavailable, Refused) as exc:
                failures += 1
                self._error = readable(why(exc), MAX_SAID_CHARS)
                self._log.event("certificate.renewal-waits", why=why(exc), failures=failures)
                stop.wait(delay_s(failures, self._spread()))
        self._door.close()

    @property
    def valid_until(self) -> datetime:
        return self._present.not_valid_after_utc

    @property
    def error(self) -> str:
        """Why the certificate is due and was not renewed, by the last attempt; empty where neither is so."""
        return self._error

    @property
    def present(self) -> x509.Certificate:
        return self._present

    def renew_if_due(self) -> bool:
        """Return whether there is a new certificate. Raises what `renew` does; the old one then stays."""
        with self._turn:
            present = self._present
            if not renewal_due(present.not_valid_before_utc, present.not_valid_after_utc, self._clock.now()):
                return False
            self._renew()
            return True

    def renew(self) -> x509.Certificate:
        """Have the next certificate now, and return it once a connection with it was answered.

        Raises DoorUnavailable, DoorRefused, Malformed, AnswerUnusable, IdentityNotStored; the old one then stays.
        ConnectionUnproved: the new one is in use, and nothing has shown yet that it opens the door.
        """
        with self._turn:
            self._renew()
            try:
                answer = self._door.get("/api/v1/policy/head")
            except DoorUnavailable as exc:
                raise ConnectionUnproved(why(exc)) from exc
            finally:
                self._door.close()
            if answer.status not in _LET_IN:
                raise ConnectionUnproved(f"status {answer.status}")
            return self._present

    def _renew(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        sent = RenewalRequest(request(key, "host"))
        answer = self._door.post("/api/v1/renewal", sent.encode(), "application/json")
        pem = RenewalAnswer.parse(accepted(self._door.name, answer).body).tls_certificate
        certificate = verify_certificate(pem, "TLS", key, str(self._host_id), self._ca)
        replace(self._folder.tls, pem.encode() + private_pem(key))
        for context in self._contexts:
            context.load_cert_chain(self._folder.tls)
        # The next request opens a connection with the new certificate.
        self._door.close()
        self._present, self._error = certificate, ""
        self._log.event("certificate.renewed", expires=clocks.text(self.valid_until))
