"""The page as poppler shows it: all that the report says of what did not pass, and in the colour that says so."""

import subprocess
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from pypdf import PdfWriter

from control_plane.paper.attachment import attached_file
from provisioning.finding import Finding, Verdict
from provisioning.handover.page import draw
from provisioning.handover.report import ATTACHMENT, HandOver, SignedHandOver
from shared.errors import Malformed
from tests.provisioning.handover.made import KERNEL, PORTS, SWAP, signed, visit, word

RED, AMBER, GREEN = bytes((176, 0, 32)), bytes((146, 84, 0)), bytes((0, 98, 60))


def read(pdf: bytes, folder: Path) -> str:
    """Return the text of the page without blanks, as a line may break anywhere."""
    file = folder / "page.pdf"
    file.write_bytes(pdf)
    shown = subprocess.run(["pdftotext", "-layout", str(file), "-"], capture_output=True, check=True).stdout.decode()
    return "".join(shown.split())


def colours(pdf: bytes, folder: Path) -> dict[bytes, int]:
    """Return how many pixels of a rendered page have each of the three colours. Fails where there is a second page."""
    file = folder / "page.pdf"
    file.write_bytes(pdf)
    subprocess.run(["pdftoppm", "-r", "36", "-aa", "no", "-aaVector", "no", str(file), str(folder / "p")], check=True)
    (picture,) = folder.glob("p-*.ppm")
    pixels = picture.read_bytes().split(b"\n255\n", 1)[1]
    every = [pixels[at : at + 3] for at in range(0, len(pixels), 3)]
    picture.unlink()
    return {colour: every.count(colour) for colour in (RED, AMBER, GREEN)}


def with_attached(*files: bytes) -> bytes:
    writer, out = PdfWriter(), BytesIO()
    writer.add_blank_page(100, 100)
    for file in files:
        writer.add_attachment("hand-over.json", file)
    writer.write(out)
    return out.getvalue()


def page(report: HandOver) -> bytes:
    return draw(signed(report))


def test_the_page_says_in_both_languages_what_the_report_says(tmp_path: Path) -> None:
    file = signed()
    pdf = draw(file)
    text = read(pdf, tmp_path)

    for said in (
        "Hand-over of a protected host", "受保护主机交接报告", "CT 二号机房 1.14", str(file.report.host_id), "王小明",
        "Ada Løvelace", "organisation 12, site-north 3", "TPM 安全芯片", "agent 0.1.0, guard 0.1.0", file.sha256,
        str(file.key_id), "swap-encryption", "交换区加密", SWAP.reason, SWAP.fix, PORTS.reason, "pin-console",
        "固定操作台设备", "this step was not made", "(1): kernel 内核", "phantom-opened 中心解密并比对一致",
        "1 FAIL 未通过", "4 NOT EVALUATED 未评估", "2 PASS 通过",
    ):  # fmt: skip
        assert all(part in text for part in said.split()), said
    assert attached_file(pdf, ATTACHMENT, "hand-over PDF") == file.encode()


def test_a_fail_is_never_drawn_as_a_pass(tmp_path: Path) -> None:
    """Keep the last page as the control: the very same finding, passed, is green and not listed as open."""
    failed, passed = (page(visit([replace(SWAP, verdict=of)], word())) for of in (Verdict.FAIL, Verdict.PASS))

    text = read(failed, tmp_path)
    assert "FAILpreflightswap-encryption" in text
    assert "swap-encryption" not in text.partition("已通过的项目")[2]
    assert colours(failed, tmp_path)[RED] > 0

    text = read(passed, tmp_path)
    assert "swap-encryption" in text.partition("已通过的项目")[2]
    assert colours(passed, tmp_path)[RED] == 0


def test_what_does_not_fit_is_named_and_counted_on_the_one_page(tmp_path: Path) -> None:
    many = [
        Finding(f"check-{number}", Verdict.FAIL if number % 2 else Verdict.NOT_EVALUATED, "a reason " * 40, "do " * 40)
        for number in range(60)
    ]
    pdf = page(visit([*many, KERNEL], word()))

    text = read(pdf, tmp_path)
    assert all(f"check-{number}" in text for number in range(60))
    assert "whosereasonsstandinthesignedfile" in text
    assert colours(pdf, tmp_path)[RED] > 0


def test_what_passed_is_named_as_far_as_there_is_room_and_always_counted(tmp_path: Path) -> None:
    many = [Finding(f"check-{number}", Verdict.PASS, "fine") for number in range(120)]

    text = read(page(visit(many, word())), tmp_path)
    assert all(f"check-{number}" in text for number in range(120))
    text = read(
        page(visit([*many, *[replace(SWAP, check=f"swap-{number}") for number in range(40)]], word())), tmp_path
    )
    assert "(120):" in text
    assert all(f"swap-{number}" in text for number in range(40))


def test_a_character_without_a_picture_is_named_and_not_left_blank(tmp_path: Path) -> None:
    text = read(page(replace(visit(said=word()), asset="CT \N{GRINNING FACE} 2")), tmp_path)

    assert "[notshown未显示U+1F600]" in text


@pytest.fixture(scope="module")
def drawn() -> bytes:
    return draw(signed())


@pytest.mark.parametrize("damage", ["no PDF", "cut", "nothing attached", "two attached"])
def test_a_pdf_without_just_one_signed_file_is_refused(damage: str, drawn: bytes) -> None:
    data = {
        "no PDF": b"%PDF-1.7\nnothing",
        "cut": drawn[: len(drawn) // 2],
        "nothing attached": with_attached(),
        "two attached": with_attached(signed().encode(), signed().encode()),
    }[damage]

    with pytest.raises(Malformed):
        SignedHandOver.parse(attached_file(data, ATTACHMENT, "hand-over PDF"))
