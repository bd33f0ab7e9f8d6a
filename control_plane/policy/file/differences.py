"""What one policy says otherwise than another, in people's words, and what of it may do harm. Decides only.

Harm is: who may no longer send, an archive that no longer gets images, a weaker grade, a wider door, a device that may
do more than before, and a drive that is wiped with less.
"""

import re
from base64 import b64decode
from collections.abc import Iterator, Sequence
from hashlib import sha256

from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.file.change import Change, Kind, of_rules, of_values
from control_plane.policy.file.device_differences import device_changes
from control_plane.policy.file.meaning import (
    modality_words,
    peer_words,
    route_words,
    rule_words,
    size_words,
)
from control_plane.policy.file.watch_differences import watch_changes
from control_plane.policy.file.wipe_differences import wipe_changes
from shared.policy.document import AfterReceipt, Coverage, Modality
from shared.policy.grading import Grading, Rule
from shared.policy.routes import Peer, Route, Via

_SHOWN = 4
_OPENABLE = "until the archive has them, its images can be opened on the host that captured them"
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\n([A-Za-z0-9+/=\n]+)-----END CERTIFICATE-----")


def differences(before: AuthoredPolicy | None, after: AuthoredPolicy) -> tuple[Change, ...]:
    """Return every change, in the order of the file's sections. None: nothing was published before."""
    if before is None:
        return (Change("policy", "", "the first one; `policy check` says what it means"),)
    return (
        *_modalities(before.modalities, after.modalities),
        *_grading(before.grading, after.grading),
        *_routes(before.routes, after.routes),
        *of_values(_single_values(before, after)),
        *device_changes(before.devices, after.devices),
        *watch_changes(before.watch, after.watch),
        *wipe_changes(before.wipe, after.wipe),
    )


def summary(changes: Sequence[Change]) -> str:
    """Return the changes in one line, by their fields; dangerous ones first."""
    if not changes:
        return "nothing"
    marks = [change.mark + change.field for change in _dangers_first(changes)]
    shown = ", ".join(marks[:_SHOWN])
    return shown if len(marks) <= _SHOWN else f"{shown} and {len(marks) - _SHOWN} more"


def _dangers_first(changes: Sequence[Change]) -> list[Change]:
    return sorted(changes, key=lambda change: not change.danger)


def _modalities(before: Sequence[Modality], after: Sequence[Modality]) -> Iterator[Change]:
    old, new = ({modality.ae_title: modality for modality in each} for each in (before, after))
    for title in (title for title in old if title not in new):
        yield Change(f"modalities {title}", modality_words(old[title]), "", "it may no longer send")
    for title, modality in new.items():
        if title not in old:
            yield Change(f"modalities {title}", "", modality_words(modality))
        else:
            yield from of_values(_modality(f"modalities {title}", old[title], modality))


def _modality(field: str, old: Modality, new: Modality) -> Iterator[tuple[str, str, str, str]]:
    yield f"{field}: description", old.description, new.description, ""
    yield (
        f"{field}: addresses",
        _listed(old.addresses, "any"),
        _listed(new.addresses, "any"),
        _narrowed(old.addresses, new.addresses, "address"),
    )
    yield (
        f"{field}: certificates",
        _listed(old.certificates, "none needed"),
        _listed(new.certificates, "none needed"),
        _narrowed(old.certificates, new.certificates, "certificate"),
    )
    lost = "nobody tells it any more that its images are safe"
    yield f"{field}: commitment", _where(old.commitment), _where(new.commitment), "" if new.commitment else lost
    yield f"{field}: export_folder", _folder(old), _folder(new), _folder_danger(new.export_folder)
    yield f"{field}: station", _station(old), _station(new), ""


def _narrowed(old: Sequence[str], new: Sequence[str], what: str) -> str:
    """Return what may do harm in another list of which one has to hold; an empty one lets everybody."""
    if old and not new:
        return f"it may send without any {what} being looked at"
    if new and not old:
        return f"it may no longer send without one of these as its {what}"
    if missing := [each for each in old if each not in new]:
        return f"it may no longer send with {what} {', '.join(missing)}"
    return f"it may send with an {what} that it could not before" if set(new) - set(old) else ""


def _folder_danger(folder: AfterReceipt | None) -> str:
    if folder is None:
        return "files in its export folder are no longer captured"
    return "files are deleted after the receipt" if folder is AfterReceipt.DELETE else ""


def _grading(old: Grading, new: Grading) -> Iterator[Change]:
    yield from of_values(
        [
            ("grading.default", old.default, new.default, _looser(old.default, new.default, old, new)),
            (
                "grading.grades",
                _listed(old.grades or (old.default,)),
                _listed(new.grades or (new.default,)),
                _looser(old.strictest, new.strictest, old, new) and "an image that cannot be read gets another grade",
            ),
            ("grading.routes", _listed(old.routes), _listed(new.routes), _lost(old.routes, new.routes)),
            (
                "grading.ungraded_routes",
                _listed(old.ungraded_routes),
                _listed(new.ungraded_routes),
                _lost(old.ungraded_routes, new.ungraded_routes),
            ),
        ]
    )

    yield from of_rules(_rules(old, new), old.rules, new.rules)


def _rules(old: Grading, new: Grading) -> Kind[Rule]:
    """A rule that comes takes images from those that follow it, and one that goes leaves its images to any."""

    def worse(grade: str, routes: Sequence[str], than: Rule) -> str:
        return _looser(than.grade, grade, old, new) or _lost(than.routes, routes)

    default = Rule((), new.default, new.routes)

    def added(place: int) -> str:
        rule = new.rules[place]
        found = (worse(rule.grade, rule.routes, other) for other in (*new.rules[place + 1 :], default))
        return next((f"it takes images from others: {why}" for why in found if why), "")

    def removed(place: int) -> str:
        rule = old.rules[place]
        found = (worse(other.grade, other.routes, rule) for other in (*new.rules, default))
        return next((f"its images may fall to others: {why}" for why in found if why), "")

    def changed(was: int, now: int) -> str:
        return worse(new.rules[now].grade, new.rules[now].routes, old.rules[was])

    moved = "the first rule that holds decides, so images may be graded otherwise"
    return Kind("grading.rules", rule_words, lambda rule: rule.when, added, removed, changed, moved)


def _looser(was: str, now: str, old: Grading, new: Grading) -> str:
    """Return why grade `now` is weaker than `was`, or may be: where no list ranks both of them, nobody can tell."""
    if was == now:
        return ""
    for grades in (new.grades, old.grades):
        if was in grades and now in grades:
            return f"{now} is less strict than {was}" if grades.index(now) < grades.index(was) else ""
    return f"no list of grades says whether {now} is as strict as {was}"


def _lost(old: Sequence[str], new: Sequence[str]) -> str:
    lost = [route for route in old if route not in new]
    return f"these images no longer go to {', '.join(lost)}" if lost else ""


def _routes(before: Sequence[Route], after: Sequence[Route]) -> Iterator[Change]:
    old, new = ({route.name: route for route in each} for each in (before, after))
    for name in (name for name in old if name not in new):
        yield Change(f"routes {name}", route_words(old[name]), "", "the archive gets no more images on it")
    for name, route in new.items():
        if name not in old:
            danger = _OPENABLE if route.via is Via.HOST else ""
            yield Change(f"routes {name}", "", route_words(route), danger)
        elif route != old[name]:
            yield Change(f"routes {name}", *_two_words(old[name], route), _other_route(old[name], route))


def _other_route(old: Route, new: Route) -> str:
    is_elsewhere = (old.peer.host, old.peer.port) != (new.peer.host, new.peer.port)
    if is_elsewhere:
        return "images go to another machine"
    if old.peer.trust != new.peer.trust or old.peer.name != new.peer.name:
        return "another certificate is taken for the archive's"
    return _OPENABLE if new.via is Via.HOST and old.via is not Via.HOST else ""


def _two_words(old: Route, new: Route) -> tuple[str, str]:
    was, now = route_words(old), route_words(new)
    return (was, now) if was != now else (f"{was}, {_tls(old.peer)}", f"{now}, {_tls(new.peer)}")


def _single_values(before: AuthoredPolicy, after: AuthoredPolicy) -> Iterator[tuple[str, str, str, str]]:
    yield (
        "dicom_trust",
        _trusted(before.dicom_trust),
        _trusted(after.dicom_trust),
        "modalities may show certificates of others than before, and those of before may not be taken",
    )
    unasked = "nobody asks the archive any more what did not come through us"
    yield "coverage", _asked(before.coverage), _asked(after.coverage), "" if after.coverage else unasked
    is_less = after.spool_quota_bytes and (before.spool_quota_bytes or 1 << 62) > after.spool_quota_bytes
    spool = "a spool that holds more already is full, and takes no new image" if is_less else ""
    yield "spool", size_words(before.spool_quota_bytes), size_words(after.spool_quota_bytes), spool
    yield "custody", _kept(before), _kept(after), ""
    yield "timings.state_every_s", f"{before.state_every_s} s", f"{after.state_every_s} s", ""
    yield "timings.pull_every_s", f"{before.pull_every_s} s", f"{after.pull_every_s} s", ""


def _asked(coverage: Coverage | None) -> str:
    if coverage is None:
        return ""
    return f"{_where(coverage.peer)}, asked as {coverage.calling_ae_title}"


def _kept(policy: AuthoredPolicy) -> str:
    return "digests of frames are kept" if policy.frame_digests else "no digests of frames"


def _folder(modality: Modality) -> str:
    return "none is read" if modality.export_folder is None else modality.export_folder.value


def _trusted(pem: str) -> str:
    return _listed(_certificates(pem), "nobody")


def _tls(peer: Peer) -> str:
    return f"trusting {_listed(_certificates(peer.trust), 'nobody')}" + (f" as {peer.name}" if peer.name else "")


def _certificates(pem: str) -> list[str]:
    """Return the beginning of each certificate's SHA-256, as `openssl x509 -fingerprint -sha256` prints it."""
    return [sha256(b64decode(body)).hexdigest()[:16] + "…" for body in _CERTIFICATE.findall(pem)]


def _where(peer: Peer | None) -> str:
    return "none" if peer is None else peer_words(peer) + (f", {_tls(peer)}" if peer.trust else "")


def _station(modality: Modality) -> str:
    station = modality.station
    return "none" if station is None else f"{station.modality} {station.station_name}".rstrip()


def _listed(values: Sequence[str], none: str = "none") -> str:
    return ", ".join(values) or none
