"""Each screen as text: it fits, it says what counts, and nothing that came from outside can forge a line of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.sanitize.attempt import Found, Standing
from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.fitting import candidates
from edge_agent.sanitize.plan import Plan
from edge_agent.sanitize.session import Accepted, Done, Looked, Unfinished
from edge_agent.sanitize.tasks import Task, TaskKind
from edge_agent.sanitize.terminal import screens
from edge_agent.sanitize.terminal.cells import columns, wrap
from edge_agent.sanitize.terminal.page import Page, Speech, draw
from edge_agent.sanitize.terminal.screens import Listed, Now
from edge_agent.sanitize.terminal.words import LEAST, NEXT, OVERRIDES, SAYS, STANDINGS
from shared.envelope import Signer
from shared.identity import KeyId
from shared.sanitization.envelope import ApprovedTicket
from shared.sanitization.judge import judge
from shared.sanitization.judged import Result
from shared.sanitization.medium import PartitionCount
from shared.sanitization.report import Considered, Ending, HiddenArea, HiddenKind, HiddenState
from shared.sanitization.technique import Available, Technique
from shared.sanitization.ticket import Override, TicketId
from tests.shared.sanitization.wipes import DISK, overwritten

LANGUAGES = ("en", "zh")
TICKET, REPORT = overwritten()
HOSTILE = "\x1b[2J\x07CLEARED\u202e\n\tverified \N{ZERO WIDTH SPACE}患者" + "長" * 90


def accepted(name: str = "Bea") -> Accepted:
    return Accepted(ApprovedTicket(TICKET, (Signer(KeyId(bytes(16)), name),)), b"")


def drive(**changes: Any) -> Drive:
    return Drive(Path("/dev/sdb"), "8:16", Path("/sys/block/sdb"), replace(DISK, **changes))


def looked(**changes: Any) -> Looked:
    found = drive(**changes)
    considered = (Considered(Technique.ATA_SANITIZE_BLOCK, Available.NO, "the drive is frozen"),)
    plan = Plan((Technique.OVERWRITE,), removes_hidden=True, considered=considered, why="")
    others = [found, Drive(Path("/dev/sda"), "8:0", Path("/sys/block/sda"), replace(DISK, serial="ANOTHER"))]
    return Looked(accepted(), candidates(TICKET.drive, others), found, (), None, (), plan)


def now(task: Task | None, **changes: Any) -> Now:
    return replace(Now(task, 3 << 20, 9 << 20, 2e6, 3723.0, {"temperature_c": 41}), **changes)


WRITING = Task(TaskKind.WRITE, Technique.OVERWRITE, "random", "pass 2 of 3")
COMMAND = Task(TaskKind.COMMAND, Technique.NVME_SANITIZE_CRYPTO)


def done(ending: Ending = Ending.COMPLETED, detail: str = "") -> Done:
    report = replace(REPORT, ending=ending, detail=detail)
    return Done(TICKET, report, judge(TICKET, report), Path("/var/lib/leadglass-wipe/out/x.report"))


def every_page(speech: Speech, text: str = "") -> list[Page]:
    """Return each page, with `text` wherever something from outside is shown."""
    hostile = replace(TICKET, asset=text or "CT 2", person=text or "Dan", requester=text or "Ada")
    of_ticket = Accepted(ApprovedTicket(hostile, (Signer(KeyId(bytes(16)), text or "Bea"),)), b"")
    swapped = looked(model=text or "ST4", vendor=text, serial=text or "S3R1", partitions=(PartitionCount(text, 2),))
    left = Unfinished(Found(TICKET.ticket_id, b"", REPORT, is_ended=False), Standing.RESUMABLE, drive())
    lost = Unfinished(Found(TICKET.ticket_id, b"", None, is_ended=False, why=text), Standing.UNKNOWN, None)
    return [
        screens.tickets_page([], speech, hold=True),
        screens.tickets_page([Listed("x", of_ticket), Listed(text, None, text)], speech, hold=False),
        screens.ticket_page(of_ticket, speech),
        screens.paste_page([], text, text, speech),
        screens.drives_page(swapped, speech),
        screens.drives_page(replace(swapped, drive=None), speech),
        screens.drives_page(replace(swapped, candidates=(), drive=None), speech),
        screens.refused_page([text, text], speech),
        screens.confirm_page(swapped, "type-serial", "wrong-name", text, "keys-type", speech),
        screens.progress_page(swapped.drive.medium if swapped.drive else DISK, now(WRITING), speech),
        screens.progress_page(DISK, now(COMMAND, is_stopping=True, speed=None, health={}), speech),
        screens.result_page(done(), speech),
        screens.result_page(done(Ending.FAILED, text), speech),
        screens.stopped_page(done(Ending.ABORTED, text), speech),
        screens.unfinished_page([left, lost], speech),
        screens.incomplete_page(lost, speech),
        screens.cut_short_page([text], speech),
    ]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("width, height", [(80, 24), (60, 12), (132, 50), (20, 5)])
def test_no_line_is_wider_than_the_window_and_there_are_as_many_as_it_has(
    language: str, width: int, height: int
) -> None:
    speech = Speech(language)
    for page in every_page(speech, HOSTILE):
        for first in (0, 5, 1000):
            lines = draw(page, width, height, speech, first)
            assert len(lines) == height
            assert all(columns(line.text) <= width for line in lines)


@given(text=st.text(st.characters(), max_size=120), width=st.integers(4, 100))
def test_whatever_is_shown_stays_in_its_place_and_moves_no_cursor(text: str, width: int) -> None:
    lines = list(wrap(text, width))

    assert all(columns(line) <= width for line in lines)
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for line in lines for char in line)


@pytest.mark.parametrize("language", LANGUAGES)
def test_text_from_outside_forges_no_line_and_no_control(language: str) -> None:
    speech = Speech(language)
    for page in every_page(speech, HOSTILE):
        shown = [line.text for line in draw(page, 80, 60, speech)]
        assert not any(set(line) & set("\x1b\x07\n\t\u202e\u200b") for line in shown)


def test_the_two_languages_say_the_same_things() -> None:
    for words in (*SAYS.values(), *NEXT.values(), *STANDINGS.values(), *OVERRIDES.values(), *LEAST.values()):
        assert words.en
        assert words.zh
        assert {part.split("}")[0] for part in words.en.split("{")[1:]} == {
            part.split("}")[0] for part in words.zh.split("{")[1:]
        }
    assert NEXT.keys() == set(Result)
    assert OVERRIDES.keys() == set(Override)


def text_of(page: Page) -> str:
    return "\n".join(line.text for line in draw(page, 80, 40, Speech("en")))


def test_which_drive_is_meant_and_why_each_other_is_not() -> None:
    text = text_of(screens.drives_page(looked(), Speech("en")))

    assert "THIS IS THE DRIVE OF THE TICKET" in text
    assert "not the one: another serial" in text
    assert "2 x ext4, 1 x luks" in text


@pytest.mark.parametrize("language, said", [("en", "ANOTHER TICKET IS FOR THIS DRIVE"), ("zh", "另有工单也是此盘")])
def test_another_ticket_for_the_same_drive_is_named_before_either_is_begun(language: str, said: str) -> None:
    speech, mine = Speech(language), accepted()
    twin, other = (
        Accepted(replace(mine.approved, ticket=replace(TICKET, ticket_id=TicketId(bytes([n]) * 16), drive=drive)), b"")
        for n, drive in ((7, replace(TICKET.drive, wwn="")), (8, replace(TICKET.drive, serial="OTHER", wwn="")))
    )
    listed = [Listed("x", mine), Listed("y", twin), Listed("z", other), Listed("w", None, "it expired")]

    assert screens.beside(mine, listed) == (twin.ticket.ticket_id,)
    assert f"{said}" in text_of(screens.ticket_page(mine, speech, screens.beside(mine, listed)))
    assert "07070707" in text_of(screens.tickets_page(listed, speech, hold=False))
    assert said not in text_of(screens.ticket_page(other, speech, screens.beside(other, listed)))


@pytest.mark.parametrize(
    "area, said, certificate",
    [
        (HiddenArea(HiddenKind.DCO, HiddenState.PRESENT, 4096, ""), "4096", "NO certificate"),
        (HiddenArea(HiddenKind.DCO, HiddenState.INDETERMINATE, 0, ""), "Clear is the most", ""),
        (HiddenArea(HiddenKind.HPA, HiddenState.PRESENT, 8, ""), "made visible first", ""),
        (HiddenArea(HiddenKind.DCO, HiddenState.NONE, 0, ""), "What is done", ""),
    ],
)
def test_what_stays_hidden_is_said_before_the_first_write_with_what_it_costs(
    area: HiddenArea, said: str, certificate: str
) -> None:
    found = looked()
    assert found.plan is not None
    opens = area.kind is HiddenKind.HPA
    page = replace(found, hidden=(area,), plan=replace(found.plan, removes_hidden=opens))
    text = text_of(screens.confirm_page(page, "begin", "", None, "keys-begin", Speech("en")))

    assert said in text
    assert ("NO certificate" in " ".join(text.split())) == bool(certificate)


def test_what_cannot_be_stopped_is_said_before_and_while_it_runs() -> None:
    speech, found = Speech("en"), looked()
    assert found.plan is not None
    firmware = replace(found, plan=replace(found.plan, chosen=(Technique.NVME_SANITIZE_CRYPTO,)))

    assert "It can be stopped" in text_of(screens.confirm_page(found, "begin", "", None, "keys-begin", speech))
    assert "CANNOT BE STOPPED" in text_of(screens.confirm_page(firmware, "begin", "", None, "keys-begin", speech))
    assert "press s twice" in text_of(screens.progress_page(DISK, now(WRITING), speech))
    assert "CANNOT be stopped" in text_of(screens.progress_page(DISK, now(COMMAND), speech))


def test_progress_says_pass_speed_rest_and_temperature() -> None:
    text = text_of(screens.progress_page(DISK, now(WRITING), Speech("en")))

    assert "pass 2 of 3, random data" in text
    assert "33.3 %" in text
    assert "2 MB/s" in text
    assert "0:00:03" in text  # 6 MiB more at that speed
    assert "41 °C" in text
    assert "1:02:03" in text


@pytest.mark.parametrize("ending", list(Ending))
def test_only_a_good_result_sends_the_technician_for_a_certificate(ending: Ending) -> None:
    text = text_of(screens.result_page(done(ending), Speech("en")))

    assert ("answers with the certificate" in text) == (ending is Ending.COMPLETED)
    assert ("CLEARED, verified" in text) == (ending is Ending.COMPLETED)
    assert ("leave the building" in text) == (ending is not Ending.COMPLETED)
