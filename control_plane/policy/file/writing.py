"""Writes a policy as the file that `parse_policy_file` reads back as the same policy."""

from collections.abc import Mapping
from typing import TypeAlias

import yaml

from control_plane.policy.file.authored import Authored, AuthoredPart, AuthoredPolicy
from control_plane.policy.file.problems import PolicyFileMalformed
from control_plane.policy.file.reading import parse_policy_file
from shared import clock
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.verdict import Access, Target
from shared.devices.watch import WatchPolicy
from shared.errors import Refused
from shared.policy.document import Modality
from shared.policy.grading import Grading
from shared.policy.part import PartContent
from shared.policy.routes import Peer, Route
from shared.policy.wipe import WipePolicy

Written: TypeAlias = "str | int | bool | list[Written] | dict[str, Written]"

_GIB, _MIB = 1 << 30, 1 << 20
_OTHER_LINE_ENDS = frozenset("\x85\u2028\u2029")
_WIDTH = 1 << 20  # a line is broken where the text has a line end, and nowhere else


class NotWritable(Refused):
    """It was made by another tool than ours, and says what our file has no words for."""

    def __init__(self, why: str) -> None:
        super().__init__(f"this policy cannot be written as a policy file: {why}")
        self.why = why


def text(policy: Authored) -> str:
    """Return a policy file that says exactly what `policy` does. Raises NotWritable."""
    written = as_yaml(members(policy))
    try:
        is_same = parse_policy_file(written.encode(), "it") == policy
    except PolicyFileMalformed as exc:
        raise NotWritable("; ".join(problem.text("line") for problem in exc.problems)) from exc
    if not is_same:
        raise NotWritable("it would be read back as another one")
    return written


def as_yaml(written: Written) -> str:
    dumped = yaml.dump(
        written, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_WIDTH, default_flow_style=False
    )
    return str(dumped)


def members(policy: Authored) -> dict[str, Written]:
    """Return the fields of the file that says this, in their order."""
    return _part(policy) if isinstance(policy, AuthoredPart) else _policy(policy)


class _Dumper(yaml.SafeDumper):
    """Writes no aliases, and texts of several lines as blocks."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 (PyYAML's signature)
        return True

    def text(self, value: str) -> yaml.ScalarNode:
        # What YAML 1.1 takes for a line end, and an editor does not, is written as an escape.
        style = '"' if _OTHER_LINE_ENDS.intersection(value) else "|" if "\n" in value else None
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _Dumper.text)


def _policy(policy: AuthoredPolicy) -> dict[str, Written]:
    return {
        "layer": policy.layer,
        "modalities": [_modality(modality) for modality in policy.modalities],
        "grading": _grading(policy.grading),
        **_given("routes", [_route(route) for route in policy.routes]),
        **_given("dicom_trust", policy.dicom_trust),
        **(
            {}
            if policy.coverage is None
            else {"coverage": {"calling_ae_title": policy.coverage.calling_ae_title, **_peer(policy.coverage.peer)}}
        ),
        **_given("spool", _spool(policy.spool_quota_bytes)),
        **({"custody": {"frame_digests": True}} if policy.frame_digests else {}),
        **({} if policy.devices is None else {"devices": _devices(policy.devices)}),
        **({} if policy.watch is None else {"watch": _watch(policy.watch)}),
        **({} if policy.wipe is None else {"wipe": _wipe(policy.wipe)}),
        "timings": {"state_every_s": policy.state_every_s, "pull_every_s": policy.pull_every_s},
    }


def _part(part: AuthoredPart) -> dict[str, Written]:
    hosts: dict[str, Written] = {str(host): _content(content) for host, content in part.hosts}
    return {"layer": part.layer, **_content(part.content), **_given("hosts", hosts)}


def _content(content: PartContent) -> dict[str, Written]:
    timings = {
        **_given("state_every_s", content.state_every_s),
        **_given("pull_every_s", content.pull_every_s),
    }
    return {
        **_given("modalities", [_modality(modality) for modality in content.modalities]),
        **({} if content.grading is None else {"grading": _grading(content.grading)}),
        **_given("spool", _spool(content.spool_quota_bytes)),
        **({} if content.devices is None else {"devices": _devices(content.devices)}),
        **({} if content.watch is None else {"watch": _watch(content.watch)}),
        **({} if content.wipe is None else {"wipe": _wipe(content.wipe)}),
        **_given("timings", timings),
    }


def _given(name: str, value: Written) -> dict[str, Written]:
    """Return a member, or none where it would say nothing."""
    return {name: value} if value else {}


def _modality(modality: Modality) -> dict[str, Written]:
    commitment, folder, station = modality.commitment, modality.export_folder, modality.station
    return {
        "ae_title": modality.ae_title,
        "description": modality.description,
        **_given("addresses", list(modality.addresses)),
        **_given("certificates", list(modality.certificates)),
        **({} if commitment is None else {"commitment": _peer(commitment)}),
        **({} if folder is None else {"export_folder": folder.value}),
        **(
            {}
            if station is None
            else {"station": {"modality": station.modality, **_given("station_name", station.station_name)}}
        ),
    }


def _peer(peer: Peer) -> dict[str, Written]:
    tls: dict[str, Written] = {"tls": {"trust": peer.trust, **_given("name", peer.name)}} if peer.trust else {}
    return {"ae_title": peer.ae_title, "host": peer.host, "port": peer.port, **tls}


def _route(route: Route) -> dict[str, Written]:
    calling = {"calling_ae_title": route.calling_ae_title}
    return {"name": route.name, "via": route.via.value, **calling, **_peer(route.peer)}


def _grading(grading: Grading) -> dict[str, Written]:
    rules: list[Written] = [
        {
            "when": {name: list(patterns) for name, patterns in rule.when},
            "grade": rule.grade,
            **_given("routes", list(rule.routes)),
        }
        for rule in grading.rules
    ]
    return {
        "default": grading.default,
        **_given("grades", list(grading.grades)),
        **_given("rules", rules),
        **_given("routes", list(grading.routes)),
        **_given("ungraded_routes", list(grading.ungraded_routes)),
    }


def _spool(quota_bytes: int) -> dict[str, Written]:
    if not quota_bytes:
        return {}
    if quota_bytes % _GIB == 0:
        return {"quota_gib": quota_bytes // _GIB}
    return {"quota_mib": quota_bytes // _MIB}


def _devices(devices: DevicePolicy) -> dict[str, Written]:
    members: dict[str, Written] = {"rules": [_rule(rule) for rule in devices.rules]}
    if devices.default is not Target.BLOCK:
        members["default"] = devices.default.value
    if devices.observe_until is not None:
        members["observe_until"] = clock.text(devices.observe_until)
    if devices.suspicious is not Target.BLOCK:
        members["suspicious"] = devices.suspicious.value
    if devices.rescue is not None:
        members["rescue"] = {"port": devices.rescue.port, "minutes": devices.rescue.minutes}
    if devices.language != "en":
        members["language"] = devices.language
    others = {kind.value: target.value for kind, target in devices.others.named}
    return {**members, **_given("contact", devices.contact), **_given("others", _texts(others))}


def _rule(rule: DeviceRule) -> Written:
    beside: dict[str, Written] = {}
    for name in ("not_before", "not_after", "observe_until"):
        if (instant := getattr(rule, name)) is not None:
            beside[name] = clock.text(instant)
    if rule.access is not Access.READ_WRITE:
        beside["access"] = rule.access.value
    for name in ("only_encrypted", "hardware_encrypted"):
        if getattr(rule, name):
            beside[name] = True
    if rule.interfaces:
        beside["interfaces"] = [str(interface) for interface in rule.interfaces]
    return {"rule": rule.rule.text(), **beside} if beside else rule.rule.text()


def _watch(watch: WatchPolicy) -> dict[str, Written]:
    members: dict[str, Written] = {"every_s": watch.every_s}
    for name in ("processes", "forbidden", "encrypted"):
        members |= _given(name, list(getattr(watch, name)))
    peers: list[Written] = [{"addresses": peer.addresses, **_given("port", peer.port)} for peer in watch.peers]
    free: list[Written] = [{"folder": each.folder, "mib": each.mib} for each in watch.free]
    swap: dict[str, Written] = {"encrypted_swap": True} if watch.encrypted_swap else {}
    drift = _given("most_drift_ms", watch.most_drift_ms)
    return {**members, **_given("peers", peers), **_given("free", free), **swap, **drift}


def _wipe(wipe: WipePolicy) -> dict[str, Written]:
    return {
        "least": wipe.least.value,
        "read_back": wipe.read_back.value,
        "approvals": wipe.approvals,
        "ticket_hours": wipe.ticket_hours,
    }


def _texts(values: Mapping[str, str]) -> dict[str, Written]:
    return dict(values)
