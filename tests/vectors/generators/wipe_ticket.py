"""Makes the scenarios of docs/formats/wipe.md: `wipe-ticket` and `wipe-qr-text`."""

import json
from dataclasses import replace
from datetime import timedelta

from shared import canonical
from shared.policy.wipe import LeastClass, ReadBack, WipePolicy
from shared.sanitization.envelope import SignedTicket, sign_ticket
from shared.sanitization.method import Method
from shared.sanitization.qr_text import to_lines
from shared.sanitization.technique import Sequence, Technique
from shared.sanitization.ticket import Override, Reason, TargetDrive, Ticket, TicketId
from shared.signing import Label, sign_statement
from tests.vectors.given import HOST, TIME, Files, as_file, b64, bytes_of, flip, signer

_METHOD = Method(
    LeastClass.PURGE, (Technique.NVME_SANITIZE_CRYPTO, Technique.NVME_SANITIZE_BLOCK), Sequence.RANDOM, (),
    ReadBack.WHOLE,
)  # fmt: skip
_TICKET = Ticket(
    ticket_id=TicketId(bytes_of("wipe ticket", 16)),
    host_id=HOST,
    evidence_key=signer("host").public.key_id,
    asset="CT 2",
    drive=TargetDrive("S64GNX0T123456", "eui.002538b911b3a1c5", "PM9A3 960 GB", 960_197_124_096),
    method=_METHOD,
    reason=Reason.DISPOSAL,
    requester="Ada",
    person="Dan",
    overrides=(),
    issued=TIME,
    expires=TIME + timedelta(hours=24),
)
_POLICY = WipePolicy(LeastClass.PURGE, ReadBack.WHOLE, 1, 24)
_Case = tuple[str, bytes, WipePolicy | None, int, str]


def scenarios() -> Files:
    made = _tickets() | _texts()
    return {f"wipe/{name}.json": text for name, text in made.items()}


def _tickets() -> Files:
    who = [("Ada", signer("ada")), ("Bea", signer("bea")), ("Cai", signer("cai")), (" bea", signer("bea again")),
           ("", signer("unnamed"))]  # fmt: skip
    keys: list[canonical.Json] = [{"name": name, "spki_base64": b64(one.public.spki)} for name, one in who]
    return {
        f"wipe-ticket-{name}": as_file({
            "about": about, "kind": "wipe-ticket",
            "given": {
                "keys": keys, "threshold": threshold, "policy": None if policy is None else policy.json(),
                "bytes_base64": b64(data),
            },
            "expect": {"result": "refused", "error": error} if error else {
                "result": "verified", "payload": json.loads(SignedTicket.parse(data).payload),
            },
        })
        for name, (about, data, policy, threshold, error) in _cases().items()
    }  # fmt: skip


def _cases() -> dict[str, _Case]:
    ada, bea, cai = signer("ada"), signer("bea"), signer("cai")
    payload = json.loads(_TICKET.encode())

    def said(**changes: canonical.Json) -> bytes:
        return _envelope(sign_statement(bea, Label.WIPE_TICKET, canonical.encode({**payload, **changes})))

    def drive(**changes: canonical.Json) -> bytes:
        return said(drive={**payload["drive"], **changes})

    def method(**changes: canonical.Json) -> bytes:
        return said(method={**payload["method"], **changes})

    one, two = sign_ticket(_TICKET, [bea]), sign_ticket(_TICKET, [bea, cai])
    overriding = replace(_TICKET, overrides=(Override.INCIDENT_HOLD,))
    custom = replace(_METHOD, techniques=(Technique.OVERWRITE,), sequence=Sequence.CUSTOM, passes=("random", "00"))
    clear = replace(_TICKET, method=replace(_METHOD, least=LeastClass.CLEAR))
    samples = replace(_TICKET, method=replace(_METHOD, read_back=ReadBack.SAMPLES))
    without = {name: payload[name] for name in payload if name != "person"}
    twice, strict = replace(_POLICY, approvals=2), _POLICY
    bad = {
        "version": ("Version 2.", said(v=2)),
        "field-unknown": ("A field more.", said(x=0)),
        "field-missing": ("A field less.", _envelope(
            sign_statement(bea, Label.WIPE_TICKET, canonical.encode(without)))),
        "ticket": ("A name of 31 digits.", said(ticket="0" * 31)),
        "reason": ("A reason of no known kind.", said(reason="spring cleaning")),
        "requester": ("Nobody asked.", said(requester="")),
        "control": ("A name that hides a line of a terminal by a control.", said(person="Dan\x9b2K")),
        "direction": ("A name that shows another by a mark of direction.", said(requester="\u202eadA")),
        "override": ("An override of no known kind.", said(overrides=["everything"])),
        "overrides-order": ("Overrides by falling name.", said(overrides=["undelivered-images", "incident-hold"])),
        "too-long": ("A microsecond more than 168 hours.", said(expires="2026-02-07T08:00:00.123457Z")),
        "no-life": ("It expires as it is issued.", said(expires=payload["issued"])),
        "serial-empty": ("A drive without a serial number.", drive(serial="")),
        "serial-space": ("A serial number that ends with a space.", drive(serial="S64 ")),
        "size": ("A drive of no size.", drive(size_bytes=0)),
        "technique": ("A technique of no known kind.", method(techniques=["hammer"])),
        "technique-none": ("No technique.", method(techniques=[])),
        "passes": ("Passes of a sequence that has its own.", method(passes=["00"])),
        "passes-missing": ("A custom sequence without passes.", method(sequence="custom")),
        "pass": ("A pass of a byte with a capital.", method(sequence="custom", passes=["FF"])),
        "twice": ("The same signature twice.", _envelope(*one.statements, *one.statements)),
        "order": ("Two signatures by falling key id.", _envelope(*reversed(two.statements))),
        "none": ("No signature.", _envelope()),
    }  # fmt: skip
    cases: dict[str, _Case] = {
        "ok": ("A ticket that one other person approved.", one.encode(), strict, 1, ""),
        "ok-two": ("Two of two.", two.encode(), twice, 1, ""),
        "ok-override": ("An override that two signed.", sign_ticket(overriding, [bea, cai]).encode(), strict, 1, ""),
        "ok-custom": ("A sequence of its own.", sign_ticket(replace(_TICKET, method=custom), [bea]).encode(), strict, 1,
                      ""),
        "ok-no-wwn": ("A drive without a WWN.", drive(wwn=""), strict, 1, ""),
        "ok-stricter": ("Stricter than policy asks.", one.encode(), replace(
            _POLICY, least=LeastClass.CLEAR, read_back=ReadBack.SAMPLES, ticket_hours=168), 1, ""),
        "bad-no-policy": ("A policy without wipes.", one.encode(), None, 1, "NoWipes"),
        "bad-class": ("A class that policy does not take.", sign_ticket(clear, [bea]).encode(), strict, 1,
                      "LaxerThanPolicy"),
        "bad-read-back": ("Less read again than policy asks.", sign_ticket(samples, [bea]).encode(), strict, 1,
                          "LaxerThanPolicy"),
        "bad-life": ("An hour more than policy gives.", one.encode(), replace(_POLICY, ticket_hours=23), 1,
                     "HoldsTooLong"),
        "bad-stranger": ("Signed by one whom policy does not name too.", sign_ticket(
            _TICKET, [bea, signer("stranger")]).encode(), strict, 1, "SignerUnknown"),
        "bad-signature": ("A bit of the signature is flipped.", _envelope(flip(one.statements[0], -1)), strict, 1,
                          "SignatureInvalid"),
        "bad-label": ("The text, signed as a command.", _envelope(
            sign_statement(bea, Label.COMMAND, _TICKET.encode())), strict, 1, "SignatureInvalid"),
        "bad-unnamed": ("Signed by a key whose holder nobody names.", sign_ticket(
            _TICKET, [signer("unnamed")]).encode(), strict, 1, "SignerUnnamed"),
        "bad-own": ("Signed by who asked.", sign_ticket(_TICKET, [ada]).encode(), strict, 1, "OwnTicket"),
        "bad-own-too": ("Signed by who asked, and by another.", sign_ticket(_TICKET, [ada, bea]).encode(), strict, 1,
                        "OwnTicket"),
        "bad-own-spelling": ("Signed by who asked, spelt otherwise.", said(requester="BEA "), strict, 1, "OwnTicket"),
        "bad-too-few": ("One of two.", one.encode(), twice, 1, "TooFewSignatures"),
        "bad-too-few-of-layer": ("One of the layer's two.", one.encode(), strict, 2, "TooFewSignatures"),
        "bad-too-few-override": ("An override that one signed.", sign_ticket(overriding, [bea]).encode(), strict, 1,
                                 "TooFewSignatures"),
        "bad-one-person": ("Two keys of one person.", sign_ticket(_TICKET, [bea, signer("bea again")]).encode(), twice,
                           1, "TooFewSignatures"),
    }  # fmt: skip
    return cases | {f"bad-{name}": (about, data, strict, 1, "Malformed") for name, (about, data) in bad.items()}


def _envelope(*statements: bytes) -> bytes:
    return canonical.encode({"v": 1, "signed": [b64(one) for one in statements]})


def _texts() -> Files:
    envelope = sign_ticket(_TICKET, [signer("bea"), signer("cai")]).encode()
    lines = to_lines(envelope)
    other = to_lines(sign_ticket(_TICKET, [signer("bea")]).encode())
    misread = f"{lines[0][:60]}{'A' if lines[0][60] != 'A' else 'B'}{lines[0][61:]}"
    cases: dict[str, tuple[str, list[str], bool]] = {
        "ok": ("The lines of a ticket.", lines, True),
        "ok-any-order": ("In another order, one of them twice.", [*reversed(lines), lines[0]], True),
        "bad-missing": ("A line less.", lines[1:], False),
        "bad-mixed": ("A line of another ticket.", [other[0], *lines[1:]], False),
        "bad-misread": ("A character that was misread.", [misread, *lines[1:]], False),
        "bad-version": ("A form of no known version.", ["LGW2" + lines[0][4:], *lines[1:]], False),
        "bad-number": ("A number with a leading zero.", ["LGW1:0" + lines[0][5:], *lines[1:]], False),
        "bad-none": ("No line.", [], False),
    }
    return {
        f"wipe-qr-text-{name}": as_file({
            "about": about, "kind": "wipe-qr-text", "given": {"lines": [*given]},
            "expect": {"result": "read", "bytes_base64": b64(envelope)} if is_whole else {
                "result": "refused", "error": "Malformed",
            },
        })
        for name, (about, given, is_whole) in cases.items()
    }  # fmt: skip
