"""Both ways of reading take the same bytes for the same values, and refuse the same with the same words."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.audit_log import quick_reader
from control_plane.audit_log.quick_reader import PlainRecord, read_all, read_batch, record_reader
from shared import canonical
from shared.audit.batch import MAX_BYTES, MAX_RECORDS, Batch, sign_batch
from shared.audit.events import Event, Participant, Subject
from shared.audit.packed import pack
from shared.audit.record import (
    GENESIS,
    MAX_PUBLIC_BYTES,
    MAX_SEALED_BYTES,
    AuditRecord,
    ReadRecord,
    StoredRecord,
    compose,
)
from shared.errors import Malformed
from tests.shared import made

READ = record_reader()


def public_of(microsecond: int = 7, **changes: object) -> bytes:
    happening = replace(made.happening(), **changes)  # type: ignore[arg-type]
    time = made.NOW.replace(microsecond=microsecond)
    return compose(
        happening, source=str(made.HOST), seq=1, prev=GENESIS, time=time, salt=bytes(32), key=made.AUDIT_KEY.public
    ).public


PLAIN = public_of(private={"a": 1})
BATCH = sign_batch(str(made.HOST), GENESIS, made.chain(4), made.HOST_SIGNER)


def said(record: ReadRecord) -> tuple[object, ...]:
    return (
        record.source, record.seq, record.prev, record.time, record.happened, record.event, record.action,
        record.outcome, [(who.kind, who.name) for who in record.who], [(it.kind, it.name) for it in record.what],
        record.commitment,
    )  # fmt: skip


def outcome(read: Callable[[bytes], object], data: bytes) -> object:
    """Return what `read` makes of `data`, or the words in which it refuses."""
    try:
        return read(data)
    except Malformed as exc:
        return str(exc)


def assert_same(public: bytes) -> object:
    """Return what both readers say of a public part."""
    quick = outcome(lambda data: said(READ(data)), public)
    careful = outcome(lambda data: said(AuditRecord._parse_any(data)), public)
    if not isinstance(quick, str) or "larger than" not in quick:  # which comes before the careful reader
        assert quick == careful, public
    among = outcome(lambda data: said(read_all([PLAIN, data, PLAIN])[1]), public)
    assert among == quick, public
    return quick


def is_read_quickly(public: bytes) -> bool:
    return isinstance(READ(public), PlainRecord)


# ---- records

names = st.text(st.characters(), min_size=1, max_size=30)
kinds = st.sampled_from(["object", "fact", "host", "k" * 32, "k" * 33, "", "Host", "a1", "ä"])
whats = st.lists(st.builds(Subject, kinds, names), max_size=4).map(tuple)
whos = st.lists(
    st.builds(Participant, st.sampled_from(["person", "ae", "host", "service"]), names, st.booleans()), max_size=3
)
pieces = [b"", b" ", b"\n", b"0", b"9", b"-", b".0", b"e1", b'"', b"\\", b"\\u0041", b",", b"Z", b"+01:00", b"\x7f",
          b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\x00", b"{", b"]", b"A", b"null", b"true"]  # fmt: skip


@given(st.data(), whats, whos.map(tuple), names, st.booleans(), st.sampled_from([0, 7, 120_000]))
def test_whatever_the_bytes_both_readers_say_the_same(
    data: st.DataObject,
    what: tuple[Subject, ...],
    who: tuple[Participant, ...],
    reason: str,
    private: bool,
    microsecond: int,
) -> None:
    try:
        public = public_of(microsecond, what=what, who=who, reason=reason, private={"a": 1} if private else None)
    except Malformed:  # a kind that none may have: written past the writer, which looks
        value = json.loads(PLAIN)
        value["what"] = [{"kind": one.kind, "name": "n"} for one in what]
        public = canonical.encode(value)
    at = data.draw(st.integers(0, len(public)))
    spoiled = public[:at] + data.draw(st.sampled_from(pieces)) + public[data.draw(st.integers(at, at + 3)) :]

    assert_same(public)
    assert_same(spoiled)


def test_what_is_plain_is_read_quickly() -> None:
    for public in (
        PLAIN,
        public_of(0),
        public_of(120_000),
        public_of(reason="", who=(), what=()),
        public_of(reason="ü 向 \U0001f480"),
    ):
        assert is_read_quickly(public)
        assert not isinstance(assert_same(public), str)


def test_every_event_is_read_quickly() -> None:
    for event in Event:
        public = public_of(event=event)
        assert is_read_quickly(public)
        assert READ(public).event is event


def test_an_event_of_a_newer_host_and_a_quote_in_a_name_are_read_the_careful_way() -> None:
    newer = canonical.encode({**json.loads(PLAIN), "event": "capture.dose-checked"})
    for public in (newer, public_of(reason='"quoted"'), public_of(reason="a\\b")):
        assert not is_read_quickly(public)
        assert not isinstance(assert_same(public), str)


def variants() -> Iterator[tuple[bytes, bytes]]:
    """Yield what to find in a plain record, and what is put there that no reader takes."""
    value = json.loads(PLAIN)
    time, prev, private = (f'"{value[name]}"'.encode() for name in ("time", "prev", "private"))
    yield from ((time, time.replace(b"Z", zone)) for zone in (b"", b"z", b"+00:00", b"-00:00", b"+01:00", b"-12:30"))
    yield from ((time, time.replace(was, put)) for was, put in (
        (b"T", b" "), (b"T", b"t"), (b"T08:", b"T24:"), (b"000007Z", b"0000071Z"), (b"000007Z", b"00000700Z"),
        (b"000007Z", b"7Z"), (b".", b","), (b"-", b""), (b"2026", b"0000"), (b"2026", b"12026"), (b":00.", b":60."),
    ))  # fmt: skip
    yield from ((prev, put) for put in (
        b'""', b"null", prev[:-2] + b'"', b'"' + b"A" * 64 + b'"', b'"' + b"0" * 62 + b'0 "',
        b'"' + b"ab " * 21 + b'a"', b'"' + b"g" * 64 + b'"', b"0",
    ))  # fmt: skip
    yield from ((private, put) for put in (private.upper(), private[:-3] + b'"', b'""', b"0", b"false"))
    yield from ((b'"seq":1', b'"seq":' + put) for put in (
        b"0", b"-0", b"-1", b"01", b"1.0", b"1e0", b"+1", b"true", b'"1"', b"null", b"9007199254740992", b"1" * 400,
    ))  # fmt: skip
    yield from ((b'"v":1', b'"v":' + put) for put in (b"2", b"true", b"1.0", b'"1"', b"01"))
    yield from ((b'"outcome":0', b'"outcome":' + put) for put in (b"1", b"-0", b"0.0", b"false", b"00", b"16", b'"0"'))
    yield from (
        (b'"action":"C"', b'"action":' + put) for put in (b'"X"', b'"c"', b'""', b"null", b'"CREATE"', b'"\\u0043"')
    )
    yield from ((b'"kind":"host"', b'"kind":' + put) for put in (b'"nurse"', b'""', b"null", b'"HOST"'))
    yield from (
        (b'"kind":"object"', b'"kind":"' + put + b'"') for put in (b"", b"k" * 33, b"Object", b"a-b", b"\xc3\xa4")
    )
    yield from ((b'"name":"CT1"', b'"name":' + put) for put in (
        b'""', b"1", b"null", b'"\x7f"', b'"\x01"', b'"\\u0001"', b'"\\u0041"', b'"\\/"', b'"\\ud800"',
        b'"\xed\xa0\x80"', b'"' + b"n" * 201 + b'"', b'"' + "向".encode() * 201 + b'"',
    ))  # fmt: skip
    yield from ((b'"reason":"number 1"', b'"reason":' + put) for put in (b"null", b'"' + b"r" * 1025 + b'"', b'"\t"'))
    yield from ((b'"requestor":true', b'"requestor":' + put) for put in (b"1", b"null", b'"true"', b"TRUE"))
    yield from ((b'"code":"110107"', b'"code":"' + put + b'"') for put in (b"110100", b"", b"0110107"))
    yield from ((str(made.HOST).encode(), put) for put in (b"host-", b"", b"host-" + b"A" * 32, b"control-plane-2"))
    yield b'"what":[', b'"what":[,'
    yield b'"what":[', b'"what":[{"kind":"fact","name":"n"},' * 1 + b'{"kind":"fact","name":"n"},' * 64
    yield b'"who":[', b'"who":[' + b'{"kind":"ae","name":"n","requestor":true},' * 15
    yield b'{"kind":"object",', b'{"kind":"object","more":1,'
    yield b'"name":"CT1"', b'"name":"CT0","name":"CT1"'
    yield b'{"action"', b'{"action":"C","action"'
    yield b'{"action"', b'{"a":1,"action"'
    yield b'{"action":"C",', b"{"
    yield b'{"action"', b' {"action"'
    yield b'{"action"', b'\xef\xbb\xbf{"action"'
    yield b'","code"', b'", "code"'
    yield b'"v":1', b'"v" :1'
    yield b'"v":1,"what"', b'"what"'
    yield b"}]}", b"}]}\n"
    yield b"}]}", b"}]}{}"
    yield b"}]}", b"}]"
    yield PLAIN, b"[" + PLAIN + b"]"
    yield PLAIN, b"[" * 5000
    yield PLAIN, b""
    yield PLAIN, json.dumps(dict(reversed(value.items())), separators=(",", ":")).encode()
    yield PLAIN, PLAIN.decode().encode("utf-16")


def test_no_reader_takes_another_form() -> None:
    for was, put in variants():
        assert was in PLAIN
        spoiled = PLAIN.replace(was, put)
        assert isinstance(assert_same(spoiled), str), spoiled


def test_what_stands_at_a_limit_is_taken_by_both() -> None:
    value = json.loads(PLAIN)
    value["what"] = [{"kind": "k" * 32, "name": "向" * 200}] + [{"kind": "o", "name": "n"}] * 63
    value["who"] = [{"kind": "ae", "name": "n" * 200, "requestor": False}] * 16
    value |= {"reason": "r" * 1024, "seq": 2**53 - 1, "source": "control-plane", "outcome": 12, "private": None}
    public = canonical.encode(value)

    assert is_read_quickly(public)
    assert not isinstance(assert_same(public), str)


@pytest.mark.parametrize("extra", [0, 1])
def test_a_record_beyond_its_size_is_taken_by_neither(extra: int) -> None:
    value = json.loads(PLAIN)
    value["what"] = [{"kind": "o" * 20, "name": "n" * 200}] * 64
    value["reason"] = ""
    value["reason"] = "r" * (MAX_PUBLIC_BYTES + extra - len(canonical.encode(value)))
    public = canonical.encode(value)

    if extra:
        with pytest.raises(Malformed, match="larger than"):
            READ(public)
    else:
        assert is_read_quickly(public)


@pytest.mark.parametrize(
    "was, put",
    [
        (b'{"action"', b' {"action"'),
        (b'{"action"', b'{"action":"R","action"'),
        (b'"seq":1', b'"seq": 1'),
        (b'"outcome":0', b'"outcome":-0'),
        (b"000007Z", b"0000071Z"),
        (b"CT1", b"\\u0043T1"),
    ],
)
def test_the_decoder_alone_would_take_what_only_printing_again_refuses(was: bytes, put: bytes) -> None:
    spoiled = PLAIN.replace(was, put)

    assert said(quick_reader._RECORD.decode(spoiled)) == said(READ(PLAIN))
    with pytest.raises(Malformed):
        READ(spoiled)


@pytest.mark.parametrize("zone", ["", "+01:00"])
def test_printing_again_alone_would_take_another_zone(zone: str) -> None:
    spoiled = PLAIN.replace(b"000007Z", b"000007" + zone.encode())

    assert quick_reader._PRINTER.encode(quick_reader._RECORD.decode(spoiled)) == spoiled
    with pytest.raises(Malformed):
        READ(spoiled)


@pytest.mark.parametrize("fraction", [b"", b".0", b".00000", b".0000000", b".000000Z.000000"])
def test_a_whole_second_has_one_form_only(fraction: bytes) -> None:
    whole = public_of(0)
    assert is_read_quickly(whole)

    with pytest.raises(Malformed):
        READ(whole.replace(b".000000Z", fraction + b"Z"))


# ---- batches


@given(st.data())
def test_whatever_the_bytes_of_a_batch_both_readers_say_the_same(data: st.DataObject) -> None:
    encoded = BATCH.encode()
    at = data.draw(st.integers(0, len(encoded)))
    spoiled = encoded[:at] + data.draw(st.sampled_from(pieces)) + encoded[data.draw(st.integers(at, at + 3)) :]

    assert read_batch(encoded) == BATCH
    assert outcome(read_batch, spoiled) == outcome(Batch.parse, spoiled)


def test_every_character_is_written_alike_in_a_batch() -> None:
    every = "".join(chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000)
    for at in range(0, len(every), MAX_SEALED_BYTES):
        some = Batch((StoredRecord(every[at : at + MAX_SEALED_BYTES].encode(), None),), b"signed")

        assert quick_reader._PRINTER.encode(quick_reader._BATCH.decode(some.encode())) == some.encode()
        assert read_batch(some.encode()) == some


STATED = '"statement":"c2lnbmVk"'


OTHER_FORMS = [
    '{"records":[{"public":"\\u0041","sealed":null}],' + STATED + "}",
    '{"records":[{"public":"\\u001F","sealed":null}],' + STATED + "}",
    '{"records":[{"public":"\\/","sealed":null}],' + STATED + "}",
    '{"records":[{"public":"\\ud83d\\ude00","sealed":null}],' + STATED + "}",
    '{"records":[{"public":"\\ud83d","sealed":null}],' + STATED + "}",
    '{"records":[{"sealed":null,"public":"a"}],' + STATED + "}",
    '{"records":[{"public":"a","sealed":null,"sealed":null}],' + STATED + "}",
    '{"records":[{"public":"a"}],' + STATED + "}",
    '{"records":[{"public":null,"sealed":null}],' + STATED + "}",
    '{"records":[{"public":"a","sealed":"YR=="}],' + STATED + "}",  # a bit astray in the last character
    '{"records":[{"public":"a","sealed":"YQ"}],' + STATED + "}",
    '{"records":[{"public":"a","sealed":"Y Q="}],' + STATED + "}",
    '{"records":[{"public":"a","sealed":"-_-_"}],' + STATED + "}",
    '{"records":[{"public":"a","sealed":1}],' + STATED + "}",
    '{"records":[' + ",".join(['{"public":"a","sealed":null}'] * (MAX_RECORDS + 1)) + "]," + STATED + "}",
    '{"records":[{"public":"' + "a" * (MAX_SEALED_BYTES + 1) + '","sealed":null}],' + STATED + "}",
    '{"records":[{"public":"a","sealed":"' + "AAAA" * 10923 + '"}],' + STATED + "}",
    '{"records":[],"statement":"' + "AAAA" * 1366 + '"}',
    '{"records":[], ' + STATED + "}",
    '{"records":[],' + STATED + ',"more":1}',
    '{"records":null,' + STATED + "}",
    '{"records":[]}',
    "[]",
    "",
]


def test_no_reader_takes_another_form_of_a_batch() -> None:
    for text in OTHER_FORMS:
        refused = outcome(Batch.parse, text.encode())
        assert isinstance(refused, str), text
        assert outcome(read_batch, text.encode()) == refused


@pytest.mark.parametrize("size", [0, 1, 2, MAX_SEALED_BYTES])
def test_a_sealed_part_of_whatever_size_is_taken_by_both(size: int) -> None:
    batch = Batch((StoredRecord(b"{}", bytes(range(256)) * 128 if size > 2 else bytes(size)),), b"signed")

    assert read_batch(batch.encode()) == Batch.parse(batch.encode()) == batch


@pytest.mark.parametrize("write", [Batch.encode, pack])
def test_a_batch_beyond_its_size_is_taken_by_neither(write: Callable[[Batch], bytes]) -> None:
    large = write(Batch((StoredRecord(b"a" * MAX_SEALED_BYTES, None),) * (MAX_BYTES // MAX_SEALED_BYTES), b"signed"))
    assert len(large) > MAX_BYTES

    with pytest.raises(Malformed, match="larger than"):
        read_batch(large)


def test_a_packed_batch_is_read_as_what_it_is() -> None:
    assert read_batch(pack(BATCH)) == BATCH
    with pytest.raises(Malformed, match="packed audit batch"):
        read_batch(pack(BATCH)[:-1])
