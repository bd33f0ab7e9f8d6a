"""Follows one phantom from the modality's side to the centre's, and says how far it came."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_agent.capture import grade
from edge_agent.capture.admission import evaluate as admission
from edge_agent.capture.attributes import IndexReader
from edge_agent.config import Identity
from edge_agent.https import DoorUnavailable
from provisioning.finding import Finding, Verdict
from provisioning.self_test.centre import Centre
from provisioning.self_test.local import LocalAgent, Logged
from provisioning.self_test.made import EXPLICIT_LITTLE_ENDIAN, Phantom
from provisioning.self_test.patience import Patience
from provisioning.self_test.sending import AgentNotListening
from shared.audit.centre_key import verify_centre_key
from shared.devices.printable import printable
from shared.enrolment.chain import Trust
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.fleet.receipt import Receipt, verify_receipt
from shared.identity import ObjectId, RandomBytes
from shared.policy.document import PolicyDocument
from shared.self_test import phantom
from shared.self_test.exchange import (
    NONCE_BYTES,
    CentresWord,
    Comparison,
    NotTheAnswer,
    SelfTestAnswer,
    SelfTestQuestion,
    sign_question,
    verify_answer,
    verify_answers,
)

ADMITTED, CAPTURED, DELIVERED, OPENED = CHECKS = (
    "phantom-admitted", "phantom-captured", "phantom-delivered", "phantom-opened",
)  # fmt: skip
_ADMIT = (
    f"an administrator adds to the policy: modalities: [{{ae_title: {phantom.AE_TITLE}, description: self-test, "
    "addresses: [127.0.0.1]}]"
)
_NO_ROUTES = (
    f"an administrator puts first among the grading rules: when: {{calling_ae_title: [{phantom.AE_TITLE}]}}, "
    "with a grade and routes: []"
)
_LOOPBACK = "127.0.0.1"
_MAX_SAID_CHARS = 500


@dataclass(frozen=True)
class Journey:
    """`findings` has one for each of `CHECKS`, `leaf` is that of the journal's record of the capture.

    `word` is the centre's, where it signed that the phantom is equal.
    """

    findings: tuple[Finding, ...] = ()
    leaf: bytes | None = None
    word: CentresWord | None = None


@dataclass
class ImageTest:
    """`send` returns once the agent has acknowledged the phantom."""

    identity: Identity
    local: LocalAgent
    centre: Centre
    send: Callable[[Phantom], None]
    patience: Patience
    random_bytes: RandomBytes = secrets.token_bytes
    _object_id: ObjectId | None = field(default=None, init=False)
    _logged: Logged | None = field(default=None, init=False)
    _word: CentresWord | None = field(default=None, init=False)

    def run(self, made: Phantom) -> Journey:
        """Return how far the phantom came; what it did not come to is not evaluated."""
        findings = list[Finding]()
        for check, step in zip(CHECKS, (self._admitted, self._captured, self._delivered, self._opened), strict=True):
            if any(found.verdict is not Verdict.PASS for found in findings):
                findings.append(Finding(check, Verdict.NOT_EVALUATED, "the phantom did not come so far"))
            else:
                findings.append(_judged(check, lambda step=step: step(made)))  # type: ignore[misc]
        return Journey(tuple(findings), self._logged.leaf if self._logged is not None else None, self._word)

    def _admitted(self, made: Phantom) -> Finding:
        in_force = self.local.in_force()
        if in_force is None:
            return Finding(ADMITTED, Verdict.FAIL, "no policy is in force", "see policy-in-force")
        policy = in_force.policy
        judged = admission(policy, phantom.AE_TITLE, _LOOPBACK, None)
        if judged.refused is not None:
            return Finding(ADMITTED, Verdict.FAIL, f"{phantom.AE_TITLE} from {_LOOPBACK}: {judged.reason}", _ADMIT)
        if routes := routes_of(policy, made):
            why = f"policy {policy.version} would send the phantom to {', '.join(routes)}; it was not sent"
            return Finding(ADMITTED, Verdict.FAIL, why, _NO_ROUTES)
        bound = "" if judged.bound else "; policy binds it to no address, so anybody may say it"
        return Finding(ADMITTED, Verdict.PASS, f"{phantom.AE_TITLE} {judged.reason}{bound}", _ADMIT if bound else "")

    def _captured(self, made: Phantom) -> Finding:
        self.patience.until_answered(lambda: self.send(made), AgentNotListening)
        found = self.patience.until(lambda: self.local.object_of(made.sop_instance_uid, made.sha256))
        if found is None:
            why = f"acknowledged, and not registered within {self.patience.seconds:.0f} s"
            return Finding(CAPTURED, Verdict.FAIL, why, "see the agent's log: journalctl -u leadglass-agent")
        self._object_id = found
        return Finding(CAPTURED, Verdict.PASS, f"acknowledged and sealed as object {found}")

    def _delivered(self, _made: Phantom) -> Finding:
        object_id = self._captured_as()
        signed = self.patience.until(lambda: self.local.receipt_of(object_id))
        self._logged = self.local.captured(object_id)
        if signed is None or self._logged is None:
            why = f"no receipt of the vault within {self.patience.seconds:.0f} s"
            return Finding(DELIVERED, Verdict.FAIL, why, "leadglass-agent status says what waits, its log says why")
        receipt = self._verified(signed, object_id, self._logged.record_sha256)
        return Finding(
            DELIVERED, Verdict.PASS, f"the vault's signed receipt of {receipt.received:%Y-%m-%d %H:%M:%S} UTC"
        )

    def _verified(self, signed: bytes, object_id: ObjectId, record_sha256: bytes) -> Receipt:
        """Return the receipt of just what this host recorded as captured.

        Raises Malformed, WrongSigner, SignatureInvalid, ReceiptMismatch.
        """
        in_force = self.local.in_force()
        if in_force is None:
            raise Unavailable("no policy is in force, so the receipt's key is not known")
        return verify_receipt(signed, in_force.policy.receipt_key, object_id, record_sha256)

    def _opened(self, made: Phantom) -> Finding:
        question = SelfTestQuestion(
            self.identity.config.host_id, self._captured_as(), made.sha256, self.random_bytes(NONCE_BYTES)
        )
        signed = sign_question(question, self.identity.signer)
        # Until the host's own record of the capture has arrived there.
        word = self.patience.until_answered(lambda: self.centre.compare(signed), DoorUnavailable)
        answer = said_of(word, question, signed, self.identity.trust)
        if answer.comparison is not Comparison.EQUAL or self._logged is None:
            why = "the centre opened the phantom, and it is not what was sent"
            return Finding(OPENED, Verdict.FAIL, why, "stop here and call the administrator: this is an incident")
        if answer.record_sha256 != self._logged.record_sha256:
            raise NotTheAnswer
        self._word = word
        return Finding(OPENED, Verdict.PASS, "the centre opened it and signed that it is equal, byte for byte")

    def _captured_as(self) -> ObjectId:
        assert self._object_id is not None  # noqa: S101 (no step is made before the one that finds it has passed)
        return self._object_id


def said_of(word: CentresWord, question: SelfTestQuestion, signed: bytes, trust: Trust) -> SelfTestAnswer:
    """Return what the centre says to a signed question, once it is the centre that says it, and to this question.

    Raises NotTheCentresKey, Malformed, WrongSigner, SignatureInvalid, NotTheAnswer.
    """
    answer = verify_answer(word.statement, verify_centre_key(word.certificate, trust))
    verify_answers(answer, question, signed)
    return answer


def routes_of(policy: PolicyDocument, made: Phantom) -> tuple[str, ...]:
    """Return where policy would send the phantom besides the vault, as the agent's capture finds it."""
    reader = IndexReader(EXPLICIT_LITTLE_ENDIAN, policy.grading.looks_at)
    reader.update(memoryview(made.dataset))
    reader.finish()
    return grade.choose(policy, phantom.AE_TITLE, reader.attributes).routes


def _judged(check: str, step: Callable[[], Finding]) -> Finding:
    try:
        return step()
    except (Refused, IntegrityFailure, Unavailable) as exc:
        return Finding(check, Verdict.FAIL, said(exc), "see the agent's log: journalctl -u leadglass-agent")


def said(exc: Exception) -> str:
    return printable(f"{type(exc).__name__}: {exc}", _MAX_SAID_CHARS)
