"""Makes the scenarios of docs/formats/host-state.md: `state` and `receipt`."""

import json
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

from shared import canonical
from shared.devices.verdict import Access, Cause, Target
from shared.fleet.budget import BudgetState, NotCounted, Spent, Stalled
from shared.fleet.devices import (
    Authorized,
    DeviceState,
    Finding,
    FindingState,
    GuardLayer,
    GuardReport,
    OtherDevice,
    OtherState,
    Seen,
)
from shared.fleet.keys import KeyProtection
from shared.fleet.receipt import Receipt, sign_receipt
from shared.fleet.state import (
    LIES_ON,
    CaptureState,
    FailedLayer,
    FolderState,
    HostState,
    LayerState,
    RouteState,
    sign_state,
)
from shared.signing import Label, sign_statement
from tests.vectors.given import HOST, OBJECT, OTHER_OBJECT, TIME, Files, as_file, b64, flip, signer

_STATE = HostState(HOST, 12, TIME, "leadglass 0.1.0", 3, 2, "", True, 1, 40, 39, 2, 5)
_CAPTURE = CaptureState(
    spool_bytes=1 << 31,
    spool_quota_bytes=50 << 30,
    openable_here=3,
    senders_refused=2,
    commitments_waiting=4,
    damaged=1,
    folders=(FolderState("US1", "encrypted disk", 7), FolderState("XA 2", "missing", 0)),
    routes=(RouteState("pacs-old", 3, "the archive does not answer"), RouteState("pacs-new", 0, "")),
)
_NOTHING = CaptureState()
_STICK = DeviceState(
    "1-1.2", "1-1", "0781:5581", "Ultra", "4C530001", "0b" * 32, "08:06:50 03:01:01", Seen.WHILE_DOWN,
    TIME - timedelta(hours=2), Target.BLOCK, Target.BLOCK, Cause.SUSPICIOUS, 2, "it has an interface more than before",
    Access.READ_WRITE, Authorized.NO,
)  # fmt: skip
_GUARD = GuardReport(
    "leadglass-guard 0.1.0", 3, "", True, "boot", False, 1, 40,
    (
        DeviceState(
            "usb1", "", "1d6b:0002", "xHCI Host Controller", "0000:00:03.0", "0a" * 32, "09:00:00", Seen.BEFORE, TIME,
            Target.ALLOW, Target.ALLOW, Cause.ROOT_HUB, 0, "", Access.READ_WRITE, Authorized.YES,
        ),
        _STICK,
    ),
    (OtherDevice("optical", "sr0", "medium inserted", Seen.NOW, TIME, OtherState.NOT_ALLOWED),),
    (Finding("disk-encryption", FindingState.NOT_EVALUATED, "the disk cannot be read", TIME),),
    2,
)  # fmt: skip
_GUARD_LAYERS = GuardLayer("site-north", 2), GuardLayer("modality-ct", 0)
_DIGEST = sha256(b"a signed capture record").digest()
_RECEIPT = Receipt(OBJECT, _DIGEST, TIME)


def scenarios() -> Files:
    return {f"host-state/{name}.json": text for name, text in (_states() | _receipts()).items()}


def _states() -> Files:
    host, payload = signer("host"), json.loads(_STATE.encode())

    def said(**changes: canonical.Json) -> bytes:
        return sign_statement(host, Label.HOST_STATE, canonical.encode({**payload, **changes}))

    good = sign_state(_STATE, host)
    without = canonical.encode({name: payload[name] for name in payload if name != "refused"})
    error = sign_state(replace(_STATE, policy_error="policy version 2 is older than version 3"), host)
    cases = {
        "ok": ("A state report.", good, ""),
        "ok-policy-error": ("A state report with a refused policy.", error, ""),
        "bad-signer": ("Another host's report.", sign_state(_STATE, signer("stranger")), "WrongSigner"),
        "bad-bit": ("A bit of the text is flipped.", flip(good, 60), "SignatureInvalid"),
        "bad-label": (
            "The text, signed as an audit batch.", sign_statement(host, Label.AUDIT_BATCH, _STATE.encode()),
            "SignatureInvalid",
        ),
        "bad-version": ("Version 2.", said(v=2), "Malformed"),
        "bad-number-zero": ("Reports are numbered from 1.", said(number=0), "Malformed"),
        "bad-number-negative": ("A number below zero.", said(waiting=-1), "Malformed"),
        "bad-number-as-text": ("A number in quotes.", said(number="12"), "Malformed"),
        "bad-flag": ("A flag given as 1.", said(listening=1), "Malformed"),
        "bad-number-as-flag": ("A number given as true.", said(captured=True), "Malformed"),
        "bad-host": ("A host id with upper-case digits.", said(host=str(HOST).upper()), "Malformed"),
        "bad-time-zone": ("A time with another zone.", said(time="2026-01-31T09:00:00.123456+01:00"), "Malformed"),
        "bad-time-short": ("A time without six fractional digits.", said(time="2026-01-31T08:00:00Z"), "Malformed"),
        "bad-time-no-such-day": ("The 31st of February.", said(time="2026-02-31T08:00:00.000000Z"), "Malformed"),
        "bad-software-too-long": ("65 characters of software name.", said(software="s" * 65), "Malformed"),
        "bad-error-too-long": ("501 characters of policy error.", said(policy_error="e" * 501), "Malformed"),
        "bad-control-character": ("A line break in a text.", said(policy_error="a\nb"), "Malformed"),
        "bad-field-unknown": ("A field more.", said(x=0), "Malformed"),
        "bad-field-missing": ("A field less.", sign_statement(host, Label.HOST_STATE, without), "Malformed"),
    }  # fmt: skip
    cases |= _runs() | _budgets() | _captures() | _guards()
    return {
        f"state-{name}": as_file({
            "about": about, "kind": "state",
            "given": {"spki_base64": b64(host.public.spki), "signed_base64": b64(data)},
            "expect": {"result": "refused", "error": error} if error else {
                "result": "verified", "payload": json.loads(data[28:-64]),
            },
        })
        for name, (about, data, error) in cases.items()
    }  # fmt: skip


_BUDGET = BudgetState(
    memory_bytes=98 << 20,
    most_bytes=112 << 20,
    peak_bytes=150 << 20,
    limit_bytes=150 << 20,
    agent_bytes=70 << 20,
    guard_bytes=28 << 20,
    held_back=3,
    killed=0,
    capturing=Spent(1_860, 60_000, 600, 600 << 19),
    idle=Spent(1_200, 600_000),
    stalled=Stalled(5_000, 700, 0),
)


def _budgets() -> dict[str, tuple[str, bytes, str]]:
    host, payload = signer("host"), json.loads(_STATE.encode())

    def said(budget: canonical.Json) -> bytes:
        return sign_statement(host, Label.HOST_STATE, canonical.encode({**payload, "budget": budget}))

    bare = replace(_BUDGET, guard_bytes=None, capturing=None, idle=None, stalled=None)
    timeless: canonical.Json = {**Spent(1, 1).json(), "over_ms": 0}
    cases: dict[str, tuple[str, canonical.Json]] = {
        "reason": ("Not counted, and no reason.", {"not_counted": ""}),
        "both": ("Figures, and why there are none.", {**bare.json(), "not_counted": "no cgroup v2"}),
        "null": ("Nothing, and it is written.", None),
        "field-missing": ("Without the peak.", {k: v for k, v in bare.json().items() if k != "peak_bytes"}),
        "timeless": ("Processor time in no time.", {**bare.json(), "idle": timeless}),
    }
    return {
        "ok-budget": ("What agent and guard take.", sign_state(replace(_STATE, budget=_BUDGET), host), ""),
        "ok-budget-bare": (
            "The same, of a host that just started.",
            sign_state(replace(_STATE, budget=bare), host),
            "",
        ),
        "ok-budget-not-counted": (
            "A host that cannot tell.",
            sign_state(replace(_STATE, budget=NotCounted("no cgroup v2")), host),
            "",
        ),
        **{f"bad-budget-{name}": (what, said(budget), "Malformed") for name, (what, budget) in cases.items()},
    }


def _runs() -> dict[str, tuple[str, bytes, str]]:
    host, payload = signer("host"), json.loads(_STATE.encode())

    def said(run: canonical.Json) -> bytes:
        return sign_statement(host, Label.HOST_STATE, canonical.encode({**payload, "run": run}))

    return {
        "ok-run": ("A state report that names the run.", sign_state(replace(_STATE, run="0f" * 16), host), ""),
        "ok-keys": (
            "A host whose keys its TPM protects.",
            sign_state(replace(_STATE, keys=KeyProtection.TPM), host),
            "",
        ),
        "bad-keys-file": (
            "Keys in files, which is said by saying nothing.",
            sign_statement(host, Label.HOST_STATE, canonical.encode({**payload, "keys": "file"})),
            "Malformed",
        ),
        "bad-keys-unknown": (
            "A protection that there is not.",
            sign_statement(host, Label.HOST_STATE, canonical.encode({**payload, "keys": "hsm"})),
            "Malformed",
        ),
        "ok-isolated": ("A host that takes nothing in.", sign_state(replace(_STATE, isolated=True), host), ""),
        "ok-layers": (
            "A host of a site, for a type of modality.",
            sign_state(replace(_STATE, layers=(LayerState("site-north", 3, 2), LayerState("modality-ct", 1, 1))), host),
            "",
        ),
        "ok-failed": (
            "A version that failed its self-check.",
            sign_state(replace(_STATE, failed=(FailedLayer("organisation", 4), FailedLayer("site-north", 2))), host),
            "",
        ),
        "bad-failed-empty": (
            "Nothing failed, and it is written.",
            sign_statement(host, Label.HOST_STATE, canonical.encode({**payload, "failed": []})),
            "Malformed",
        ),
        "bad-failed-version": (
            "A version that there is not.",
            sign_state(replace(_STATE, failed=(FailedLayer("organisation", 0),)), host),
            "Malformed",
        ),
        "bad-layers-empty": (
            "Layers that are written and none.",
            sign_statement(host, Label.HOST_STATE, canonical.encode({**payload, "layers": []})),
            "Malformed",
        ),
        "bad-layers-twice": (
            "A host of one site, named twice.",
            sign_state(replace(_STATE, layers=(LayerState("site-north", 3, 2), LayerState("site-north", 3, 1))), host),
            "Malformed",
        ),
        "bad-layers-organisation": (
            "The organisation among the further layers.",
            sign_state(replace(_STATE, layers=(LayerState("organisation", 3, 2),)), host),
            "Malformed",
        ),
        "bad-isolated-false": (
            "Isolated, and written as false.",
            sign_statement(host, Label.HOST_STATE, canonical.encode({**payload, "isolated": False})),
            "Malformed",
        ),
        "ok-centre-log": (
            "A host that saw more of the centre's log than there is.",
            sign_state(replace(_STATE, centre_log="shrank from 120 to 80"), host),
            "",
        ),
        "ok-renewal-error": (
            "A certificate that is due and was not renewed.",
            sign_state(replace(_STATE, renewal_error="DoorUnavailable: status 503: Issuing stopped"), host),
            "",
        ),
        "bad-centre-log-empty": (
            "Nothing is wrong with the centre's log, and it is written.",
            sign_statement(host, Label.HOST_STATE, canonical.encode({**payload, "centre_log": ""})),
            "Malformed",
        ),
        "bad-renewal-error-long": (
            "More than is said of a renewal.",
            sign_state(replace(_STATE, renewal_error="x" * 301), host),
            "Malformed",
        ),
        "bad-run-empty": ("A run without a name.", said(""), "Malformed"),
        "bad-run-short": ("A run of 31 digits.", said("0" * 31), "Malformed"),
        "bad-run-upper": ("A run in upper-case digits.", said("0F" * 16), "Malformed"),
    }


def _captures() -> dict[str, tuple[str, bytes, str]]:
    host = signer("host")
    full = replace(_STATE, capture=_CAPTURE)
    payload = json.loads(full.encode())
    folder, route = payload["capture"]["folders"][0], payload["capture"]["routes"][0]

    def said(**changes: canonical.Json) -> bytes:
        changed = {**payload, "capture": {**payload["capture"], **changes}}
        return sign_statement(host, Label.HOST_STATE, canonical.encode(changed))

    without = {name: value for name, value in payload["capture"].items() if name != "damaged"}
    short = sign_statement(host, Label.HOST_STATE, canonical.encode({**payload, "capture": without}))
    return {
        "ok-capture": ("A state report that says how capture goes.", sign_state(full, host), ""),
        "ok-capture-every-disk": (
            "A folder on each kind of disk.", said(folders=[{**folder, "lies_on": kind} for kind in LIES_ON]), "",
        ),
        "ok-capture-longest": (
            "Lists and texts at their limits.",
            said(folders=[{**folder, "ae_title": "A" * 16}] * 16,
                 routes=[{"name": "r" * 32, "waiting": 0, "error": "e" * 200}] * 32), "",
        ),
        "bad-capture-of-nothing": ("Capture that says nothing.", said(**_NOTHING.json()), "Malformed"),
        "bad-capture-field-missing": ("Capture with a field less.", short, "Malformed"),
        "bad-capture-field-unknown": ("Capture with a field more.", said(x=0), "Malformed"),
        "bad-capture-number": ("A number below zero.", said(spool_bytes=-1), "Malformed"),
        "bad-capture-disk": ("A disk of no known kind.", said(folders=[{**folder, "lies_on": "tape"}]), "Malformed"),
        "bad-capture-ae-title": ("17 characters.", said(folders=[{**folder, "ae_title": "A" * 17}]), "Malformed"),
        "bad-capture-folder": ("A folder with a field more.", said(folders=[{**folder, "path": "/"}]), "Malformed"),
        "bad-capture-folders": ("17 folders.", said(folders=[folder] * 17), "Malformed"),
        "bad-capture-route": ("A route of 33 characters.", said(routes=[{**route, "name": "r" * 33}]), "Malformed"),
        "bad-capture-error": ("An error of 201 characters.", said(routes=[{**route, "error": "e" * 201}]), "Malformed"),
        "bad-capture-routes": ("33 routes.", said(routes=[route] * 33), "Malformed"),
    }  # fmt: skip


def _guards() -> dict[str, tuple[str, bytes, str]]:
    host = signer("host")
    full = replace(_STATE, guard=_GUARD)
    payload = json.loads(full.encode())
    guard: dict[str, canonical.Json] = payload["guard"]
    hub, stick = payload["guard"]["devices"]
    (other,), (finding,) = payload["guard"]["others"], payload["guard"]["findings"]

    def said(**changes: canonical.Json) -> bytes:
        return sign_statement(host, Label.HOST_STATE, canonical.encode({**payload, "guard": {**guard, **changes}}))

    def device(**changes: canonical.Json) -> bytes:
        return said(devices=[hub, {**stick, **changes}])

    without = {name: value for name, value in guard.items() if name != "left_out"}
    short = sign_statement(host, Label.HOST_STATE, canonical.encode({**payload, "guard": without}))
    nothing = replace(_GUARD, devices=(), others=(), findings=(), left_out=0)
    return {
        "ok-guard": ("A state report with a guard's device tree.", sign_state(full, host), ""),
        "ok-guard-of-nothing": ("A guard that sees nothing.", sign_state(replace(_STATE, guard=nothing), host), ""),
        "ok-guard-observed": ("A device that was allowed and would have been blocked.",
                              device(target="allow", would_be="block", authorized="yes"), ""),
        "ok-guard-layers": (
            "A guard that acts by the policy of its site, and by none yet of its type of modality.",
            sign_state(replace(_STATE, guard=replace(_GUARD, layers=_GUARD_LAYERS)), host), "",
        ),
        "bad-guard-layers-empty": ("Layers of a guard that are written and none.", said(layers=[]), "Malformed"),
        "bad-guard-layers-organisation": (
            "The organisation among a guard's further layers.",
            said(layers=[{"layer": "organisation", "in_force": 3}]), "Malformed",
        ),
        "bad-guard-layers-twice": (
            "A layer of a guard, twice.", said(layers=[{"layer": "site-north", "in_force": 3}] * 2), "Malformed",
        ),
        "bad-guard-layers-accepted": (
            "A layer of a guard with a field more.",
            said(layers=[{"layer": "site-north", "accepted": 3, "in_force": 3}]), "Malformed",
        ),
        "ok-guard-full": ("Lists at their limits.",
                          said(devices=[stick] * 100, others=[other] * 100, findings=[finding] * 50), ""),
        "bad-guard-null": ("A guard that is null.", sign_statement(
            host, Label.HOST_STATE, canonical.encode({**payload, "guard": None})), "Malformed"),
        "bad-guard-field-missing": ("A guard with a field less.", short, "Malformed"),
        "bad-guard-field-unknown": ("A guard with a field more.", said(x=0), "Malformed"),
        "bad-guard-default": ("A default that is none of the three.", said(default_deny="yes"), "Malformed"),
        "ok-guard-causes": ("Each cause of a verdict.",
                            said(devices=[{**stick, "cause": cause.value} for cause in Cause]), ""),
        "ok-guard-other-states": ("Each state of what is not prevented.",
                                  said(others=[{**other, "state": state.value} for state in OtherState]), ""),
        "bad-guard-devices": ("101 devices.", said(devices=[stick] * 101), "Malformed"),
        "bad-guard-others": ("101 other devices.", said(others=[other] * 101), "Malformed"),
        "bad-guard-findings": ("51 findings.", said(findings=[finding] * 51), "Malformed"),
        "bad-guard-port": ("A port with a slash.", device(port="../1-2"), "Malformed"),
        "bad-guard-name": ("A line break in a device's name.", device(name="Ultra\nport 1-3"), "Malformed"),
        "bad-guard-serial": ("A serial number of 127 characters.", device(serial="4" * 127), "Malformed"),
        "bad-guard-interfaces": ("17 interfaces.", device(interfaces=" ".join(["08:06:50"] * 17)), "Malformed"),
        "bad-guard-target": ("A verdict of no known kind.", device(target="match"), "Malformed"),
        "bad-guard-cause": ("A cause of no known kind.", device(cause="luck"), "Malformed"),
        "bad-guard-authorized": ("A value read back of no known kind.", device(authorized="1"), "Malformed"),
        "bad-guard-device": ("A device with a field more.", device(x=0), "Malformed"),
        "bad-guard-kind": ("A bus in upper case.", said(others=[{**other, "kind": "SD"}]), "Malformed"),
        "bad-guard-other-state": ("It was not prevented.", said(others=[{**other, "state": "blocked"}]), "Malformed"),
        "bad-guard-other-stateless": ("A device without a state.", said(
            others=[{name: value for name, value in other.items() if name != "state"}]), "Malformed"),
        "bad-guard-finding": ("A finding that is green.", said(findings=[{**finding, "state": "green"}]), "Malformed"),
    }  # fmt: skip


def _receipts() -> Files:
    vault, good = signer("vault"), sign_receipt(_RECEIPT, signer("vault"))
    payload = json.loads(_RECEIPT.encode())

    def said(**changes: canonical.Json) -> bytes:
        return sign_statement(vault, Label.RECEIPT, canonical.encode({**payload, **changes}))

    cases = {
        "ok": ("A receipt for this object and record.", good, ""),
        "bad-other-object": (
            "A receipt for another object.", sign_receipt(replace(_RECEIPT, object_id=OTHER_OBJECT), vault),
            "ReceiptMismatch",
        ),
        "bad-other-record": (
            "A receipt for another record of this object.",
            sign_receipt(replace(_RECEIPT, record_sha256=bytes(32)), vault), "ReceiptMismatch",
        ),
        "bad-signer": ("A receipt by somebody else.", sign_receipt(_RECEIPT, signer("stranger")), "WrongSigner"),
        "bad-bit": ("A bit of the text is flipped.", flip(good, 60), "SignatureInvalid"),
        "bad-version": ("Version 2.", said(v=2), "Malformed"),
        "bad-digest-upper-case": ("A digest in upper case.", said(record_sha256=_DIGEST.hex().upper()), "Malformed"),
        "bad-digest-short": ("A digest of 31 bytes.", said(record_sha256=_DIGEST.hex()[2:]), "Malformed"),
        "bad-object": ("An object id with a prefix.", said(object=f"host-{OBJECT}"), "Malformed"),
    }  # fmt: skip
    return {
        f"receipt-{name}": as_file({
            "about": about, "kind": "receipt",
            "given": {
                "spki_base64": b64(vault.public.spki), "object_id": str(OBJECT), "record_sha256_hex": _DIGEST.hex(),
                "signed_base64": b64(data),
            },
            "expect": {"result": "refused", "error": error} if error else {"result": "verified", "payload": payload},
        })
        for name, (about, data, error) in cases.items()
    }  # fmt: skip
