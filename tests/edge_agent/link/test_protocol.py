"""The link's words: what is encoded reads back, and whatever is out of form is refused."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.link import protocol
from edge_agent.link.protocol import (
    MAX_RECORDS,
    Answer,
    Confirm,
    Confirmed,
    Error,
    Explain,
    Explanation,
    Given,
    Hello,
    Offer,
    Records,
    Rehearse,
    Report,
    Reported,
    Request,
    Taken,
    Welcome,
    encode_answer,
    encode_request,
    parse_answer,
    parse_request,
)
from shared import canonical
from shared.devices.record import MAX_BYTES as MAX_RECORD_BYTES
from shared.errors import Malformed
from shared.fleet.devices import (
    MAX_DEVICES,
    MAX_FINDINGS,
    MAX_OTHERS,
    Finding,
    FindingState,
    OtherDevice,
    OtherState,
    Seen,
)
from shared.policy import bundle
from tests.fakes.guard import HUB, NOW, REHEARSAL, REPORT, STICK

NUMBER = st.integers(0, 2**53 - 1)
REQUESTS: st.SearchStrategy[Request] = st.one_of(
    st.just(Hello()),
    st.just(Report()),
    st.builds(Offer, st.none() | st.binary(max_size=99), st.none() | st.binary(max_size=99)),
    st.builds(Records, NUMBER, st.integers(1, MAX_RECORDS)),
    st.builds(Confirm, NUMBER),
    st.just(Rehearse()),
    st.builds(Explain, st.from_regex(r"[0-9a-z.-]{1,31}", fullmatch=True)),
)
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60)
ANSWERS: st.SearchStrategy[Answer] = st.one_of(
    st.builds(Welcome, TEXT, NUMBER, NUMBER),
    st.just(Taken()),
    st.builds(Reported, st.builds(lambda name: replace(REPORT, devices=(HUB, replace(STICK, name=name))), TEXT)),
    st.builds(Given, st.lists(st.binary(max_size=99), max_size=4).map(tuple)),
    st.builds(Confirmed, NUMBER),
    st.builds(lambda rule, contact: Explanation(STICK, rule, contact, "zh"), TEXT, TEXT),
    st.builds(lambda name, detail: replace(REHEARSAL, name=name, detail=detail), TEXT, TEXT),
    st.builds(Error, TEXT),
)


@given(REQUESTS)
def test_a_request_reads_back(request: Request) -> None:
    assert parse_request(encode_request(request)) == request


@given(ANSWERS)
def test_an_answer_reads_back(answer: Answer) -> None:
    assert parse_answer(encode_answer(answer)) == answer


@given(REQUESTS, st.data())
def test_one_changed_byte_is_refused_or_another_request_in_the_one_form(request: Request, data: st.DataObject) -> None:
    payload = bytearray(encode_request(request))
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    try:
        read = parse_request(bytes(payload))
    except Malformed:
        return
    assert encode_request(read) == payload


def said(**members: Any) -> bytes:
    return canonical.encode({"v": 1, **members})


@pytest.mark.parametrize(
    "payload, why",
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[]", "expected an object"),
        (b'{"ask": "hello", "v": 1}', "not in canonical form"),
        (said(ask="hello", v=2), "version 1 only"),
        (said(), "'ask'"),
        (said(ask="allow", port="1-2"), "expected one of hello, offer, report, records, confirm, explain, rehearse"),
        (said(ask="hello", target="allow"), "unknown field 'target'"),
        (said(ask="offer", head="!"), "not base64"),
        (said(ask="offer", head=None), "expected base64"),
        (said(ask="records", after=-1, most=1), "'after'"),
        (said(ask="records", after=0, most=MAX_RECORDS + 1), "'most'"),
        (said(ask="confirm", upto=True), "'upto'"),
        (said(ask="explain", port="../../etc"), "'port'"),
        (said(ask="explain", port="1-2\n"), "'port'"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_what_is_out_of_form_is_refused_and_says_where(payload: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        parse_request(payload)


def test_the_largest_bundles_fit_into_an_offer_and_no_larger_ones_are_read() -> None:
    limits = protocol.MAX_HEAD_BYTES, protocol.MAX_LAYER_BYTES
    offer = encode_request(Offer(bytes(limits[0]), bytes(limits[1])))

    assert limits == (bundle.MAX_HEAD_BYTES, bundle.MAX_LAYER_BYTES)
    assert len(offer) <= protocol.MAX_REQUEST_BYTES <= 2 << 20
    assert parse_request(offer) == Offer(bytes(limits[0]), bytes(limits[1]))
    with pytest.raises(Malformed):
        parse_request(encode_request(Offer(bytes(limits[0] + 1), None)))
    with pytest.raises(Malformed, match="larger than"):
        parse_request(b" " * (protocol.MAX_REQUEST_BYTES + 1))


def test_as_many_records_as_may_be_asked_for_fit_into_an_answer() -> None:
    assert len(encode_answer(Given((bytes(MAX_RECORD_BYTES),) * MAX_RECORDS))) <= protocol.MAX_ANSWER_BYTES <= 1 << 20


def test_the_largest_report_fits_into_an_answer() -> None:
    wide = "\N{PILE OF POO}"
    device = replace(STICK, name=wide * 126, serial=wide * 126, detail=wide * 300)
    other = OtherDevice("optical", wide * 126, wide * 300, Seen.NOW, NOW, OtherState.WITH_USB_DEVICE)
    finding = Finding("disk", FindingState.FOUND, wide * 300, NOW)
    report = replace(
        REPORT, devices=(device,) * MAX_DEVICES, others=(other,) * MAX_OTHERS, findings=(finding,) * MAX_FINDINGS
    )

    assert len(encode_answer(Reported(report))) <= protocol.MAX_ANSWER_BYTES


def test_an_error_never_carries_a_second_line() -> None:
    answer = Error.of(ValueError("no\nsuch\x1b[31m port\N{RIGHT-TO-LEFT OVERRIDE}" + "x" * 2000))

    assert parse_answer(encode_answer(answer)) == answer
    assert answer.text.isprintable()


HEAVY = ("asyncio", "cryptography", "http", "psutil", "pydicom", "sqlalchemy", "ssl", "tuf")


def test_the_guard_s_end_of_the_link_loads_nothing_heavy() -> None:
    code = f"import sys, edge_agent.link.server; print(*(name for name in {HEAVY!r} if name in sys.modules))"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
