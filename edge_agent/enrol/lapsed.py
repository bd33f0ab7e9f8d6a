"""Asks the centre to go on as this host, once no certificate of it opens the host door any more.

The ask is for a fresh key that is kept in the identity until it has its certificate, so that the fingerprint that
people compare stays what it is over restarts. Nothing else of the host changes by it.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge_agent.config import AgentFolder, HostConfig, Identity
from edge_agent.enrol.keys import private_pem, request
from edge_agent.enrol.store import IdentityUnreadable
from edge_agent.host_keys.vault import KeyMisplaced, KeyName, KeyNotOfThisTpm
from edge_agent.https import HttpsDoor, accepted, problem, verified_context
from edge_agent.log import Log
from shared.clock import Clock
from shared.enrolment.lapsed import ask, fingerprint
from shared.enrolment.renewal import RenewalAnswer
from shared.errors import Unavailable

_PATH = "/api/v1/lapsed"
_WAITS, _FORBIDDEN = 202, 403
_HAD_CERTIFICATE, _UNKNOWN = "KeyHadCertificate", "HostUnknown"
_USUAL_PORT = 8441


class AskTurnedDown(Unavailable):
    """The centre does not take this ask now. It may later: people decide."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the centre does not take this host's ask for a certificate: {why}")
        self.why = why


class Asking:
    """`take` keeps a certificate for the fresh key once it has verified that it is the centre's, for this host."""

    def __init__(
        self,
        folder: AgentFolder,
        identity: Identity,
        clock: Clock,
        log: Log,
        *,
        door: Callable[[], HttpsDoor] | None = None,
        on_unknown: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder, self._config, self._signer, self._keys = folder, identity.config, identity.signer, identity.keys
        self._clock, self._log = clock, log
        self._open = door or (lambda: enrolment_door(folder, identity.config))
        self._on_unknown = on_unknown
        self._told = ""

    def ask(self, take: Callable[[RenewalAnswer, ec.EllipticCurvePrivateKey], x509.Certificate]) -> bool:
        """Return whether there is a certificate; not yet, where a person still has to approve it.

        Raises DoorUnavailable, DoorRefused, AskTurnedDown, Malformed, AnswerUnusable, IdentityNotStored,
        KeyVaultUnavailable.
        """
        key = self._fresh_key()
        self._tell(fingerprint(key.public_key()))
        sent = ask(self._signer, self._config.host_id, request(key, "host"), self._clock.now())
        door = self._open()
        try:
            answer = door.post(_PATH, sent.encode(), "application/json")
        finally:
            door.close()
        if answer.status == _WAITS:
            return False
        if answer.status == _FORBIDDEN:
            told = problem(answer)
            if told.get("error") == _HAD_CERTIFICATE:
                self.withdraw()  # or this key would be asked for, in vain, for ever
            if told.get("error") == _UNKNOWN:
                self._on_unknown()
            raise AskTurnedDown(told.get("detail", "it does not say why"))
        take(RenewalAnswer.parse(accepted(door.name, answer).body), key)
        self.withdraw()
        return True

    def withdraw(self) -> None:
        """Forget the fresh key: it has its certificate, or needs none."""
        self._keys.file(KeyName.FRESH).unlink(missing_ok=True)

    def _fresh_key(self) -> ec.EllipticCurvePrivateKey:
        """Return the key that was made when this host began to ask; one that cannot be read is made anew."""
        try:
            _, private = self._keys.load_parts(KeyName.FRESH)
            kept = serialization.load_pem_private_key(private, None)
        except (IdentityUnreadable, KeyNotOfThisTpm, KeyMisplaced, ValueError, TypeError):
            kept = None
        if isinstance(kept, ec.EllipticCurvePrivateKey) and isinstance(kept.curve, ec.SECP256R1):
            return kept
        key = ec.generate_private_key(ec.SECP256R1())
        self._keys.store(KeyName.FRESH, request(key, "host").encode(), private_pem(key))
        return key

    def _tell(self, short: str) -> None:
        if short != self._told:
            self._told = short
            self._log.event("certificate.asked-for", fingerprint=short)


def enrolment_door(folder: AgentFolder, config: HostConfig) -> HttpsDoor:
    """Return the door at which this host enrolled, verified by the authority that it pinned since."""
    url = urlsplit(config.enrolled_at or f"https://{config.doors.host}:{_USUAL_PORT}")
    return HttpsDoor(url.hostname or config.doors.host, url.port or 443, verified_context(folder.ca))
