"""Makes the scenarios of docs/formats/hand-over.md: `hand-over`."""

import json
from collections.abc import Callable
from typing import Any

from provisioning.finding import Finding, Verdict
from provisioning.handover.report import HandOver, sign
from provisioning.outcome import Outcome, in_order
from shared import canonical
from shared.fleet.keys import KeyProtection
from shared.self_test.exchange import CentresWord, sign_answer
from shared.signing import Label, sign_statement
from tests.vectors.generators.self_test import ANSWER
from tests.vectors.given import HOST, OTHER_HOST, TIME, TRUST, Files, as_file, b64, signer

_OUTCOMES = (
    Outcome("preflight", TIME, (Finding("swap-encryption", Verdict.FAIL, "sda3 is not encrypted", "swapoff -a"),)),
    Outcome(
        "self-test",
        TIME,
        (
            Finding("phantom-opened", Verdict.PASS, "equal"),
            Finding("device-decided", Verdict.NOT_EVALUATED, "no guard is installed"),
        ),
        CentresWord(sign_answer(ANSWER, signer("centre")), TRUST),
    ),
)
REPORT = HandOver(
    HOST, "CT 二号机房", TIME, "王小明", "Ada Lovelace", {"agent": "0.1.0"}, KeyProtection.TPM, TIME,
    {"organisation": 3}, in_order(_OUTCOMES),
)  # fmt: skip


def scenarios() -> Files:
    host, good = signer("host"), sign(REPORT, signer("host"), TRUST)
    value, report = json.loads(good.encode()), json.loads(canonical.encode(REPORT.json()))

    def edited(edit: Callable[[Any], object]) -> bytes:
        """Return the file with something changed after it was signed."""
        changed = json.loads(json.dumps(value))
        edit(changed)
        return canonical.encode(changed)

    def resigned(edit: Callable[[Any], object]) -> bytes:
        """Return a file whose report is another, properly signed."""
        changed = json.loads(json.dumps(report))
        edit(changed)
        signed = sign_statement(host, Label.HAND_OVER, canonical.encode(changed))
        return canonical.encode({**value, "report": changed, "signature": b64(signed[-64:])})

    as_state = sign_statement(host, Label.HOST_STATE, canonical.encode(report))[-64:]
    finding = report["steps"][0]["findings"][0]
    cases: dict[str, tuple[str, bytes, str]] = {
        "ok": ("A report.", good.encode(), ""),
        "ok-nothing-made": ("A visit of which nothing is known.", resigned(_forget), ""),
        "bad-verdict-changed": (
            "A fail made a pass.", edited(lambda v: v["report"]["steps"][0]["findings"][0].update(verdict="pass")),
            "SignatureInvalid",
        ),
        "bad-one-character": ("One character of a name.", edited(lambda v: v["report"].update(engineer="王小朋")),
                              "SignatureInvalid"),
        "bad-another-host": ("Another host's id.", edited(lambda v: v["report"].update(host=str(OTHER_HOST))),
                             "SignatureInvalid"),
        "bad-signature-of-a-state": (
            "The signature of the same text as a state.", edited(lambda v: v.update(signature=b64(as_state))),
            "SignatureInvalid",
        ),
        "bad-key": ("Another key's id.", edited(lambda v: v.update(key="0" * 32)), "WrongSigner"),
        "bad-signature-short": ("63 bytes of signature.", edited(lambda v: v.update(signature=b64(bytes(63)))),
                                "Malformed"),
        "bad-step-missing": ("A step left out.", resigned(lambda r: r["steps"].pop(3)), "Malformed"),
        "bad-step-order": ("Two steps exchanged.", resigned(lambda r: r["steps"].reverse()), "Malformed"),
        "bad-found-by-nobody": (
            "A step that was not made and found something.",
            resigned(lambda r: r["steps"][1].update(findings=[finding])), "Malformed",
        ),
        "bad-verdict": ("A verdict that there is not.",
                        resigned(lambda r: r["steps"][0]["findings"][0].update(verdict="ok")), "Malformed"),
        "bad-name-empty": ("Nobody received it.", resigned(lambda r: r.update(received_by="")), "Malformed"),
        "bad-control-character": ("A line break in a reason.",
                                  resigned(lambda r: r["steps"][0]["findings"][0].update(reason="a\nb")), "Malformed"),
        "bad-program": ("A program with a capital.", resigned(lambda r: r.update(software={"Agent": "1"})),
                        "Malformed"),
        "bad-field-unknown": ("A field more.", resigned(lambda r: r.update(x=0)), "Malformed"),
    }  # fmt: skip
    return {
        f"hand-over/{name}.json": as_file({
            "about": about, "kind": "hand-over",
            "given": {"spki_base64": b64(host.public.spki), "bytes_base64": b64(data)},
            "expect": {"result": "refused", "error": error} if error else {
                "result": "verified", "report": json.loads(data)["report"],
            },
        })
        for name, (about, data, error) in cases.items()
    }  # fmt: skip


def _forget(report: Any) -> None:
    for step in report["steps"]:
        step.update(at=None, findings=[])
        step.pop("centres_word", None)
