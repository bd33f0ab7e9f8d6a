"""What another policy says otherwise of what may be plugged in; dangerous is what lets more in than before."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from control_plane.policy.file.change import Change, Kind, of_rules, of_values
from control_plane.policy.file.device_meaning import device_rule_words
from shared import clock
from shared.devices.others import OtherKind
from shared.devices.policy import DevicePolicy, DeviceRule, Rescue
from shared.devices.rule import Attribute, RuleTarget
from shared.devices.verdict import Access, Target

_STRICTER = (Target.ALLOW, Target.BLOCK, Target.REJECT)
_MORE = "it allows more than before"


def device_changes(before: DevicePolicy | None, after: DevicePolicy | None) -> Iterator[Change]:
    if before is None or after is None:
        if before is not None:
            yield Change(
                "devices", "there is a section", "", "the guard then allows nothing but the machine's own parts"
            )
        if after is not None:
            yield Change("devices", "", f"{len(after.rules)} rules; any other device: {after.default}")
            before = DevicePolicy()
    if after is None or before is None:
        return
    yield from of_values(_values(before, after))
    yield from of_rules(_rules(before.rules, after.rules), before.rules, after.rules)


def _values(old: DevicePolicy, new: DevicePolicy) -> Iterator[tuple[str, str, str, str]]:
    is_wider = _STRICTER.index(new.default) < _STRICTER.index(old.default)
    yield "devices.default", old.default, new.default, "what no rule names is let in" if is_wider else ""
    observed = _later(old.observe_until, new.observe_until)
    yield (
        "devices.observe_until",
        _time(old.observe_until),
        _time(new.observe_until),
        ("until then what no rule allows is let in and only recorded" if observed else ""),
    )
    is_wider = _STRICTER.index(new.suspicious) < _STRICTER.index(old.suspicious)
    yield (
        "devices.suspicious",
        old.suspicious,
        new.suspicious,
        ("a device that seems to be another than before is treated like any" if is_wider else ""),
    )
    yield (
        "devices.rescue",
        _rescue(old.rescue),
        _rescue(new.rescue),
        (f"any keyboard in port {new.rescue.port} works for a time after a start" if new.rescue else ""),
    )
    yield "devices.contact", old.contact or "nobody", new.contact or "nobody", ""
    yield "devices.language", old.language, new.language, ""
    for kind in OtherKind:
        was, now = old.others.of(kind), new.others.of(kind)
        is_silent = was is Target.BLOCK
        yield (
            f"devices.others.{kind}",
            was or "not evaluated",
            now or "not evaluated",
            ("what is found there is not called *not allowed* any more" if is_silent else ""),
        )


def _rules(old: Sequence[DeviceRule], new: Sequence[DeviceRule]) -> Kind[DeviceRule]:
    return Kind(
        "devices.rules",
        device_rule_words,
        _same_devices,
        lambda place: _allows(new[place]),
        lambda place: _removed(old[place]),
        lambda was, now: _widens(old[was], new[now]),
        "the first rule that holds decides, so devices may be allowed that were not",
    )


def _allows(rule: DeviceRule) -> str:
    if rule.target is Target.ALLOW:
        return _MORE
    return "what it names is let in until its observe_until and only recorded" if rule.observe_until else ""


def _removed(rule: DeviceRule) -> str:
    if rule.target is not Target.ALLOW:
        return "what it kept out may be allowed by what follows"
    return "what it allowed with limits may be allowed without them by what follows" if _is_limited(rule) else ""


def _is_limited(rule: DeviceRule) -> bool:
    limits = rule.access is Access.READ_ONLY or rule.only_encrypted or rule.interfaces
    return bool(limits or rule.not_before or rule.not_after or rule.rule.conditions.values)


def _widens(old: DeviceRule, new: DeviceRule) -> str:
    """Return why a rule that names the same devices as before lets more of them in, or lets them do more."""
    if _STRICTER.index(new.target) < _STRICTER.index(old.target):
        return _MORE
    is_at_other_times = (old.not_before, old.not_after, old.rule.conditions) != (
        new.not_before, new.not_after, new.rule.conditions,
    )  # fmt: skip
    if new.target is not Target.ALLOW:
        if _later(old.observe_until, new.observe_until):
            return _allows(new)
        is_passed_over = is_at_other_times and (old.target is not Target.ALLOW or _is_limited(old))
        return "where it is passed over, what follows may allow more" if is_passed_over else ""
    is_longer = _later(old.not_after, new.not_after, none_is_never=True) or (
        old.not_before is not None and (new.not_before is None or new.not_before < old.not_before)
    )
    reasons = (
        (old.access is Access.READ_ONLY and new.access is Access.READ_WRITE, "its storage may be written to"),
        (old.only_encrypted and not new.only_encrypted, "storage that is not encrypted is taken"),
        (new.hardware_encrypted and not old.hardware_encrypted, "it is believed to encrypt in hardware"),
        (bool(old.interfaces) and not set(new.interfaces or (None,)) <= set(old.interfaces), "more of its interfaces"),
        (is_longer, "it is allowed for longer"),
        (
            is_at_other_times and not is_longer and _is_limited(old),
            "it decides at other times, and so does what follows",
        ),
    )
    return "; ".join(reason for holds, reason in reasons if holds)


def _later(old: datetime | None, new: datetime | None, *, none_is_never: bool = False) -> bool:
    """Return whether an end is later than it was. None: there is no end, or where that is not so, it is over."""
    if none_is_never and (old is None or new is None):
        return new is None and old is not None
    return new is not None and (old is None or new > old)


def _same_devices(rule: DeviceRule) -> object:
    """Return what a rule says of a device itself: not what is done, how it is called, nor under which conditions."""
    return replace(rule.rule, target=RuleTarget.ALLOW, label=Attribute(), conditions=Attribute())


def _time(instant: datetime | None) -> str:
    return "none" if instant is None else clock.text(instant).replace(".000000", "")


def _rescue(rescue: Rescue | None) -> str:
    return "none" if rescue is None else f"port {rescue.port}, {rescue.minutes} min"
