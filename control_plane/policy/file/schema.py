"""The JSON Schemas (2020-12) of a policy file and of a part's, made of the limits that the reader itself goes by.

Each takes whatever the reader takes. The reader refuses more: what one field says of another (a grade that is not
listed, a route that there is none of, an AE title twice), and what YAML reads otherwise than it looks.
"""

import json

from control_plane.policy.file.parts import HOST_ID_PATTERN
from shared.canonical import Json
from shared.devices.others import OtherKind
from shared.devices.parse import MAX_RULES as MAX_DEVICE_RULES
from shared.devices.policy import MAX_CONTACT_CHARS, MAX_INTERFACES, MAX_RESCUE_MINUTES, PORT_PATTERN
from shared.devices.verdict import Access, Target
from shared.devices.watch import (
    FOLDER_PATTERN,
    LEAST_EVERY_S,
    MAX_DRIFT_MS,
    MAX_EVERY_S,
    MAX_FOLDER_CHARS,
    MAX_FOLDERS,
    MAX_FREE_MIB,
    MAX_PEERS,
    MAX_PROGRAMS,
    PROGRAM_PATTERN,
)
from shared.policy.document import (
    MAX_ADDRESSES,
    MAX_CERTIFICATES,
    MAX_DESCRIPTION_CHARS,
    MAX_MODALITIES,
    MAX_PULL_EVERY_S,
    MAX_STATE_EVERY_S,
    MAX_STATION_CHARS,
    MODALITY_PATTERN,
    ORGANISATION,
    AfterReceipt,
)
from shared.policy.grading import ATTRIBUTES, MAX_CONDITION_VALUES, MAX_GRADES, MAX_RULES, MAX_VALUE_CHARS
from shared.policy.layer import MODALITY, PART_PATTERN
from shared.policy.part import MAX_HOSTS
from shared.policy.routes import (
    AE_TITLE_PATTERN,
    FINGERPRINT_PATTERN,
    HOST_PATTERN,
    MAX_ROUTES,
    MAX_TRUST_CHARS,
    ROUTE_PATTERN,
    Via,
)
from shared.policy.wipe import MAX_APPROVALS, MAX_TICKET_HOURS, LeastClass, ReadBack
from shared.sealing.record import GRADE_PATTERN

_LARGEST = 999_999_999  # of any whole number that the reader takes
_MAX_QUOTA = 1 << 20
_ONE_LINE = r"[^\x00-\x1f\x7f]"
_INSTANT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{6})?Z"
_CERTIFICATE = r"-----BEGIN CERTIFICATE-----\n[A-Za-z0-9+/=\n]+-----END CERTIFICATE-----"


def schema_text(of: dict[str, Json]) -> str:
    return json.dumps(of, indent=2, ensure_ascii=False) + "\n"


def schema() -> dict[str, Json]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:leadglass:policy-file:1",
        "title": "Leadglass policy file",
        "description": "What `leadglass-server policy check` takes, as far as one field can say it for itself. "
        "Times are texts; a YAML reader that makes dates of them has to be kept from it.",
        **_object(
            {
                "layer": {"const": ORGANISATION, "description": "Whom it is for: every host."},
                "modalities": _list(_modality(), MAX_MODALITIES, "Who may send; whoever is not listed may not."),
                "grading": _grading(),
                "timings": _object(_timings(), ("state_every_s", "pull_every_s")),
                "routes": _list(_route(), MAX_ROUTES, "Archives that get images besides the vault."),
                "dicom_trust": _trust("What modalities' TLS client certificates are issued by."),
                "coverage": _peer({"calling_ae_title": _AE_TITLE}, "The archive that is asked what it knows."),
                "spool": _spool(),
                "custody": _object({"frame_digests": _FLAG}, ("frame_digests",)),
                "devices": _devices(),
                "watch": _watch(),
                "wipe": _wipe(),
            },
            ("layer", "modalities", "grading", "timings"),
        ),
        "if": {"required": ["modalities"], "properties": {"modalities": {"contains": _BOUND_TO_CERTIFICATES}}},
        "then": {"required": ["dicom_trust"]},
    }


def part_schema() -> dict[str, Json]:
    layer = _text(PART_PATTERN, "Whom it is for: the hosts of this site, or of this type of modality.")
    exceptions: dict[str, Json] = {
        "type": "object",
        "description": "What is otherwise for single hosts of a site.",
        "propertyNames": {"pattern": f"^{HOST_ID_PATTERN}$"},
        "additionalProperties": {**_object(_content()), "minProperties": 1},
        "minProperties": 1,
        "maxProperties": MAX_HOSTS,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:leadglass:policy-part:1",
        "title": "Leadglass policy file of a site or a type of modality",
        "description": "What `leadglass-server policy check` takes of a part, as far as one field can say it for "
        "itself. What it leaves out is as the organisation's policy says.",
        **_object({"layer": layer, **_content(), "hosts": exceptions}, ("layer",)),
        "if": {"properties": {"layer": {"type": "string", "pattern": f"^{MODALITY}"}}},
        "then": {"properties": {"hosts": False}},
    }


def _content() -> dict[str, Json]:
    """Return the fields of a part, and of its exceptions: those of an organisation that are not its alone."""
    return {
        "modalities": {**_list(_modality(), MAX_MODALITIES, "Who may send besides."), "minItems": 1},
        "grading": _grading(),
        "timings": {**_object(_timings()), "minProperties": 1},
        "spool": _spool(),
        "devices": _devices(),
        "watch": _watch(),
        "wipe": _wipe(),
    }


def _timings() -> dict[str, Json]:
    return {
        "state_every_s": _number(MAX_STATE_EVERY_S, "How often a host reports, in seconds."),
        "pull_every_s": _number(MAX_PULL_EVERY_S, "How often a host asks for a newer policy, in seconds."),
    }


def _object(properties: dict[str, Json], required: tuple[str, ...] = (), description: str = "") -> dict[str, Json]:
    return {
        "type": "object",
        **({"description": description} if description else {}),
        "properties": properties,
        **({"required": list(required)} if required else {}),
        "additionalProperties": False,
    }


def _text(pattern: str, description: str = "") -> dict[str, Json]:
    told: dict[str, Json] = {"description": description} if description else {}
    return {"type": "string", "pattern": f"^(?:{pattern})$", **told}


def _number(most: int, description: str = "", least: int = 1) -> dict[str, Json]:
    told: dict[str, Json] = {"description": description} if description else {}
    return {"type": "integer", "minimum": least, "maximum": most, **told}


def _list(items: dict[str, Json], most: int, description: str = "") -> dict[str, Json]:
    told: dict[str, Json] = {"description": description} if description else {}
    return {"type": "array", "items": items, "maxItems": most, **told}


def _texts(pattern: str, most: int, description: str = "", **more: Json) -> dict[str, Json]:
    return {**_list(_text(pattern), most, description), "uniqueItems": True, **more}


def _choice(*values: str) -> dict[str, Json]:
    return {"enum": list(values)}


_FLAG: dict[str, Json] = {"type": "boolean"}
_AE_TITLE = _text(AE_TITLE_PATTERN, "1 to 16 printable ASCII characters, no backslash, no space at either end.")
_HOST = _text(HOST_PATTERN, "A host name or an IP address.")
_GRADE = _text(GRADE_PATTERN)
_WHEN = _text(_INSTANT, "A time in UTC such as 2026-12-31T18:00:00Z.")
_BOUND_TO_CERTIFICATES: Json = {
    "type": "object",
    "required": ["certificates"],
    "properties": {"certificates": {"type": "array", "minItems": 1}},
}


def _trust(description: str) -> dict[str, Json]:
    return {**_text(rf"({_CERTIFICATE}\n)*{_CERTIFICATE}\n*", description), "maxLength": MAX_TRUST_CHARS}


def _peer(more: dict[str, Json], description: str, *, optional: dict[str, Json] | None = None) -> dict[str, Json]:
    """Return an application entity; `more` are further required fields."""
    tls = _object({"trust": _trust("What the peer's certificate is issued by."), "name": _HOST}, ("trust",))
    fields: dict[str, Json] = {**more, "ae_title": _AE_TITLE, "host": _HOST, "port": _number(65_535)}
    return _object({**fields, "tls": tls, **(optional or {})}, tuple(fields), description)


def _modality() -> dict[str, Json]:
    station = _object(
        {"modality": _text(MODALITY_PATTERN), "station_name": _text(rf"{_ONE_LINE}{{1,{MAX_STATION_CHARS}}}")},
        ("modality",),
        "How archives know its images.",
    )
    fields: dict[str, Json] = {
        "ae_title": _AE_TITLE,
        "description": _text(rf"{_ONE_LINE}{{1,{MAX_DESCRIPTION_CHARS}}}", "What people call it."),
        "addresses": _texts("[0-9a-f.:/]+", MAX_ADDRESSES, "IP addresses and networks it may send from."),
        "certificates": _texts(FINGERPRINT_PATTERN, MAX_CERTIFICATES, "SHA-256 of the TLS certificates it may show."),
        "commitment": _peer({}, "Where storage commitment is reported."),
        "export_folder": _choice(*AfterReceipt),
        "station": station,
    }
    return _object(fields, ("ae_title", "description"))


def _grading() -> dict[str, Json]:
    routes = _texts(ROUTE_PATTERN, MAX_ROUTES)
    pattern = rf"{_ONE_LINE}{{1,{MAX_VALUE_CHARS}}}"
    when = _object({name: _texts(pattern, MAX_CONDITION_VALUES, minItems=1) for name in ATTRIBUTES})
    rule = _object({"when": when, "grade": _GRADE, "routes": routes}, ("when", "grade"))
    fields: dict[str, Json] = {
        "default": _GRADE,
        "grades": _texts(GRADE_PATTERN, MAX_GRADES, "Every grade in use, the strictest last."),
        "rules": _list(rule, MAX_RULES, "The first that holds decides."),
        "routes": routes,
        "ungraded_routes": routes,
    }
    return _object(fields, ("default",))


def _route() -> dict[str, Json]:
    named: dict[str, Json] = {"name": _text(ROUTE_PATTERN), "via": _choice(*Via), "calling_ae_title": _AE_TITLE}
    return _peer(named, "An archive; to another machine it needs tls.")


def _spool() -> dict[str, Json]:
    quotas: dict[str, Json] = {"quota_mib": _number(_MAX_QUOTA), "quota_gib": _number(_MAX_QUOTA)}
    return {**_object(quotas), "minProperties": 1, "maxProperties": 1}


def _devices() -> dict[str, Json]:
    line = _text(r"[ \t]*(allow|block|reject)[^\x00-\x08\x0a-\x1f\x7f]*", "A rule of USBGuard's language.")
    interface = "[0-9a-f]{2}(:[0-9a-f]{2}){2}"
    beside: dict[str, Json] = {
        "rule": line,
        "not_before": _WHEN,
        "not_after": _WHEN,
        "access": _choice(*Access),
        "only_encrypted": _FLAG,
        "hardware_encrypted": _FLAG,
        "interfaces": _texts(interface, MAX_INTERFACES),
        "observe_until": _WHEN,
    }
    block = _text(r"[^\x00-\x08\x0b-\x1f\x7f]*", "A block of lines, as in a rules file.")
    listed = _list({"anyOf": [line, _object(beside, ("rule",))]}, MAX_DEVICE_RULES)
    fields: dict[str, Json] = {
        "rules": {"anyOf": [block, listed], "description": "The first that matches decides."},
        "rules_file": _text("[A-Za-z0-9][A-Za-z0-9._-]{0,63}", "A file of rules beside this one."),
        "default": _choice(*Target),
        "observe_until": _WHEN,
        "suspicious": _choice(*Target),
        "rescue": _object(
            {"port": _text(PORT_PATTERN), "minutes": _number(MAX_RESCUE_MINUTES)}, ("port", "minutes")
        ),
        "contact": _text(rf"{_ONE_LINE}{{1,{MAX_CONTACT_CHARS}}}", "Whom the technologist shall call."),
        "language": _choice("en", "zh"),
        "others": _object({kind.value: _choice(Target.ALLOW, Target.BLOCK) for kind in OtherKind}),
    }  # fmt: skip
    return {**_object(fields), "oneOf": [{"required": ["rules"]}, {"required": ["rules_file"]}]}


def _watch() -> dict[str, Json]:
    folder = {**_text(FOLDER_PATTERN), "maxLength": MAX_FOLDER_CHARS}
    peer = _object({"addresses": _text("[0-9a-f.:/]+"), "port": _number(65_535)}, ("addresses",))
    free = _object({"folder": folder, "mib": _number(min(MAX_FREE_MIB, _LARGEST))}, ("folder", "mib"))
    fields: dict[str, Json] = {
        "every_s": _number(MAX_EVERY_S, "In seconds.", LEAST_EVERY_S),
        "processes": _texts(PROGRAM_PATTERN, MAX_PROGRAMS, "Programs that may talk to peers and to nobody else."),
        "peers": _list(peer, MAX_PEERS),
        "forbidden": _texts(PROGRAM_PATTERN, MAX_PROGRAMS, "Programs that may not run."),
        "encrypted": {**_list(folder, MAX_FOLDERS, "Folders whose disk has to be encrypted."), "uniqueItems": True},
        "encrypted_swap": _FLAG,
        "free": _list(free, MAX_FOLDERS),
        "most_drift_ms": _number(min(MAX_DRIFT_MS, _LARGEST)),
    }
    return {**_object(fields, ("every_s",)), "dependentRequired": {"peers": ["processes"]}}


def _wipe() -> dict[str, Json]:
    fields: dict[str, Json] = {
        "least": _choice(*LeastClass),
        "read_back": _choice(*ReadBack),
        "approvals": _number(MAX_APPROVALS, "Of people besides the one who asks."),
        "ticket_hours": _number(MAX_TICKET_HOURS, "How long an approval holds."),
    }
    return _object(fields, tuple(fields), "What a certified wipe of a host's drive needs; without it none is wiped.")
