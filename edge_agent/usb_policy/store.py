"""The policy that the guard accepted: what is in force, and the versions below which nothing is taken any more.

    accepted/policy.json   what the verified layers came to that were accepted last: in force
    accepted/held.json     the newest version and digest of each layer, the newest signed time and under which root,
                           and the latest choice among those versions
    accepted/clock.json    the newest time that the machine's clock has shown

    file  = canonical JSON {"v": 1, "root": fingerprint, ...} || U+000A || SHA-256 of the JSON in hex || U+000A

Both name the newest version of each layer and the latest choice, and the higher of the two is what is held of it.
`policy.json` is written first: a cut between the two leaves a policy that has of every layer what is held or newer, and
is in force. One that is older in a single layer, or lacks it, or was chosen before, was put back and is not. A damaged
file costs what it says: without a policy nothing is authorised, and the other file goes on refusing a rollback. Files
of another pinned root are not looked at.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from edge_agent.files import make_folder, write_over
from edge_agent.policy_sync.choice import Choice
from edge_agent.usb_policy.clock_trust import TOLERANCE, ClockTrust, Reading
from edge_agent.usb_policy.exchange import (
    MAX_ANSWER_BYTES,
    UNKNOWN_CHOICE,
    VerifiedPolicy,
    choice_member,
    layers_member,
    read_choice,
    read_layers_member,
    read_root_version,
    root_member,
)
from edge_agent.usb_policy.trust import FileUnreadable, Trust, read_small
from shared import canonical, clock
from shared.canonical import Json
from shared.devices.policy import DevicePolicy
from shared.errors import IntegrityFailure, Malformed, Refused, Unavailable
from shared.fields import Fields
from shared.policy.accept import AcceptedPolicy, PolicyEquivocation, PolicyRollback, WrongLayer, accept

_T = TypeVar("_T")
_DIGEST_CHARS = 64


class HeldUnknown(IntegrityFailure):
    """No file says any more which version was accepted, so none can be told from a rollback."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"the files in {folder} are damaged, so a rollback cannot be told; nothing is accepted until the root is "
            "pinned anew"
        )
        self.folder = folder


class LayerWithdrawn(Refused):
    """A rollback: whoever leaves a layer out takes away what it adds."""

    def __init__(self, held: AcceptedPolicy) -> None:
        super().__init__(
            f"the offered policy is without layer {held.layer}, of which version {held.version} is accepted here"
        )
        self.held = held


class ChoiceReplaced(Refused):
    """TUF sees this by itself only while it has its folder."""

    def __init__(self, *, offered: Choice, held: Choice) -> None:
        super().__init__(
            f"snapshot {offered.snapshot} (root {offered.root}) is from before snapshot {held.snapshot} "
            f"(root {held.root}), which chose among the same versions"
        )
        self.offered, self.held = offered, held


class PolicyNotKept(Unavailable):
    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"an accepted policy cannot be kept in {folder}, so it is not in force: {why}")
        self.folder, self.why = folder, why


class ClockNotKept(Unavailable):
    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"what the clock shows cannot be kept in {folder}: {why}")
        self.folder, self.why = folder, why


@dataclass(frozen=True)
class _Held:
    accepted: tuple[AcceptedPolicy, ...]  # the organisation's first
    times: ClockTrust
    root_version: int = 1  # under which those times were signed
    choice: Choice = UNKNOWN_CHOICE  # the latest one

    def json(self) -> dict[str, Json]:
        latest, (first, *parts) = self.times.latest, self.accepted
        return {
            "layer": first.layer,
            "version": first.version,
            "sha256": first.sha256.hex(),
            "latest": None if latest is None else clock.text(latest),
            **root_member(self.root_version),
            **layers_member("parts", parts),
            **choice_member(self.choice),
        }

    @classmethod
    def read(cls, fields: Fields) -> "_Held":
        first = AcceptedPolicy(
            fields.text("layer", max_chars=32), fields.integer("version", least=1), fields.hex("sha256", 32)
        )
        latest = None if fields.is_null("latest") else fields.instant("latest")
        root_version = read_root_version(fields)
        accepted = (first, *read_layers_member("parts", fields))
        return cls(accepted, ClockTrust(latest), root_version, read_choice(fields))


class GuardPolicyStore:
    """The accepted layers of one host under one pinned root. For one thread."""

    def __init__(self, state: Path, trust: Trust) -> None:
        """Read what is there. `problems` says afterwards what of it cannot be used."""
        self._trust, self._folder = trust, accepted_folder(state)
        self.problems: list[str] = []
        self._in_force = self._load("policy.json", VerifiedPolicy.read)
        held = self._load("held.json", _Held.read)
        self._is_unknown = bool(self.problems) and self._in_force is None and held is None
        self._times = ClockTrust() if held is None else held.times
        self._root_version = 1 if held is None else held.root_version
        if self._in_force is not None:
            self._times = self._after(self._in_force)
            self._root_version = max(self._root_version, self._in_force.root_version)
        kept = {} if held is None else {each.layer: each for each in held.accepted}
        self._choice = kept_choice = UNKNOWN_CHOICE if held is None else held.choice
        self._held = self._highest(kept)
        if self._in_force is not None:
            self._choice = self._in_force.choice
        self._is_behind = (self._held, self._choice) != (kept, kept_choice)  # a cut came between the two files
        self._newest_kept = self._load("clock.json", lambda fields: fields.instant("newest"))
        self._times = replace(self._times, newest=self._newest_kept)

    @property
    def held(self) -> Mapping[str, AcceptedPolicy]:
        """Return the highest version of each layer that was ever accepted here."""
        return self._held

    @property
    def in_force(self) -> VerifiedPolicy | None:
        """Return the policy in force, also past its expiry; None: nothing is authorised."""
        return self._in_force

    @property
    def devices(self) -> DevicePolicy | None:
        return None if self._in_force is None else self._in_force.devices

    def is_expired(self, now: datetime) -> bool:
        """Return whether nothing vouches any more for the policy in force being the newest, or none is in force."""
        return self._in_force is None or now >= self._in_force.expires

    def is_clock_sure(self, shown: Reading) -> bool:
        return self._times.is_sure(shown)

    def looked(self, shown: Reading) -> None:
        """Take note of what the clock shows, durably whenever it has come on by what is tolerated anyway.

        Raises ClockNotKept: it is known for as long as this runs.
        """
        self._times = self._times.looked(shown, None if self._in_force is None else self._in_force.expires)
        newest, kept = self._times.newest, self._newest_kept
        if newest is None or (kept is not None and newest < kept + TOLERANCE):
            return
        try:
            self._write("clock.json", {"newest": clock.text(newest)})
        except OSError as exc:
            raise ClockNotKept(self._folder, exc.strerror or "it failed") from exc
        self._newest_kept = newest

    def take(self, offered: VerifiedPolicy) -> bool:
        """Accept verified layers, durable once this returns; return whether anything else is accepted or in force now.

        Raises WrongLayer, PolicyRollback, LayerWithdrawn, PolicyEquivocation, ChoiceReplaced, HeldUnknown,
        PolicyNotKept; what was in force stays.
        """
        self._verify_ours(offered)
        if self._is_unknown:
            raise HeldUnknown(self._folder)
        before = self._in_force
        known = (*self._held.values(), *(before.acts_by if before is not None else ()))
        accepted = _rise(offered, self._held, known)
        policy = self._latest(offered)
        times, root_version = self._after(policy), max(self._root_version, policy.root_version)
        if policy != before or times != self._times or self.problems or self._is_behind:
            self._keep(policy, _Held(accepted, times, root_version, policy.choice))
        self._in_force, self._held, self._choice = policy, {each.layer: each for each in accepted}, policy.choice
        self._times, self._root_version = times, root_version
        self._is_behind = False
        self.problems.clear()
        return before is None or (before.acts_by, before.accepted) != (policy.acts_by, policy.accepted)

    def _latest(self, offered: VerifiedPolicy) -> VerifiedPolicy:
        """Return what is in force once `offered` is accepted, with the latest choice.

        Raises ChoiceReplaced: among the very versions that are held an earlier choice comes again.
        """
        if not offered.choice.is_before(self._choice):
            return offered
        if {each.layer: each for each in offered.accepted} != self._held:
            return replace(offered, choice=self._choice)
        if self._in_force is not None and self._in_force.acts_by == offered.acts_by:
            return self._in_force  # vouched for by the later of the two
        raise ChoiceReplaced(offered=offered.choice, held=self._choice)

    def _verify_not_replaced(self, policy: VerifiedPolicy) -> None:
        """Raises ChoiceReplaced."""
        if policy.choice.is_before(self._choice):
            raise ChoiceReplaced(offered=policy.choice, held=self._choice)

    def _verify_ours(self, policy: VerifiedPolicy) -> None:
        """Raises WrongLayer."""
        if policy.layer != self._trust.layer:
            raise WrongLayer(offered=policy.layer, expected=self._trust.layer)
        for part in policy.parts:
            if part.layer not in self._trust.parts:
                raise WrongLayer(offered=part.layer, expected=" or ".join(self._trust.layers))

    def _after(self, policy: VerifiedPolicy) -> ClockTrust:
        if policy.root_version > self._root_version:
            return self._times.vouched_anew(policy.signed_at)
        return self._times.seen(policy.signed_at)

    def _keep(self, policy: VerifiedPolicy, held: _Held) -> None:
        try:
            make_folder(self._folder)
            self._write("policy.json", policy.json())
            self._write("held.json", held.json())
        except OSError as exc:
            raise PolicyNotKept(self._folder, exc.strerror or "it failed") from exc

    def _write(self, name: str, members: dict[str, Json]) -> None:
        body = canonical.encode({"v": 1, "root": self._trust.fingerprint, **members})
        write_over(self._folder / name, body + f"\n{sha256(body).hexdigest()}\n".encode())

    def _load(self, name: str, read: Callable[[Fields], _T]) -> _T | None:
        """Return what a file says; None where there is none, or it is of another root, or is damaged."""
        file = self._folder / name
        try:
            body = _whole(read_small(file, MAX_ANSWER_BYTES + 1024))
            fields = Fields(canonical.parse(body, name), name)
            fields.version()
            if fields.text("root") != self._trust.fingerprint:
                return None
            value = read(fields)
            fields.done()
        except FileNotFoundError:
            return None
        except (FileUnreadable, Malformed) as exc:
            self.problems.append(f"{file}: {exc}")
            return None
        return value

    def _highest(self, kept: Mapping[str, AcceptedPolicy]) -> Mapping[str, AcceptedPolicy]:
        """Return what is held, and take a policy out of force that is older, or another, than what is held."""
        # A cut after other layers were pinned, and before these were forgotten, leaves what is the host's no more.
        held = {layer: each for layer, each in kept.items() if layer in self._trust.layers}
        policy = self._in_force
        try:
            if policy is not None:
                self._verify_ours(policy)
                _rise(policy, held, tuple(held.values()))
                self._verify_not_replaced(policy)
        except WrongLayer:
            self._in_force = None
        except (PolicyRollback, LayerWithdrawn, PolicyEquivocation, ChoiceReplaced) as exc:
            self.problems.append(f"{self._folder / 'policy.json'} is not what was accepted last: {exc}")
            self._in_force = None
        if self._in_force is not None:
            held |= {each.layer: each for each in self._in_force.accepted}
        return held


def _rise(
    offered: VerifiedPolicy, held: Mapping[str, AcceptedPolicy], known: Sequence[AcceptedPolicy]
) -> tuple[AcceptedPolicy, ...]:
    """Return what is held once `offered` is accepted; `known` are all versions of which the content is known here.

    Raises PolicyRollback, LayerWithdrawn; PolicyEquivocation: a version that is known has another content.
    """
    digests = {(each.layer, each.version): each.sha256 for each in known}
    for each in offered.acts_by:
        if digests.get((each.layer, each.version), each.sha256) != each.sha256:
            raise PolicyEquivocation(each.version, each.layer)
    accepted = tuple(accept(each, held.get(each.layer)) for each in offered.accepted)
    for layer in held.keys() - {each.layer for each in accepted}:
        raise LayerWithdrawn(held[layer])
    return accepted


def accepted_folder(state: Path) -> Path:
    return state / "accepted"


def _whole(data: bytes) -> bytes:
    """Return the body of a file. Raises Malformed: it is not what was written."""
    body, digest = data[: -_DIGEST_CHARS - 2], data[-_DIGEST_CHARS - 2 :]
    if digest != f"\n{sha256(body).hexdigest()}\n".encode():
        raise Malformed("stored policy", "its digest is not that of its content")
    return body
