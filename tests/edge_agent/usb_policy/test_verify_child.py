"""The child says what TUF verified from the guard's own root, and nothing else, whatever it is offered."""

import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from edge_agent.usb_policy.exchange import Kind, Offer, RefusedOffer, VerifiedPolicy, parse_line
from edge_agent.usb_policy.trust import Trust, trust_file
from edge_agent.usb_policy.verifier import child_command
from edge_agent.usb_policy.verify_child import judge
from shared.clock import SystemClock
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.verdict import Target
from shared.errors import IntegrityFailure, Refused, Unavailable
from shared.identity import HostId
from shared.policy.bundle import LayerBundle
from shared.policy.document import PolicyDocument
from shared.policy.part import PartContent, PartDocument
from tests.edge_agent.usb_policy.bench import Guard, child_that
from tests.edge_agent.usb_policy.layered import CT, NORTH, LayeredGuard, LayeredSigners, organisation, part
from tests.fakes.signers import PolicySigners

DEVICES = DevicePolicy(default=Target.REJECT)
SIGNED = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    return Guard(tmp_path / "guard")


def run(
    guard: Guard | LayeredGuard, data: bytes, command: list[str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command or child_command(guard.state), input=data, capture_output=True, check=False)


def test_says_in_one_line_what_the_signed_policy_says(guard: Guard) -> None:
    guard.signers.signed_at = SIGNED
    offer = guard.publish(3, DEVICES)
    document = LayerBundle.parse(offer.layers[0]).policy

    said = parse_line(run(guard, offer.encode()).stdout)

    assert isinstance(said, VerifiedPolicy)
    assert (said.layer, said.version, said.sha256) == ("organisation", 3, sha256(document).digest())
    assert (said.devices, said.signed_at) == (DEVICES, SIGNED)


def test_says_that_a_policy_says_nothing_of_devices(guard: Guard) -> None:
    said = judge(guard.state, guard.publish(1).encode())

    assert (said.devices, said.signed_at) == (None, None)


@pytest.mark.parametrize("soonest", ["root and targets", "layer", "snapshot and timestamp", "none"])
def test_the_earliest_expiry_of_the_chain_counts(tmp_path: Path, soonest: str) -> None:
    soon, late = timedelta(days=2), timedelta(days=300)
    signers = PolicySigners(lasts=soon if soonest == "root and targets" else late)
    guard = Guard(tmp_path / "guard", signers)
    signers.lasts = soon if soonest == "layer" else late
    offer = guard.publish(1)
    signers.lasts = soon if soonest == "snapshot and timestamp" else late
    head = signers.head(LayerBundle.parse(offer.layers[0]).metadata, 1)

    expires = judge(guard.state, replace(offer, head=head.encode()).encode()).expires
    wanted = SystemClock().now() + (late if soonest == "none" else soon)
    assert abs(expires - wanted) < timedelta(minutes=1)


def other_layer(guard: Guard) -> Offer:
    return guard.publish(1, DEVICES, layer="site")


def other_layer_bundle(guard: Guard) -> Offer:
    offer = guard.publish(1, DEVICES)
    return replace(offer, layers=(replace(LayerBundle.parse(offer.layers[0]), layer="site").encode(),))


def other_root(guard: Guard) -> Offer:
    return Guard(guard.state.parent / "stranger").publish(1, DEVICES)


def expired(guard: Guard) -> Offer:
    guard.signers.lasts = timedelta(days=-1)
    return guard.publish(1, DEVICES)


def rolled_back(guard: Guard) -> Offer:
    old = guard.publish(1, DEVICES)
    judge(guard.state, guard.publish(2, DEVICES).encode())
    return old


def swapped_document(guard: Guard) -> Offer:
    offer = guard.publish(1)
    bundle = LayerBundle.parse(offer.layers[0])
    altered = replace(PolicyDocument.parse(bundle.policy), devices=DEVICES).encode()
    return replace(offer, layers=(replace(bundle, policy=altered).encode(),))


def not_a_policy(guard: Guard) -> Offer:
    head, layer = guard.signers.publish(b'{"v":1}', 1)
    return Offer(head.encode(), (layer.encode(),))


def nothing(_: Guard) -> Offer:
    return Offer(b"", (b"",))


def noise(_: Guard) -> Offer:
    return Offer(b"\xff" * 5000, (b"{}",))


@pytest.mark.parametrize(
    "attack, error",
    [
        (other_layer, "WrongLayer: policy is for layer site, expected organisation"),
        (other_layer_bundle, "WrongLayer: policy is for layer site, expected organisation"),
        (other_root, "PolicyNotSigned"),
        (expired, "PolicyExpired"),
        (rolled_back, "MetadataRollback"),
        (swapped_document, "LayerNotHere"),
        (not_a_policy, "Malformed"),
        (nothing, "Malformed"),
        (noise, "Malformed"),
    ],
)
def test_refuses(guard: Guard, attack: Callable[[Guard], Offer], error: str) -> None:
    with pytest.raises((Refused, IntegrityFailure, Unavailable)) as refused:
        judge(guard.state, attack(guard).encode())

    assert f"{type(refused.value).__name__}: {refused.value}".startswith(error)


def test_the_same_offers_pass_where_the_root_is_theirs(guard: Guard, tmp_path: Path) -> None:
    """The control: what is refused as a stranger's is refused for the pinned root alone."""
    stranger = Guard(tmp_path / "stranger")
    offer = stranger.publish(1, DEVICES)
    trust_file(guard.state).write_bytes(Trust(HostId(bytes(16)), "organisation", stranger.signers.root).encode())

    assert judge(guard.state, offer.encode()).devices == DEVICES


@pytest.mark.parametrize("cut", [0, 3, 4, 100, -1])
def test_an_offer_that_is_cut_short_is_refused(guard: Guard, cut: int) -> None:
    data = guard.publish(1).encode()[:cut]

    with pytest.raises(Refused):
        judge(guard.state, data)


def test_without_a_pinned_root_the_child_says_what_to_do(guard: Guard) -> None:
    trust_file(guard.state).unlink()

    said = parse_line(run(guard, guard.publish(1).encode()).stdout)
    assert isinstance(said, RefusedOffer)
    assert said.kind is Kind.REFUSED
    assert "leadglass-guard trust" in said.error


def test_a_refusal_is_one_line_that_no_hostile_text_can_break(guard: Guard) -> None:
    offer = other_layer(guard)
    hostile = replace(LayerBundle.parse(offer.layers[0]), metadata=b'{"signed":{"_type":"a\\nb\\u202e"}}')

    output = run(guard, replace(offer, layers=(hostile.encode(),)).encode()).stdout
    assert output.count(b"\n") == 1
    assert isinstance(parse_line(output), RefusedOffer)


PREPARE = """
import os, sys
sys.path.insert(0, {packages!r})
os.chdir({folder!r})
"""
LIMIT = "from edge_agent.usb_policy.verify_child import limit_this_process; limit_this_process()\n"


@pytest.mark.parametrize(
    "deed, error",
    [
        ("bytearray(300 << 20)", b"MemoryError"),
        ("import socket; socket.socket()", b"PermissionError"),
        ("import socket; socket.getaddrinfo('localhost', 80)", b"PermissionError"),
        ("open('big', 'wb').write(bytes(2 << 20))", b"OSError"),
    ],
)
def test_the_child_has_too_little_for(guard: Guard, deed: str, error: bytes) -> None:
    prepare = PREPARE.format(packages=str(Path(__file__).resolve().parents[3]), folder=str(guard.state))
    limited = run(guard, b"", child_that(prepare + LIMIT + deed))
    free = run(guard, b"", child_that(prepare + deed))

    assert error in limited.stderr
    assert (free.returncode, free.stderr) == (0, b"")


# What a process is measured with includes the one that started it, until it is replaced; so a small one starts it.
MEASURED = """
import os, subprocess, sys
child = subprocess.Popen({command!r}, cwd={folder!r})
_, _, used = os.wait4(child.pid, 0)
sys.stderr.write(str(used.ru_maxrss))
"""


def test_the_child_stays_small(guard: Guard) -> None:
    many = DevicePolicy(tuple(DeviceRule(parse_rule(f'block serial "{n:032d}"')) for n in range(2000)))
    measured = MEASURED.format(command=child_command(guard.state), folder=str(Path(__file__).resolve().parents[3]))
    process = run(guard, guard.publish(1, many).encode(), child_that(measured))
    said = parse_line(process.stdout)

    assert isinstance(said, VerifiedPolicy)
    assert said.devices == many
    assert 10 << 10 < int(process.stderr) < 80 << 10


def test_the_child_stays_small_with_every_layer_as_large_as_it_can_be(tmp_path: Path) -> None:
    signers = LayeredSigners()
    guard = LayeredGuard(tmp_path / "guard", signers, NORTH, CT)
    rules = tuple(DeviceRule(parse_rule(f'block serial "{n:032d}"')) for n in range(650))

    def filled(name: str, version: int) -> PartDocument:
        """Return a policy of a site that is large for other hosts."""
        notes = tuple(PartContent(devices=DevicePolicy(rules[:80], contact=f"{n}")) for n in range(28))
        others = tuple((HostId(n.to_bytes(16, "big")), note) for n, note in enumerate(notes, 1))
        return replace(part(name, version, DevicePolicy(rules)), hosts=others if name == NORTH else ())

    for document, stable in (
        (organisation(2, DevicePolicy(rules)), organisation(1, DevicePolicy(rules))),
        (filled(NORTH, 2), filled(NORTH, 1)),
        (filled(CT, 2), filled(CT, 1)),
    ):
        signers.sign(document, stable)
    offer = signers.offer("organisation", NORTH, CT)
    measured = MEASURED.format(command=child_command(guard.state), folder=str(Path(__file__).resolve().parents[3]))
    process = run(guard, offer.encode(), child_that(measured))
    said = parse_line(process.stdout)

    assert isinstance(said, VerifiedPolicy), said
    assert said.devices is not None
    assert len(said.devices.rules) == 3 * len(rules)
    assert 10 << 10 < int(process.stderr) < 80 << 10
