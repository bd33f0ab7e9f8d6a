"""The custody statement: one encoding, bounds, and log proofs that only the true record passes."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from shared import canonical
from shared.audit.batch import AuditAltered, sign_batch
from shared.audit.events import Action, Event, Happening, Outcome, Subject
from shared.audit.record import GENESIS, StoredRecord, compose
from shared.canonical import Json
from shared.custody.frames import FrameStatement, Pixels, sign_frames, verify_frames
from shared.custody.statement import (
    MAX_BYTES,
    MAX_CERTIFICATES,
    MAX_LOG_PROOFS,
    CustodyStatement,
    EvidenceCertificate,
    LogProof,
    verify_log_proof,
)
from shared.errors import IntegrityFailure, Malformed
from shared.identity import HostId, ObjectId
from shared.signing import Label, SignatureInvalid, SoftwareSigner, WrongSigner, sign_statement

NOW = datetime(2026, 1, 31, 8, 0, tzinfo=UTC)
SIGNER = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
SOURCE = str(HostId(bytes(16)))
PIXELS = Pixels(512, 512, 1, 16, 12, False, "MONOCHROME2", False, "pydicom 3.0.2", (bytes(32), b"\x01" * 32))
FRAMES = FrameStatement(ObjectId(bytes(16)), b"\x02" * 32, b"\x03" * 32, "1.2.840.10008.1.2.1", NOW, PIXELS)


def chain(count: int) -> list[StoredRecord]:
    records: list[StoredRecord] = []
    for seq in range(1, count + 1):
        happening = Happening(
            Event.IMAGE_CAPTURED, Action.CREATE, Outcome.SUCCESS, what=(Subject("object", f"object {seq}"),)
        )
        prev = records[-1].leaf if records else GENESIS
        records.append(compose(happening, source=SOURCE, seq=seq, prev=prev, time=NOW, salt=bytes(32), key=None))
    return records


CHAIN = chain(6)


def proof_of(seq: int, first: int = 1, last: int = 6) -> LogProof:
    prev = CHAIN[first - 2].leaf if first > 1 else GENESIS
    statement = sign_batch(SOURCE, prev, CHAIN[first - 1 : last], SIGNER).statement
    return LogProof(tuple(record.public for record in CHAIN[seq - 1 : last]), statement)


STATEMENT = CustodyStatement(
    ObjectId(bytes(16)), NOW, b"record", b"binding", b"receipt", sign_frames(FRAMES, SIGNER),
    (EvidenceCertificate(SOURCE, "-----BEGIN CERTIFICATE-----\n"), EvidenceCertificate("control-plane", "x")),
    (proof_of(2), proof_of(6)),
)  # fmt: skip
statements = st.builds(
    CustodyStatement,
    st.builds(ObjectId, st.binary(min_size=16, max_size=16)),
    st.datetimes(timezones=st.just(UTC)),
    st.binary(max_size=300),
    st.binary(max_size=100),
    st.binary(max_size=300),
    st.none() | st.binary(max_size=300),
    st.lists(st.builds(EvidenceCertificate, st.just(SOURCE), st.text(max_size=50)), max_size=4).map(tuple),
    st.lists(st.just(proof_of(3)), max_size=4).map(tuple),
)


@given(statements)
def test_what_prints_parses_back_unchanged(statement: CustodyStatement) -> None:
    assert CustodyStatement.parse(statement.encode()) == statement


@given(st.integers(0, len(STATEMENT.encode()) - 1), st.binary(min_size=1, max_size=1))
def test_a_changed_byte_never_gives_the_same_statement(place: int, octet: bytes) -> None:
    data = STATEMENT.encode()
    changed = data[:place] + octet + data[place + 1 :]
    if changed == data:
        return

    try:
        assert CustodyStatement.parse(changed) != STATEMENT
    except Malformed:
        return


def edited(**members: Json) -> bytes:
    value = json.loads(STATEMENT.encode())
    return canonical.encode({name: one for name, one in {**value, **members}.items() if one != "leave out"})


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        STATEMENT.encode() + b"\n",
        STATEMENT.encode()[:-1],
        edited(v=2),
        edited(kind="leadglass audit export"),
        edited(more=1),
        edited(frames="leave out"),
        edited(record=None),
        edited(record="AA"),
        edited(object="00"),
        edited(log=[{"records": [], "statement": ""}]),
        edited(log=[{"records": [1], "statement": ""}]),
        edited(log=[{"records": ["x" * 20_000], "statement": ""}]),
        edited(log=[None] * (MAX_LOG_PROOFS + 1)),
        edited(certificates=[{"source": SOURCE, "pem": "x"}] * (MAX_CERTIFICATES + 1)),
        edited(certificates=[{"source": "somebody", "pem": "x"}]),
        edited(certificates=[{"source": SOURCE, "pem": "x" * 20_000}]),
        b" " * (MAX_BYTES + 1),
    ],
)
def test_what_has_another_form_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        CustodyStatement.parse(data)


# ---- log proofs


@pytest.mark.parametrize("seq, first, last", [(1, 1, 1), (1, 1, 6), (3, 1, 6), (6, 1, 6), (4, 3, 5), (3, 3, 3)])
def test_a_record_of_a_signed_chain_is_shown(seq: int, first: int, last: int) -> None:
    record = verify_log_proof(proof_of(seq, first, last), SOURCE, SIGNER.public)

    assert record.seq == seq


@pytest.mark.parametrize("place", range(5))
def test_an_edited_record_is_not_shown(place: int) -> None:
    good = proof_of(2)
    edited = good.records[place].replace(b'"outcome":0', b'"outcome":8')

    with pytest.raises(AuditAltered):
        verify_log_proof(replace(good, records=(*good.records[:place], edited, *good.records[place + 1 :])), SOURCE,
                         SIGNER.public)  # fmt: skip


@pytest.mark.parametrize(
    "records",
    [
        CHAIN[1:5],  # cut before the signed head
        CHAIN[1:3] + CHAIN[4:],  # one left out
        [CHAIN[1], CHAIN[3], CHAIN[2], *CHAIN[4:]],
        [CHAIN[5], CHAIN[5]],
    ],
)
def test_records_left_out_moved_or_doubled_are_seen(records: list[StoredRecord]) -> None:
    with pytest.raises(AuditAltered):
        verify_log_proof(replace(proof_of(2), records=tuple(one.public for one in records)), SOURCE, SIGNER.public)


def test_a_record_before_those_that_were_signed_is_not_shown() -> None:
    with pytest.raises(AuditAltered):
        verify_log_proof(
            LogProof(tuple(one.public for one in CHAIN[1:]), proof_of(3, 3).statement), SOURCE, SIGNER.public
        )


def test_another_source_s_word_is_not_taken() -> None:
    with pytest.raises(AuditAltered):
        verify_log_proof(proof_of(2), "control-plane", SIGNER.public)


def test_another_key_and_another_kind_of_statement_are_refused() -> None:
    stranger = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))

    with pytest.raises(WrongSigner):
        verify_log_proof(proof_of(2), SOURCE, stranger.public)
    with pytest.raises(SignatureInvalid):
        verify_log_proof(replace(proof_of(2), statement=sign_statement(SIGNER, Label.RECEIPT, b"{}")), SOURCE,
                         SIGNER.public)  # fmt: skip


# ---- frame digests


def test_frame_digests_are_read_back_under_the_key_that_signed_them() -> None:
    assert verify_frames(sign_frames(FRAMES, SIGNER), SIGNER.public) == FRAMES


@given(st.integers(0, 8 * len(sign_frames(FRAMES, SIGNER)) - 1))
def test_no_bit_of_frame_digests_can_be_changed_unseen(bit: int) -> None:
    data = bytearray(sign_frames(FRAMES, SIGNER))
    data[bit // 8] ^= 1 << bit % 8

    with pytest.raises((Malformed, IntegrityFailure)):
        verify_frames(bytes(data), SIGNER.public)


@pytest.mark.parametrize(
    "members",
    [
        {"frames": []},
        {"frames": ["00"]},
        {"frames": ["00" * 32] * 10_001},
        {"rows": 0},
        {"bits_allocated": 12},
        {"bits_stored": 17},
        {"colour": "CMYK"},
        {"signed": 0},
        {"decoder": ""},
        {"decoder": "a\nb"},
        {"more": 1},
        {"v": 2},
        {"transfer_syntax": "explicit"},
    ],
)
def test_frame_digests_of_another_form_are_refused(members: dict[str, Json]) -> None:
    with pytest.raises(Malformed):
        FrameStatement.parse(canonical.encode({**json.loads(FRAMES.encode()), **members}))
