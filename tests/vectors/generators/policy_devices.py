"""Makes the scenarios of docs/formats/policy.md that concern `devices`, `watch` and `wipe`: `document`.

What a rule's own text may say is not looked at here beyond its canonical form.
"""

import json
from dataclasses import replace
from datetime import timedelta

from shared import canonical, clock
from shared.devices.device import Interface
from shared.devices.others import OtherKind, OtherKinds
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule, Rescue
from shared.devices.verdict import Access, Target
from shared.devices.watch import AllowedPeer, LeastFree, WatchPolicy
from shared.policy.document import PolicyDocument
from shared.policy.wipe import LeastClass, ReadBack, WipePolicy
from tests.vectors.generators.policy import document, parsing
from tests.vectors.given import TIME, Files, sealing_key

_LATER = TIME + timedelta(days=30)


def devices_document() -> PolicyDocument:
    """Return a policy that uses all that can be said of devices and of the host."""
    rules = (
        DeviceRule(parse_rule("allow with-interface one-of { 09:00:00 09:00:01 09:00:02 }")),
        DeviceRule(
            parse_rule('allow id 0951:1666 serial "60A44C413FAE" with-interface 08:06:50 label "CT service"'),
            not_before=TIME,
            not_after=_LATER,
            access=Access.READ_ONLY,
            only_encrypted=True,
            hardware_encrypted=True,
        ),
        DeviceRule(parse_rule("allow id 046d:c31c"), interfaces=(Interface(3, 1, 1), Interface(3, 1, 2))),
        DeviceRule(parse_rule("reject with-interface all-of { 03:*:* 08:*:* }"), observe_until=_LATER),
    )
    watch = WatchPolicy(
        60,
        processes=("ctconsole",),
        peers=(AllowedPeer("192.0.2.0/24", 104), AllowedPeer("2001:db8::10")),
        forbidden=("/opt/*/vnc*",),
        encrypted=("/var/images",),
        encrypted_swap=True,
        free=(LeastFree("/var/images", 10_240),),
        most_drift_ms=2000,
    )
    others = OtherKinds(((OtherKind.OPTICAL, Target.ALLOW), (OtherKind.THUNDERBOLT, Target.BLOCK)))
    devices = DevicePolicy(rules, Target.REJECT, _LATER, Target.ALLOW, Rescue("1-1.2", 10), "设备科 4711", "zh", others)
    wipe = WipePolicy(LeastClass.PURGE, ReadBack.WHOLE, 2, 24)
    return replace(document(), devices=devices, watch=watch, wipe=wipe)


def scenarios() -> Files:
    good = devices_document().encode()
    parsed = {"result": "parsed", "data_key_id": str(sealing_key("data").public.key_id)}

    def changed(*path: str | int, **members: canonical.Json) -> bytes:
        """Return the document with `members` of what lies at `path` replaced; None takes one out."""
        value = json.loads(good)
        at = value
        for step in path:
            at = at[step]
        at.update(members)
        for name in [name for name, member in members.items() if member is None]:
            del at[name]
        return canonical.encode(value)

    devices, watch, wipe, rescue = ("devices",), ("watch",), ("wipe",), ("devices", "rescue")
    hub, stick, keyboard, typing_stick = (("devices", "rules", n) for n in range(4))
    later = clock.text(_LATER)
    bad = [
        ("device-rules-missing", "Devices without a list of rules.", changed(*devices, rules=None)),
        ("device-field-unknown", "Devices with a field more.", changed(*devices, priority=1)),
        ("device-default-block", "The default, which is left out.", changed(*devices, default="block")),
        ("device-suspicious-block", "The same of suspicious ones.", changed(*devices, suspicious="block")),
        ("device-language-en", "The same of the language.", changed(*devices, language="en")),
        ("device-language", "A language there is not.", changed(*devices, language="de")),
        ("device-contact-empty", "An empty contact, which is left out.", changed(*devices, contact="")),
        ("device-contact-line-break", "A line break in a contact.", changed(*devices, contact="a\nb")),
        ("device-others-empty", "Others that names none, which is left out.", changed(*devices, others={})),
        ("device-others-kind", "What hangs on the USB.", changed(*devices, others={"usb-device": "allow"})),
        ("device-others-reject", "Nothing is taken off there.", changed(*devices, others={"sd": "reject"})),
        ("device-others-list", "Others as a list.", changed(*devices, others=["sd"])),
        ("device-rescue-port", "A root hub is no port.", changed(*rescue, port="usb1")),
        ("device-rescue-too-long", "A rescue of 61 minutes.", changed(*rescue, minutes=61)),
        ("device-rule-target", "A target that is for queries.", changed(*hub, rule="match")),
        ("device-rule-line-break", "Two rules in one.", changed(*hub, rule="allow\nallow")),
        ("device-rule-field-unknown", "A rule with a field more.", changed(*hub, quietly=True)),
        ("device-rule-time-form", "A time without its fraction.", changed(*stick, not_after="2026-03-01T08:00:00Z")),
        ("device-rule-ends-first", "It ends as it begins.", changed(*stick, not_before=later)),
        ("device-rule-access", "An access that is the default.", changed(*stick, access="read-write")),
        ("device-rule-hardware-alone", "Asserted, not demanded.", changed(*stick, only_encrypted=None)),
        (
            "device-rule-hardware-of-any",
            "Asserted of every device.",
            changed(*hub, only_encrypted=True, hardware_encrypted=True),
        ),
        ("device-rule-encrypted-false", "A flag that says no.", changed(*stick, only_encrypted=False)),
        ("device-rule-interfaces-order", "Out of order.", changed(*keyboard, interfaces=["03:01:02", "03:01:01"])),
        ("device-rule-interface-twice", "An interface twice.", changed(*keyboard, interfaces=["03:01:01", "03:01:01"])),
        ("device-rule-interface-star", "A class.", changed(*keyboard, interfaces=["03:*:*"])),
        ("device-rule-block-read-only", "Access of what is rejected.", changed(*typing_stick, access="read-only")),
        ("device-rule-allow-observed", "An allowing rule.", changed(*hub, observe_until=later)),
        ("watch-too-often", "A look every nine seconds.", changed(*watch, every_s=9)),
        ("watch-peers-alone", "Peers of no process.", changed(*watch, processes=None)),
        ("watch-peer-network", "Bits for a host.", changed(*watch, "peers", 0, addresses="192.0.2.1/24")),
        ("watch-folder", "A folder that is not whole.", changed(*watch, encrypted=["images"])),
        ("watch-folder-dots", "A folder with dots.", changed(*watch, encrypted=["/var/../images"])),
        ("watch-forbidden-twice", "A program twice.", changed(*watch, forbidden=["vnc", "vnc"])),
        ("watch-swap-false", "A flag that says no.", changed(*watch, encrypted_swap=False)),
        ("wipe-destroy", "A class that no program reaches.", changed(*wipe, least="destroy")),
        ("wipe-approvals", "Approved by nobody.", changed(*wipe, approvals=0)),
        ("wipe-ticket-too-long", "A ticket of more than a week.", changed(*wipe, ticket_hours=169)),
        ("wipe-read-back-missing", "It does not say how much is read back.", changed(*wipe, read_back=None)),
        ("watch-drift-zero", "A drift of nothing, which is left out.", changed(*watch, most_drift_ms=0)),
    ]  # fmt: skip
    every_kind: canonical.Json = {kind.value: "block" for kind in OtherKind}
    cases = [
        parsing("document", "ok-device-others", "Each kind.", changed(*devices, others=every_kind), parsed),
        parsing("document", "ok-devices", "All that can be said of devices and of the host.", good, parsed),
        parsing("document", "ok-no-device", "No rule: nothing is allowed.", changed(devices={"rules": []}), parsed),
        *(parsing("document", f"bad-{name}", about, data) for name, about, data in bad),
    ]  # fmt: skip
    return {f"policy/{name}.json": text for name, text in cases}
