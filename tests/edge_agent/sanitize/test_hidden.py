"""What a drive hides: none only where it was asked and answered so, and removed only where it says so afterwards."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.firmware import ata_identify
from edge_agent.sanitize.firmware.tools import Answer, Tools
from edge_agent.sanitize.hidden import hidden_areas, of_max_sectors, of_overlay, remove_hidden
from edge_agent.sanitize.programs import Ran
from shared.errors import Malformed, Unavailable
from shared.sanitization.medium import MediumKind
from shared.sanitization.report import HiddenArea, HiddenKind, HiddenState
from tests.edge_agent.sanitize.firmware.drives import SECTORS, NvmeDrive, istdout, of, recorded

HPA_AND_DCO = {82: 1 << 10, 83: 1 << 14 | 1 << 11}
IDENTITY = ata_identify.parse(istdout(HPA_AND_DCO))
NONE, PRESENT, INDETERMINATE = HiddenState.NONE, HiddenState.PRESENT, HiddenState.INDETERMINATE


def max_sectors(current: int, native: int, what: str = "") -> bytes:
    what = what or f"HPA is {'disabled' if current == native else 'enabled'}"
    return f"\n/dev/sdz:\n max sectors   = {current}/{native}, {what}\n".encode()


class Disk:
    """Hides sectors in an HPA and in an overlay; `obeys` says whether it opens the first one."""

    def __init__(self, hpa: int = 0, dco: int = 0, *, obeys: bool = True) -> None:
        self._current, self._native, self._real = SECTORS, SECTORS + hpa, SECTORS + hpa + dco
        self._obeys = obeys
        self.told: list[str] = []

    def __call__(self, command: Sequence[str], timeout_s: float = 30.0, /) -> Ran:
        match command[1:]:
            case ["--Istdout", _]:
                return Ran(0, istdout(HPA_AND_DCO))
            case ["-N", _]:
                return Ran(0, max_sectors(self._current, self._native))
            case ["--dco-identify", _]:
                said = recorded("disk-dco").stdout.replace(b"23437770752", str(self._real).encode())
                return Ran(0, said)
            case ["--yes-i-know-what-i-am-doing", "-N", permanent, _]:
                self.told.append(permanent)
                if self._obeys:
                    self._current = int(permanent.removeprefix("p"))
                return Ran(0)
        raise AssertionError(command)


def states(areas: Sequence[HiddenArea]) -> dict[HiddenKind, HiddenState]:
    return {one.kind: one.state for one in areas}


@given(st.integers(1, 2**40), st.integers(0, 2**40))
def test_what_cannot_be_addressed_is_counted(shown: int, more: int) -> None:
    area = of_max_sectors(IDENTITY, Answer(0, max_sectors(shown, shown + more), b""), shown)

    assert (area.state, area.sectors) == ((PRESENT, more) if more else (NONE, 0))


@pytest.mark.parametrize(
    "out, shown",
    [
        (max_sectors(2048, 2048), 4096),  # the kernel has another size
        (max_sectors(2048, 1024), 2048),
        (max_sectors(2048, 2048) * 2, 2048),
        (max_sectors(2048, 1, "HPA setting seems invalid (buggy kernel device driver?)"), 2048),
        (b"", 2048),
    ],
)
def test_an_answer_that_makes_no_sense_is_none(out: bytes, shown: int) -> None:
    with pytest.raises(Malformed):
        of_max_sectors(IDENTITY, Answer(0, out, b""), shown)


def test_the_recorded_nonsense_of_an_emulated_disk_is_no_answer() -> None:
    """One real sector, under an exit status of 0."""
    ran = recorded("qemu-ahci-dco")
    assert ran.code == 0

    with pytest.raises(Unavailable):
        of_overlay(IDENTITY, Answer(0, ran.stdout, ran.stderr), 16384)
    with pytest.raises(Malformed):
        of_overlay(IDENTITY, Answer(0, ran.stdout, b""), 16384)


def test_the_recorded_overlay_of_a_disk_is_read_and_only_under_a_sum_that_is_right() -> None:
    said = recorded("disk-dco").stdout

    assert of_overlay(IDENTITY, Answer(0, said, b""), 23437770752).state is NONE
    assert of_overlay(IDENTITY, Answer(0, said, b""), 23437770750).sectors == 2
    with pytest.raises(Malformed):
        of_overlay(IDENTITY, Answer(0, said.replace(b"verified.", b"FAILED!"), b""), 23437770752)


def test_a_drive_that_does_not_answer_is_indeterminate_and_never_none() -> None:
    areas = hidden_areas(of(MediumKind.ATA_DISK), Tools(lambda *_: Ran(None, why="hdparm is not installed")))

    assert states(areas) == {HiddenKind.HPA: INDETERMINATE, HiddenKind.DCO: INDETERMINATE}
    assert "hdparm is not installed" in areas[0].detail


def test_behind_a_bridge_it_is_indeterminate_and_the_bridge_is_named() -> None:
    areas = hidden_areas(of(MediumKind.USB), Tools(Disk()))

    assert set(states(areas).values()) == {INDETERMINATE}
    assert all("USB bridge" in one.detail for one in areas)


def test_an_hpa_is_opened_for_good_and_asked_for_again() -> None:
    disk, drive = Disk(hpa=100), of(MediumKind.ATA_DISK)
    assert states(hidden_areas(drive, Tools(disk)))[HiddenKind.HPA] is PRESENT

    areas = remove_hidden(drive, Tools(disk))

    assert states(areas) == {HiddenKind.HPA: HiddenState.REMOVED, HiddenKind.DCO: NONE}
    assert areas[0].sectors == 100
    assert disk.told == [f"p{SECTORS + 100}"]


def test_an_hpa_that_stays_is_present_whatever_the_tool_ends_with() -> None:
    areas = remove_hidden(of(MediumKind.ATA_DISK), Tools(Disk(hpa=100, obeys=False)))

    assert states(areas)[HiddenKind.HPA] is PRESENT
    assert (areas[0].sectors, "could not be opened" in areas[0].detail) == (100, True)


def test_an_hpa_of_a_drive_that_falls_silent_when_it_is_opened_is_still_there() -> None:
    disk, told = Disk(hpa=100), list[str]()

    def falling_silent(command: Sequence[str], timeout_s: float = 30.0, /) -> Ran:
        told.extend(command)
        return disk(command) if "--yes-i-know-what-i-am-doing" not in told else Ran(None, why="it hangs")

    areas = remove_hidden(of(MediumKind.ATA_DISK), Tools(falling_silent))

    assert states(areas) == {HiddenKind.HPA: PRESENT, HiddenKind.DCO: INDETERMINATE}
    assert areas[0].sectors == 100


def test_what_hides_nothing_is_left_as_it_is() -> None:
    disk = Disk(dco=7)

    areas = remove_hidden(of(MediumKind.ATA_DISK), Tools(disk))

    assert states(areas) == {HiddenKind.HPA: NONE, HiddenKind.DCO: PRESENT}
    assert not disk.told


@pytest.mark.parametrize(
    "firmware, state, sectors",
    [
        (NvmeDrive(), NONE, 0), (NvmeDrive(namespaces=(1, 3)), PRESENT, 0),
        (NvmeDrive(unallocated_bytes=5120), PRESENT, 10),
    ],
)  # fmt: skip
def test_capacity_of_an_nvme_drive_that_is_not_this_namespace_s_is_hidden(
    firmware: NvmeDrive, state: HiddenState, sectors: int
) -> None:
    (area,) = hidden_areas(of(MediumKind.NVME), Tools(firmware))

    assert (area.kind, area.state, area.sectors) == (HiddenKind.NAMESPACES, state, sectors)


def test_boot_partitions_of_a_card_are_named() -> None:
    (area,) = hidden_areas(of(MediumKind.MMC), Tools(lambda *_: recorded("emmc-5.1-extcsd")))

    assert (area.state, area.sectors) == (PRESENT, (2 * (4 << 20) + (512 << 10)) // 512)


def test_sectors_are_the_drive_s_own() -> None:
    drive = of(MediumKind.ATA_DISK)
    of_4k = replace(drive.medium, logical_sector_bytes=4096, size_bytes=SECTORS * 4096)

    assert states(hidden_areas(Drive(drive.node, "", drive.sysfs, of_4k), Tools(Disk())))[HiddenKind.HPA] is NONE
