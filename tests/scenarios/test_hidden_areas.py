# ruff: noqa: RUF001 (Chinese has punctuation of its own)
"""What a disk hides, from what hdparm prints to the certificate: found and not reached, opened, or nobody could ask.

The overlay's answer was recorded of a disk (tests/edge_agent/sanitize/firmware/recorded); its sectors are our number.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from control_plane.sanitize.certifying import NotToBeCertified
from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.firmware.tools import Tools
from edge_agent.sanitize.hidden import hidden_areas, remove_hidden
from edge_agent.sanitize.plan import choose
from edge_agent.sanitize.programs import Ran
from shared.sanitization.certificate import WipeCertificate
from shared.sanitization.judge import judge
from shared.sanitization.judged import Place, Result
from shared.sanitization.medium import Medium
from shared.sanitization.report import Considered, HiddenArea, HiddenKind, HiddenState, WipeReport
from shared.sanitization.technique import Available, SanitizationClass, Technique
from shared.sanitization.ticket import Ticket
from tests.control_plane.sanitize.certified import CertifyingDesk, moved
from tests.control_plane.sanitize.test_certifying import shown
from tests.control_plane.vault.bench import Bench
from tests.edge_agent.sanitize.test_hidden import Disk
from tests.shared.sanitization import wipes

SECTOR = wipes.SECTOR
# As the disks behind hdparm say how many sectors they show.
SHOWN = replace(wipes.DISK, size_bytes=2048 * SECTOR)
OVERWRITE = (Considered(Technique.OVERWRITE, Available.YES, "everything that the host can address is written"),)


def nobody_answers(*_: object) -> Ran:
    return Ran(None, why="hdparm is not installed")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("centre"))


@pytest.fixture
def desk(bench: Bench) -> CertifyingDesk:
    return CertifyingDesk(bench)


def found(disk: Callable[..., Ran]) -> tuple[HiddenArea, ...]:
    """Return what a host reports of a disk: what it hides, opened where that is to be had."""
    drive, tools = Drive(Path("/dev/sdz"), "65:144", Path("/nowhere"), SHOWN), Tools(disk)
    method = wipes.overwritten()[0].method
    plan = choose(method, SHOWN, OVERWRITE, hidden_areas(drive, tools))
    assert plan.chosen == (Technique.OVERWRITE,)
    return remove_hidden(drive, tools) if plan.removes_hidden else hidden_areas(drive, tools)


def overwritten(ticket: Ticket, hidden: tuple[HiddenArea, ...]) -> WipeReport:
    """Return the report of a wipe that wrote and read back all that the disk shows in the end."""
    before = replace(SHOWN, wwn=ticket.drive.wwn)
    opened = sum(area.sectors for area in hidden if area.state is HiddenState.REMOVED)
    after: Medium = replace(before, size_bytes=SHOWN.size_bytes + opened * SECTOR, partitions=())
    size = after.size_bytes
    return wipes.report_of(
        ticket, medium=before, medium_after=after, hidden=hidden,
        steps=(wipes.random_pass(bytes_total=size, bytes_written=size),),
        checks=(wipes.read_back(bytes_to_read=size, bytes_read=size, bytes_equal=size),),
    )  # fmt: skip


def reported(desk: CertifyingDesk, disk: Callable[..., Ran]) -> tuple[Ticket, WipeReport]:
    own = f"naa.{desk.host.host_id.raw.hex()[:16]}"  # a proved wipe ends every other order for its drive
    ticket = desk.approved(drive=replace(wipes.drive_of(SHOWN), wwn=own))
    report = moved(overwritten(ticket, found(disk)), ticket)
    desk.desk.intake.take_report(desk.host.host_id, ticket.ticket_id, desk.signed(report))
    return ticket, report


@pytest.mark.parametrize(
    "disk, result, on_page_one, in_evidence",
    [
        (Disk(), Result.CLEARED_VERIFIED, "Nothingthatisknown", "none,bythedrive'sownanswer"),
        (Disk(hpa=100), Result.CLEARED_VERIFIED, "Nothingthatisknown", "100sectors扇区;100sectorswereopenedforgood"),
        (
            nobody_answers, Result.CLEARED_HIDDEN_UNKNOWN,
            "隐藏区域：是否存在不明deviceconfigurationoverlay(DCO)设备配置覆盖（DCO）",
            "indeterminate无法确定,0sectors扇区;notknown:hdparmisnotinstalled(packagehdparm)不明：未安装hdparm",
        ),
    ],
    ids=["nothing hidden", "an HPA that was opened", "nobody answers"],
)  # fmt: skip
def test_what_is_certified_says_what_of_the_disk_was_hidden(
    desk: CertifyingDesk, tmp_path: Path, disk: Callable[..., Ran], result: Result, on_page_one: str, in_evidence: str
) -> None:
    ticket, _ = reported(desk, disk)

    released = desk.certified(ticket)

    judged = WipeCertificate.parse(released.file).body.statement.judged
    assert (judged.result, judged.reached) == (result, SanitizationClass.CLEAR)
    assert on_page_one in shown(released.pdf, tmp_path, "-l", "1")
    assert in_evidence in shown(released.pdf, tmp_path)


@pytest.mark.parametrize(
    "disk, kind",
    [(Disk(dco=4096), HiddenKind.DCO), (Disk(hpa=4096, obeys=False), HiddenKind.HPA)],
    ids=["an overlay", "an HPA that stays"],
)
def test_what_was_found_and_not_reached_is_counted_and_the_drive_gets_no_certificate(
    desk: CertifyingDesk, disk: Disk, kind: HiddenKind
) -> None:
    ticket, report = reported(desk, disk)

    judged = judge(ticket, report)

    assert (judged.result, judged.reached) == (Result.PARTIAL, SanitizationClass.NONE)
    (left,) = (one for one in judged.not_reached if one.place is Place.HIDDEN_AREA)
    assert (left.sectors, left.detail) == (4096, kind.value)
    assert desk.state(ticket) == "incomplete"
    assert "hidden-area-left" in str(desk.desk.showing.order(ticket.ticket_id)["detail"])
    with pytest.raises(NotToBeCertified, match="hidden-area-left"):
        desk.certified(ticket)


@pytest.mark.parametrize("disk", [nobody_answers, Disk()], ids=["nobody answers", "nothing hidden"])
def test_where_nobody_answers_a_drive_s_own_sanitize_claims_clear_and_no_more(disk: Callable[..., Ran]) -> None:
    ticket, report = wipes.sanitized()
    hidden = tuple(replace(area, kind=HiddenKind.NAMESPACES) for area in found(disk)[:1])

    judged = judge(ticket, replace(report, hidden=hidden))

    is_known = hidden[0].state is not HiddenState.INDETERMINATE
    assert judged.reached is (SanitizationClass.PURGE if is_known else SanitizationClass.CLEAR)
    assert judged.may_be_certified is is_known, "the ticket asks for a purge"
