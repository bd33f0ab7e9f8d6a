"""Says in words what a policy file means, and what in it is allowed and may not be meant."""

from collections.abc import Iterator, Sequence

from control_plane.policy.file.authored import Authored, AuthoredPart, AuthoredPolicy
from control_plane.policy.file.device_meaning import describe_devices, doubts_of_devices, doubts_of_part_devices
from control_plane.policy.file.watch_meaning import describe_watch, doubts_of_watch
from control_plane.policy.file.wipe_meaning import describe_wipe, doubts_of_wipe
from shared.policy.document import Coverage, Modality
from shared.policy.grading import Grading, Rule
from shared.policy.part import PartContent
from shared.policy.routes import Peer, Route, Via, is_loopback

_NAMES_SHOWN = 5


def describe(policy: Authored) -> list[str]:
    """Return lines for a person who is about to sign this."""
    return _of_part(policy) if isinstance(policy, AuthoredPart) else _of_organisation(policy)


def _of_organisation(policy: AuthoredPolicy) -> list[str]:
    lines = ["who may send"] + [f"  {modality_words(modality)}" for modality in policy.modalities]
    if not policy.modalities:
        lines.append("  nobody")
    lines += _graded(policy.grading)
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
    if policy.wipe is not None:
        lines += describe_wipe(policy.wipe)
    return lines


def _graded(grading: Grading) -> list[str]:
    outcomes = [f"it cannot be read: {_outcome(grading.strictest, grading.ungraded_routes)}"]
    outcomes += [f"rule {number}, {rule_words(rule)}" for number, rule in enumerate(grading.rules, 1)]
    outcomes.append(f"any other: {_outcome(grading.default, grading.routes)}")
    return [
        f"grades, the strictest last: {', '.join(grading.grades or (grading.default,))}",
        "how an image is graded, the first line that holds",
        *(f"  {number}. {outcome}" for number, outcome in enumerate(outcomes, 1)),
    ]


def _of_part(part: AuthoredPart) -> list[str]:
    lines = [f"layer {part.layer}; what it leaves out is as the organisation's policy says", *_of_content(part.content)]
    for host, content in part.hosts:
        lines += [f"for {host} alone", *(f"  {line}" for line in _of_content(content))]
    return lines


def _of_content(content: PartContent) -> list[str]:
    lines = []
    if content.modalities:
        lines += ["who may send besides", *(f"  {modality_words(modality)}" for modality in content.modalities)]
    if content.grading is not None:
        lines += ["its own grading, and none of the organisation's", *_graded(content.grading)]
    if content.spool_quota_bytes:
        lines.append(f"spool: {size_words(content.spool_quota_bytes)}")
    if content.devices is not None:
        lines += ["device rules that come after the organisation's", *describe_devices(content.devices)]
    if content.watch is not None:
        lines += ["its own watch rules, and none of the organisation's", *describe_watch(content.watch)]
    if content.wipe is not None:
        lines += ["wipe rules beside the organisation's, the stricter of the two each", *describe_wipe(content.wipe)]
    if content.state_every_s:
        lines.append(f"a host reports every {content.state_every_s} s")
    if content.pull_every_s:
        lines.append(f"a host asks for a newer policy every {content.pull_every_s} s")
    return lines or ["nothing is otherwise"]


def doubts(policy: Authored) -> list[str]:
    """Return what the policy allows and its author may not mean; none of it stops a publication."""
    if isinstance(policy, AuthoredPart):
        of_hosts = (f"{host}: {doubt}" for host, content in policy.hosts for doubt in _doubts_of_content(content))
        return [*_doubts_of_content(policy.content), *of_hosts]
    return [
        *_doubts_of_senders(policy.modalities),
        *_doubts_of_routes(policy),
        *_doubts_of_commitments(policy.modalities),
        *_doubts_of_coverage(policy),
        *(() if policy.devices is None else doubts_of_devices(policy.devices)),
        *(() if policy.watch is None else doubts_of_watch(policy.watch)),
        *(() if policy.wipe is None else doubts_of_wipe(policy.wipe)),
    ]


def _doubts_of_content(content: PartContent) -> Iterator[str]:
    yield from _doubts_of_senders(content.modalities)
    yield from _doubts_of_commitments(content.modalities)
    if content.grading is not None:
        yield from _doubts_of_ungraded(content.grading)
    if content.devices is not None:
        yield from doubts_of_part_devices(content.devices)
    if content.watch is not None:
        yield from doubts_of_watch(content.watch)
    if content.wipe is not None:
        yield from doubts_of_wipe(content.wipe)


def _doubts_of_senders(modalities: Sequence[Modality]) -> Iterator[str]:
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
    yield from _doubts_of_ungraded(grading)


def _doubts_of_ungraded(grading: Grading) -> Iterator[str]:
    if grading.all_routes() and not grading.ungraded_routes:
        yield "grading.ungraded_routes is empty: an image that cannot be graded reaches the vault and no archive"


def _doubts_of_commitments(modalities: Sequence[Modality]) -> Iterator[str]:
    for modality in modalities:
        if modality.commitment is not None and _in_clear(modality.commitment):
            yield f"{modality.ae_title}: storage commitment is reported to another machine without TLS"


def _doubts_of_coverage(policy: AuthoredPolicy) -> Iterator[str]:
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
