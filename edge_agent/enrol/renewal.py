"""Keeps the host's certificates young: for TLS the next one, for a fresh key, at two thirds of its life.

A host whose certificate opens no door any more asks for one instead, and a person has to approve that (lapsed.py).
"""

import random
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.backoff import ask_again_s, delay_s
from edge_agent.config import AgentFolder, load_config
from edge_agent.enrol.judge import verify_certificate
from edge_agent.enrol.keys import private_pem, request
from edge_agent.enrol.lapsed import Asking, AskTurnedDown
from edge_agent.enrol.naming import take_name
from edge_agent.enrol.pinned import PinnedRoot
from edge_agent.host_keys.store import HostKeyStore
from edge_agent.host_keys.vault import KeyName
from edge_agent.https import DoorUnavailable, HttpsDoor, accepted
from edge_agent.log import Log, why
from edge_agent.memory_file import in_memory
from edge_agent.parts import Bell
from shared import clock as clocks
from shared.audit.record import readable
from shared.clock import Clock
from shared.enrolment.renewal import RenewalAnswer, RenewalRequest, renewal_due
from shared.errors import Refused, Unavailable
from shared.fleet.state import MAX_SAID_CHARS
from shared.identity import HostId

_HEAD = "/api/v1/policy/head"
_LOOK_EVERY_S = 3600.0
_ASK_AGAIN_S = 5.0
# How the door answers a host that it knows, whether or not a policy is published.
_LET_IN = {200, 404}


class CertificateTurnedAway(Unavailable):
    def __init__(self) -> None:
        super().__init__("the centre says that this host's certificate has expired")


class ConnectionUnproved(Unavailable):
    def __init__(self, why: str) -> None:
        super().__init__(f"the new certificate is in use, and no connection with it was answered yet: {why}")
        self.why = why


class CertificateRenewal:
    """A part of the agent. `contexts` are those of its connections; each new connection then uses the new certificate.

    `evidence` does the same for the evidence key (evidence.py), after TLS, which it needs.

    The old certificate serves until the new one is verified and durable.
    """

    name = "certificate-renewal"

    def __init__(
        self,
        door: HttpsDoor,
        folder: AgentFolder,
        keys: HostKeyStore,
        *,
        host_id: HostId,
        asking: Asking,
        present: x509.Certificate,
        root: PinnedRoot,
        contexts: Sequence[ssl.SSLContext],
        clock: Clock,
        log: Log,
        evidence: Callable[[], object] = lambda: None,
        spread: Callable[[], float] = random.random,
    ) -> None:
        self._door, self._folder, self._keys, self._host_id, self._root = door, folder, keys, host_id, root
        self._contexts, self._clock, self._log, self._spread = contexts, clock, log, spread
        self._present, self._asking, self._error = present, asking, ""
        self._evidence = evidence
        self._is_turned_away = False
        self._asks = 0  # in a row that no person has approved yet
        self._turn = threading.Lock()  # the door, and the files of the identity, are one thread's at a time
        self.bell = Bell()

    def run(self, stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                wait_s = self._keep_certified()
                failures, self._error = 0, ""
                self.bell.sleep(wait_s)
            except (Unavailable, Refused) as exc:
                failures += 1
                self._error = readable(why(exc), MAX_SAID_CHARS)
                self._log.event("certificate.renewal-waits", why=why(exc), failures=failures)
                if isinstance(exc, CertificateTurnedAway):
                    self._is_turned_away = True
                is_told_off = isinstance(exc, AskTurnedDown)
                stop.wait((ask_again_s if is_told_off else delay_s)(failures, self._spread()))
        self._door.close()

    @property
    def turn(self) -> AbstractContextManager[object]:
        """Return what whoever else writes to the identity holds meanwhile."""
        return self._turn

    def turned_away(self) -> None:
        """Be told that the centre takes the present certificate no more. Each part of the agent is, again and again."""
        if not self._is_turned_away:
            self._is_turned_away = True
            self.bell.ring()

    @property
    def has_lapsed(self) -> bool:
        return self._is_turned_away or self.valid_until <= self._clock.now()

    def _keep_certified(self) -> float:
        """Return how long to rest. Raises what `renew_if_due` and `regain` do."""
        if not self.has_lapsed:
            self._asks = 0
            self.renew_if_due()
            with self._turn:
                self._evidence()
            return _LOOK_EVERY_S
        if self.regain():
            return _LOOK_EVERY_S
        self._asks += 1
        return delay_s(self._asks, self._spread(), first_s=_ASK_AGAIN_S)

    def regain(self) -> bool:
        """Ask for a certificate; return whether it is there, and no person has to approve it first.

        Raises DoorUnavailable, DoorRefused, AskTurnedDown, Malformed, AnswerUnusable, IdentityNotStored.
        """
        with self._turn:
            try:
                has_one = self._asking.ask(self._take)
            except AskTurnedDown as exc:
                # It may not have lapsed: by a clock that is ahead, or a late answer about the certificate before this.
                if not self._is_renewed():
                    raise exc from None
                self._asking.withdraw()
                has_one = True
            self._is_turned_away = self._is_turned_away and not has_one
            return has_one

    def _is_renewed(self) -> bool:
        try:
            self._renew()
        except (Unavailable, Refused) as exc:
            self._log.event("certificate.renewal-waits", why=why(exc))
            return False
        return True

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
            present, now = self._present, self._clock.now()
            if self._root.has_ended(now):
                self._root.follow()
            if not renewal_due(present.not_valid_before_utc, present.not_valid_after_utc, now):
                return False
            self._renew()
            return True

    def renew(self) -> x509.Certificate:
        """Have the next certificate now, and return it once a connection with it was answered.

        Raises DoorUnavailable, DoorRefused, Malformed, AnswerUnusable, IdentityNotStored, KeyVaultUnavailable; the old
        one then stays.
        ConnectionUnproved: the new one is in use, and nothing has shown yet that it opens the door.
        """
        with self._turn:
            self._renew()
            try:
                answer = self._door.get(_HEAD)
            except DoorUnavailable as exc:
                raise ConnectionUnproved(why(exc)) from exc
            finally:
                self._door.close()
            if answer.status not in _LET_IN:
                raise ConnectionUnproved(f"status {answer.status}")
            return self._present

    def _renew(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        self._follow_root()
        # Tried first: nothing is asked for that could not be kept.
        self._keys.vault.wrap(KeyName.TLS, private_pem(key))
        sent = RenewalRequest(request(key, "host"), load_config(self._folder).asset)
        try:
            answer = self._door.post("/api/v1/renewal", sent.encode(), "application/json")
        except DoorUnavailable as exc:
            if self._door.says_expired():
                raise CertificateTurnedAway from exc
            raise
        self._take(RenewalAnswer.parse(accepted(self._door.name, answer).body), key)

    def _follow_root(self) -> None:
        """Follow before the pinned root is of no use any more, and without ever failing a renewal that works."""
        try:
            self._root.follow()
        except (Unavailable, Refused) as exc:
            self._log.event("root.not-followed", why=why(exc))

    def _take(self, answer: RenewalAnswer, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        pem, private = answer.tls_certificate, private_pem(key)
        certificate = verify_certificate(pem, "TLS", key, str(self._host_id), self._root.trust)
        self._keys.store(KeyName.TLS, pem.encode(), private)
        with in_memory(pem.encode() + private) as file:
            for context in self._contexts:
                context.load_cert_chain(file)
        # The next request opens a connection with the new certificate.
        self._door.close()
        self._present, self._error = certificate, ""
        self._log.event("certificate.renewed", expires=clocks.text(self.valid_until))
        if answer.asset is not None:
            take_name(self._folder, answer.asset)
        return certificate
