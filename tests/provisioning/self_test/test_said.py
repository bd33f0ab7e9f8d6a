"""What the centre says of a phantom counts only if it is the centre that says it, and to the question asked."""

from dataclasses import replace

import pytest

from provisioning.self_test.image import said_of
from shared.errors import IntegrityFailure
from shared.identity import CONTROL_PLANE, HostId, ObjectId
from shared.self_test.exchange import (
    CentresWord,
    Comparison,
    SelfTestAnswer,
    SelfTestQuestion,
    question_digest,
    sign_answer,
    sign_question,
)
from shared.signing import SoftwareSigner
from tests.fakes.centre import Authority
from tests.provisioning.handover.made import AUTHORITY, CENTRE, HOST, NOW, OBJECT, SIGNER, certified, new_signer

QUESTION = SelfTestQuestion(HOST, OBJECT, bytes(32), bytes(32))
ASKED = sign_question(QUESTION, SIGNER)
OLDER = sign_question(replace(QUESTION, nonce=b"1" * 32), SIGNER)
ANSWER = SelfTestAnswer(question_digest(ASKED), HOST, OBJECT, bytes(32), NOW, Comparison.EQUAL)
_LIAR = new_signer()


def word(answer: SelfTestAnswer, signer: SoftwareSigner = CENTRE, certificate: str | None = None) -> CentresWord:
    return CentresWord(sign_answer(answer, signer), certificate or certified(CONTROL_PLANE, signer))


@pytest.mark.parametrize("comparison", list(Comparison))
def test_the_centres_own_word_is_taken_as_it_is(comparison: Comparison) -> None:
    """Keep this as the control of what is refused below."""
    said = word(replace(ANSWER, comparison=comparison))

    assert said_of(said, QUESTION, ASKED, AUTHORITY.trust).comparison is comparison


@pytest.mark.parametrize(
    "said",
    [
        word(replace(ANSWER, object_id=ObjectId(bytes([1] * 16)))),
        word(replace(ANSWER, host_id=HostId(bytes([1] * 16)))),
        word(replace(ANSWER, question_sha256=question_digest(OLDER))),
        word(ANSWER, SIGNER, certified(str(HOST), SIGNER)),
        word(ANSWER, _LIAR, certified(CONTROL_PLANE, _LIAR, Authority())),
        word(ANSWER, _LIAR, certified(CONTROL_PLANE, CENTRE)),
    ],
    ids=["another object", "another host", "an older question", "a host's key", "another authority", "another key"],
)  # fmt: skip
def test_any_other_word_is_refused(said: CentresWord) -> None:
    with pytest.raises(IntegrityFailure):
        said_of(said, QUESTION, ASKED, AUTHORITY.trust)
