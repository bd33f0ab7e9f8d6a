"""Reads the policy of a site or of a type of modality, which adds to the organisation's and says some of it anew.

    layer: site-north
    modalities:
      - ae_title: CT7
        description: CT, north, room 3
    timings: {state_every_s: 30}
    hosts:
      host-5f0e6f5c1d3a4b2c8f1e7a6d9c0b1a2f:
        spool: {quota_gib: 20}

Only `layer` is required: what is left out is as the organisation says. `hosts` are a site's exceptions, for single
hosts.
"""

from control_plane.policy.file.authored import AuthoredPart
from control_plane.policy.file.devices import ReadBeside, read_devices
from control_plane.policy.file.grading import read_grading
from control_plane.policy.file.limits import read_quota, read_timings
from control_plane.policy.file.modalities import read_modalities
from control_plane.policy.file.values import Section, Value
from control_plane.policy.file.watch import read_watch
from control_plane.policy.file.wipe import read_wipe
from shared.identity import SIZE_BYTES, HostId
from shared.policy.layer import MODALITY, PART_PATTERN, SITE
from shared.policy.part import MAX_HOSTS, PartContent

HOST_ID_PATTERN = rf"{HostId.prefix}[0-9a-f]{{{2 * SIZE_BYTES}}}"
_SECTIONS = ("modalities", "grading", "timings", "spool", "devices", "watch", "wipe")
_ORGANISATIONS = dict.fromkeys(
    ("keys", "receipt_key", "routes", "dicom_trust", "coverage", "custody"),
    "is the organisation's alone to say, for the centre acts by it; take it out",
)
_SITES = {"hosts": "only the file of a site has exceptions for single hosts"}
_HOST_EXPECTED = "the id of a host as `status` prints it, host- and 32 digits 0 to 9 and a to f"


def read_part(whole: Value, layer: str, read_beside: ReadBeside) -> AuthoredPart:
    """Read the file of `layer`, as it calls itself."""
    is_site = layer.startswith(SITE)
    optional = (*_SECTIONS, "hosts") if is_site else _SECTIONS
    top = whole.section(("layer",), optional, _ORGANISATIONS if is_site else {**_ORGANISATIONS, **_SITES})
    top.text("layer", PART_PATTERN, f"expected {SITE}NAME or {MODALITY}NAME, NAME 1 to 23 of a to z, 0 to 9, hyphen")
    listed: dict[str, Value] = {}
    content = _content(top, read_beside, listed)
    hosts = top.get("hosts")
    return AuthoredPart(layer, content, () if hosts is None else _hosts(hosts, read_beside, listed))


def _hosts(value: Value, read_beside: ReadBeside, listed: dict[str, Value]) -> tuple[tuple[HostId, PartContent], ...]:
    found = {}
    for name, exception in value.named(HOST_ID_PATTERN, _HOST_EXPECTED, MAX_HOSTS):
        section = exception.section((), _SECTIONS, _ORGANISATIONS)
        if exception.is_empty:
            exception.problem(f"expected at least one of the fields {', '.join(_SECTIONS)}; or take the host out")
        found[HostId.parse(name)] = _content(section, read_beside, dict(listed))
    return tuple((host, found[host]) for host in sorted(found))


def _content(section: Section, read_beside: ReadBeside, listed: dict[str, Value]) -> PartContent:
    """Read what a part says; `listed` has the AE titles of what it stands in, and gets its own too."""
    modalities, timings, grading = (section.get(name) for name in ("modalities", "timings", "grading"))
    devices, watch, wipe = (section.get(name) for name in ("devices", "watch", "wipe"))
    state_every_s, pull_every_s = (0, 0) if timings is None else read_timings(timings, may_leave_out=True)
    # Routes, and what certificates are issued by, stand in the organisation's file, and are looked at with it.
    read = read_modalities(modalities, has_trust=True, seen=listed)
    if modalities is not None and modalities.is_empty:
        modalities.problem("expected at least one; a part adds to who may send, and takes nobody out")
    return PartContent(
        modalities=read,
        grading=None if grading is None else read_grading(grading, None),
        state_every_s=state_every_s,
        pull_every_s=pull_every_s,
        spool_quota_bytes=read_quota(section.get("spool")),
        devices=None if devices is None else read_devices(devices, read_beside),
        watch=None if watch is None else read_watch(watch),
        wipe=None if wipe is None else read_wipe(wipe),
    )
