"""The screens that `docs/guides/technician.md` shows.

python -m tests.edge_agent.sanitize.terminal.guide      draws them anew into the guide
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from edge_agent.sanitize.attempt import Found, Standing
from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.fitting import candidates
from edge_agent.sanitize.plan import Plan
from edge_agent.sanitize.session import Accepted, Done, Looked, Unfinished
from edge_agent.sanitize.tasks import Task, TaskKind
from edge_agent.sanitize.terminal import screens
from edge_agent.sanitize.terminal.page import Page, Speech, draw
from edge_agent.sanitize.terminal.screens import Listed, Now
from shared.envelope import Signer
from shared.identity import KeyId
from shared.sanitization.envelope import ApprovedTicket
from shared.sanitization.judge import judge
from shared.sanitization.report import Considered, Ending, StepOutcome
from shared.sanitization.technique import Available, Technique
from shared.sanitization.ticket import TargetDrive
from tests.shared.sanitization.wipes import DISK, overwritten

GUIDE = Path(__file__).resolve().parents[4] / "docs/guides/technician.md"
_BLOCK = re.compile(r"<!-- screen: (?P<name>[a-z-]+) -->\n```text\n(?P<shown>.*?)```\n", re.DOTALL)
_BIG = 4_000_787_030_016


def pages(speech: Speech) -> dict[str, Page]:
    """Return each screen as it looks in the course of one wipe."""
    ticket, report = overwritten()
    medium = replace(DISK, size_bytes=_BIG)
    drive = Drive(Path("/dev/sdb"), "8:16", Path("/sys/block/sdb"), medium)
    system = replace(medium, serial="WX21A4590", model="WD10EZEX", size_bytes=1_000_204_886_016, wwn="naa.50014ee2b1")
    other = Drive(Path("/dev/sda"), "8:0", Path("/sys/block/sda"), system)
    target = TargetDrive(medium.serial, medium.wwn, medium.model, medium.size_bytes)
    ticket = replace(ticket, drive=target)
    accepted = Accepted(ApprovedTicket(ticket, (Signer(KeyId(bytes(16)), "Bea"),)), b"")
    frozen = Considered(Technique.ATA_SANITIZE_BLOCK, Available.NO, "the drive does not have it")
    plan = Plan((Technique.OVERWRITE,), removes_hidden=False, considered=(frozen,), why="")
    looked = Looked(accepted, candidates(target, [other, drive]), drive, (), None, (), plan)
    writing = Task(TaskKind.WRITE, Technique.OVERWRITE, "random", "")
    now = Now(writing, 1_400_000_000_000, _BIG, 182e6, 7692.0, {"temperature_c": 41})
    # Its evidence is of a smaller drive; what is shown of it is the same.
    done = Done(
        overwritten()[0], report, judge(*overwritten()), Path(f"/var/lib/leadglass-wipe/out/{ticket.ticket_id}.report")
    )
    (step,) = report.steps
    cut = replace(step, outcome=StepOutcome.INTERRUPTED, completed=False, bytes_written=24 << 20)
    lost = replace(cut, outcome=StepOutcome.FAILED)
    detail = "overwrite: the drive is gone or no longer writable: ENODEV, No such device"
    stopped = replace(done, report=replace(report, steps=(cut,), detail="overwrite: stopped by a person"))
    failed = replace(report, steps=(lost,), checks=(), medium_after=None, ending=Ending.FAILED, detail=detail)
    left = Unfinished(Found(ticket.ticket_id, b"", report, is_ended=False), Standing.RESUMABLE, drive)
    refusal = "/dev/sdb1: it is in use: a mounted file system (ext4); unmount it (umount /dev/sdb1), then begin anew"
    return {
        "tickets": screens.tickets_page([Listed("x", accepted)], speech, hold=False),
        "ticket": screens.ticket_page(accepted, speech),
        "drives": screens.drives_page(looked, speech),
        "refused": screens.refused_page([refusal], speech),
        "confirm": screens.confirm_page(looked, "type-serial", "", "47", "keys-type", speech),
        "progress": screens.progress_page(medium, now, speech),
        "result": screens.result_page(done, speech),
        "failed": screens.result_page(Done(ticket, failed, judge(overwritten()[0], failed), done.report_file), speech),
        "stopped": screens.stopped_page(stopped, speech),
        "unfinished": screens.unfinished_page([left], speech),
    }


def drawn(page: Page, speech: Speech) -> str:
    """Return the screen of 80 columns and 24 lines, without most of its empty lines."""
    *body, keys = [line.text.rstrip() for line in draw(page, 80, 24, speech)]
    while not body[-1]:
        body.pop()
    return re.sub(r"\n{3,}", "\n\n", "\n".join((*body, "", keys))) + "\n"


def shown(guide: str) -> Iterator[tuple[str, str]]:
    for block in _BLOCK.finditer(guide):
        yield block["name"], block["shown"]


def main() -> None:
    speech = Speech("en")
    screens_of = pages(speech)
    text = _BLOCK.sub(
        lambda block: f"<!-- screen: {block['name']} -->\n```text\n{drawn(screens_of[block['name']], speech)}```\n",
        GUIDE.read_text(),
    )
    GUIDE.write_text(text)


if __name__ == "__main__":
    main()
