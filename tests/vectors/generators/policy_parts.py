"""Makes the scenarios of docs/formats/policy.md section 8: `part` and `together`."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from shared import canonical
from shared.devices.others import OtherKind, OtherKinds
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule, Rescue
from shared.devices.verdict import Target
from shared.devices.watch import WatchPolicy
from shared.identity import HostId
from shared.policy.document import Modality, PolicyDocument
from shared.policy.effective import effective
from shared.policy.grading import Grading
from shared.policy.part import PartContent, PartDocument
from shared.policy.wipe import LeastClass, ReadBack, WipePolicy
from tests.vectors.generators.policy import document, parsing
from tests.vectors.generators.policy_devices import devices_document
from tests.vectors.given import TIME, Files, Scenario, as_file, b64

HOST, OTHER = HostId(bytes(range(16))), HostId(bytes(range(16, 32)))
_REFUSED: Scenario = {"result": "refused", "error": "Malformed"}


def site() -> PartDocument:
    """Return a site that says everything a part can say, with an exception for one host."""
    rules = (DeviceRule(parse_rule("allow id 0951:1666")),)
    devices = DevicePolicy(rules, Target.REJECT, contact="site 4711", language="zh")
    wipe = WipePolicy(LeastClass.CLEAR, ReadBack.WHOLE, 3, 48)
    content = PartContent(
        (Modality("CT9", "CT, site north"),), Grading("restricted"), 10, 60, 1 << 30, devices, WatchPolicy(120), wipe
    )
    exception = PartContent((Modality("CT8", "on loan"),), state_every_s=20)
    return PartDocument("site-north", 4, content, ((HOST, exception),))


def kind() -> PartDocument:
    """Return a type of modality."""
    rules = (DeviceRule(parse_rule("allow id 046d:c31c")), DeviceRule(parse_rule("allow id 0951:1666")))
    others = OtherKinds(((OtherKind.OPTICAL, Target.BLOCK),))
    devices = DevicePolicy(rules, suspicious=Target.REJECT, rescue=Rescue("1-1.2", 10), others=others)
    return PartDocument("modality-ct", 2, PartContent(state_every_s=30, spool_quota_bytes=5, devices=devices))


def scenarios() -> Files:
    files = _parts() | _together()
    return {f"policy/{name}.json": text for name, text in files.items()}


def _parts() -> Files:
    good = site().encode()

    def changed(change: Callable[[dict[str, Any]], object], of: bytes = good) -> bytes:
        value = json.loads(of)
        change(value)
        return canonical.encode(value)

    def with_(**members: canonical.Json) -> bytes:
        return changed(lambda value: value.update(members))

    def without(*names: str) -> bytes:
        return changed(lambda value: [value.pop(name) for name in names])

    def parsed(layer: str, version: int, *hosts: HostId) -> Scenario:
        return {"result": "parsed", "layer": layer, "version": version, "hosts": [str(host) for host in hosts]}

    crowd: list[canonical.Json] = [{"ae_title": str(number), "description": ""} for number in range(1001)]
    hosts: dict[str, canonical.Json] = {str(HostId(bytes(14) + bytes(divmod(n, 256)))): {} for n in range(1001)}
    organisation = json.loads(document().encode())
    ok = [
        ("ok", "A site that says everything, with an exception for a host.", good, parsed("site-north", 4, HOST)),
        ("ok-type", "A type of modality.", kind().encode(), parsed("modality-ct", 2)),
        ("ok-nothing", "A part that says nothing.", PartDocument("site-a", 1, PartContent()).encode(),
         parsed("site-a", 1)),
        ("ok-longest-name", "A site whose name has 23 characters.", with_(layer="site-" + "n" * 23),
         parsed("site-" + "n" * 23, 4, HOST)),
        ("ok-exception-says-nothing", "An exception that says nothing.", with_(hosts={str(HOST): {}}),
         parsed("site-north", 4, HOST)),
    ]  # fmt: skip
    bad = [
        ("version", "Format version 2.", with_(v=2)),
        ("version-zero", "Policies are numbered from 1.", with_(version=0)),
        ("layer-organisation", "The organisation is no part.", with_(layer="organisation")),
        ("layer-other-kind", "A part of a kind that there is not.", with_(layer="ward-north")),
        ("layer-no-name", "A site without a name.", with_(layer="site-")),
        ("layer-hyphen", "A name that begins with a hyphen.", with_(layer="site--north")),
        ("layer-upper-case", "A site in upper case.", with_(layer="site-North")),
        ("layer-too-long", "A name of 24 characters.", with_(layer="site-" + "n" * 24)),
        ("layer-missing", "No layer.", without("layer")),
        *((f"has-{name}".replace("_", "-"), f"A part says nothing of {name}.", with_(**{name: organisation[name]}))
          for name in ("keys", "receipt_key", "timings")),
        ("has-routes", "A part names no archive.", with_(routes=[])),
        ("has-coverage", "A part says nothing of what archives are asked.", with_(coverage={})),
        ("has-frame-digests", "A part says nothing of digests.", with_(frame_digests=True)),
        ("has-dicom-trust", "A part says nothing of whom modalities' certificates chain to.", with_(dicom_trust="")),
        ("field-unknown", "A field that this version does not know.", with_(allow_all=True)),
        ("modalities-empty", "A list of no modalities says nothing.", with_(modalities=[])),
        ("modalities-too-many", "1,001 modalities.", with_(modalities=crowd)),
        ("timing-zero", "A report every 0 seconds.", with_(state_every_s=0)),
        ("timing-too-long", "A pull every day and one second.", with_(pull_every_s=86_401)),
        ("quota-zero", "A quota of 0 says nothing.", with_(spool_quota_bytes=0)),
        ("wipe-class", "A class that no program reaches.",
         changed(lambda value: value["wipe"].update(least="destroy"))),
        ("hosts-empty", "Exceptions for no host say nothing.", with_(hosts={})),
        ("hosts-too-many", "Exceptions for 1,001 hosts.", with_(hosts=hosts)),
        ("host-id", "An exception for what is no host id.", with_(hosts={"CT 2": {}})),
        ("host-of-a-host", "An exception within an exception.", with_(hosts={str(HOST): {"hosts": {}}})),
        ("host-version", "An exception with a version of its own.", with_(hosts={str(HOST): {"version": 1}})),
        ("hosts-of-a-type", "A type of modality with an exception for a host.",
         changed(lambda value: value.update(hosts={str(HOST): {}}), kind().encode())),
        ("not-canonical", "A line break at the end.", good + b"\n"),
        ("empty", "No bytes.", b""),
    ]  # fmt: skip
    cases = [*ok, *((f"bad-{name}", about, data, _REFUSED) for name, about, data in bad)]
    return dict(parsing("part", *case) for case in cases)


def _together() -> Files:
    organisation = replace(devices_document(), modalities=(Modality("CT1", ""),))
    bare = document()
    lone = replace(bare, devices=DevicePolicy((), Target.ALLOW, TIME, Target.ALLOW))
    later = DevicePolicy((DeviceRule(parse_rule("block")),), observe_until=TIME.replace(year=2027))
    trial = PartDocument("site-north", 1, PartContent(devices=later))
    loose = PartDocument("modality-ct", 1, PartContent(devices=DevicePolicy((), Target.ALLOW, suspicious=Target.ALLOW)))
    there = DevicePolicy(others=OtherKinds(((OtherKind.SD, Target.ALLOW), (OtherKind.THUNDERBOLT, Target.ALLOW))))
    gone = DevicePolicy(others=OtherKinds(((OtherKind.OPTICAL, Target.BLOCK), (OtherKind.SD, Target.ALLOW))))
    others = (
        PartDocument("modality-ct", 1, PartContent(devices=there)),
        PartDocument("site-north", 1, PartContent(devices=gone)),
    )
    twice = PartDocument("site-north", 1, PartContent(modalities=(Modality("CT1", "again"),)))
    clash = PartDocument("modality-ct", 1, PartContent(modalities=(Modality("CT9", ""),)))
    grade = PartDocument("site-north", 1, PartContent(grading=Grading("open")))
    certificates = PartDocument(
        "site-north", 1, PartContent(modalities=(Modality("CT9", "", certificates=("0" * 64,)),))
    )
    cases: list[tuple[str, str, PolicyDocument, Sequence[PartDocument], HostId]] = [
        ("ok-alone", "A host without parts goes by the organisation's policy.", organisation, (), HOST),
        ("ok-all", "A site, a type of modality, and the site's exception for this host.", organisation,
         (site(), kind()), HOST),
        ("ok-other-order", "The order in which the parts are given makes no difference.", organisation,
         (kind(), site()), HOST),
        ("ok-without-exception", "The site's exception is for another host.", organisation, (site(), kind()), OTHER),
        ("ok-devices-of-a-part-alone", "Device rules of a part where the organisation has none.", bare, (site(),),
         OTHER),
        ("ok-trial-is-the-organisation-s", "A part ends a trial of the organisation's no later, and begins none.",
         lone, (trial,), HOST),
        ("ok-stricter-stays", "A part loosens neither default nor suspicion.", organisation, (loose,), HOST),
        ("ok-others-stricter-of-each-kind", "What is not on the USB: of each kind that is named the stricter.",
         organisation, others, HOST),
        ("ok-wipe-stricter-of-each-field", "Of wipe rules the stricter of each field holds.",
         replace(bare, wipe=WipePolicy(LeastClass.PURGE, ReadBack.SAMPLES, 1, 24)), (site(),), OTHER),
        ("bad-ae-title-twice", "An AE title that the organisation has.", organisation, (twice,), HOST),
        ("bad-ae-title-of-two-parts", "An AE title that site and type both have.", organisation, (site(), clash),
         HOST),
        ("bad-two-sites", "A host at two sites.", organisation, (site(), replace(site(), layer="site-south")), HOST),
        ("bad-grade-without-key", "A part's grading names a grade that has no key.", organisation, (grade,), HOST),
        ("bad-certificates-without-trust", "A part's modality has certificates, and nobody issues any.", bare,
         (certificates,), HOST),
    ]  # fmt: skip
    return dict(_case(*case) for case in cases)


def _case(
    name: str, about: str, organisation: PolicyDocument, parts: Sequence[PartDocument], host: HostId
) -> tuple[str, str]:
    given = {
        "organisation_base64": b64(organisation.encode()),
        "parts_base64": [b64(part.encode()) for part in parts],
        "host": str(host),
    }
    expect = _REFUSED
    if not name.startswith("bad"):
        expect = {"result": "parsed", "policy": json.loads(effective(organisation, parts, host).policy.encode())}
    return f"together-{name}", as_file({"about": about, "kind": "together", "given": given, "expect": expect})
