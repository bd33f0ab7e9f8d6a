"""Whether what cannot be prevented may be there: what hangs on the USB is judged there, and nothing is guessed."""

import pytest

from edge_agent.devices.events import Kind
from edge_agent.devices.other_state import judge
from shared.devices.others import OtherKind, OtherKinds
from shared.devices.policy import DevicePolicy
from shared.devices.verdict import Target
from shared.fleet.devices import OtherState

USB = (Kind.USB_DEVICE, Kind.USB_INTERFACE, Kind.OTHER)
KINDS = [kind for kind in Kind if kind not in USB]


def saying(target: Target, *kinds: OtherKind) -> DevicePolicy:
    return DevicePolicy(others=OtherKinds(tuple((kind, target) for kind in sorted(kinds))))


def test_policy_names_the_kinds_that_are_watched_and_not_prevented() -> None:
    assert {kind.value for kind in KINDS} == set(OtherKind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_as_policy_says_of_it(kind: Kind) -> None:
    allowing, blocking = (saying(target, OtherKind(kind)) for target in (Target.ALLOW, Target.BLOCK))

    assert judge(allowing, kind, "x", "") is OtherState.ALLOWED
    assert judge(blocking, kind, "x", "") is OtherState.NOT_ALLOWED


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_policy_or_its_word_nothing_is_evaluated(kind: Kind) -> None:
    of_all_others = saying(Target.ALLOW, *(other for other in OtherKind if other.value != kind.value))

    for policy in (None, DevicePolicy(), DevicePolicy(default=Target.ALLOW), of_all_others):
        assert judge(policy, kind, "0-0", "") is OtherState.NOT_EVALUATED


@pytest.mark.parametrize(
    "policy", [None, DevicePolicy(), saying(Target.ALLOW, *OtherKind), saying(Target.BLOCK, *OtherKind)]
)
@pytest.mark.parametrize("kind", KINDS)
def test_what_hangs_on_the_usb_is_judged_there_whatever_is_said_of_its_kind(
    kind: Kind, policy: DevicePolicy | None
) -> None:
    assert judge(policy, kind, "0-0", "1-2.3") is OtherState.WITH_USB_DEVICE


@pytest.mark.parametrize(
    "name, state",
    [
        ("0-0", OtherState.ALLOWED),
        ("1-0", OtherState.ALLOWED),
        ("0-1", OtherState.NOT_ALLOWED),
        ("0-10", OtherState.NOT_ALLOWED),
        ("0-0:1.1", OtherState.NOT_ALLOWED),
        ("0-0\n", OtherState.NOT_ALLOWED),
    ],
)
def test_the_machine_s_own_thunderbolt_router_is_a_part_of_it(name: str, state: OtherState) -> None:
    assert judge(saying(Target.BLOCK, OtherKind.THUNDERBOLT), Kind.THUNDERBOLT, name, "") is state
    assert judge(saying(Target.BLOCK, OtherKind.PCI), Kind.PCI, name, "") is OtherState.NOT_ALLOWED
