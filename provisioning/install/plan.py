"""What has to change so that a host is as it is wanted, and what so that it is as it was before us."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import accumulate

from provisioning.install.item import Kind, Noted, Part, Rights, There, Wanted
from provisioning.install.noted import Installed

# What has to be done after something below a folder changed, in this order. A unit is started anew if it runs.
RELOAD_SYSTEMD, RELOAD_UDEV, MAKE_TEMPORARY = "reload-systemd", "reload-udev", "make-temporary-files"
UPDATE_GRUB, UPDATE_INITRAMFS, RESTART = "update-grub", "update-initramfs", "restart"
_AFTER = (
    ("/etc/systemd/system/", RELOAD_SYSTEMD),
    ("/etc/udev/rules.d/", RELOAD_UDEV),
    ("/etc/tmpfiles.d/", MAKE_TEMPORARY),
    ("/etc/default/grub.d/", UPDATE_GRUB),
    ("/etc/modprobe.d/", UPDATE_INITRAMFS),
)
_SERVICES = ("leadglass-agent.service", "leadglass-guard.service", "leadglass-server.service")
_UNITS = "/etc/systemd/system/"


class Change(StrEnum):
    MAKE = "make"
    CHANGE = "change"
    RIGHTS = "rights"
    REMOVE = "remove"
    PUT_BACK = "put back"
    LEAVE = "leave"


@dataclass(frozen=True)
class Step:
    """`wanted` is what is there afterwards. `kept`: what is there now is copied first. `why` is for people."""

    change: Change
    path: str
    kind: Kind
    wanted: Wanted | None = None
    kept: There | None = None
    why: str = ""

    def __str__(self) -> str:
        what = f"{self.change.value:9} {self.kind.value:6} {self.path}"
        if self.wanted is not None and self.kind is Kind.LINK:
            what += f" -> {self.wanted.content.decode()}"
        elif self.wanted is not None:
            what += f"  ({self.wanted.rights})"
        return f"{what}: {self.why}" if self.why else what


@dataclass(frozen=True)
class Plan:
    """`before` is written down before the first step, `after` when the last one and the actions were done.

    `conflicts` are steps that nobody may take without a word from a person: while there are any, nothing is done.
    """

    steps: tuple[Step, ...]
    conflicts: tuple[Step, ...]
    accounts: tuple[str, ...]
    actions: tuple[str, ...]
    before: Installed
    after: Installed

    @property
    def is_nothing(self) -> bool:
        return not (self.changes or self.conflicts or self.accounts or self.actions)

    def lines(self) -> list[str]:
        """Return every change as a person reads it."""
        made = [f"make      account {name}" for name in self.accounts]
        stopped = [f"in the way: {step.path}: {step.why}" for step in self.conflicts]
        return [*made, *map(str, self.steps), *(f"then      {action}" for action in self.actions), *stopped]

    @property
    def changes(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.change is not Change.LEAVE)

    @property
    def left(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.change is Change.LEAVE)


def folders_above(paths: Iterable[str]) -> list[str]:
    """Return every folder on the way to these paths, the outer ones first."""
    above: dict[str, None] = {}
    for path in paths:
        names = path.split("/")[1:-1]
        above.update(dict.fromkeys(accumulate(f"/{name}" for name in names)))
    return sorted(above)


def plan_install(
    wanted: Sequence[Wanted],
    parts: Collection[Part],
    there: Mapping[str, There],
    installed: Installed,
    *,
    replacing: bool = False,
    missing_accounts: Sequence[str] = (),
) -> Plan:
    """Plan so that of `parts` just what is `wanted` is there; what other parts have is not looked at.

    What we wrote for these parts earlier and is wanted no more is removed.
    """
    by_path = {item.path: item for item in wanted}
    steps: list[Step] = []
    conflicts: list[Step] = []
    before = {entry.path: entry for entry in installed.entries}
    after = dict(before)
    for item in (*_folders_of_ours(wanted, there, before), *wanted):
        noted, now = before.get(item.path), there.get(item.path)
        step = _step(item, now, noted, replacing=replacing)
        if step is not None:
            (conflicts if step.change is Change.LEAVE else steps).append(step)
        entry = _entry(item, noted, step)
        if entry is not None:
            ours = noted.digests if noted is not None else ()
            before[item.path] = replace(entry, digests=tuple(dict.fromkeys((*ours, *entry.digests))))
            after[item.path] = entry
    gone = [entry for entry in installed.entries if entry.part in parts and _is_over(entry, by_path)]
    steps += _removals(gone, there)
    for entry in gone:
        del after[entry.path]
    actions = _actions(steps, installed.pending)
    accounts = tuple(dict.fromkeys((*installed.accounts, *missing_accounts)))
    return Plan(
        tuple(steps),
        tuple(conflicts),
        tuple(missing_accounts),
        actions,
        Installed(tuple(before.values()), accounts, actions),
        Installed(tuple(after.values()), accounts),
    )


def plan_removal(installed: Installed, there: Mapping[str, There], *, erase_changed: bool = False) -> Plan:
    """Plan so that everything is as it was before us; what people changed since stays, unless they say otherwise."""
    steps = _removals(installed.entries, there, erase_changed=erase_changed)
    left = {step.path for step in steps if step.change is Change.LEAVE}
    actions = _actions(steps, installed.pending)
    actions = tuple(action for action in actions if not action.startswith(RESTART) and action != MAKE_TEMPORARY)
    kept = tuple(entry for entry in installed.entries if entry.path in left)
    return Plan(tuple(steps), (), (), actions, replace(installed, pending=actions), Installed(kept, installed.accounts))


def _folders_of_ours(wanted: Sequence[Wanted], there: Mapping[str, There], noted: Mapping[str, Noted]) -> list[Wanted]:
    """Return the folders on the way to what is wanted that are not there, or were not before us."""
    named = {item.path for item in wanted}
    folders = []
    for path in folders_above(named):
        if path not in named and (path not in there or path in noted):
            part = next(item.part for item in wanted if item.path.startswith(f"{path}/"))
            folders.append(Wanted(path, part, Kind.FOLDER, rights=Rights(0o755)))
    return folders


def _step(item: Wanted, now: There | None, noted: Noted | None, *, replacing: bool) -> Step | None:
    if now is None:
        return Step(Change.MAKE, item.path, item.kind, item)
    if now.kind is item.kind and (now.digest == item.digest or item.theirs):
        # What people may change, and folders that we found, keep the rights that they have.
        if noted is None or item.theirs or item.kind is Kind.LINK or now.rights == item.rights:
            return None
        return Step(Change.RIGHTS, item.path, item.kind, item, why=f"it has {now.rights}")
    is_ours = noted is not None and now.digest in noted.digests
    if is_ours:
        return Step(Change.CHANGE, item.path, item.kind, item)
    why = "somebody changed it" if noted is not None else "something else is there already"
    if not replacing or Kind.FOLDER in (now.kind, item.kind) or now.kind is Kind.OTHER:
        return Step(Change.LEAVE, item.path, now.kind, why=why)
    return Step(Change.CHANGE, item.path, item.kind, item, kept=now, why=f"{why}; a copy is kept")


def _entry(item: Wanted, noted: Noted | None, step: Step | None) -> Noted | None:
    """Return what is to be noted of a path; None: it was there as it is wanted, and is not ours."""
    if step is not None and step.change is Change.LEAVE:
        return noted
    if step is None and (noted is None or item.theirs):
        return noted
    first = noted.replaced if noted is not None else step.kept if step is not None else None
    return Noted(item.path, item.part, item.kind, (item.digest,), item.theirs, first)


def _is_over(entry: Noted, by_path: Mapping[str, Wanted]) -> bool:
    if entry.path in by_path or entry.theirs:
        return False
    return entry.kind is not Kind.FOLDER or not any(path.startswith(f"{entry.path}/") for path in by_path)


def _removals(entries: Iterable[Noted], there: Mapping[str, There], *, erase_changed: bool = False) -> list[Step]:
    """Return the steps, what lies in a folder before the folder."""
    steps = []
    for entry in sorted(entries, key=lambda entry: entry.path, reverse=True):
        now, before = there.get(entry.path), entry.replaced
        if now is None and before is None:
            continue
        if now is not None and before is not None and (now.kind, now.digest) == (before.kind, before.digest):
            continue
        if now is not None and now.digest not in entry.digests and not (erase_changed and now.kind is entry.kind):
            steps.append(Step(Change.LEAVE, entry.path, now.kind, why="somebody changed it"))
        elif before is not None:
            steps.append(Step(Change.PUT_BACK, entry.path, before.kind, kept=before, why="it was there before"))
        else:
            steps.append(Step(Change.REMOVE, entry.path, entry.kind))
    return steps


def _actions(steps: Iterable[Step], pending: Sequence[str]) -> tuple[str, ...]:
    changed = [step.path for step in steps if step.change is not Change.LEAVE]
    after = [action for folder, action in _AFTER if any(path.startswith(folder) for path in changed)]
    for service in _SERVICES:
        own = (f"{_UNITS}{service}", f"{_UNITS}{service}.d/")
        if any(path == own[0] or path.startswith(own[1]) for path in changed):
            after.append(f"{RESTART} {service}")
    order = [action for _, action in _AFTER]
    every = dict.fromkeys((*pending, *after))
    return tuple(sorted(every, key=lambda action: order.index(action) if action in order else len(order)))
