"""eMMC: registers by their names, and a sanitize of which nothing tells that it ran."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.sanitize.firmware import mmc
from edge_agent.sanitize.programs import Ran
from shared.errors import Malformed
from shared.sanitization.medium import MediumKind
from shared.sanitization.report import StepOutcome
from shared.sanitization.technique import Technique
from tests.edge_agent.sanitize.firmware.drives import commands_to, of, recorded
from tests.fakes.watch import Watched

EXTCSD = recorded("emmc-5.1-extcsd").stdout
NAMES = (b"SEC_FEATURE_SUPPORT", b"BOOT_SIZE_MULTI", b"RPMB_SIZE_MULT")


def test_a_recorded_card_has_sanitize_boot_partitions_and_an_rpmb() -> None:
    assert mmc.parse(EXTCSD) == mmc.Registers(sanitize=True, boot_bytes=4 << 20, rpmb_bytes=512 << 10)


@given(st.sampled_from(NAMES), st.integers(0, 255))
def test_a_register_that_is_missing_or_has_two_values_is_refused(name: bytes, value: int) -> None:
    with pytest.raises(Malformed):
        mmc.parse(EXTCSD.replace(name, b"OTHER"))
    if value in {0x55, 0x20, 0x04}:  # what the card's are
        return
    with pytest.raises(Malformed):
        mmc.parse(EXTCSD + b"Once more [" + name + f": 0x{value:02x}]\n".encode())


@pytest.mark.parametrize(
    "fails, outcome", [("", StepOutcome.DONE), ("mmc", StepOutcome.REFUSED), ("blkdiscard", StepOutcome.REFUSED)]
)
def test_a_sanitize_follows_a_discard_of_everything_and_is_as_good_as_the_card_s_answer(
    fails: str, outcome: StepOutcome
) -> None:
    given_commands: list[str] = []

    def card(command: list[str], timeout_s: float = 30.0, /) -> Ran:
        given_commands.append(command[0])
        if command[0] == fails:
            return Ran(1, b"", b"Could not write 0x1 to EXT_CSD[165] in /dev/sdz\n")
        return Ran(0)

    drive = of(MediumKind.MMC)
    commands = commands_to(card)  # type: ignore[arg-type]
    step = commands.run(commands.begin(Technique.MMC_SANITIZE, drive), drive, Watched())

    assert step.outcome is outcome
    assert not step.progress_seen
    assert step.completed == (not fails)
    assert given_commands.count("mmc") == (0 if fails == "blkdiscard" else 1)
