"""Signed notes, checkpoints, cosignatures and proofs as text: what others published, and laws of ours."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from shared.audit.tlog.checkpoint import TreeHead, sign_checkpoint, verify_checkpoint
from shared.audit.tlog.exchange import InclusionAnswer, InclusionQuestion
from shared.audit.tlog.keys import KeyType, NoteKey, NoteSigner, cosigned_at
from shared.audit.tlog.log_key import LogKeyOffer, sign_log_key, verify_log_key
from shared.audit.tlog.note import MAX_BYTES, Note, NoteUnverified, sign_note
from shared.audit.tlog.proof_text import HEADER, ProofText, verify_inclusion
from shared.audit.tlog.proofs import ProofWrong
from shared.audit.tlog.tree import leaf_hash, node_hash
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.signing import Label, SoftwareSigner, WrongSigner, sign_statement
from tests import vectors

CASES: Any = json.loads((Path(vectors.__path__[0]) / "third_party" / "merkle" / "notes.json").read_text())
LOG = NoteSigner("log.example/7", Ed25519PrivateKey.from_private_bytes(bytes(32)))
WITNESS = NoteSigner("witness.example", Ed25519PrivateKey.from_private_bytes(b"w" * 32), KeyType.COSIGNATURE)
A, B = leaf_hash(b"a"), leaf_hash(b"b")
HEAD = TreeHead(LOG.public.name, 2, node_hash(A, B))
PROOF = ProofText(0, (B,), sign_checkpoint(HEAD, LOG), b"extra").encode()


# ---- what others published


@pytest.mark.parametrize("case", CASES["signed_notes"], ids=lambda case: case["desc"])
def test_a_published_note_is_judged_as_its_authors_do(case: dict[str, str]) -> None:
    key = NoteKey.parse(case["vkey"])
    match case["want"]:
        case "ok":
            assert [one for one, _ in Note.parse(case["note"]).verify([key])] == [key]
        case "fail" | "unverified":
            with pytest.raises(NoteUnverified):
                Note.parse(case["note"]).verify([key])
        case _:
            with pytest.raises(Malformed):
                Note.parse(case["note"])


@pytest.mark.parametrize("case", CASES["checkpoint_parse"], ids=lambda case: case["desc"])
def test_a_published_checkpoint_is_read_as_its_authors_do(case: dict[str, Any]) -> None:
    # The roots in them are no SHA-256. That is all that is wrong with those which others read.
    with pytest.raises(Malformed) as refused:
        TreeHead.parse(case["text"])
    if case["valid"] is True:
        assert refused.value.what == "checkpoint root"
    elif case["valid"] is False and case["desc"] != "root not base64":
        assert refused.value.what != "checkpoint root"


@pytest.mark.parametrize("case", CASES["tlog_proof_must_reject"], ids=lambda case: case["desc"])
def test_a_proof_that_others_refuse_is_refused(case: dict[str, str]) -> None:
    with pytest.raises(Malformed):
        ProofText.parse(case["text"])


def test_a_published_cosignature_says_when_it_was_made() -> None:
    case = next(one for one in CASES["signed_notes"] if "timestamp 1767225600" in one["desc"])
    ((_, signature),) = Note.parse(case["note"]).verify([NoteKey.parse(case["vkey"])])

    assert cosigned_at(signature.signature) == 1_767_225_600


# ---- laws


def test_a_checkpoint_counts_by_its_own_log_s_key_alone() -> None:
    note = sign_note(HEAD.text(), LOG, WITNESS, seconds=5).encode()

    assert verify_checkpoint(note, [LOG.public, WITNESS.public]) == HEAD
    with pytest.raises(NoteUnverified):
        verify_checkpoint(note, [WITNESS.public])
    with pytest.raises(NoteUnverified):
        verify_checkpoint(note.replace("log.example/7\n2", "log.example/7\n3"), [LOG.public])
    other = NoteSigner("log.example/8", Ed25519PrivateKey.from_private_bytes(bytes(32)))
    with pytest.raises(NoteUnverified, match="did not sign it"):
        verify_checkpoint(sign_checkpoint(HEAD, other), [other.public])


def test_a_cosignature_made_at_another_time_is_none() -> None:
    ((_, signature),) = sign_note(HEAD.text(), WITNESS, seconds=5).verify([WITNESS.public])
    later = (6).to_bytes(8) + signature.signature[8:]

    assert WITNESS.public.is_signature(HEAD.text(), signature.signature)
    assert not WITNESS.public.is_signature(HEAD.text(), later)
    assert not WITNESS.public.is_signature(HEAD.text(), signature.signature[8:])


def test_a_proof_holds_for_its_leaf_its_log_and_nothing_else() -> None:
    included = verify_inclusion(PROOF, A, [LOG.public])

    assert (included.index, included.head) == (0, HEAD)
    assert ProofText.parse(PROOF).extra == b"extra"
    with pytest.raises(ProofWrong):
        verify_inclusion(PROOF, B, [LOG.public])
    with pytest.raises(ProofWrong):
        verify_inclusion(PROOF.replace("index 0", "index 1"), A, [LOG.public])
    with pytest.raises(NoteUnverified):
        verify_inclusion(PROOF, A, [WITNESS.public])


def test_the_authority_s_key_says_which_key_signs_the_log() -> None:
    evidence, other = (SoftwareSigner(ec.generate_private_key(ec.SECP256R1())) for _ in range(2))
    pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    offer = LogKeyOffer.parse(LogKeyOffer(sign_log_key(evidence, LOG.public), pem).encode())

    assert verify_log_key(offer.statement, evidence.public) == LOG.public
    with pytest.raises(WrongSigner):
        verify_log_key(offer.statement, other.public)
    with pytest.raises(Malformed):
        verify_log_key(sign_log_key(evidence, WITNESS.public), evidence.public)
    with pytest.raises(Malformed):
        verify_log_key(sign_statement(evidence, Label.LOG_KEY, b'{"v":1}'), evidence.public)


FORMS: dict[str, tuple[Callable[[str], str], str]] = {
    "note": (lambda text: Note.parse(text).encode(), sign_note(HEAD.text(), LOG, WITNESS).encode()),
    "checkpoint": (lambda text: TreeHead.parse(text).text(), HEAD.text()),
    "vkey": (lambda text: NoteKey.parse(text).vkey, LOG.public.vkey),
    "proof": (lambda text: ProofText.parse(text).encode(), PROOF),
    "question": (
        lambda text: InclusionQuestion.parse(text.encode()).encode().decode(),
        f'{{"leaf":"{A.hex()}","v":1}}',
    ),
    "answer": (
        lambda text: InclusionAnswer.parse(text.encode()).encode().decode(),
        InclusionAnswer(PROOF).encode().decode(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
def test_what_reads_prints_back_and_nothing_else_comes_out(form: str, data: st.DataObject) -> None:
    read_and_print, valid = FORMS[form]
    assert read_and_print(valid) == valid
    at, end = sorted(data.draw(st.tuples(st.integers(0, len(valid)), st.integers(0, len(valid)))))
    text = valid[:at] + data.draw(st.text(max_size=3)) + valid[end:]
    try:
        printed = read_and_print(text)
    except (Refused, IntegrityFailure):
        return
    assert printed == text


@pytest.mark.parametrize(
    "text", ["", "\n\n", "x" * (MAX_BYTES + 1), "text\n\n", "text\n\n\n", HEAD.text() + "\n" + "— a AAAA\n" * 70]
)
def test_text_that_is_no_note_is_refused(text: str) -> None:
    with pytest.raises(Malformed):
        Note.parse(text)
    with pytest.raises(Malformed):
        ProofText.parse(f"{HEADER}\nindex 0\n" + f"{'A' * 43}=\n" * 64 + "\n" + text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\N{NO-BREAK SPACE}b", "a\nb", "x" * 256])
def test_a_name_that_no_key_may_have_is_refused(name: str) -> None:
    with pytest.raises(Malformed):
        NoteKey(name, KeyType.ED25519, bytes(32))


def test_a_cosignature_is_not_the_signature_of_the_log_whatever_its_key_is_called() -> None:
    """The control is that the same note with the log's own signature counts."""
    head, key = TreeHead("log.example", 1, bytes(32)), Ed25519PrivateKey.from_private_bytes(b"l" * 32)
    own, witness = NoteSigner("log.example", key), NoteSigner("log.example", key, KeyType.COSIGNATURE)
    keys = [own.public, witness.public]

    with pytest.raises(NoteUnverified):
        verify_checkpoint(sign_note(head.text(), witness, seconds=1).encode(), keys)
    assert verify_checkpoint(sign_note(head.text(), witness, own, seconds=1).encode(), keys) == head
