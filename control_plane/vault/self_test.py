"""Opens what a host captured in a self-test, in memory, and says whether it is what the host sent. It releases nothing.

A host may ask of its own phantoms alone: by the object's row, by what it signed in its log when it captured it, and by
what stands in the dataset. Whatever comes of it is recorded before anybody is told.
"""

import warnings
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO

import pydicom
from sqlalchemy.orm import Session, sessionmaker

from control_plane.audit_log.evidence_keys import EvidenceKeys
from control_plane.audit_log.journal import CentreJournal
from control_plane.audit_log.proof import AuditProof
from control_plane.audit_log.refusals import Refusals
from control_plane.db.models import Object
from control_plane.db.transactions import snapshot
from control_plane.vault.opening import VaultOpener, Verified
from shared.audit.attempt import failure
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.clock import Clock
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.identity import HostId, ObjectId
from shared.self_test import phantom
from shared.self_test.exchange import (
    CentresWord,
    Comparison,
    SelfTestAnswer,
    SelfTestQuestion,
    question_digest,
    sign_answer,
    verify_question,
)
from shared.signing import EvidenceSigner

# Chunks of a body are larger than what they hold by a tag each.
_MAX_BODY_BYTES = phantom.MAX_BYTES + (phantom.MAX_BYTES >> 4)
_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"


class NotOfThisHost(Refused):
    """Also where there is no such object: a host learns nothing of what others captured."""

    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"the vault holds no object {object_id} of this host")
        self.object_id = object_id


class NotAPhantom(Refused):
    def __init__(self, object_id: ObjectId, why: str) -> None:
        super().__init__(f"object {object_id} is no phantom of a self-test: {why}")
        self.object_id, self.why = object_id, why


class CaptureNotLogged(Unavailable):
    """The host's own record of the capture is on its way."""

    def __init__(self, object_id: ObjectId) -> None:
        super().__init__(f"the host's record of capturing object {object_id} has not arrived")
        self.object_id = object_id


class SelfTestDesk:
    """`certificate` returns, in PEM, that of the key which `signer` signs with, with all that leads to a root."""

    def __init__(
        self,
        database: sessionmaker[Session],
        hosts: EvidenceKeys,
        opener: VaultOpener,
        log: AuditProof,
        journal: CentreJournal,
        signer: EvidenceSigner,
        certificate: Callable[[], bytes],
        clock: Clock,
    ) -> None:
        self._database, self._hosts, self._opener, self._log = database, hosts, opener, log
        self._journal, self._signer, self._certificate, self._clock = journal, signer, certificate, clock
        self._refusals = Refusals(journal)

    def answer(self, host_id: HostId, signed: bytes) -> CentresWord:
        """Return the centre's signed word on one object.

        Raises Malformed, WrongSigner, SignatureInvalid, NotCertified: it is no question of this host's; NotOfThisHost,
        NotAPhantom, CaptureNotLogged, what `VaultOpener.verified` raises, DatabaseUnavailable.
        """
        question = verify_question(signed, self._hosts.for_statement(str(host_id), signed))
        if question.host_id != host_id:
            raise NotOfThisHost(question.object_id)
        happening = _happening(question)
        try:
            verified = self._phantom(question)
            comparison = _compared(verified, question)
        except CaptureNotLogged:
            raise  # nothing was done
        except (Refused, IntegrityFailure, Unavailable) as exc:
            refused = failure(happening, Event.OPEN_REFUSED, exc)
            self._refusals.record(refused, host_id, host_id, refused.reason)
            raise
        outcome = Outcome.SUCCESS if comparison is Comparison.EQUAL else Outcome.SERIOUS_FAILURE
        said = Happening(happening.event, happening.action, outcome, happening.who, happening.what, comparison.value)
        self._journal.record(said)
        self._refusals.over(host_id, host_id)
        answer = SelfTestAnswer(
            question_digest(signed), host_id, question.object_id, verified.record_sha256, self._clock.now(), comparison
        )
        return CentresWord(sign_answer(answer, self._signer), self._certificate().decode())

    def _phantom(self, question: SelfTestQuestion) -> Verified:
        """Return the object once everything but its dataset says that it is a phantom of the host's own."""
        object_id, host = question.object_id, str(question.host_id)
        with snapshot(self._database) as session:
            row = session.get(Object, str(object_id))
        if row is None or row.host_id != host:
            raise NotOfThisHost(object_id)
        if row.body_bytes > _MAX_BODY_BYTES:
            raise NotAPhantom(object_id, f"it has more than {phantom.MAX_BYTES} bytes")
        captured = self._log.about(Subject("object", str(object_id)), Event.IMAGE_CAPTURED, host)
        if not captured:
            raise CaptureNotLogged(object_id)
        senders = {who.name for record in captured for who in record.who if who.kind == "ae"}
        if senders != {phantom.AE_TITLE}:
            raise NotAPhantom(object_id, f"the host recorded that another than {phantom.AE_TITLE} sent it")
        verified = self._opener.verified(object_id)
        if verified.record.host_id != question.host_id:
            raise NotOfThisHost(object_id)
        return verified


def _compared(verified: Verified, question: SelfTestQuestion) -> Comparison:
    """Raises NotAPhantom, and what the pieces raise."""
    dataset = b"".join(verified.pieces)
    _verify_marked(dataset, verified.transfer_syntax, question.object_id)
    equal = sha256(dataset).digest() == question.dataset_sha256 == verified.record.dataset_sha256
    return Comparison.EQUAL if equal else Comparison.DIFFERS


def _verify_marked(dataset: bytes, transfer_syntax: str, object_id: ObjectId) -> None:
    """Raises NotAPhantom; what the dataset says otherwise is quoted nowhere."""
    if transfer_syntax != _EXPLICIT_LITTLE_ENDIAN:
        raise NotAPhantom(object_id, "it is in another transfer syntax")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = pydicom.dcmread(BytesIO(dataset), force=True, stop_before_pixels=True)
            marks = [str(read.get(name, "")) for name in ("PatientID", "PatientName", "QualityControlImage")]
    except Exception as exc:
        raise NotAPhantom(object_id, "its dataset cannot be read") from exc
    if marks != [phantom.PATIENT_ID, phantom.PATIENT_NAME, phantom.QUALITY_CONTROL_IMAGE]:
        raise NotAPhantom(object_id, "its dataset is not marked as one")


def _happening(question: SelfTestQuestion) -> Happening:
    who = (Participant("host", str(question.host_id), True),)
    what = (Subject("object", str(question.object_id)),)
    return Happening(Event.SELF_TEST_COMPARED, Action.READ, Outcome.SUCCESS, who, what)
