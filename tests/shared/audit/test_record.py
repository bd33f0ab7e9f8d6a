import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import canonical
from shared.audit.events import EVENT_CODES, Event, Happening, Participant, Subject, UnknownEvent
from shared.audit.record import (
    GENESIS,
    MAX_PUBLIC_BYTES,
    MAX_SEALED_BYTES,
    AuditRecord,
    PrivatePartMismatch,
    StoredRecord,
    compose,
    open_private,
)
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.sealing.hpke import BoxLabel, SealingPublicKey
from tests.shared import drawn, made

anything = st.text(st.characters(), max_size=300)


def written(happening: Happening, key: SealingPublicKey | None = made.AUDIT_KEY.public) -> StoredRecord:
    return compose(
        happening, source=str(made.HOST), seq=1, prev=GENESIS, time=made.NOW, salt=bytes(range(32)), key=key
    )  # fmt: skip


@given(anything, anything, anything)
def test_what_a_hostile_peer_sends_as_its_name_never_makes_an_unreadable_record(
    ae_title: str, subject: str, reason: str
) -> None:
    who, what = (Participant("ae", ae_title, requestor=True),), (Subject("association", subject),)

    record = written(replace(made.happening(), who=who, what=what, reason=reason * 5))

    assert AuditRecord.parse(record.public).encode() == record.public


@pytest.mark.parametrize("name", ["", "\x00", "a\nb", "\x7f", "\ud800", "x" * 500, "\x1b[2J"])
def test_an_unreadable_name_is_replaced_and_not_lost(name: str) -> None:
    record = AuditRecord.parse(written(replace(made.happening(), who=(Participant("ae", name, True),))).public)

    assert 1 <= len(record.who[0].name) <= 200
    assert not set(record.who[0].name) & set("\x00\n\x7f\ud800\x1b")


def test_a_readable_name_and_reason_are_kept_as_they_are() -> None:
    record = AuditRecord.parse(written(made.happening(7)).public)

    assert record.who == made.happening(7).who
    assert record.reason == "number 7"


def test_a_happening_too_large_for_a_record_is_refused_at_once() -> None:
    for count in (65, 64):
        many = tuple(Subject("object", "向" * 200) for _ in range(count))
        with pytest.raises(Malformed):
            written(replace(made.happening(), what=many))


@pytest.mark.parametrize("extra", [0, 1])
def test_a_record_has_at_most_16384_bytes(extra: int) -> None:
    value = json.loads(written(made.happening()).public)
    value["what"] = [{"kind": "o" * 20, "name": "n" * 200}] * 64
    value["reason"] = ""
    value["reason"] = "r" * (MAX_PUBLIC_BYTES + extra - len(canonical.encode(value)))
    public = canonical.encode(value)

    if extra:
        with pytest.raises(Malformed, match="larger than"):
            AuditRecord.parse(public)
        with pytest.raises(Malformed):
            AuditRecord.parse(public + b"anything")
    else:
        assert AuditRecord.parse(public).encode() == public


some_name = st.text(st.characters(), min_size=1, max_size=40)
kinds = st.sampled_from(["object", "fact", "host"])
subjects = st.lists(st.builds(Subject, kinds, some_name), max_size=4)
participants = st.lists(st.builds(Participant, st.sampled_from(["person", "ae"]), some_name, st.booleans()), max_size=3)


@given(st.data(), subjects, participants, anything, st.booleans())
def test_both_ways_of_reading_a_record_say_the_same_of_whatever_bytes(
    data: st.DataObject, what: list[Subject], who: list[Participant], reason: str, sealed: bool
) -> None:
    """The quick one reads by one expression what is plain; of all else the careful one has the word."""
    happening = replace(made.happening(), what=tuple(what), who=tuple(who), reason=reason)
    public = written(replace(happening, private={"a": 1} if sealed else None)).public
    at = data.draw(st.integers(0, len(public)))
    cut = data.draw(st.integers(at, min(len(public), at + 3)))
    put = data.draw(st.sampled_from([b"", b"0", b"9", b" ", b'"', b"\\", b",", b"Z", b"\xff", b"\x00", b'{"', b"]"]))

    for text in (public, public[:at] + put + public[cut:]):
        try:
            careful = AuditRecord._parse_any(text)
        except Malformed:
            with pytest.raises(Malformed):
                AuditRecord.parse(text)
            continue
        assert AuditRecord.parse(text) == careful
        assert careful.encode() == text


@pytest.mark.parametrize(
    "was, put",
    [
        (b'"outcome":0', b'"outcome":00'),
        (b'"seq":1', b'"seq":01'),
        (b'"seq":1', b'"seq":9007199254740992'),
        (b'"v":1', b'"v":2'),
        (b"T08:", b"T24:"),
        (b'"code":"110107"', b'"code":"110100"'),
        (b'"what":[', b'"what":[,'),
        (b"}]", b"},]"),
    ],
)
def test_a_record_in_another_form_is_refused(was: bytes, put: bytes) -> None:
    public = written(made.happening()).public
    assert was in public

    with pytest.raises(Malformed):
        AuditRecord.parse(public.replace(was, put, 1))


# ---- the private part


@given(st.dictionaries(st.text(st.characters(max_codepoint=127), max_size=8), drawn.json_values, max_size=4))
def test_a_private_part_opens_to_what_was_written(private: dict[str, canonical.Json]) -> None:
    record = written(replace(made.happening(), private=private))

    assert open_private(record, made.AUDIT_KEY) == private


def test_a_private_part_is_nowhere_in_the_public_one() -> None:
    record = written(replace(made.happening(), private={"patient_name": "Doe^Jane"}))

    assert b"Doe" not in record.public
    assert b"Doe" not in (record.sealed or b"")


@pytest.mark.parametrize(
    "private, why",
    [({"x": "y" * MAX_SEALED_BYTES}, "larger than"), ({"x": "\ud800"}, "surrogate"), ({"ü": 1}, "ASCII")],
)
def test_a_private_part_that_cannot_be_kept_is_left_out_and_said_so(
    private: dict[str, canonical.Json], why: str
) -> None:
    record = written(replace(made.happening(), private=private))
    public = AuditRecord.parse(record.public)

    assert (record.sealed, public.commitment) == (None, None)
    assert public.reason.startswith("number 1; private part not kept: ")
    assert why in public.reason


def test_without_a_key_a_private_part_is_left_out_and_never_written_in_clear() -> None:
    record = written(replace(made.happening(), private={"patient_name": "Doe^Jane"}), key=None)

    assert record.sealed is None
    assert b"Doe" not in record.public
    assert b"private part not kept: no key to seal it to" in record.public


@given(st.data())
def test_any_flipped_bit_of_a_sealed_private_part_is_refused(data: st.DataObject) -> None:
    record = written(made.happening(private=True))
    sealed = record.sealed or b""
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))

    with pytest.raises((Refused, IntegrityFailure)):
        open_private(StoredRecord(record.public, made.flipped(sealed, bit)), made.AUDIT_KEY)


def test_a_forged_private_part_beside_the_genuine_record_is_refused() -> None:
    record = written(made.happening(private=True))
    commitment = AuditRecord.parse(record.public).commitment or b""
    lie = bytes(32) + canonical.encode({"patient_id": "somebody else"})
    forged = made.AUDIT_KEY.public.seal(BoxLabel.AUDIT_PRIVATE, commitment, lie)

    with pytest.raises(PrivatePartMismatch):
        open_private(StoredRecord(record.public, forged), made.AUDIT_KEY)


def test_erasing_the_private_part_changes_no_hash() -> None:
    record = written(made.happening(private=True))

    assert StoredRecord(record.public, None).leaf == record.leaf


# ---- events


def test_every_event_has_its_dicom_code() -> None:
    assert EVENT_CODES.keys() == set(Event)


@pytest.mark.parametrize("event", list(Event))
def test_a_record_whose_event_and_code_disagree_is_refused(event: Event) -> None:
    value = json.loads(written(replace(made.happening(), event=event)).public)
    assert AuditRecord.parse(canonical.encode(value)).event is event

    for code in set(EVENT_CODES.values()) - {EVENT_CODES[event]}:
        with pytest.raises(Malformed):
            AuditRecord.parse(canonical.encode({**value, "code": code}))


def test_an_event_of_a_newer_host_is_kept_as_it_is_and_is_none_of_ours() -> None:
    value = json.loads(written(made.happening()).public)
    public = canonical.encode({**value, "event": "capture.dose-checked", "code": "110107"})

    record = AuditRecord.parse(public)

    assert record.event == UnknownEvent("capture.dose-checked", "110107")
    assert record.encode() == public
    for change in ({"event": "Capture.x"}, {"event": "capture"}, {"event": "a." + "b" * 40}, {"code": "1"}):
        with pytest.raises(Malformed):
            AuditRecord.parse(canonical.encode({**json.loads(public), **change}))


def test_an_unknown_event_of_the_centre_s_own_log_is_refused_because_it_may_revoke_somebody() -> None:
    value = json.loads(written(made.happening()).public)
    own = {**value, "source": "control-plane"}
    assert AuditRecord.parse(canonical.encode(own)).source == "control-plane"

    with pytest.raises(Malformed):
        AuditRecord.parse(canonical.encode({**own, "event": "enrolment.host-banned", "code": "110113"}))
