"""Sequences on loop devices, judged by what is not ours: nwipe's own verification, and openssl from the seed."""

import random
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge_agent.sanitize.engine.direct import open_drive
from edge_agent.sanitize.engine.pass_state import PassState
from edge_agent.sanitize.engine.read import read_back
from edge_agent.sanitize.engine.write import write_pass
from shared.policy.wipe import LeastClass, ReadBack
from shared.sanitization.method import Method
from shared.sanitization.report import NOWHERE, Checked, Extent, Extents
from shared.sanitization.sequences import passes
from shared.sanitization.stream import RANDOM, Content
from shared.sanitization.technique import Sequence, Technique
from tests.edge_agent.sanitize.engine.loops import loop_device, number
from tests.fakes.clock import FakeClock
from tests.fakes.watch import Watched
from tests.shared.sanitization.openssl import by_openssl

SIZE = (4 << 20) + 4096
SAMPLES = bytes(range(32))
CLOCK = FakeClock()


def wiped(node: Path, sequence: Sequence, *custom: str) -> Content:
    """Run the whole sequence, each random pass from a seed of its own; return what the last one put there."""
    method = Method(LeastClass.CLEAR, (Technique.OVERWRITE,), sequence, custom, ReadBack.WHOLE)
    content = Content.byte("00")
    with open_drive(node, number(node)) as drive:
        for step, pattern in enumerate(passes(method, 0x3C)):
            seed = random.Random(f"{node} {step}").randbytes(32)
            content = Content.random(seed) if pattern == RANDOM else Content.byte(pattern)
            state = PassState.begin(content, f"pass {step + 1}", drive.size_bytes, CLOCK.now())
            assert write_pass(drive, state, Watched(), CLOCK, lambda _: None).completed
    return content


def whole(node: Path, content: Content) -> Checked:
    with open_drive(node, number(node)) as drive:
        return read_back(drive, content, ReadBack.WHOLE, SAMPLES, Watched(), CLOCK)


def nwipe_says(node: Path, verify: str) -> bool:
    """Return whether nwipe, which only reads here, finds it erased."""
    command = ["nwipe", f"--method={verify}", "--autonuke", "--nogui", "--nowait", str(node)]
    # It prints what it never wrote, and that need not be text.
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    assert "Invoking method 'Verify" in done.stdout
    return done.returncode == 0 and "[SUCCESS] Verified" in done.stdout


def flip(file: Path, sector: int) -> None:
    with file.open("r+b") as below:
        below.seek(sector * 512 + 77)
        byte = below.read(1)[0]
        below.seek(sector * 512 + 77)
        below.write(bytes([byte ^ 0x10]))


def test_nwipe_finds_what_ends_in_zeros_and_ones_erased_and_a_flipped_bit_not(tmp_path: Path) -> None:
    ends: dict[str, tuple[Sequence, tuple[str, ...], str]] = {
        "zero": (Sequence.ZERO, (), "verify_zero"),
        "bmb21": (Sequence.BMB21, (), "verify_one"),
        "custom": (Sequence.CUSTOM, ("a5", "random", "00"), "verify_zero"),
        "flipped": (Sequence.BMB21, (), "verify_one"),
        "random": (Sequence.RANDOM, (), "verify_zero"),
    }
    with ExitStack() as stack, ThreadPoolExecutor(len(ends)) as pool:
        nodes = {name: stack.enter_context(loop_device(tmp_path / name, SIZE)) for name in ends}
        for name, (sequence, custom, _) in ends.items():
            wiped(nodes[name], sequence, *custom)
        flip(tmp_path / "flipped", 5001)
        judged = {name: pool.submit(nwipe_says, nodes[name], verify) for name, (_, _, verify) in ends.items()}

        erased = {name: said.result() for name, said in judged.items()}
        found = whole(nodes["flipped"], Content.byte("ff"))
    assert erased == {"zero": True, "bmb21": True, "custom": True, "flipped": False, "random": False}
    assert found.different == Extents(1, (Extent(5001, 1),))


@pytest.mark.parametrize("sequence", [Sequence.RANDOM, Sequence.THREE_PASS, Sequence.DOD_SHORT])
@pytest.mark.parametrize("sector_bytes", [512, 4096])
def test_openssl_recomputes_from_the_seed_all_that_a_random_ending_left(
    tmp_path: Path, sequence: Sequence, sector_bytes: int
) -> None:
    file = tmp_path / "drive"
    with loop_device(file, SIZE, sector_bytes) as node:
        content = wiped(node, sequence)
        found = whole(node, content)
        assert content.seed is not None
        assert file.read_bytes() == by_openssl(content.seed, 0, SIZE)
        flip(file, 8199)
        spoilt = whole(node, content)

    assert (found.bytes_equal, found.different, found.unreadable) == (SIZE, NOWHERE, NOWHERE)
    assert spoilt.different == Extents(1, (Extent(8199 * 512 // sector_bytes, 1),))


def test_a_device_that_is_smaller_than_it_says_ends_in_sectors_that_cannot_be_read(tmp_path: Path) -> None:
    with loop_device(tmp_path / "drive", SIZE) as node:
        content = wiped(node, Sequence.ZERO)
        with (tmp_path / "drive").open("r+b") as below:
            below.truncate(SIZE - 4096)
        found = whole(node, content)

    assert found.unreadable == Extents(8, (Extent(SIZE // 512 - 8, 8),))
    assert found.bytes_equal == SIZE - 4096
