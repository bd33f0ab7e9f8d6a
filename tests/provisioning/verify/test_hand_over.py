"""An outsider with a root certificate and the file: what is genuine, and what somebody made up."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from provisioning.finding import Verdict
from provisioning.handover.page import draw
from provisioning.handover.report import SignedHandOver, sign
from provisioning.verify.__main__ import main
from provisioning.verify.checks import State
from provisioning.verify.hand_over import judge_hand_over
from shared.enrolment.chain import Trust
from shared.identity import CONTROL_PLANE, HostId
from shared.self_test.exchange import CentresWord, Comparison
from tests.fakes.centre import Authority
from tests.provisioning.handover.made import (
    AUTHORITY,
    HOST,
    NOW,
    certified,
    new_signer,
    signed,
    visit,
    word,
)

WORD = "the centre opened the phantom"


def failed(file: SignedHandOver, trust: Trust = AUTHORITY.trust) -> list[str]:
    return [check.name for check in judge_hand_over(file, trust).checks if check.state is State.FAILED]


def test_a_genuine_report_of_a_failure_is_genuine_and_says_so() -> None:
    judged = judge_hand_over(signed(), AUTHORITY.trust)

    assert judged.ok
    assert "1 fail, 4 not evaluated" in judged.conclusion
    assert any("fail           preflight     swap-encryption" in line for line in judged.lines())


def test_a_report_of_another_authority_or_signed_by_another_is_not_proven() -> None:
    assert failed(signed(), Authority().trust) == [
        "certificate issued by the authority",
        "certificate valid at the time of the report",
        WORD,
    ]
    stranger = sign(visit(said=word()), new_signer(), signed().certificate)
    assert failed(stranger) == ["signature of the host"]
    other_host = signed(name=str(HostId.new()))
    assert failed(other_host) == ["certificate names the signer"]
    long_ago = signed(replace(visit(said=word()), made=NOW.replace(year=2001)))
    assert "certificate valid at the time of the report" in failed(long_ago)


def test_one_changed_character_is_found() -> None:
    file = signed()
    forged = replace(file, report=replace(file.report, received_by="Ada Lovelace"))

    assert failed(forged) == ["signature of the host"]


_LIAR = new_signer()


@pytest.mark.parametrize(
    "said",
    [
        None,
        word(host=HostId.new()),
        word(comparison=Comparison.DIFFERS),
        CentresWord(word(signer=_LIAR).statement, certified(CONTROL_PLANE, new_signer())),
        word(signer=_LIAR, certificate=certified(str(HOST), _LIAR)),
        word(signer=_LIAR, certificate=certified(CONTROL_PLANE, _LIAR, Authority())),
        word(opened=NOW - timedelta(days=30)),
        CentresWord(word().statement[:-1] + b"\0", word().certificate),
    ],
    ids=["none", "another host", "differs", "another key", "a host's key", "another authority", "a month old", "a bit"],
)
def test_a_host_cannot_say_by_itself_that_the_centre_opened_its_phantom(said: CentresWord | None) -> None:
    assert failed(signed(visit(said=said))) == [WORD]


def test_where_nothing_is_claimed_the_centres_word_is_not_evaluated() -> None:
    report = visit()
    steps = tuple(replace(step, findings=()) if step.step == "self-test" else step for step in report.steps)
    judged = judge_hand_over(signed(replace(report, steps=steps)), AUTHORITY.trust)

    assert judged.ok
    assert [check.state for check in judged.checks if check.name == WORD] == [State.NOT_EVALUATED]
    assert judged.report.count(Verdict.NOT_EVALUATED) == 5


def test_the_command_reads_file_and_pdf_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, json_file, pdf = tmp_path / "ca.pem", tmp_path / "h.json", tmp_path / "h.pdf"
    root.write_bytes(AUTHORITY.pem)
    json_file.write_bytes(signed().encode())
    pdf.write_bytes(draw(signed()))

    for file in (json_file, pdf):
        assert main(["hand-over", str(file), "--root", str(root), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["report"]["engineer"] == "王小明"
    json_file.write_bytes(signed().encode().replace("王小明".encode(), "王小朋".encode()))
    assert main(["hand-over", str(json_file), "--root", str(root)]) == 1
    json_file.write_bytes(b"{}")
    assert main(["hand-over", str(json_file), "--root", str(root)]) == 2
