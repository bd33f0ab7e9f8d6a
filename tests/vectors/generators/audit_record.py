"""Makes the scenarios of docs/formats/audit-record.md: `batch` (verify, then judge against what is held), `private`."""

import json
from collections.abc import Sequence
from datetime import timedelta
from hashlib import sha256

from shared import canonical
from shared.audit.batch import Batch, ChainHead, Statement, sign_batch
from shared.audit.events import Action, Event, Happening, Outcome, Participant, Subject
from shared.audit.packed import pack
from shared.audit.record import GENESIS, AuditRecord, StoredRecord, compose, leaf_hash
from shared.sealing.hpke import BoxLabel
from shared.signing import Label, sign_statement
from tests.vectors.given import (
    HOST,
    OBJECT,
    OTHER_HOST,
    TIME,
    Files,
    KeptBoxes,
    KeptKey,
    RepeatableSigner,
    Scenario,
    as_file,
    b64,
    bytes_of,
    flip,
    sealing_key,
    seed,
    signer,
)

_PRIVATE: dict[str, canonical.Json] = {"patient_id": "VECTOR-0001", "patient_name": "Vector^Test=向量"}
_ME = Participant("host", str(HOST), requestor=False)
_SENDER = Participant("ae", "CT1", requestor=True)
_HAPPENINGS = (
    Happening(Event.AGENT_STARTED, Action.EXECUTE, Outcome.SUCCESS, (_ME,)),
    Happening(
        Event.IMAGE_CAPTURED, Action.CREATE, Outcome.SUCCESS, (_SENDER, _ME), (Subject("object", str(OBJECT)),),
        private=_PRIVATE,
    ),
    Happening(
        Event.ASSOCIATION_REFUSED, Action.EXECUTE, Outcome.MINOR_FAILURE,
        (Participant("ae", "ROGUE", requestor=True), _ME), (), "calling AE title is not listed",
    ),
    Happening(Event.IMAGE_DELIVERED, Action.READ, Outcome.SUCCESS, (_ME,), (Subject("object", str(OBJECT)),)),
    Happening(Event.AGENT_STOPPED, Action.EXECUTE, Outcome.SUCCESS, (_ME,)),
)  # fmt: skip


def chain(boxes: KeptBoxes, happenings: Sequence[Happening] = _HAPPENINGS, story: str = "") -> list[StoredRecord]:
    key, prev, records = KeptKey(sealing_key("audit"), boxes), GENESIS, list[StoredRecord]()
    for seq, happening in enumerate(happenings, 1):
        time, salt = TIME + timedelta(seconds=seq), bytes_of(f"audit salt {seq}{story}", 32)
        record = compose(happening, source=str(HOST), seq=seq, prev=prev, time=time, salt=salt, key=key)
        records.append(record)
        prev = record.leaf
    return records


def scenarios(boxes: KeptBoxes) -> Files:
    made = _Batches(boxes)
    for add in (_good, _altered, _history, _statement, _form, _packed):
        add(made)
    files = made.files | _private(boxes, made.records)
    return {f"audit-record/{name}.json": text for name, text in files.items()}


class _Batches:
    def __init__(self, boxes: KeptBoxes) -> None:
        self.files: Files = {}
        self.boxes = boxes
        self.host: RepeatableSigner = signer("host")
        self.records = chain(boxes)
        forked = [*_HAPPENINGS[:2], _HAPPENINGS[3], _HAPPENINGS[3], _HAPPENINGS[4]]
        self.other_story = chain(boxes, forked)
        self.batch = self.signed(self.records)

    def signed(self, records: Sequence[StoredRecord], prev: bytes = GENESIS) -> Batch:
        return sign_batch(str(HOST), prev, records, self.host)

    def held(self, seq: int) -> ChainHead:
        return ChainHead(seq, self.records[seq - 1].leaf) if seq else ChainHead()

    def add(self, name: str, about: str, data: Batch | bytes, expect: Scenario | str, held: int = 0) -> None:
        head = self.held(held)
        encoded = data.encode() if isinstance(data, Batch) else data
        given = {
            "source": str(HOST),
            "spki_base64": b64(self.host.public.spki),
            "held": {"seq": head.seq, "leaf_hex": head.leaf.hex()},
            "batch_base64": b64(encoded),
        }
        refusal = {"result": "refused", "error": expect}
        scenario = {"about": about, "kind": "batch", "given": given}
        self.files[name] = as_file({**scenario, "expect": refusal if isinstance(expect, str) else expect})

    def accepted(self, new: Sequence[StoredRecord]) -> Scenario:
        return {"result": "verified", "new_leaves_hex": [record.leaf.hex() for record in new]}

    def told(self, third: bytes) -> Batch:
        """Return a batch whose third record is this one, chained and signed by the source itself."""
        fourth = json.loads(self.records[3].public)
        fourth["prev"] = leaf_hash(third).hex()
        records = (*self.records[:2], StoredRecord(third, None), StoredRecord(canonical.encode(fourth), None))
        return self.signed(records)

    def edited(self, at: int, public: bytes) -> Batch:
        records = list(self.records)
        records[at] = StoredRecord(public, records[at].sealed)
        return Batch(tuple(records), self.batch.statement)


def _good(to: _Batches) -> None:
    all_, part = to.records, to.signed(to.records[2:], to.records[1].leaf)
    to.add("ok-first", "The first batch of a source.", to.batch, to.accepted(all_))
    to.add("ok-continues", "A batch that continues what is held.", part, to.accepted(all_[2:]), held=2)
    to.add(
        "ok-repeated", "A batch that is held already, sent again: nothing is new.", to.batch, to.accepted([]), held=5
    )
    to.add("ok-overlaps", "A batch of which two records are held.", to.batch, to.accepted(all_[2:]), held=2)
    to.add("ok-one-record", "A batch of one record.", to.signed(all_[:1]), to.accepted(all_[:1]))
    to.add(
        "ok-older", "A batch from before what is held: nothing is new.", to.signed(all_[:2]), to.accepted([]), held=5
    )


def _altered(to: _Batches) -> None:
    records, statement = to.records, to.batch.statement
    third, swap = records[2].public, [records[0], records[2], records[1], *records[3:]]
    other = to.other_story[2]
    for name, about, batch in (
        ("edited", "A word of the third record is changed.", to.edited(2, third.replace(b"ROGUE", b"ROGUF"))),
        ("outcome-edited", "The third record's outcome becomes success.", to.edited(2, third.replace(b":4,", b":0,"))),
        ("last-edited", "The last record is changed.", to.edited(4, records[4].public.replace(b":05.1", b":06.1"))),
        ("reordered", "Two records have changed places.", Batch(tuple(swap), statement)),
        (
            "replaced", "Another story's third record stands in this one.",
            Batch((*records[:2], other, *records[3:]), statement),
        ),
        (
            "private-part-added", "A private part lies beside a record that has none.",
            Batch((StoredRecord(records[0].public, records[1].sealed), *records[1:]), statement),
        ),
        (
            "private-part-removed", "The private part of the second record is gone.",
            Batch((records[0], StoredRecord(records[1].public, None), *records[2:]), statement),
        ),
        (
            "commitment-removed", "The second record says that it never had a private part.",
            to.edited(1, canonical.encode({**json.loads(records[1].public), "private": None})),
        ),
        (
            "record-of-another-source", "A record of another host stands in the chain.",
            to.edited(2, third.replace(str(HOST).encode(), str(OTHER_HOST).encode(), 2)),
        ),
        ("record-not-canonical", "A record with white space.", to.told(third.replace(b",", b", ", 1))),
        ("record-event", "An event that is no name.", to.told(third.replace(b"capture.", b"Capture."))),
        ("record-code", "Event and DICOM code disagree.", to.told(third.replace(b"110113", b"110100"))),
        ("record-name", "A name with a line break.", to.told(third.replace(b"ROGUE", b"ROG\\nUE"))),
        ("record-too-large", "A record of 16,385 bytes.", to.told(_with_size(third, 16_385))),
    ):  # fmt: skip
        to.add(f"bad-{name}", about, batch, "AuditAltered")
    largest = to.told(_with_size(third, 16_384))
    to.add("ok-largest-record", "A record of 16,384 bytes.", largest, to.accepted(largest.records))
    newer = to.told(third.replace(b'"event":"', b'"event":"newer-'))
    to.add("ok-unknown-event", "An event that only a newer host knows.", newer, to.accepted(newer.records))
    every = chain(to.boxes, [Happening(event, Action.EXECUTE, Outcome.SUCCESS, (_ME,)) for event in Event])
    to.add("ok-every-event", "One record of every event.", to.signed(every), to.accepted(every))
    about = "The third record is gone and the rest moved up."
    to.add("bad-removed", about, Batch((*records[:2], *records[3:]), statement), "Malformed")
    to.add(
        "bad-last-removed",
        "The last record is gone.",
        Batch(records=tuple(records[:4]), statement=statement),
        "Malformed",
    )


def _with_size(public: bytes, size: int) -> bytes:
    value = json.loads(public)
    value["what"] = [{"kind": "o" * 20, "name": "n" * 200} for _ in range(64)]
    value["reason"] = ""
    value["reason"] = "r" * (size - len(canonical.encode(value)))
    return canonical.encode(value)


def _history(to: _Batches) -> None:
    records, other = to.records, to.other_story
    later = to.signed(records[3:], records[2].leaf)
    to.add("bad-gap", "Records 3 and on are missing before this batch.", later, "AuditGap", held=2)
    to.add("bad-gap-at-the-start", "Nothing is held, and the batch begins at record 4.", later, "AuditGap")
    to.add("bad-forked", "The source signs a second story from record 3 on.", to.signed(other), "AuditForked", held=4)
    to.add("bad-forked-at-the-end", "The source signs another last record.", to.signed(other), "AuditForked", held=5)
    about = "A batch that continues the second story after record 3 of the first is held."
    to.add("bad-forked-continued", about, to.signed(other[3:], other[2].leaf), "AuditForked", held=3)
    rootless = to.signed(records, bytes_of("no genesis", 32))
    to.add("bad-first-prev", "The signed statement names a record before the first.", rootless, "AuditAltered")


def _statement(to: _Batches) -> None:
    records, host = to.records, to.host
    last = records[-1].leaf

    def stated(first: int, end: int, head: bytes = last, source: str = str(HOST)) -> bytes:
        return sign_statement(host, Label.AUDIT_BATCH, Statement(source, first, end, GENESIS, head).encode())

    good = to.batch.statement
    stranger = sign_batch(str(HOST), GENESIS, records, signer("stranger"))
    as_record = sign_statement(host, Label.CAPTURE, Statement(str(HOST), 1, 5, GENESIS, last).encode())
    cases = {
        "other-signer": ("Another key signed.", stranger.statement, "WrongSigner"),
        "signature": ("A bit of the signature is flipped.", flip(good, -1), "SignatureInvalid"),
        "payload": ("A bit of the statement is flipped.", flip(good, 40), "SignatureInvalid"),
        "label": ("The statement is signed as a capture record.", as_record, "SignatureInvalid"),
        "head": ("The statement has another head.", stated(1, 5, bytes(32)), "AuditAltered"),
        "source": ("The statement is about another source.", stated(1, 5, source=str(OTHER_HOST)), "Malformed"),
        "count": ("The statement is about four records, five came.", stated(1, 4), "Malformed"),
        "numbers": ("The statement numbers the records from 2.", stated(2, 6), "AuditAltered"),
        "backwards": ("The statement's last number is below its first.", stated(5, 4), "Malformed"),
    }
    for name, (about, statement, error) in cases.items():
        to.add(f"bad-statement-{name}", about, Batch(tuple(records), statement), error)
    to.add("bad-no-records", "No records, and a statement about none.", Batch((), stated(5, 4)), "Malformed")
    to.add("bad-no-records-stated", "No records beside the statement.", Batch((), good), "Malformed")


def _form(to: _Batches) -> None:
    good = to.batch.encode()
    value = json.loads(good)
    record = value["records"][0]
    cases = {
        "white-space": ("A space after a comma.", good.replace(b',"statement"', b', "statement"')),
        "field-unknown": ("A field more.", canonical.encode({**value, "x": 0})),
        "field-missing": ("No statement.", canonical.encode({"records": value["records"]})),
        "record-field-unknown": (
            "A record with a field more.",
            canonical.encode({**value, "records": [{**record, "x": 0}]}),
        ),
        "sealed-not-base64": ("A sealed part in base64url.", good.replace(b'"sealed":"T', b'"sealed":"_', 1)),
        "too-many-records": (
            "1,001 records.",
            canonical.encode({**value, "records": [{"public": "", "sealed": None}] * 1001}),
        ),
        "cut": ("The last byte is missing.", good[:-1]),
        "not-an-object": ("A list.", b"[]"),
        "empty": ("No bytes.", b""),
    }
    for name, (about, data) in cases.items():
        to.add(f"bad-form-{name}", about, data, "Malformed")


def _packed(to: _Batches) -> None:
    """The second form of a batch, in which lengths say where a part ends."""
    good, count = pack(to.batch), len(to.records)
    lengths_at = 12 + len(to.batch.statement)
    to.add("ok-packed", "A whole chain, packed, from a source that is new.", good, to.accepted(to.records))
    to.add("ok-packed-again", "The same, where it is held already.", good, to.accepted([]), held=count)
    edited = good.replace(b"ROGUE", b"ROGUF")
    to.add("bad-packed-edited", "A word of the third record is changed.", edited, "AuditAltered")
    unsealed = pack(Batch((to.records[0], to.records[1]._replace(sealed=None), *to.records[2:]), to.batch.statement))
    to.add("bad-packed-private-part-removed", "A length of 0 where a sealed part was.", unsealed, "AuditAltered")
    too_many = pack(Batch((StoredRecord(b"", None),) * 1001, to.batch.statement))
    too_large = pack(Batch((to.records[0]._replace(sealed=bytes(32_769)), *to.records[1:]), to.batch.statement))
    moved = bytearray(good)
    moved[lengths_at + 1] ^= 1
    cases = {
        "cut": ("The last byte is missing.", good[:-1]),
        "longer": ("A byte follows the last part.", good + b"\x00"),
        "head": ("It ends within its fixed parts.", good[:11]),
        "lengths": ("It ends within its lengths.", good[: lengths_at + 3]),
        "length": ("A length is another.", bytes(moved)),
        "version": ("Version 2.", good[:6] + b"\x00\x02" + good[8:]),
        "too-many-records": ("1,001 records.", too_many),
        "sealed-too-large": ("A sealed part of 32,769 bytes.", too_large),
        "statement-too-large": ("A statement of 4,097 bytes.", pack(Batch(to.batch.records, bytes(4097)))),
    }
    for name, (about, data) in cases.items():
        to.add(f"bad-packed-{name}", about, data, "Malformed")


def _private(boxes: KeptBoxes, records: Sequence[StoredRecord]) -> Files:
    record, without = records[1], records[0]
    commitment = AuditRecord.parse(record.public).commitment or b""
    key, other_text = sealing_key("audit"), bytes(32) + canonical.encode({"patient_id": "SOMEBODY-ELSE"})
    elsewhere = sha256(other_text).digest()
    sealed = record.sealed or b""
    refused = {"result": "refused"}
    cases: dict[str, tuple[str, StoredRecord, Scenario]] = {
        "ok": ("The private part opens.", record, {"result": "verified", "private": _PRIVATE}),
        "ok-none": ("A record without a private part.", without, {"result": "verified", "private": None}),
        "bad-missing": (
            "The sealed part is gone.", StoredRecord(record.public, None), {**refused, "error": "PrivatePartMismatch"},
        ),
        "bad-bit": (
            "A bit of the sealed part is flipped.", StoredRecord(record.public, flip(sealed, -1)),
            {**refused, "error": "BoxNotAuthentic"},
        ),
        "bad-key-id": (
            "A bit of its key id is flipped.", StoredRecord(record.public, flip(sealed, 10)),
            {**refused, "error": "WrongKey"},
        ),
        "bad-from-another-record": (
            "The sealed part belongs to another commitment.",
            StoredRecord(record.public, boxes.seal(key, BoxLabel.AUDIT_PRIVATE, elsewhere, other_text)),
            {**refused, "error": "BoxNotAuthentic"},
        ),
        "bad-replaced": (
            "Somebody with the public key sealed other text beside this commitment.",
            StoredRecord(record.public, boxes.seal(key, BoxLabel.AUDIT_PRIVATE, commitment, other_text)),
            {**refused, "error": "PrivatePartMismatch"},
        ),
    }  # fmt: skip
    return {
        f"private-{name}": as_file({
            "about": about, "kind": "private",
            "given": {
                "audit_seed_hex": seed("audit").hex(), "public": stored.public.decode(),
                "sealed_base64": None if stored.sealed is None else b64(stored.sealed),
            },
            "expect": expect,
        })
        for name, (about, stored, expect) in cases.items()
    }  # fmt: skip
