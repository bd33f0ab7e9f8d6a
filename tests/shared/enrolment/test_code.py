from random import Random
from string import printable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.enrolment.code import CodeUnreadable, EnrolmentCode, secret_digest

secrets, digests = st.binary(min_size=16, max_size=16), st.binary(min_size=32, max_size=32)
FIXED = [EnrolmentCode(bytes(range(16)), bytes(range(32))), EnrolmentCode(b"\xff" * 16, b"\xa5" * 32)]


@given(secrets, digests)
def test_a_code_reads_back(secret: bytes, digest: bytes) -> None:
    code = EnrolmentCode(secret, digest)

    assert EnrolmentCode.parse(code.text()) == code


@given(secrets, digests, st.randoms(use_true_random=False))
def test_a_code_reads_back_as_people_type_it(secret: bytes, digest: bytes, random: Random) -> None:
    code = EnrolmentCode(secret, digest)
    alike = {"0": "0Oo", "1": "1IiLl"}
    typed = "LG1" + "".join(random.choice(alike.get(c, c + c.lower())) for c in code.text()[3:])
    typed = "".join(c + random.choice(["", "", " ", "-", "\n"]) for c in typed)

    assert EnrolmentCode.parse(typed) == code


@pytest.mark.parametrize("code", FIXED)
def test_any_single_character_changed_is_refused_or_the_same_code(code: EnrolmentCode) -> None:
    # By its design the check misses one change in 65,536; among all single changes of these two there is none.
    text = code.text()
    for at in range(len(text)):
        for char in printable:
            try:
                read = EnrolmentCode.parse(text[:at] + char + text[at + 1 :])
            except CodeUnreadable:
                continue
            assert read == code


@pytest.mark.parametrize("code", FIXED)
def test_a_character_lost_or_doubled_or_two_exchanged_is_refused_or_the_same_code(code: EnrolmentCode) -> None:
    text = code.text()
    for at in range(len(text) - 1):
        exchanged = text[:at] + text[at + 1] + text[at] + text[at + 2 :]
        for changed in (text[:at] + text[at + 1 :], text[:at] + text[at] + text[at:], exchanged):
            try:
                read = EnrolmentCode.parse(changed)
            except CodeUnreadable:
                continue
            assert read == code


@given(st.text(max_size=100))
def test_the_refusal_never_quotes_the_secret(text: str) -> None:
    typed = FIXED[0].text()[:-3] + text

    with pytest.raises(CodeUnreadable) as refusal:
        EnrolmentCode.parse(typed + "0")
    assert typed[4:12] not in str(refusal.value)


@given(secrets, secrets)
def test_what_is_stored_tells_secrets_apart_and_is_not_the_secret(one: bytes, other: bytes) -> None:
    assert (secret_digest(one) == secret_digest(other)) == (one == other)
    assert one not in secret_digest(one)
