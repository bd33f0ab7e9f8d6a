"""Association requests that another implementation reads, and answers read strictly whatever comes."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_RQ

from shared.dicom.associate import Accepted, Proposed, Request, aborted, rejected
from shared.dicom.pdu import reject, user_abort
from shared.errors import Malformed
from tests.edge_agent.capture.wire import item, pdu

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
ASKED = (Proposed(CT, (EXPLICIT, IMPLICIT)), Proposed(MR, (EXPLICIT,), scp=True))
REQUEST = Request("LEADGLASS", "PACS", ASKED, 65_536)


def context(number: int, result: int = 0, *transfers: str) -> bytes:
    return item(0x21, struct.pack(">BxBx", number, result) + b"".join(item(0x40, t.encode()) for t in transfers))


def answer(*items: bytes, length: bytes = struct.pack(">I", 16_384)) -> bytes:
    fixed = struct.pack(">H2x", 1) + b"PACS".ljust(16) + b"LEADGLASS".ljust(16) + bytes(32)
    return pdu(2, fixed + item(0x10, b"1.2.840.10008.3.1.1.1") + b"".join(items) + item(0x50, item(0x51, length)))


WHOLE = answer(context(1, 0, EXPLICIT), context(3, 3, EXPLICIT))


def test_another_implementation_reads_the_request() -> None:
    read = A_ASSOCIATE_RQ()
    read.decode(REQUEST.encode())

    assert read.calling_ae_title.strip() == "LEADGLASS"
    assert read.called_ae_title.strip() == "PACS"
    assert read.application_context_name == "1.2.840.10008.3.1.1.1"
    contexts = [(c.context_id, c.abstract_syntax, c.transfer_syntax) for c in read.presentation_context]
    assert contexts == [(1, CT, [EXPLICIT, IMPLICIT]), (3, MR, [EXPLICIT])]
    assert read.user_information is not None
    assert read.user_information.maximum_length == 65_536
    assert {uid: (role.scu_role, role.scp_role) for uid, role in read.user_information.role_selection.items()} == {
        MR: (False, True)
    }


@pytest.mark.parametrize("count", [0, 129])
def test_refuses_more_contexts_than_there_are_ids(count: int) -> None:
    with pytest.raises(Malformed):
        Request("A", "B", (Proposed(CT, (EXPLICIT,)),) * count, 0).encode()


def test_reads_which_contexts_were_accepted_and_how_much_the_peer_takes() -> None:
    role = item(0x54, struct.pack(">H", len(MR)) + MR.encode() + b"\x00\x01")
    fixed = WHOLE[:-12]
    data = pdu(2, fixed[6:] + item(0x50, item(0x51, struct.pack(">I", 131_072)) + item(0x99, b"?") + role))

    assert Accepted.parse(data, REQUEST) == Accepted({1: EXPLICIT}, 131_072, {MR: (False, True)})


def test_the_transfer_syntax_of_a_refused_context_is_of_no_matter() -> None:
    assert Accepted.parse(answer(context(1, 4), context(3, 1, "junk")), REQUEST).contexts == {}


@pytest.mark.parametrize(
    "data",
    [
        answer(context(5, 0, EXPLICIT)),
        answer(context(2, 0, EXPLICIT)),
        answer(context(1, 0, EXPLICIT), context(1, 0, EXPLICIT)),
        answer(context(3, 0, IMPLICIT)),
        answer(context(1, 0)),
        answer(context(1, 0, EXPLICIT, IMPLICIT)),
        answer(item(0x21, b"\x01")),
        answer(length=b"\x00"),
        pdu(2, b"short"),
        WHOLE[:-3],
        answer(b"\x21\x00\xff\xff"),
    ],
)
def test_refuses_an_answer_that_is_none(data: bytes) -> None:
    with pytest.raises(Malformed):
        Accepted.parse(data, REQUEST)


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_no_damage_to_an_answer_brings_anything_but_malformed(data: st.DataObject) -> None:
    damaged = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(6, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Malformed):
        read = Accepted.parse(bytes(damaged), REQUEST)
        assert set(read.contexts) <= {1, 3}
        assert all(t in REQUEST.contexts[n // 2].transfer_syntaxes for n, t in read.contexts.items())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_bring_anything_but_malformed(data: bytes) -> None:
    with suppress(Malformed):
        Accepted.parse(pdu(2, data), REQUEST)


def test_a_rejection_is_told_in_words() -> None:
    said = rejected(reject(1, 1, 7))

    assert (said.result, said.source, said.reason) == (1, 1, 7)
    assert "called AE title not recognised" in str(said)
    assert "permanent" in str(said)


def test_an_abort_is_told_in_words() -> None:
    assert "did not say why" in str(aborted(user_abort()))
    assert "unexpected PDU" in str(aborted(pdu(7, bytes((0, 0, 2, 2)))))
