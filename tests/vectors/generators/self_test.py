"""Makes the scenarios of docs/formats/self-test.md: `self-test-question` and `self-test-answer`."""

import json

from shared import canonical
from shared.self_test.exchange import (
    Comparison,
    SelfTestAnswer,
    SelfTestQuestion,
    question_digest,
    sign_answer,
    sign_question,
)
from shared.signing import Label, sign_statement
from tests.vectors.given import (
    HOST,
    OBJECT,
    OTHER_HOST,
    OTHER_OBJECT,
    TIME,
    Files,
    as_file,
    b64,
    bytes_of,
    flip,
    signer,
)

QUESTION = SelfTestQuestion(HOST, OBJECT, bytes_of("dataset digest", 32), bytes_of("self-test nonce", 32))
ASKED = sign_question(QUESTION, signer("host"))
ANSWER = SelfTestAnswer(question_digest(ASKED), HOST, OBJECT, bytes_of("record digest", 32), TIME, Comparison.EQUAL)


def scenarios() -> Files:
    return {f"self-test/{name}.json": text for name, text in (_questions() | _answers()).items()}


def _questions() -> Files:
    host, payload = signer("host"), json.loads(QUESTION.encode())

    def said(**changes: canonical.Json) -> bytes:
        return sign_statement(host, Label.SELF_TEST_QUESTION, canonical.encode({**payload, **changes}))

    cases = {
        "ok": ("A question.", ASKED, ""),
        "bad-bit": ("A bit of the text is flipped.", flip(ASKED, 60), "SignatureInvalid"),
        "bad-signer": ("Another host's key.", sign_question(QUESTION, signer("stranger")), "WrongSigner"),
        "bad-label": (
            "Signed as a state.",
            sign_statement(host, Label.HOST_STATE, QUESTION.encode()),
            "SignatureInvalid",
        ),
        "bad-nonce-short": ("A nonce of 31 bytes.", said(nonce="0" * 62), "Malformed"),
        "bad-object": ("An object id with a prefix.", said(object=f"object-{OBJECT}"), "Malformed"),
        "bad-field-unknown": ("A field more.", said(x=0), "Malformed"),
    }
    return {
        f"question-{name}": as_file({
            "about": about, "kind": "self-test-question",
            "given": {"spki_base64": b64(host.public.spki), "signed_base64": b64(data)},
            "expect": {"result": "refused", "error": error} if error else {"result": "verified", "payload": payload},
        })
        for name, (about, data, error) in cases.items()
    }  # fmt: skip


def _answers() -> Files:
    centre, payload = signer("centre"), json.loads(ANSWER.encode())

    def said(**changes: canonical.Json) -> bytes:
        return sign_statement(centre, Label.SELF_TEST_ANSWER, canonical.encode({**payload, **changes}))

    good = sign_answer(ANSWER, centre)
    cases = {
        "ok": ("An answer: equal.", good, ""),
        "ok-differs": ("An answer: it differs.", said(comparison="differs"), ""),
        "bad-bit": ("A bit of the text is flipped.", flip(good, 60), "SignatureInvalid"),
        "bad-signer": ("The host's own key.", sign_answer(ANSWER, signer("host")), "WrongSigner"),
        "bad-object": ("About another object.", said(object=str(OTHER_OBJECT)), "NotTheAnswer"),
        "bad-host": ("About another host.", said(host=str(OTHER_HOST)), "NotTheAnswer"),
        "bad-question": ("To another question.", said(question_sha256="0" * 64), "NotTheAnswer"),
        "bad-comparison": ("A comparison that there is not.", said(comparison="similar"), "Malformed"),
        "bad-time": ("A time without six fractional digits.", said(opened="2026-01-31T08:00:00Z"), "Malformed"),
    }
    return {
        f"answer-{name}": as_file({
            "about": about, "kind": "self-test-answer",
            "given": {
                "spki_base64": b64(centre.public.spki), "question_base64": b64(ASKED), "signed_base64": b64(data),
            },
            "expect": {"result": "refused", "error": error} if error else {
                "result": "verified", "payload": json.loads(data[28:-64]),
            },
        })
        for name, (about, data, error) in cases.items()
    }  # fmt: skip
