"""Makes the scenarios of docs/formats/wipe-certificate.md: `wipe-judgement`, `wipe-certificate`."""

import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any

from shared import canonical
from shared.identity import CONTROL_PLANE
from shared.policy.wipe import ReadBack
from shared.sanitization.certificate import Approval, Body, Chain, Facts, Reported, Statement, sign
from shared.sanitization.judge import RULES, judge
from shared.sanitization.judged import Why
from shared.sanitization.medium import MediumKind, SerialSource
from shared.sanitization.report import Expected, WipeReport
from shared.sanitization.technique import Technique
from shared.sanitization.ticket import Ticket
from shared.signing import Label, detached, sign_statement
from tests.shared.sanitization.test_judge import FAULTS, with_drive
from tests.shared.sanitization.tickets import METHOD
from tests.shared.sanitization.wipes import DISK, NO_HIDDEN, command, overwritten, random_pass, read_back, sanitized
from tests.vectors.given import TIME, TRUST, Files, as_file, b64, signer

_BRIDGED = dataclasses.replace(DISK, kind=MediumKind.USB, serial_source=SerialSource.USB_DESCRIPTOR)
_DISCARD = dataclasses.replace(METHOD, techniques=(Technique.DISCARD,), read_back=ReadBack.SAMPLES)
_ZEROS = read_back(expected=Expected.PATTERN, pattern="00", stream_seed=None)

_GOOD: dict[str, tuple[str, Callable[[], tuple[Ticket, WipeReport]]]] = {
    "overwritten": ("A magnetic disk, written once and read back whole.", overwritten),
    "sanitized": ("An NVMe drive's own sanitize, and samples that changed.", sanitized),
    "hidden-unknown": ("A disk of which nobody asked for hidden areas.", lambda: overwritten(hidden=())),
    "behind-a-bridge": (
        "A drive behind a USB bridge.",
        lambda: overwritten(medium=_BRIDGED, medium_after=_BRIDGED, hidden=NO_HIDDEN[:1]),
    ),
    "flash": ("An overwrite of flash.", lambda: with_drive(MediumKind.ATA_SSD, METHOD)),
    "remapped": ("A disk with remapped sectors.", lambda: overwritten(health_after={"reallocated_sectors": 12})),
    "went-on": (
        "A pass that was interrupted and went on.",
        lambda: overwritten(interruptions=1, steps=(random_pass(resumed=1),)),
    ),
    "discarded": (
        "A discard, and the whole reads zero.",
        lambda: with_drive(
            MediumKind.ATA_SSD, _DISCARD, steps=(command(Technique.DISCARD, progress_seen=False),), checks=(_ZEROS,)
        ),
    ),
}  # fmt: skip


def scenarios() -> Files:
    return _judgements() | _certificates()


def _judgements() -> Files:
    good = {f"ok-{name}": case for name, case in _GOOD.items()}
    # What a LUKS erase comes to is another page's.
    named = [name for name in FAULTS if FAULTS[name][0] is not Why.KEYS_NOT_PROVED]
    bad = {f"bad-{re.sub('[^a-z0-9]+', '-', name)}": (f"{name.capitalize()}.", FAULTS[name][2]) for name in named}
    files = Files()
    for name, (about, case) in {**good, **bad}.items():
        ticket, report = case()
        files[f"wipe-certificate/judgement-{name}.json"] = as_file({
            "about": about, "kind": "wipe-judgement",
            "given": {"ticket_base64": b64(ticket.encode()), "report_base64": b64(report.encode())},
            "expect": {"result": "judged", "judged": judge(ticket, report).json()},
        })  # fmt: skip
    return files


def _certificates() -> Files:
    host, centre, person = signer("host"), signer("centre"), signer("person")
    ticket, report = overwritten()
    ticket = dataclasses.replace(ticket, evidence_key=host.public.key_id)
    report = dataclasses.replace(report, ticket_sha256=ticket.digest)
    statement = Statement(
        ticket, (Approval("Bea", person.public, detached(sign_statement(person, Label.WIPE_TICKET, ticket.encode()))),),
        Reported(report, detached(sign_statement(host, Label.WIPE_REPORT, report.encode()))), None,
        judge(ticket, report), RULES, Facts(organisation="北区医院", location="plant room B"), "Cai", TIME,
        "leadglass-server 0.1.0",
    )  # fmt: skip
    chains = (Chain(str(ticket.host_id), TRUST), Chain(CONTROL_PLANE, TRUST))
    good = sign(Body(statement, chains, b"a record, whose form is another page's", "a proof, likewise"), centre)
    value = json.loads(good.encoded)

    def edited(edit: Callable[[Any], object], *, resign: bool = False) -> bytes:
        """Return the file with something changed after it was signed, or signed anew by the centre."""
        changed = json.loads(json.dumps(value))
        edit(changed)
        if resign:
            signed = sign_statement(centre, Label.WIPE_CERTIFICATE, canonical.encode(changed["body"]))
            changed["signature"] = b64(signed[-64:])
        return canonical.encode(changed)

    def resigned(edit: Callable[[Any], object]) -> bytes:
        return edited(lambda changed: edit(changed["body"]["statement"]), resign=True)

    step = ("reported", "report", "steps", 0)
    cases: dict[str, tuple[str, bytes, str]] = {
        "ok": ("A certificate.", good.encoded, ""),
        "bad-one-character": (
            "One character of a place.",
            edited(lambda v: v["body"]["statement"]["facts"].update(location="plant room C")), "SignatureInvalid",
        ),
        "bad-class": ("A higher class.", edited(lambda v: v["body"]["statement"]["judged"].update(reached="purge")),
                      "SignatureInvalid"),
        "bad-key": ("Another key's id.", edited(lambda v: v.update(key="0" * 32)), "WrongSigner"),
        "bad-signature-short": ("63 bytes of signature.", edited(lambda v: v.update(signature=b64(bytes(63)))),
                                "Malformed"),
        "bad-report-changed": (
            "A report that the centre changed.",
            resigned(lambda s: _at(s, *step).update(retries=1)), "SignatureInvalid",
        ),
        "bad-ticket-changed": ("A ticket that the centre changed.",
                               resigned(lambda s: s["ticket"].update(asset="CT 3")), "SignatureInvalid"),
        "bad-report-unknown-field": ("A field more in a step.", resigned(lambda s: _at(s, *step).update(x=0)),
                                     "Malformed"),
        "bad-both": (
            "What a host reported, and a destruction.",
            resigned(lambda s: s.update(destruction={
                "v": 1, "recorded_by": "Dan", "witness": "Eve", "means": "shredder", "photographs": [],
                "time": "2026-01-31T08:00:00.123456Z",
            })), "Malformed",
        ),
        "bad-neither": ("Neither of them.", resigned(lambda s: s.update(reported=None)), "Malformed"),
        "bad-fact": ("A fact with a line break.", resigned(lambda s: s["facts"].update(contact="a\nb")), "Malformed"),
        "bad-fact-missing": ("A fact left out.", resigned(lambda s: s["facts"].pop("contact")), "Malformed"),
        "bad-result": ("A result that there is not.", resigned(lambda s: s["judged"].update(result="wiped")),
                       "Malformed"),
        "bad-field-unknown": ("A field more.", edited(lambda v: v.update(x=0)), "Malformed"),
    }  # fmt: skip
    return {
        f"wipe-certificate/certificate-{name}.json": as_file({
            "about": about, "kind": "wipe-certificate",
            "given": {"centre_spki_base64": b64(centre.public.spki), "host_spki_base64": b64(host.public.spki),
                      "bytes_base64": b64(data)},
            "expect": {"result": "refused", "error": error} if error else {
                "result": "verified", "statement_sha256": statement.sha256,
            },
        })
        for name, (about, data, error) in cases.items()
    }  # fmt: skip


def _at(value: Any, *path: str | int) -> Any:
    for part in path:
        value = value[part]
    return value
