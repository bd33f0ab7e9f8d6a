"""A machine of its own for each test, from three snapshots: bare, with the guard, with a policy in force."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.edge_agent.usb_policy.bench import Guard as SignedPolicies
from tests.lab.guard import LabGuard
from tests.lab.image import Image, NoLab, image
from tests.lab.lab import Lab
from tests.lab.media import Media, media

# QEMU's stick and another maker's, each with the serial number GOOD and nothing but storage, and hubs.
POLICY = (
    'allow id 46f4:0001 serial "GOOD" with-interface equals { 08:06:50 }',
    'allow id 0951:1666 serial "GOOD" with-interface equals { 08:06:50 }',
    "allow with-interface one-of { 09:00:00 }",
)


@dataclass(frozen=True)
class Guarded:
    """A machine on which the guard runs, with POLICY in force unless a test has it otherwise."""

    lab: Lab
    guard: LabGuard


@dataclass(frozen=True)
class Saved:
    folder: Path
    signed: SignedPolicies
    version: int

    @contextmanager
    def restored(self, image: Image) -> Iterator[Guarded]:
        with Lab(image, saved=self.folder) as lab:
            yield Guarded(lab, LabGuard(lab, self.signed, self.version))


@pytest.fixture(scope="session")
def guest_image() -> Image:
    try:
        return image()
    except NoLab as exc:
        pytest.skip(f"no virtual machine lab: {exc}")


@pytest.fixture(scope="session")
def sticks(guest_image: Image) -> Media:
    return media()


@pytest.fixture
def lab(guest_image: Image) -> Iterator[Lab]:
    """A guest whose kernel authorises nothing by itself, without a guard."""
    with Lab(guest_image) as lab:
        yield lab


@pytest.fixture(scope="session")
def saved_guard(guest_image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Saved]:
    """A machine on which the guard is installed and has not been started."""
    signed = SignedPolicies(tmp_path_factory.mktemp("signed"))
    with memory_folder() as folder:
        with Lab(guest_image).keeping(folder) as lab:
            LabGuard(lab, signed).install()
            lab.save(folder)
        yield Saved(folder, signed, 0)


@pytest.fixture(scope="session")
def saved_policy(guest_image: Image, saved_guard: Saved) -> Iterator[Saved]:
    with memory_folder() as folder:
        with Lab(guest_image, saved=saved_guard.folder).keeping(folder) as lab:
            guard = LabGuard(lab, saved_guard.signed)
            guard.start()
            guard.follow(*POLICY)
            lab.save(folder)
        yield Saved(folder, saved_guard.signed, guard.version)


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder for the memory of a machine, 250 MB: none that pytest keeps of its last runs."""
    with tempfile.TemporaryDirectory(prefix="leadglass-lab-") as folder:
        yield Path(folder)


@pytest.fixture
def installed(guest_image: Image, saved_guard: Saved) -> Iterator[Guarded]:
    """The guard is there and has never run: no policy, no memory."""
    with saved_guard.restored(guest_image) as guarded:
        yield guarded


@pytest.fixture
def guarded(guest_image: Image, saved_policy: Saved) -> Iterator[Guarded]:
    """The guard runs with POLICY in force, and nothing is plugged in."""
    with saved_policy.restored(guest_image) as guarded:
        yield guarded
