"""Says in words what a policy file means, and what in it is allowed and may not be meant."""

from collections.abc import Iterator

from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.file.device_meaning import describe_devices, doubts_of_devices
from control_plane.policy.file.watch_meaning import describe_watch, doubts_of_watch
from shared.policy.document import Coverage, Modality
from shared.policy.grading import Rule
from shared.policy.routes import Peer, Route, Via, is_loopback

_NAMES_SHOWN = 5


def describe(policy: AuthoredPolicy) -> list[str]:
    """Return lines for a person who is about to sign this."""
    grading = policy.grading
    lines = ["who may send"] + [f"  {modality_words(modality)}" for modality in policy.modalities]
    if not policy.modalities:
        lines.append("  nobody")
    lines.append(f"grades, the strictest last: {', '.join(grading.grades or (grading.default,))}")
    lines.append("how an image is graded, the first line that holds")
    outcomes = [f"it cannot be read: {_outcome(grading.strictest, grading.ungraded_routes)}"]
    outcomes += [f"rule {number}, {rule_words(rule)}" for number, rule in enumerate(grading.rules, 1)]
    outcomes.append(f"any other: {_outcome(grading.default, grading.routes)}")
    lines += [f"  {number}. {outcome}" for number, outcome in enumerate(outcomes, 1)]
    if policy.routes:
        lines += ["routes"] + [f"  {route_words(route)}" for route in policy.routes]
    if policy.coverage is not None:
        lines.append(f"coverage: compared with what {coverage_words(policy.coverage)} knows")
    lines.append(f"spool: {size_words(policy.spool_quota_bytes)}")
    if policy.frame_digests:
        lines.append("custody: digests of decoded frames are kept")
    if policy.devices is not None:
        lines += describe_devices(policy.devices)
    if policy.watch is not None:
        lines += describe_watch(policy.watch)
    return lines


def doubts(policy: AuthoredPolicy) -> list[str]:
    """Return what the policy allows and its author may not mean; none of it stops a publication."""
    return [
        *_doubts_of_senders(policy.modalities),
        *_doubts_of_routes(policy),
        *_doubts_of_peers(policy),
        *(() if policy.devices is None else doubts_of_devices(policy.devices)),
        *(() if policy.watch is None else doubts_of_watch(policy.watch)),
    ]


def _doubts_of_senders(modalities: tuple[Modality, ...]) -> Iterator[str]:
    open_to_all = [m.ae_title for m in modalities if not m.addresses and not m.certificates]
    if open_to_all:
        yield (
            f"{_some(open_to_all)}: neither addresses nor certificates are listed, so whoever reaches the host's DICOM "
            "port and says this AE title may send"
        )


def _doubts_of_routes(policy: AuthoredPolicy) -> Iterator[str]:
    grading = policy.grading
    used = grading.all_routes()
    for route in policy.routes:
        if route.name not in used:
            yield f"route {route.name}: grading names it nowhere, so no image takes it"
        elif route.via is Via.HOST:
            yield (
                f"route {route.name}: images on it can be opened on their host until the archive has them; "
                "`via: centre` keeps hosts unable to open anything"
            )
    if used and not grading.ungraded_routes:
        yield "grading.ungraded_routes is empty: an image that cannot be graded reaches the vault and no archive"


def _doubts_of_peers(policy: AuthoredPolicy) -> Iterator[str]:
    for modality in policy.modalities:
        if modality.commitment is not None and _in_clear(modality.commitment):
            yield f"{modality.ae_title}: storage commitment is reported to another machine without TLS"
    if policy.coverage is None:
        return
    if _in_clear(policy.coverage.peer):
        yield "coverage: the archive is asked over a network without TLS; its answers name studies"
    unknown = [m.ae_title for m in policy.modalities if m.station is None]
    if unknown:
        yield f"{_some(unknown)}: no station is given, so coverage cannot tell its images in the archive"


def modality_words(modality: Modality) -> str:
    parts = [f"{modality.ae_title}: {modality.description}"]
    if modality.addresses:
        parts.append(f"from {', '.join(modality.addresses)}")
    if modality.certificates:
        parts.append(f"over TLS with certificate {' or '.join(c[:16] + '…' for c in modality.certificates)}")
    if modality.commitment is not None:
        parts.append(f"commitment is reported to {peer_words(modality.commitment)}")
    if modality.export_folder is not None:
        parts.append(f"export folder: {modality.export_folder.value} each file after the receipt")
    if modality.station is not None:
        parts.append(f"known to archives as {modality.station.modality} {modality.station.station_name}".rstrip())
    return "; ".join(parts)


def rule_words(rule: Rule) -> str:
    conditions = [f"{name} is {' or '.join(patterns)}" for name, patterns in rule.when]
    return f"{' and '.join(conditions) or 'every image'}: {_outcome(rule.grade, rule.routes)}"


def _outcome(grade: str, routes: tuple[str, ...]) -> str:
    return f"{grade}, to the vault" + (f" and to {', '.join(routes)}" if routes else "")


def route_words(route: Route) -> str:
    by = "the centre" if route.via is Via.CENTRE else "the host that captured"
    return f"{route.name}: {by}, as {route.calling_ae_title}, sends to {peer_words(route.peer)}"


def coverage_words(coverage: Coverage) -> str:
    return f"{peer_words(coverage.peer)}, asked as {coverage.calling_ae_title},"


def peer_words(peer: Peer) -> str:
    return f"{peer.ae_title} at {peer.host} port {peer.port}{' over TLS' if peer.trust else ' in clear'}"


def size_words(quota_bytes: int) -> str:
    if not quota_bytes:
        return "as much as the disk takes"
    gib, rest = divmod(quota_bytes, 1 << 30)
    return f"at most {gib} GiB" if not rest else f"at most {quota_bytes >> 20} MiB"


def _in_clear(peer: Peer) -> bool:
    return not peer.trust and not is_loopback(peer.host)


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMES_SHOWN])
    return shown if len(names) <= _NAMES_SHOWN else f"{shown} and {len(names) - _NAMES_SHOWN} more"
