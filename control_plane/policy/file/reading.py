"""Reads the policy file that an administrator writes, strictly, and names every problem with its line.

    layer: organisation
    modalities:
      - ae_title: CT1
        description: CT, room 1.14
    grading: {default: restricted}
    timings: {state_every_s: 5, pull_every_s: 30}

These fields are required. Others may be there, and no others than docs/guides/administrator.md lists. A file whose
layer is a site or a type of modality is read by `parts`.
"""

import yaml

from control_plane.policy.file.authored import Authored, AuthoredPolicy
from control_plane.policy.file.beside import FileBesideUnusable
from control_plane.policy.file.devices import ReadBeside, read_devices
from control_plane.policy.file.grading import read_grading
from control_plane.policy.file.limits import read_quota, read_timings
from control_plane.policy.file.modalities import read_modalities
from control_plane.policy.file.parts import read_part
from control_plane.policy.file.peers import read_coverage, read_routes, read_trust
from control_plane.policy.file.problems import PolicyFileMalformed, Problem
from control_plane.policy.file.values import Section, Value
from control_plane.policy.file.watch import read_watch
from control_plane.policy.file.wipe import read_wipe
from control_plane.policy.file.yaml_text import compose
from shared.policy.document import ORGANISATION
from shared.policy.grading import Grading
from shared.policy.layer import is_part

_REQUIRED = ("layer", "modalities", "grading", "timings")
_OPTIONAL = ("routes", "dicom_trust", "coverage", "spool", "custody", "devices", "watch", "wipe")


def nothing_beside(name: str) -> bytes:
    raise FileBesideUnusable(name, "only a policy that is read from its own folder can name a file there")


def parse_policy_file(data: bytes, file: str, read_beside: ReadBeside = nothing_beside) -> Authored:
    """Read a policy file; `file` names it in messages, `read_beside` reads what it names of its own folder.

    Raises PolicyFileMalformed.
    """
    problems: list[Problem] = []
    whole = Value(compose(data, file), "", problems)
    policy: Authored
    if is_part(layer := _layer_of(whole.node)):
        policy = read_part(whole, layer, read_beside)
    else:
        policy = _policy(whole.section(_REQUIRED, _OPTIONAL), read_beside)
    if problems:
        raise PolicyFileMalformed(file, problems)
    return policy


def _layer_of(root: yaml.Node) -> str:
    fields = root.value if isinstance(root, yaml.MappingNode) else []
    return next((str(value.value) for key, value in fields if key.value == "layer"), "")


def _policy(top: Section, read_beside: ReadBeside) -> AuthoredPolicy:
    timings, grading, trust, coverage = (top.get(name) for name in ("timings", "grading", "dicom_trust", "coverage"))
    routes = read_routes(top.get("routes"))
    devices, watch, wipe = (top.get(name) for name in ("devices", "watch", "wipe"))
    state_every_s, pull_every_s = (0, 0) if timings is None else read_timings(timings)
    return AuthoredPolicy(
        layer=top.text("layer", ORGANISATION, f"expected {ORGANISATION}, site-NAME or modality-NAME"),
        modalities=read_modalities(top.get("modalities"), has_trust=trust is not None),
        grading=Grading("") if grading is None else read_grading(grading, frozenset(route.name for route in routes)),
        state_every_s=state_every_s,
        pull_every_s=pull_every_s,
        routes=routes,
        dicom_trust="" if trust is None else read_trust(trust),
        coverage=None if coverage is None else read_coverage(coverage),
        spool_quota_bytes=read_quota(top.get("spool")),
        frame_digests=_frame_digests(top.get("custody")),
        devices=None if devices is None else read_devices(devices, read_beside),
        watch=None if watch is None else read_watch(watch),
        wipe=None if wipe is None else read_wipe(wipe),
    )


def _frame_digests(value: Value | None) -> bool:
    if value is None:
        return False
    digests = value.section(("frame_digests",)).get("frame_digests")
    return digests is not None and digests.flag()
