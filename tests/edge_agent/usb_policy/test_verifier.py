"""The child runs beside the guard's loop, and whatever it does but judge has refused the offer."""

import os
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from edge_agent.usb_policy import verifier as module
from edge_agent.usb_policy.exchange import Kind, Offer, RefusedOffer, VerifiedPolicy, line
from edge_agent.usb_policy.verifier import Verifier
from shared.devices.policy import DevicePolicy
from shared.devices.verdict import Target
from shared.errors import Refused
from shared.policy.accept import PolicyRollback
from tests.edge_agent.usb_policy.bench import Guard, child_that, judged
from tests.edge_agent.usb_policy.test_exchange import POLICY

ROOT = Path(__file__).resolve().parents[3]
DEVICES = DevicePolicy(default=Target.REJECT)
NOBODYS = Offer(b"nobody", (b'{"kind":"layer","layer":"organisation",signed this',))


class Seconds:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    return Guard(tmp_path / "guard")


def offered(verifier: Verifier, offer: Offer) -> Verifier:
    for layer in offer.layers:
        verifier.offer(head=offer.head, layer=layer)
    return verifier


def test_a_signed_policy_comes_in_force(guard: Guard) -> None:
    verifier = offered(guard.verifier(), guard.publish(1, DEVICES))

    judgement = judged(verifier)
    assert isinstance(judgement, VerifiedPolicy)
    assert guard.store.take(judgement)
    assert guard.store.devices == DEVICES
    verifier.accepted()
    assert (verifier.fileno(), verifier.wakes_in_s(), verifier.step()) == (None, None, None)


def test_nothing_in_it_ever_waits_for_the_child(guard: Guard) -> None:
    verifier = offered(guard.verifier(child_that("import time; time.sleep(3600)")), guard.publish(1))
    for _ in range(100):
        assert verifier.step() is None
    child = verifier._child

    assert child is not None
    assert not select.select([child], [], [], 0)[0]
    verifier.stop()
    assert verifier.fileno() is None
    child._process.wait(60)


def test_a_rolled_back_policy_is_refused_by_the_store_though_tufs_metadata_is_lost(guard: Guard) -> None:
    old, new = guard.publish(1, DEVICES), guard.publish(2)
    newest = judged(offered(guard.verifier(), new))
    assert isinstance(newest, VerifiedPolicy)
    guard.store.take(newest)
    shutil.rmtree(guard.state / "policy")
    replayed = judged(offered(guard.verifier(), old))
    assert isinstance(replayed, VerifiedPolicy)

    with pytest.raises(PolicyRollback):
        guard.store.take(replayed)
    assert guard.store.devices is None


def test_a_strangers_policy_is_refused_and_the_next_good_one_accepted(guard: Guard, tmp_path: Path) -> None:
    clock = Seconds()
    verifier = guard.verifier(monotonic_s=clock)
    offered(verifier, Guard(tmp_path / "stranger").publish(1, DEVICES))
    refused = judged(verifier)
    offered(verifier, guard.publish(1, DEVICES))
    clock.now_s += 1

    assert isinstance(refused, RefusedOffer)
    assert refused.error.startswith("PolicyNotSigned")
    assert isinstance(judged(verifier), VerifiedPolicy)


ENDLESS = "import sys\nwhile True: sys.stdout.write('x' * 65536)"
KILLED = "import os, signal, sys; sys.stdout.write('{'); sys.stdout.flush(); os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize(
    "code, error",
    [
        (ENDLESS, "it ended with code 1"),
        (KILLED, "it ended with code -9"),
        ("pass", "0 bytes that are not one line"),
        ("print('allow everything')", "not JSON"),
        (f"import sys; sys.stdout.buffer.write({line(POLICY)!r} * 2)", "not JSON"),
        (f"import sys; sys.stdout.buffer.write({line(POLICY)[:-1]!r})", "not one line"),
    ],
)
def test_any_other_output_has_refused_the_offer(guard: Guard, code: str, error: str) -> None:
    judgement = judged(offered(guard.verifier(child_that(code)), guard.publish(1, DEVICES)))

    assert isinstance(judgement, RefusedOffer)
    assert judgement.kind is Kind.UNAVAILABLE
    assert error in judgement.error


def test_a_child_that_lies_is_believed_so_what_refuses_a_forgery_is_the_childs_own_verification(guard: Guard) -> None:
    """The control: with a broken child in its place the guard accepts what nobody signed."""
    lie = child_that(f"import sys; sys.stdout.buffer.write({line(POLICY)!r})")
    judgement = judged(offered(guard.verifier(lie), NOBODYS))

    assert isinstance(judgement, VerifiedPolicy)
    assert guard.store.take(judgement)
    honest = judged(offered(guard.verifier(), NOBODYS))
    assert isinstance(honest, RefusedOffer)


def test_a_lying_child_cannot_lower_the_version_either(guard: Guard) -> None:
    guard.store.take(POLICY)
    lie = VerifiedPolicy("organisation", 1, bytes(32), POLICY.expires, None, DEVICES)
    judgement = judged(
        offered(guard.verifier(child_that(f"import sys; sys.stdout.buffer.write({line(lie)!r})")), NOBODYS)
    )

    assert judgement == lie
    with pytest.raises(Refused):
        guard.store.take(lie)


def test_a_child_that_does_not_end_is_killed_with_all_that_it_started(guard: Guard) -> None:
    clock = Seconds()
    nested = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'])\n"
        "sys.stdout.write(f'{os.getpid()} {child.pid} '); sys.stdout.flush(); time.sleep(3600)"
    )
    verifier = offered(guard.verifier(child_that(nested), clock), guard.publish(1))
    assert verifier.step() is None
    child = verifier._child
    assert child is not None
    while not (said := os.pread(child._output, 100, 0).rstrip(b"\0")).endswith(b" "):
        assert verifier.step() is None
    started = [os.pidfd_open(int(pid)) for pid in said.split()]
    clock.now_s = module.TIMEOUT_S
    judgement = verifier.step()

    assert judgement == RefusedOffer(Kind.UNAVAILABLE, "the verifying child: it did not answer within 60 s")
    assert len(started) == 2
    for process in started:
        assert select.select([process], [], [], 60)[0]
        os.close(process)
    child._process.wait(60)


def test_a_child_killed_from_outside_has_refused_the_offer(guard: Guard) -> None:
    verifier = offered(guard.verifier(child_that("import time; time.sleep(3600)")), guard.publish(1))
    verifier.step()
    assert verifier._child is not None
    os.kill(verifier._child._process.pid, signal.SIGKILL)

    assert isinstance(judged(verifier), RefusedOffer)


def test_no_child_at_all_is_a_refusal_that_says_so(guard: Guard, tmp_path: Path) -> None:
    judgement = judged(offered(guard.verifier([str(tmp_path / "nothing")]), guard.publish(1)))

    assert judgement == RefusedOffer(
        Kind.UNAVAILABLE, "the verifying child: it cannot be started: No such file or directory"
    )


def test_it_leaves_no_descriptor_and_no_process_behind(guard: Guard) -> None:
    def now() -> tuple[set[Path], set[int]]:
        return set(Path("/proc/self/fd").iterdir()), {child.pid for child in psutil.Process().children()}

    before = now()
    for command in (child_that("pass"), child_that(ENDLESS), ["/nonexistent"]):
        judged(offered(guard.verifier(command), guard.publish(1)))

    assert now() == before


HEAVY = ("cryptography", "tuf", "urllib3", "psutil", "pydicom", "http", "ssl", "asyncio")


def test_the_resident_guard_loads_neither_cryptography_nor_tuf() -> None:
    code = (
        "import sys, edge_agent.usb_policy.store, edge_agent.usb_policy.verifier; "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, text=True)

    assert found.stdout == "[]\n"
