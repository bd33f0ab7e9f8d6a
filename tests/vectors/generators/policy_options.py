"""Makes the scenarios of docs/formats/policy.md that concern its optional members: `document` and `grading`."""

import json
from dataclasses import replace
from typing import TypeAlias

from shared import canonical
from shared.policy.document import AfterReceipt, Coverage, KeyPurpose, Modality, PolicyDocument, SealingKey, Station
from shared.policy.grading import ATTRIBUTES, CALLING_AE_TITLE, Grading, Rule
from shared.policy.routes import Peer, Route, Via
from tests.vectors.generators.policy import document, parsing
from tests.vectors.given import TRUST, Files, Scenario, as_file, sealing_key

_Outcome: TypeAlias = tuple[str, list[str]]

GRADING = Grading(
    "restricted",
    ("general", "restricted", "secret"),
    (
        Rule((("department_name", ("*BREAST*", "*SENO*")), ("modality", ("MG",))), "secret", ("pacs-main",)),
        Rule((("calling_ae_title", ("PHANTOM?",)),), "general"),
        Rule((("patient_name", ("vip^*", "山田^*")),), "secret"),
    ),
    ("pacs-main", "pacs-old"),
    ("pacs-old",),
)


def full_document() -> PolicyDocument:
    """Return a policy that uses every member there is."""
    base = document()
    grades = [SealingKey(KeyPurpose.DATA, grade, 1, sealing_key(grade).public) for grade in ("general", "secret")]
    mammography = Modality(
        "MG1",
        "mammography, room 2.03",
        addresses=("192.0.2.10", "192.0.2.16/28", "2001:db8::10", "2001:db8::/64"),
        certificates=("0a" * 32,),
        commitment=Peer("MG1_SC", "192.0.2.10", 2762, TRUST, "mg1.example"),
        export_folder=AfterReceipt.MOVE,
        station=Station("MG", "MGROOM2"),
    )
    return replace(
        base,
        modalities=(mammography, Modality("CT1", "", export_folder=AfterReceipt.KEEP, station=Station("CT"))),
        keys=(*base.keys, *grades),
        grading=GRADING,
        routes=(
            Route("pacs-main", Via.CENTRE, "LEADGLASS", Peer("PACS", "pacs.example", 2762, TRUST)),
            Route("pacs-old", Via.HOST, "LEADGLASS", Peer("OLD", "127.0.0.1", 104)),
        ),
        dicom_trust=TRUST,
        coverage=Coverage("LEADGLASS", Peer("PACS", "pacs.example", 104)),
        spool_quota_bytes=50 << 30,
        frame_digests=True,
    )


def scenarios() -> Files:
    return {f"policy/{name}.json": text for name, text in (_everything() | _gradings()).items()}


def _everything() -> Files:
    good = full_document().encode()

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

    parsed = {"result": "parsed", "data_key_id": str(sealing_key("data").public.key_id)}
    first = ("modalities", 0)
    route, old, rule = ("routes", 0), ("routes", 1), ("grading", "rules", 0)
    peer, tls, station = (*route, "peer"), (*route, "peer", "tls"), (*first, "station")
    in_clear: dict[str, canonical.Json] = {"ae_title": "PACS", "host": "192.0.2.7", "port": 104}
    named: dict[str, canonical.Json] = {"name": "a", "via": "host", "calling_ae_title": "A", "peer": in_clear}
    local: dict[str, canonical.Json] = {**in_clear, "host": "127.0.0.1"}
    crowd: list[canonical.Json] = [{**named, "name": f"r{n}", "peer": local} for n in range(33)]
    keyless: list[canonical.Json] = ["general", "restricted", "top"]
    reading: dict[str, canonical.Json] = {"when": {}, "grade": "secret", "routes": []}
    cases: list[tuple[str, str, bytes, Scenario | None]] = [
        ("ok-everything", "A policy document with every member there is.", good, parsed),
        (
            "ok-route-on-this-machine",
            "A route to localhost without TLS.",
            changed(*peer, host="localhost", tls=None),
            parsed,
        ),
        (
            "ok-route-in-the-loopback-network",
            "The same by an address.",
            changed(*peer, host="127.255.255.254", tls=None),
            parsed,
        ),
        ("ok-rule-for-every-image", "A rule without conditions.", changed(*rule, when={}), parsed),
    ]
    bad = [
        ("address", "An address that is none.", changed(*first, addresses=["192.0.2.256"])),
        ("address-leading-zero", "A leading zero in an address.", changed(*first, addresses=["192.0.2.010"])),
        ("address-not-short", "An IPv6 address that is not short.", changed(*first, addresses=["2001:db8:0::1"])),
        ("address-upper-case", "An IPv6 address in upper case.", changed(*first, addresses=["2001:DB8::1"])),
        ("address-ipv4-as-ipv6", "An IPv4 address as an IPv6 one.", changed(*first, addresses=["::ffff:c000:20a"])),
        ("address-network", "A network with bits for a host.", changed(*first, addresses=["192.0.2.17/28"])),
        ("address-netmask", "A network by its mask.", changed(*first, addresses=["192.0.2.0/255.255.255.0"])),
        ("address-twice", "An address twice.", changed(*first, addresses=["192.0.2.1", "192.0.2.1"])),
        ("addresses-empty", "An empty list of addresses, which is left out.", changed(*first, addresses=[])),
        ("addresses-too-many", "17 addresses.", changed(*first, addresses=[f"192.0.2.{n}" for n in range(17)])),
        ("fingerprint-upper-case", "A fingerprint in upper case.", changed(*first, certificates=["0A" * 32])),
        ("fingerprint-short", "A fingerprint of 63 digits.", changed(*first, certificates=["0" * 63])),
        ("fingerprint-twice", "A fingerprint twice.", changed(*first, certificates=["0" * 64] * 2)),
        ("fingerprints-too-many", "Five fingerprints.", changed(*first, certificates=[f"{n:064d}" for n in range(5)])),
        ("fingerprint-without-trust", "Fingerprints, and nobody who issues certificates.", changed(dicom_trust=None)),
        ("commitment-port-zero", "Port 0.", changed(*first, "commitment", port=0)),
        ("commitment-member-missing", "A peer without an AE title.", changed(*first, "commitment", ae_title=None)),
        ("export-folder", "An outcome there is not.", changed(*first, export_folder="burn")),
        ("export-folder-empty", "An empty outcome.", changed(*first, export_folder="")),
        ("station-modality", "A modality in lower case.", changed(*station, modality="mg")),
        ("station-modality-empty", "An empty modality.", changed(*station, modality="")),
        ("station-name-missing", "A station without a name, even an empty one.", changed(*station, station_name=None)),
        ("station-name-too-long", "A station name of 17 characters.", changed(*station, station_name="M" * 17)),
        ("route-name", "A route in upper case.", changed(*route, name="PACS")),
        ("route-twice", "Two routes of one name.", changed(*old, name="pacs-main")),
        ("route-via", "A way there is not.", changed(*route, via="pigeon")),
        ("route-field-unknown", "A route with a field more.", changed(*route, priority=1)),
        ("route-in-clear", "A route over a network without TLS.", changed(*route, peer=in_clear)),
        (
            "route-ipv6-loopback-in-clear",
            "A route without TLS to an IPv6 address, be it this machine's own.",
            changed(*peer, host="0:0:0:0:0:0:0:1", tls=None),
        ),
        ("route-loopback-name-in-clear", "A name that looks like one.", changed(*peer, host="127.0.0.256", tls=None)),
        ("route-host", "A host name with a space.", changed(*peer, host="pacs example")),
        ("route-host-hyphen", "A host name that begins with a hyphen.", changed(*peer, host="-pacs")),
        ("route-port-too-high", "Port 65,536.", changed(*peer, port=65_536)),
        ("route-ae-title", "A called AE title of 17 characters.", changed(*peer, ae_title="P" * 17)),
        ("route-trust-empty", "TLS that trusts nobody.", changed(*tls, trust="")),
        ("route-trust-no-line-end", "A certificate without its last line end.", changed(*tls, trust=TRUST[:-1])),
        ("route-trust-text-before", "A text in front of a certificate.", changed(*tls, trust="CA\n" + TRUST)),
        ("route-trust-a-key", "A public key.", changed(*tls, trust=TRUST.replace("CERTIFICATE", "PUBLIC KEY"))),
        ("route-trust-too-long", "More than 16,384 characters.", changed(*tls, trust=TRUST * 32)),
        ("route-tls-name", "A name that no certificate is for.", changed(*tls, name="pacs..")),
        ("routes-too-many", "33 routes.", changed(routes=crowd, grading={"default": "restricted"})),
        ("routes-empty", "An empty list of routes.", changed(routes=[], grading={"default": "restricted"})),
        ("route-unknown", "A route of a rule that there is not.", changed(*rule, routes=["pacs-new"])),
        ("route-unknown-by-default", "A default route that there is not.", changed("grading", routes=["pacs-new"])),
        ("route-unknown-if-ungraded", "The same for the unreadable.", changed("grading", ungraded_routes=["pacs-new"])),
        ("rule-route-twice", "A route twice.", changed(*rule, routes=["pacs-old", "pacs-old"])),
        ("rule-grade", "A grade that is not listed.", changed(*rule, grade="open")),
        ("rule-attribute", "An attribute that no rule can look at.", changed(*rule, when={"patient_age": ["*"]})),
        ("rule-pattern-empty", "An empty pattern.", changed(*rule, when={"modality": [""]})),
        ("rule-pattern-too-long", "A pattern of 65 characters.", changed(*rule, when={"modality": ["M" * 65]})),
        ("rule-pattern-line-break", "A line break in a pattern.", changed(*rule, when={"modality": ["M\n"]})),
        ("rule-patterns-empty", "A condition without a pattern.", changed(*rule, when={"modality": []})),
        ("rule-patterns-too-many", "51 patterns.", changed(*rule, when={"modality": ["M"] * 51})),
        ("rule-pattern-not-a-list", "A pattern that is not in a list.", changed(*rule, when={"modality": "MG"})),
        ("rule-member-missing", "A rule without a list of routes.", changed(*rule, routes=None)),
        ("rules-too-many", "201 rules.", changed("grading", rules=[reading] * 201)),
        ("rules-empty", "An empty list of rules.", changed("grading", rules=[])),
        ("grades-twice", "A grade twice.", changed("grading", grades=["general", "secret", "restricted", "secret"])),
        ("grades-without-default", "Grades without the default.", changed("grading", grades=["general", "secret"])),
        ("grades-too-many", "17 grades.", changed("grading", grades=["restricted", *(f"g{n}" for n in range(16))])),
        ("grade-without-key", "A grade without a key.", changed("grading", grades=keyless, rules=None)),
        ("trust", "Trusted certificates that are none.", changed(dicom_trust="x\n")),
        ("coverage-member-missing", "Coverage without a calling AE title.", changed("coverage", calling_ae_title=None)),
        ("coverage-in-one", "Coverage with a peer's members beside its own.", changed("coverage", port=104)),
        ("quota-zero", "A quota of nothing, which is left out.", changed(spool_quota_bytes=0)),
        ("quota-negative", "A quota below nothing.", changed(spool_quota_bytes=-1)),
        ("frame-digests-false", "A flag that says no, which is left out.", changed(frame_digests=False)),
        ("frame-digests-number", "A flag given as 1.", changed(frame_digests=1)),
    ]  # fmt: skip
    cases.append(("ok-at-the-limits", "Lists and texts at their limits.", _limits(), parsed))
    cases += [(f"bad-{name}", about, data, None) for name, about, data in bad]
    return dict(parsing("document", *case) for case in cases)


def _limits() -> bytes:
    base = full_document()
    names = [f"{number:032d}".replace("0", "r", 1) for number in range(32)]
    grades = ("restricted", *(f"{number:032d}".replace("0", "g", 1) for number in range(15)))
    longest = Rule((("modality", tuple(f"{number:064d}" for number in range(50))),), "restricted", tuple(names))
    modality = replace(
        base.modalities[0], ae_title="A" * 16, description="d" * 100, station=Station("M" * 16, "S" * 16),
        addresses=tuple(f"192.0.2.{number}" for number in range(16)),
        certificates=tuple(f"{number:064d}" for number in range(4)),
        commitment=Peer("C" * 16, "h" * 253, 65_535),
    )  # fmt: skip
    return replace(
        base,
        modalities=(modality,),
        keys=(
            *base.keys[:3],
            *(SealingKey(KeyPurpose.DATA, grade, 1, sealing_key(grade).public) for grade in grades[1:]),
        ),
        grading=Grading("restricted", grades, (longest, *[Rule((), "restricted")] * 199), tuple(names), tuple(names)),
        routes=tuple(Route(name, Via.HOST, "A" * 16, Peer("P" * 16, "localhost", 1)) for name in names),
        spool_quota_bytes=2**53 - 1,
        state_every_s=3600,
        pull_every_s=86_400,
    ).encode()


def _gradings() -> Files:
    """What becomes of an image: `attributes` are those of its data set, null where they could not be read."""
    secret: _Outcome = ("secret", ["pacs-main"])
    default: _Outcome = ("restricted", ["pacs-main", "pacs-old"])
    general: _Outcome = ("general", [])
    vip: _Outcome = ("secret", [])
    cases: dict[str, tuple[str, str, dict[str, str] | None, _Outcome]] = {
        "unread": ("Attributes that could not be read.", "MG1", None, ("secret", ["pacs-old"])),
        "none": ("An image that no rule speaks of.", "CT1", {}, default),
        "rule": ("Both conditions of a rule hold.", "MG1", {"modality": "MG", "department_name": "BREAST 2"}, secret),
        "case": ("Case does not matter.", "MG1", {"modality": "mg", "department_name": "El seno"}, secret),
        "half": ("One of two conditions holds.", "MG1", {"modality": "MG", "department_name": "WARD 3"}, default),
        "padding": ("Spaces around a value.", "MG1", {"modality": " MG ", "department_name": "BREAST"}, secret),
        "part": ("A pattern is the whole value.", "MG1", {"modality": "MGX", "department_name": "BREAST"}, default),
        "several": ("One of several values.", "MG1", {"modality": "CT\\MG", "department_name": "A\\SENO"}, secret),
        "ae-title": ("The calling AE title.", "phantom1", {}, general),
        "ae-title-star": ("? is one character, and not none.", "PHANTOM", {}, default),
        "first": (
            "The first rule that holds decides.", "PHANTOM1", {"modality": "MG", "department_name": "BREAST"}, secret,
        ),
        "name": ("A person's name, without its empty components.", "CT1", {"patient_name": "VIP^JANE^^^"}, vip),
        "name-group": ("Another group of a person's name.", "CT1", {"patient_name": "Yamada^T=山田^太郎"}, vip),
        "name-other": ("A person's name that is another.", "CT1", {"patient_name": "Yamada^T=田山^太郎"}, default),
        "name-family": ("A family name alone.", "CT1", {"patient_name": "VIP^^"}, default),
        "group-elsewhere": ("= parts only names.", "MG1", {"modality": "CT=MG", "department_name": "SENO"}, default),
    }  # fmt: skip
    looked_at = [name for name in ATTRIBUTES if name != CALLING_AE_TITLE]
    files = {}
    for name, (about, ae_title, attributes, (grade, routes)) in cases.items():
        known = None if attributes is None else {**dict.fromkeys(looked_at, ""), **attributes}
        given = {"grading": GRADING.json(), "calling_ae_title": ae_title, "attributes": known}
        expect = {"grade": grade, "routes": routes}
        files[f"grading-{name}"] = as_file({"about": about, "kind": "grading", "given": given, "expect": expect})
    return files
