# ruff: noqa: RUF001 (Chinese has punctuation of its own)
"""Every sentence that a host's code may sign is there in Chinese, and what is no sentence of ours stays as it is."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.sanitization.details import DETAILS, chinese, in_both

ROOT = Path(__file__).parents[3]
# Whose words go into a report. What they raise is told too, but for what a parser says of an answer in no known form.
SPEAKERS = (
    "edge_agent/sanitize/capabilities.py", "edge_agent/sanitize/hidden.py", "edge_agent/sanitize/luks.py",
    "edge_agent/sanitize/ending.py", "edge_agent/sanitize/health.py", "edge_agent/sanitize/programs.py",
    "edge_agent/sanitize/engine/write.py", "edge_agent/sanitize/firmware/ata.py",
    "edge_agent/sanitize/firmware/commands.py", "edge_agent/sanitize/firmware/discard.py",
    "edge_agent/sanitize/firmware/mmc.py", "edge_agent/sanitize/firmware/nvme.py",
    "edge_agent/sanitize/firmware/sanitizing.py", "edge_agent/sanitize/firmware/scsi.py",
    "edge_agent/sanitize/firmware/tools.py", "shared/sanitization/luks.py",
)  # fmt: skip
# Patterns of what is read, records and commands: no sentences.
NO_SENTENCE = re.compile(
    r"[\^\[]|hdparm |answer of |DCO Checksum|completed without error|action X|--timeout|; it is under our|\. Where|X; "
)
# Parts of a sentence, each of them tried within the whole of it below.
PARTS = {
    "the drive says nothing more": "the drive says nothing more; it goes on by itself: ask again",
    "it is at work still after X s": "it is at work still after 12 s; it goes on by itself: ask again",
    "X is not installed": "hdparm is not installed (package hdparm)",
    "X cannot be started: X": "hdparm cannot be started: Permission denied (package hdparm)",
    "X did not end within X s": "nvme did not end within 30 s (package nvme-cli)",
    "X did not end within X s, and cannot be ended": "nvme did not end within 30 s, and cannot be ended (package nvme)",
    "X (package X)": "mmc is not installed (package mmc-utils)",
    "the drive is locked by a password that nobody gave usX": (
        "the drive is locked by a password that nobody gave us. Where a wipe was cut off and given up, hdparm "
        "takes it off"
    ),
    "the drive is under a password already: have it taken off firstX": (
        "the drive is under a password already: have it taken off first. Where a wipe was cut off and given up, hdparm "
        "takes it off"
    ),
    "the drive did not erase: XX": "the drive did not erase: SG_IO; it is under our password still (hdparm)",
    "another drive may have come in its place": "",  # raised, and told as why a drive could not be read
    "the drive took X of X bytes at X": "",
    "the drive gave X of X bytes at X": "",
}


def sentences() -> Iterator[str]:
    for file in SPEAKERS:
        tree = ast.parse((ROOT / file).read_text())
        documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
        inside = {id(part) for one in ast.walk(tree) if isinstance(one, ast.JoinedStr) for part in one.values}
        inside |= {
            id(one.body[0].value)
            for one in ast.walk(tree)
            if isinstance(one, documented) and isinstance(one.body[0], ast.Expr)
        }
        # What a parser says of an answer that has no known form is told as "... is malformed: ...".
        inside |= {id(part) for one in ast.walk(tree) if _is_malformed(one) for part in ast.walk(one)}
        for one in ast.walk(tree):
            text = _text(one)
            if id(one) not in inside and text.count(" ") >= 2 and not NO_SENTENCE.search(text):
                yield text


def _text(one: ast.AST) -> str:
    match one:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in parts)
    return ""


def _is_malformed(one: ast.AST) -> bool:
    return isinstance(one, ast.Call) and isinstance(one.func, ast.Name) and one.func.id == "Malformed"


def test_every_sentence_of_a_host_has_its_chinese() -> None:
    said = set(sentences())
    without = sorted(one for one in said - set(PARTS) if chinese(one) == one)

    assert len(said) > 60, "the sentences are found at all"
    assert without == []
    assert [whole for whole in PARTS.values() if whole and chinese(whole) == whole] == []
    assert not set(PARTS) - said, "a part that nobody says any more"


@pytest.mark.parametrize(
    "english, expected",
    [
        ("the drive says that it ended well", "硬盘报告成功结束"),
        ("4096 of 5000 sectors can be addressed", "5000 个扇区中有 4096 个可寻址"),
        ("not known: hdparm is not installed (package hdparm)", "不明：未安装 hdparm（软件包 hdparm）"),
        # The words of a tool stay as they are, in both.
        ("the drive did not take the command: NVMe status: Invalid", "硬盘未接受命令：NVMe status: Invalid"),
        ("overwrite pass 2 of 3: stopped by a person", "覆写 第 2 遍，共 3 遍：由人员停止"),
        ("a LUKS header is there after all; other bytes than were written came back",
         "盘上仍有 LUKS 卷头；读回的内容与写入的不同"),
    ],
)  # fmt: skip
def test_both_languages_say_the_same_of_the_same_facts(english: str, expected: str) -> None:
    assert chinese(english) == expected
    assert in_both(english) == f"{english}  {expected}"


@pytest.mark.parametrize("said", ["", "SG_IO: bad/missing sense data", "{0}", "the drive says that it ended well!"])
def test_what_is_no_sentence_of_ours_is_said_once_and_as_it_is(said: str) -> None:
    assert chinese(said) == said
    assert in_both(said) == said


def test_no_sentence_is_hidden_behind_another() -> None:
    """Of two entries that match the same text the first is taken, so it has to be its own."""
    for words in DETAILS:
        sample = re.sub(r"\{\w+\}", "7", words.en)
        assert chinese(sample) == re.sub(r"\{\w+\}", "7", words.zh), sample
