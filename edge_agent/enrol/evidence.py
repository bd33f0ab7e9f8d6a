"""Keeps the certificate of the host's evidence key young: at two thirds of its year the same key is certified anew.

The key stays, because it is who this host is: its journal is one chain of what that key signed, a lapsed host asks with
it, and what waits in the spool was signed with it. So nothing is ever between two keys, wherever a renewal is cut off.
"""

from collections.abc import Callable

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from edge_agent.config import EVIDENCE_CERTIFICATE, AgentFolder
from edge_agent.enrol.judge import AnswerUnusable, verify_certificate
from edge_agent.enrol.keys import request
from edge_agent.enrol.store import IdentityUnreadable, replace
from edge_agent.https import HttpsDoor, accepted
from edge_agent.log import Log
from shared import clock as clocks
from shared.clock import Clock
from shared.enrolment.chain import Trust, parse_chain
from shared.enrolment.renewal import EVIDENCE_PATH, EvidenceRenewalAnswer, EvidenceRenewalRequest, renewal_due
from shared.errors import Malformed
from shared.identity import HostId

_UNIT = "evidence"


class EvidenceRenewal:
    """`key` opens the evidence key, which may ask a TPM, so only when it is due; `trust` is what this host believes."""

    def __init__(
        self,
        door: HttpsDoor,
        folder: AgentFolder,
        host_id: HostId,
        *,
        key: Callable[[], ec.EllipticCurvePrivateKey],
        trust: Callable[[], Trust],
        clock: Clock,
        log: Log,
    ) -> None:
        self._door, self._file, self._host_id = door, folder.identity / EVIDENCE_CERTIFICATE, host_id
        self._key, self._trust, self._clock, self._log = key, trust, clock, log

    def renew_if_due(self) -> bool:
        """Return whether there is a new certificate; the old one stays until it is whole on the disk.

        Raises DoorUnavailable, DoorRefused, Malformed, AnswerUnusable, IdentityUnreadable, IdentityNotStored,
        KeyVaultUnavailable, KeyNotOfThisTpm, KeyMisplaced.
        """
        present = self._present()
        if not renewal_due(present.not_valid_before_utc, present.not_valid_after_utc, self._clock.now()):
            return False
        key = self._key()
        sent = EvidenceRenewalRequest(request(key, _UNIT)).encode()
        answer = accepted(self._door.name, self._door.post(EVIDENCE_PATH, sent, "application/json"))
        pem = EvidenceRenewalAnswer.parse(answer.body).evidence_certificate
        certificate = verify_certificate(pem, _UNIT, key, str(self._host_id), self._trust())
        _verify_follows(certificate, present)
        replace(self._file, pem.encode())
        self._log.event("evidence.renewed", expires=clocks.text(certificate.not_valid_after_utc))
        return True

    def _present(self) -> x509.Certificate:
        try:
            return parse_chain(self._file.read_bytes(), "evidence certificate")[0]
        except OSError as exc:
            raise IdentityUnreadable(self._file, exc.strerror or "it cannot be read") from exc
        except (Malformed, IndexError) as exc:
            raise IdentityUnreadable(self._file, "not a certificate in PEM") from exc


def _verify_follows(certificate: x509.Certificate, present: x509.Certificate) -> None:
    """Raises AnswerUnusable: it is for something else than evidence, or no younger than what there is."""
    units = [one.value for one in certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)]
    if units != [_UNIT]:
        raise AnswerUnusable("the evidence certificate is not one for evidence")
    if certificate.not_valid_after_utc <= present.not_valid_after_utc:
        raise AnswerUnusable("the evidence certificate ends no later than the present one")
