"""Reads the policy file that an administrator writes, strictly, and names every problem with its line.

    layer: organisation
    modalities:
      - ae_title: CT1
        description: CT, room 1.14
    grading: {default: restricted}
    timings: {state_every_s: 5, pull_every_s: 30}

These fields are required. Others may be there, and no others than docs/guides/administrator.md lists.
"""

from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.file.beside import FileBesideUnusable
from control_plane.policy.file.devices import ReadBeside, read_devices
from control_plane.policy.file.grading import read_grading
from control_plane.policy.file.modalities import read_modalities
from control_plane.policy.file.peers import read_coverage, read_routes, read_trust
from control_plane.policy.file.problems import PolicyFileMalformed, Problem
from control_plane.policy.file.values import Section, Value
from control_plane.policy.file.watch import read_watch
from control_plane.policy.file.yaml_text import compose
from shared.policy.document import MAX_PULL_EVERY_S, MAX_STATE_EVERY_S, ORGANISATION
from shared.policy.grading import Grading

_REQUIRED = ("layer", "modalities", "grading", "timings")
_OPTIONAL = ("routes", "dicom_trust", "coverage", "spool", "custody", "devices", "watch")
_SECONDS = " of seconds"
_QUOTA_UNITS = {"quota_mib": 1 << 20, "quota_gib": 1 << 30}
_MAX_QUOTA = 1 << 20


def nothing_beside(name: str) -> bytes:
    raise FileBesideUnusable(name, "only a policy that is read from its own folder can name a file there")


def parse_policy_file(data: bytes, file: str, read_beside: ReadBeside = nothing_beside) -> AuthoredPolicy:
    """Read a policy file; `file` names it in messages, `read_beside` reads what it names of its own folder.

    Raises PolicyFileMalformed.
    """
    problems: list[Problem] = []
    policy = _policy(Value(compose(data, file), "", problems).section(_REQUIRED, _OPTIONAL), read_beside)
    if problems:
        raise PolicyFileMalformed(file, problems)
    return policy


def _policy(top: Section, read_beside: ReadBeside) -> AuthoredPolicy:
    timings, grading, trust, coverage = (top.get(name) for name in ("timings", "grading", "dicom_trust", "coverage"))
    routes, devices, watch = read_routes(top.get("routes")), top.get("devices"), top.get("watch")
    state_every_s, pull_every_s = (0, 0) if timings is None else _timings(timings)
    return AuthoredPolicy(
        layer=top.text("layer", ORGANISATION, f"expected {ORGANISATION}, the one layer there is"),
        modalities=read_modalities(top.get("modalities"), has_trust=trust is not None),
        grading=Grading("") if grading is None else read_grading(grading, frozenset(route.name for route in routes)),
        state_every_s=state_every_s,
        pull_every_s=pull_every_s,
        routes=routes,
        dicom_trust="" if trust is None else read_trust(trust),
        coverage=None if coverage is None else read_coverage(coverage),
        spool_quota_bytes=_quota(top.get("spool")),
        frame_digests=_frame_digests(top.get("custody")),
        devices=None if devices is None else read_devices(devices, read_beside),
        watch=None if watch is None else read_watch(watch),
    )


def _timings(value: Value) -> tuple[int, int]:
    section = value.section(("state_every_s", "pull_every_s"))
    return (
        section.number("state_every_s", MAX_STATE_EVERY_S, _SECONDS),
        section.number("pull_every_s", MAX_PULL_EVERY_S, _SECONDS),
    )


def _quota(value: Value | None) -> int:
    """Return the quota in bytes; 0 where the disk's own limit is the limit."""
    if value is None:
        return 0
    section = value.section((), tuple(_QUOTA_UNITS))
    given = [unit for unit in _QUOTA_UNITS if section.get(unit) is not None]
    if len(given) != 1:
        value.problem(f"expected one of the fields {', '.join(_QUOTA_UNITS)}; leave spool out for no quota")
        return 0
    return section.number(given[0], _MAX_QUOTA) * _QUOTA_UNITS[given[0]]


def _frame_digests(value: Value | None) -> bool:
    if value is None:
        return False
    digests = value.section(("frame_digests",)).get("frame_digests")
    return digests is not None and digests.flag()
