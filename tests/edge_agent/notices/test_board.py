"""The notices that people read: bounded, whole at any moment, numbered on, and read without trust."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.notices.board import NoticeBoard, NoticesUnavailable, read
from edge_agent.notices.follow import Follower, follow
from edge_agent.notices.notice import MAX_BYTES, MAX_NOTICES, Kind, Notice, encode, parse, told_of
from shared.devices.device import Interface, UsbDevice
from shared.devices.policy import DevicePolicy
from shared.devices.verdict import Access, Cause, Target, Verdict
from shared.errors import Malformed
from tests.edge_agent.notices.told import TOLD

NOW = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
STICK = UsbDevice("1-2", "usb1", 0x0781, 0x5581, "Ultra\n", "4C53", "", "", (Interface(8, 6, 0x50),))
POLICY = DevicePolicy(contact="IT service, 4711", language="zh")


def test_what_is_posted_is_read_by_others(tmp_path: Path) -> None:
    board = NoticeBoard(tmp_path / "notices.json")
    board.post(TOLD)
    board.post(replace(TOLD, port="1-3"))

    assert [(notice.number, notice.told.port) for notice in read(tmp_path / "notices.json")] == [
        (1, "1-2.4"),
        (2, "1-3"),
    ]
    assert (tmp_path / "notices.json").stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir()] == ["notices.json"]


def test_the_oldest_go_and_numbers_go_on(tmp_path: Path) -> None:
    board = NoticeBoard(tmp_path / "notices.json")
    for _ in range(MAX_NOTICES + 7):
        board.post(TOLD)

    notices = read(tmp_path / "notices.json")
    assert [notice.number for notice in notices] == list(range(8, MAX_NOTICES + 8))


def test_the_longest_texts_there_can_be_stay_within_bounds(tmp_path: Path) -> None:
    board = NoticeBoard(tmp_path / "notices.json")
    for _ in range(MAX_NOTICES):
        board.post(replace(TOLD, name="漢" * 126, detail="漢" * 300, contact="漢" * 300))

    assert (tmp_path / "notices.json").stat().st_size <= MAX_BYTES
    assert read(tmp_path / "notices.json")[-1].number == MAX_NOTICES


def test_a_guard_that_is_started_again_numbers_on(tmp_path: Path) -> None:
    NoticeBoard(tmp_path / "notices.json").post(TOLD)
    NoticeBoard(tmp_path / "notices.json").post(TOLD)

    assert [notice.number for notice in read(tmp_path / "notices.json")] == [1, 2]


def test_a_guard_starts_over_a_file_that_is_no_list_of_notices(tmp_path: Path) -> None:
    (tmp_path / "notices.json").write_text("{")
    NoticeBoard(tmp_path / "notices.json").post(TOLD)

    assert len(read(tmp_path / "notices.json")) == 1


def test_a_link_in_its_place_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("kept")
    (tmp_path / "notices.json").symlink_to(tmp_path / "other")
    NoticeBoard(tmp_path / "notices.json").post(TOLD)

    assert (tmp_path / "other").read_text() == "kept"


def test_no_notices_yet_is_not_an_error(tmp_path: Path) -> None:
    assert read(tmp_path / "notices.json") == ()


def test_a_board_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(NoticesUnavailable):
        NoticeBoard(tmp_path / "missing" / "notices.json").post(TOLD)


def test_a_follower_shows_each_notice_once_also_when_numbers_begin_anew(tmp_path: Path) -> None:
    path = tmp_path / "notices.json"
    board = NoticeBoard(path)
    board.post(TOLD)
    follower = Follower(path, from_start=False)
    assert follower.new() == []
    board.post(replace(TOLD, port="1-3"))
    assert [notice.told.port for notice in follower.new()] == ["1-3"]
    path.unlink()
    NoticeBoard(path).post(replace(TOLD, time=NOW + timedelta(hours=1)))

    assert [notice.number for notice in follower.new()] == [1]
    assert follower.new() == []


def test_following_waits_between_two_looks(tmp_path: Path) -> None:
    board = NoticeBoard(tmp_path / "notices.json")
    notices = follow(Follower(tmp_path / "notices.json", from_start=False), lambda _: board.post(TOLD))

    assert [next(notices).number for _ in range(3)] == [1, 2, 3]


def test_what_is_blocked_is_told_in_the_words_of_policy() -> None:
    told = told_of(STICK, Verdict(Target.BLOCK, Cause.DEFAULT, 2, "serial"), POLICY, NOW)

    assert told is not None
    assert (told.kind, told.contact, told.language, told.name) == (
        Kind.STORAGE,
        "IT service, 4711",
        "zh",
        "Ultra\ufffd",
    )


def test_without_a_policy_it_is_told_too() -> None:
    told = told_of(STICK, Verdict(Target.BLOCK, Cause.NO_POLICY), None, NOW)

    assert told is not None
    assert (told.contact, told.language) == ("", "en")


@pytest.mark.parametrize(
    "verdict, is_told",
    [
        (Verdict(Target.ALLOW, Cause.RULE, 1), False),
        (Verdict(Target.ALLOW, Cause.PINNED_CONSOLE), False),
        (Verdict(Target.ALLOW, Cause.ROOT_HUB), False),
        (Verdict(Target.ALLOW, Cause.RULE, 1, access=Access.READ_ONLY), True),
        (Verdict(Target.ALLOW, Cause.RULE, 1, would_be=Target.BLOCK), True),
        (Verdict(Target.ALLOW, Cause.RESCUE), True),
        (Verdict(Target.REJECT, Cause.SUSPICIOUS), True),
    ],
)
def test_people_are_told_of_what_does_not_work_as_they_expect(verdict: Verdict, is_told: bool) -> None:
    assert (told_of(STICK, verdict, POLICY, NOW) is not None) is is_told


def test_notices_that_were_printed_are_read_back() -> None:
    notices = (Notice(1, TOLD), Notice(2, replace(TOLD, meant=Target.REJECT, language="zh")))

    assert parse(encode(notices)) == notices


@given(st.data())
def test_notices_with_a_character_changed_are_refused_or_are_other_notices(data: st.DataObject) -> None:
    printed = encode([Notice(1, TOLD)])
    at = data.draw(st.integers(0, len(printed) - 1))
    changed = printed[:at] + data.draw(st.binary(min_size=1, max_size=1)) + printed[at + 1 :]
    try:
        read_back = parse(changed)
    except Malformed:
        return

    assert encode(read_back) == changed


@pytest.mark.parametrize("change", [{"v": 2}, {"notices": [{}]}, {"notices": {}}, {"more": 1}])
def test_notices_of_another_form_are_refused(change: dict[str, object]) -> None:
    text = json.dumps({"v": 1, "notices": [], **change}, sort_keys=True, separators=(",", ":"))

    with pytest.raises(Malformed):
        parse(text.encode())


def test_more_than_there_can_be_is_refused_before_it_is_read() -> None:
    with pytest.raises(Malformed, match="larger"):
        parse(b" " * (MAX_BYTES + 1))
