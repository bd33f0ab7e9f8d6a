"""Makes the scenarios of docs/formats/command.md: `command` and `command-result`."""

import json
from dataclasses import replace
from datetime import timedelta

from shared import canonical
from shared.fleet.command import (
    Command,
    CommandResult,
    Outcome,
    SignedCommand,
    sign_command,
    sign_result,
)
from shared.identity import CommandId
from shared.signing import Label, sign_statement
from tests.vectors.given import HOST, TIME, Files, RepeatableSigner, as_file, b64, bytes_of, flip, signer

_ID = CommandId(bytes_of("command", 16))
_COMMAND = Command(_ID, HOST, "diagnostics", {"events": 20}, TIME, TIME + timedelta(hours=1), "ada")
_RESULT = CommandResult(
    _ID, _COMMAND.digest, HOST, Outcome.DONE, "", TIME + timedelta(seconds=9),
    {"software": "leadglass 0.1.0", "listening": True, "waiting": 3, "events": ["agent.started", "mqtt.connected"]},
)  # fmt: skip
_Case = tuple[str, bytes, int, str]


def scenarios() -> Files:
    made = _files("command", _commands()) | _result_files()
    return {f"command/{name}.json": text for name, text in made.items()}


def _signers() -> tuple[RepeatableSigner, RepeatableSigner]:
    return signer("ada"), signer("bea")


def _envelope(*statements: bytes) -> bytes:
    return canonical.encode({"v": 1, "signed": [b64(one) for one in statements]})


def _commands() -> dict[str, _Case]:
    ada, bea = _signers()
    payload = json.loads(_COMMAND.encode())

    def said(**changes: canonical.Json) -> bytes:
        return _envelope(sign_statement(ada, Label.COMMAND, canonical.encode({**payload, **changes})))

    def doing(action: str, **arguments: canonical.Json) -> bytes:
        return said(action=action, arguments=arguments)

    one, both = sign_command(_COMMAND, [ada]), sign_command(_COMMAND, [ada, bea])
    statement, without = one.statements[0], {name: payload[name] for name in payload if name != "person"}
    other = replace(_COMMAND, person="eve")
    mixed = sorted([statement, sign_command(other, [bea]).statements[0]], key=lambda signed: signed[8:24])
    cases: dict[str, _Case] = {
        "ok": ("A command with the one signature that is asked for.", one.encode(), 1, ""),
        "ok-two": ("Two of two.", both.encode(), 2, ""),
        "ok-more-than-asked": ("Two where one is asked for.", both.encode(), 1, ""),
        "ok-rotate-certificate": ("A new certificate.", doing("rotate-certificate"), 1, ""),
        "ok-rescan": ("One folder looked through.", doing("rescan", ae_title="CT1"), 1, ""),
        "ok-rescan-all": ("Every folder looked through.", doing("rescan", ae_title=""), 1, ""),
        "ok-isolate": ("Nothing more taken in.", doing("isolate"), 1, ""),
        "ok-rejoin": ("Taken in again.", doing("rejoin"), 1, ""),
        "ok-set-layers": ("Another site and type.", doing("set-layers", site="north", modality_type="ct"), 1, ""),
        "ok-set-layers-none": ("No part any more.", doing("set-layers", site="", modality_type=""), 1, ""),
        "ok-longest": ("24 hours.", said(expires="2026-02-01T08:00:00.123456Z"), 1, ""),
        "bad-too-few": ("One of two.", one.encode(), 2, "TooFewSignatures"),
        "bad-stranger": ("Signed by somebody whom policy does not name.",
                         sign_command(_COMMAND, [signer("stranger")]).encode(), 1, "SignerUnknown"),
        "bad-stranger-too": ("Signed by one whom policy names, and by a stranger.",
                             sign_command(_COMMAND, [ada, signer("stranger")]).encode(), 1, "SignerUnknown"),
        "bad-bit": ("A bit of the command is flipped.", _envelope(flip(statement, 60)), 1, "Malformed"),
        "bad-signature": ("A bit of the signature is flipped.", _envelope(flip(statement, -1)), 1, "SignatureInvalid"),
        "bad-label": ("The text, signed as a state report.", _envelope(
            sign_statement(ada, Label.HOST_STATE, _COMMAND.encode())), 1, "SignatureInvalid"),
        "bad-twice": ("The same signature twice.", _envelope(statement, statement), 2, "Malformed"),
        "bad-order": ("Two signatures by falling key id.", _envelope(*reversed(both.statements)), 2, "Malformed"),
        "bad-mixed": ("Signatures over two commands.", _envelope(*mixed), 2, "Malformed"),
        "bad-none": ("No signature.", _envelope(), 1, "Malformed"),
        "bad-nine": ("Nine signatures.", _envelope(*[statement] * 9), 1, "Malformed"),
        "bad-envelope-version": ("An envelope of version 2.", canonical.encode(
            {"v": 2, "signed": [b64(statement)]}), 1, "Malformed"),
        "bad-envelope-field": ("An envelope with a field more.", canonical.encode(
            {"v": 1, "signed": [b64(statement)], "x": 0}), 1, "Malformed"),
        "bad-version": ("Version 2.", said(v=2), 1, "Malformed"),
        "bad-field-unknown": ("A field more.", said(x=0), 1, "Malformed"),
        "bad-field-missing": ("A field less.", _envelope(
            sign_statement(ada, Label.COMMAND, canonical.encode(without))), 1, "Malformed"),
        "bad-command": ("A command id of 31 digits.", said(command="0" * 31), 1, "Malformed"),
        "bad-host": ("A host id with upper-case digits.", said(host=str(HOST).upper()), 1, "Malformed"),
        "bad-person": ("Nobody.", said(person=""), 1, "Malformed"),
        "bad-too-long": ("A microsecond more than 24 hours.", said(expires="2026-02-01T08:00:00.123457Z"), 1,
                         "Malformed"),
        "bad-no-life": ("It expires as it is issued.", said(expires=payload["issued"]), 1, "Malformed"),
        "bad-action": ("An action that nobody knows.", doing("wipe"), 1, "ActionUnknown"),
        "bad-action-form": ("An action in upper case.", doing("Diagnostics", events=20), 1, "Malformed"),
        "bad-argument-missing": ("An argument less.", doing("diagnostics"), 1, "Malformed"),
        "bad-argument-unknown": ("An argument more.", doing("rejoin", events=20), 1, "Malformed"),
        "bad-argument-type": ("A number in quotes.", doing("diagnostics", events="20"), 1, "Malformed"),
        "bad-argument-range": ("One more than the most.", doing("diagnostics", events=101), 1, "Malformed"),
        "bad-argument-layer": ("A layer where its name stands.", doing(
            "set-layers", site="Site-North", modality_type=""), 1, "Malformed"),
        "bad-argument-layer-long": ("A name of 24 characters.", doing(
            "set-layers", site="n" * 24, modality_type=""), 1, "Malformed"),
        "bad-argument-deep": ("An argument that is a list.", doing("diagnostics", events=[20]), 1, "Malformed"),
        "bad-argument-name": ("A name with a dash.", doing("wipe", **{"a-b": 1}), 1, "Malformed"),
    }  # fmt: skip
    return cases


def _files(kind: str, cases: dict[str, _Case]) -> Files:
    keys: list[canonical.Json] = [b64(one.public.spki) for one in _signers()]
    return {
        f"{kind}-{name}": as_file({
            "about": about, "kind": kind,
            "given": {"spkis_base64": keys, "threshold": threshold, "bytes_base64": b64(data)},
            "expect": {"result": "refused", "error": error} if error else {
                "result": "verified", "payload": json.loads(SignedCommand.parse(data).payload),
            },
        })
        for name, (about, data, threshold, error) in cases.items()
    }  # fmt: skip


def _result_files() -> Files:
    host, payload = signer("host"), json.loads(_RESULT.encode())

    def said(**changes: canonical.Json) -> bytes:
        return sign_statement(host, Label.COMMAND_RESULT, canonical.encode({**payload, **changes}))

    good = sign_result(_RESULT, host)
    cases = {
        "ok": ("A command that was done.", good, ""),
        "ok-unknown": ("A command that nobody knows the end of.", said(
            outcome="unknown", facts={}, detail="the agent ended while it was at it"), ""),
        "ok-refused": ("A command that was refused.", said(outcome="refused", facts={}, detail="it expired"), ""),
        "ok-failed": ("A command that failed.", said(outcome="failed", facts={"files": -1}), ""),
        "bad-signer": ("Another host's word.", sign_result(_RESULT, signer("stranger")), "WrongSigner"),
        "bad-bit": ("A bit of the text is flipped.", flip(good, 60), "SignatureInvalid"),
        "bad-label": ("The text, signed as a command.", sign_statement(host, Label.COMMAND, _RESULT.encode()),
                      "SignatureInvalid"),
        "bad-version": ("Version 2.", said(v=2), "Malformed"),
        "bad-field-unknown": ("A field more.", said(x=0), "Malformed"),
        "bad-outcome": ("An outcome of no known kind.", said(outcome="perhaps"), "Malformed"),
        "bad-digest": ("A digest of 31 bytes.", said(command_sha256="00" * 31), "Malformed"),
        "bad-detail": ("501 characters of detail.", said(detail="d" * 501), "Malformed"),
        "bad-facts": ("65 facts.", said(facts={f"f{number}": 0 for number in range(65)}), "Malformed"),
        "bad-fact-name": ("A fact with a capital.", said(facts={"Files": 1}), "Malformed"),
        "bad-fact-text": ("A fact with a line break.", said(facts={"files": "a\nb"}), "Malformed"),
        "bad-fact-null": ("A fact that is null.", said(facts={"files": None}), "Malformed"),
        "bad-fact-list": ("A list of 101 texts.", said(facts={"events": ["e"] * 101}), "Malformed"),
        "bad-fact-list-of-numbers": ("A list of numbers.", said(facts={"events": [1]}), "Malformed"),
    }  # fmt: skip
    return {
        f"result-{name}": as_file({
            "about": about, "kind": "command-result",
            "given": {"spki_base64": b64(host.public.spki), "signed_base64": b64(data)},
            "expect": {"result": "refused", "error": error} if error else {
                "result": "verified", "payload": json.loads(data[28:-64]),
            },
        })
        for name, (about, data, error) in cases.items()
    }  # fmt: skip
