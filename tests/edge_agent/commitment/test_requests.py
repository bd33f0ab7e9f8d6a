"""What a modality asks and is told: read strictly, in three encodings, and nothing but our errors from other bytes."""

from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pynetdicom.dsutils import decode, encode

from edge_agent.commitment import requests
from edge_agent.commitment.reports import EventType, FailureReason, Report
from edge_agent.commitment.requests import MAX_REFERENCES, CommitmentRequest, Reference, TooManyReferences
from shared.errors import Malformed

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
SYNTAXES = {IMPLICIT: (True, True), EXPLICIT: (False, True), BIG: (False, False)}
uids = st.lists(st.integers(1, 999_999), min_size=2, max_size=9).map(lambda parts: ".".join(map(str, parts)))
references = st.lists(st.builds(Reference, uids, uids), min_size=1, max_size=5, unique=True)


def asked(request: CommitmentRequest, transfer_syntax: str) -> bytes:
    """Return the request as another implementation writes it, with more around it than we look at."""
    data = Dataset()
    data.RetrieveAETitle = "CT1"
    data.TransactionUID = request.transaction_uid
    data.ReferencedSOPSequence = []
    step = Dataset()
    step.ReferencedSOPClassUID, step.ReferencedSOPInstanceUID = "1.2.3", "1.2.4"
    data.ReferencedPerformedProcedureStepSequence = [step]
    for reference in request.references:
        item = Dataset()
        item.ReferencedSOPClassUID = reference.sop_class_uid
        item.ReferencedSOPInstanceUID = reference.sop_instance_uid
        item.PurposeOfReferenceCodeSequence = [Dataset()]
        data.ReferencedSOPSequence.append(item)
    encoded = encode(data, *SYNTAXES[transfer_syntax])
    assert encoded is not None
    return encoded


@pytest.mark.parametrize("transfer_syntax", SYNTAXES)
@settings(max_examples=50, deadline=None)
@given(uids, references)
def test_reads_what_others_write(transfer_syntax: str, transaction: str, named: list[Reference]) -> None:
    request = CommitmentRequest(transaction, tuple(named))

    assert requests.parse(asked(request, transfer_syntax), transfer_syntax) == request


@pytest.mark.parametrize("transfer_syntax", SYNTAXES)
@settings(max_examples=50, deadline=None)
@given(uids, references, references)
def test_others_read_what_is_reported(
    transfer_syntax: str, transaction: str, committed: list[Reference], failed: list[Reference]
) -> None:
    report = Report("id", transaction, tuple(committed), tuple((one, FailureReason.NO_SUCH_INSTANCE) for one in failed))

    data = decode(BytesIO(report.encode(transfer_syntax)), *SYNTAXES[transfer_syntax])
    assert data.TransactionUID == transaction
    assert [(i.ReferencedSOPClassUID, i.ReferencedSOPInstanceUID) for i in data.ReferencedSOPSequence] == [
        (one.sop_class_uid, one.sop_instance_uid) for one in committed
    ]
    assert [(i.ReferencedSOPInstanceUID, i.FailureReason) for i in data.FailedSOPSequence] == [
        (one.sop_instance_uid, 0x0112) for one in failed
    ]
    assert report.event_type is EventType.FAILURES_EXIST


def test_an_instance_named_twice_is_one() -> None:
    request = CommitmentRequest("1.2", (Reference("1.3", "1.4"),) * 2)

    assert requests.parse(asked(request, EXPLICIT), EXPLICIT).references == (Reference("1.3", "1.4"),)


WHOLE = {
    syntax: asked(CommitmentRequest("1.2", (Reference("1.3", "1.4"), Reference("1.5", "1.6"))), syntax)
    for syntax in SYNTAXES
}


@pytest.mark.parametrize("transfer_syntax", SYNTAXES)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_damage_brings_anything_but_our_errors(transfer_syntax: str, data: st.DataObject) -> None:
    damaged = bytearray(WHOLE[transfer_syntax])
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Malformed, TooManyReferences):
        requests.parse(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]), transfer_syntax)


@pytest.mark.parametrize("transfer_syntax", SYNTAXES)
@settings(max_examples=200, deadline=None)
@given(noise=st.binary(max_size=200))
def test_no_bytes_bring_anything_but_our_errors(transfer_syntax: str, noise: bytes) -> None:
    with suppress(Malformed, TooManyReferences):
        requests.parse(noise, transfer_syntax)


def test_a_request_cut_anywhere_is_refused() -> None:
    whole = asked(CommitmentRequest("1.2", (Reference("1.3", "1.4"),)), EXPLICIT)
    for cut in range(len(whole)):
        with suppress(Malformed):
            read = requests.parse(whole[:cut], EXPLICIT)
            # Cut behind the last element that is needed, it is whole for us.
            assert read == CommitmentRequest("1.2", (Reference("1.3", "1.4"),))


def test_nesting_and_number_are_bounded() -> None:
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    sequence = b"\x08\x00\x99\x11SQ\x00\x00\xff\xff\xff\xff"
    with pytest.raises(Malformed, match="nested"):
        requests.parse((sequence + item) * 100_000, EXPLICIT)
    with pytest.raises(TooManyReferences):
        requests.parse(sequence + b"\xfe\xff\x00\xe0\x00\x00\x00\x00" * (MAX_REFERENCES + 1), EXPLICIT)
    with pytest.raises(TooManyReferences):
        requests.parse(bytes(requests.MAX_BYTES + 1), EXPLICIT)


def test_as_many_as_are_taken_at_once_are_read() -> None:
    named = tuple(Reference("1.2.840.10008.5.1.4.1.1.2", f"1.2.{number}") for number in range(MAX_REFERENCES))
    encoded = b"".join(
        b"\xfe\xff\x00\xe0" + len(item).to_bytes(4, "little") + item
        for item in (_item(reference) for reference in named)
    )
    data = b"\x08\x00\x95\x11UI\x04\x001.2\x00\x08\x00\x99\x11SQ\x00\x00" + len(encoded).to_bytes(4, "little") + encoded

    assert requests.parse(data, EXPLICIT).references == named


def _item(reference: Reference) -> bytes:
    out = b""
    for number, uid in ((0x1150, reference.sop_class_uid), (0x1155, reference.sop_instance_uid)):
        value = uid.encode() + b"\x00" * (len(uid) % 2)
        out += b"\x08\x00" + number.to_bytes(2, "little") + b"UI" + len(value).to_bytes(2, "little") + value
    return out
