"""Cryptographic erase of real LUKS headers on loop devices, and what it comes to."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.media.answer import Answer
from edge_agent.media.disks import Disk
from edge_agent.media.head import Kind
from edge_agent.media.survey import Survey
from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.drives import Look, find_drives, look_in_child
from edge_agent.sanitize.luks import Attested, begin, considered, erase, resume
from edge_agent.sanitize.luks_areas import Area, all_inside, areas
from edge_agent.sanitize.programs import Ran
from shared.sanitization import luks
from shared.sanitization.luks import HeaderCopies, erased
from shared.sanitization.medium import MAGNETIC, MediumKind
from shared.sanitization.report import Extent, Extents, Step, StepOutcome
from shared.sanitization.technique import Available, SanitizationClass, Technique
from tests.edge_agent.media import made
from tests.edge_agent.sanitize.drive_trees import not_looked_at
from tests.edge_agent.sanitize.loops import loop_on
from tests.edge_agent.sanitize.test_refuse import MEDIUM, NOW

MIB = 1 << 20
SWORN = Attested(HeaderCopies.NONE_ATTESTED, from_start=True)


class Watching:
    def __init__(self, stop_at: int | None = None, also: Callable[[int, int], None] = lambda done, total: None) -> None:
        self.seen: list[tuple[int, int]] = []
        self._stop_at, self._also = stop_at, also

    def at(self, done: int, total: int) -> None:
        self.seen.append((done, total))
        self._also(done, total)

    @property
    def is_stopped(self) -> bool:
        return self._stop_at is not None and len(self.seen) >= self._stop_at


@contextmanager
def on_loop(image: Path) -> Iterator[Drive]:
    with loop_on(image) as node:
        yield next(each for each in find_drives(look=not_looked_at) if each.node == node)


def opens(image: Path) -> bool:
    command = ["/sbin/cryptsetup", "open", "--test-passphrase", "--batch-mode", "--key-file", "-", str(image)]
    return subprocess.run(command, input=b"passphrase", check=False, capture_output=True).returncode == 0


def backed_up(image: Path, folder: Path) -> Path:
    backup = folder / "backup"
    made.run(f"cryptsetup luksHeaderBackup {image} --header-backup-file {backup}")
    return backup


@pytest.mark.parametrize("kind", ["luks2", "luks1"])
def test_after_the_erase_no_passphrase_opens_it_until_somebody_brings_a_copy_of_the_header(
    tmp_path: Path, kind: str
) -> None:
    image = made.luks(tmp_path, 24 * MIB, kind)
    backup = backed_up(image, tmp_path)
    watch = Watching()
    assert opens(image)
    with on_loop(image) as drive:
        assert considered(drive).available is Available.YES
        step = erase(begin(drive), drive, watch, SWORN)
        assert considered(drive).available is Available.NO

    assert (step.outcome, step.completed, step.detail) == (StepOutcome.DONE, True, "")
    assert step.tool.startswith("cryptsetup 2.")
    assert step.bytes_written == step.bytes_total == 16 * MIB
    assert watch.seen[-1] == (16 * MIB, 16 * MIB)
    assert image.read_bytes()[: 16 * MIB] == bytes(16 * MIB)
    assert not opens(image)
    assert erased(drive.medium, step).reached is SanitizationClass.CLEAR

    # So the erase is only as good as the list of copies, and without one it comes to nothing.
    subprocess.run(
        ["/sbin/cryptsetup", "luksHeaderRestore", "--batch-mode", str(image), "--header-backup-file", str(backup)],
        check=True, capture_output=True,
    )  # fmt: skip
    assert opens(image)
    for attested in (Attested(), Attested(HeaderCopies.KNOWN, from_start=True, named="the key store of the ward")):
        judged = erased(drive.medium, replace(step, facts={**step.facts, **_facts(attested)}))
        assert judged.reached is SanitizationClass.NONE
        assert any("copies of header or key" in each for each in judged.not_reached)


def saying(answer: Answer) -> Look:
    return lambda disk: answer


def _facts(attested: Attested) -> dict[str, str | bool]:
    return {
        luks.COPIES: attested.copies.value, luks.NAMED_COPIES: attested.named, luks.FROM_START: attested.from_start,
    }  # fmt: skip


def test_a_key_that_opened_partitions_opens_none_of_them_and_plain_data_beside_them_is_not_reached(
    tmp_path: Path,
) -> None:
    encrypted, image = made.luks(tmp_path, 24 * MIB), tmp_path / "disk"
    image.write_bytes(made.mbr((0x83, 2048, 48 * 1024), (0x83, 2048 + 48 * 1024, 8192)) + bytes(MIB - 512))
    with image.open("ab") as file:
        file.write(encrypted.read_bytes() + bytes(4 * MIB))
    made.put(image, 25 * MIB + 1080, b"\x53\xef")  # the second partition is in clear
    with on_loop(image) as drive:
        step = erase(begin(drive), drive, Watching(), SWORN)
        assert considered(drive).available is Available.NO

    assert step.outcome is StepOutcome.DONE
    assert step.detail == "key slots of partition 1, which has no node, were overwritten only"
    assert image.read_bytes()[MIB : 17 * MIB] == bytes(16 * MIB)
    assert image.read_bytes()[:MIB] != bytes(MIB)  # the table stays
    assert step.facts[luks.ALL_INSIDE] is False
    assert erased(drive.medium, step).not_reached == ("data that no LUKS header of this drive encrypts",)


def test_where_cryptsetup_fails_or_lies_the_areas_are_overwritten_all_the_same(tmp_path: Path) -> None:
    for ran in (Ran(None, why="cryptsetup is not installed"), Ran(0)):
        image = made.luks(tmp_path, 24 * MIB)
        with on_loop(image) as drive:
            step = erase(begin(drive), drive, Watching(), SWORN, run=lambda command, timeout_s=30.0, /, ran=ran: ran)
        assert step.outcome is StepOutcome.DONE
        assert ("cryptsetup failed" in step.detail) == (ran.code != 0)
        assert not opens(image)


def test_where_other_bytes_come_back_than_were_written_it_has_failed_and_comes_to_nothing(tmp_path: Path) -> None:
    image = made.luks(tmp_path, 24 * MIB)
    for length, why in ((MIB, "a LUKS header is there after all"), (0, "other bytes than were written came back")):
        before = image.read_bytes()[: 4 * MIB]

        def lie(done: int, total: int, before: bytes = before, length: int = length) -> None:
            if done == total:
                made.put(image, 0 if length else 2 * MIB, before[:length] or b"PATIENT")

        with on_loop(image) as drive:
            step = erase(begin(drive), drive, Watching(also=lie), SWORN)

        assert (step.outcome, step.completed, step.detail) == (StepOutcome.FAILED, False, why)
        assert erased(drive.medium, step).reached is SanitizationClass.NONE


def test_where_a_second_look_finds_a_header_or_nothing_answers_it_has_failed(tmp_path: Path) -> None:
    image = made.luks(tmp_path, 24 * MIB)
    with on_loop(image) as drive:
        before = look_in_child(Disk(drive.number, "", ""))
        for answer in (before, Answer(drive.number, (), None, "it is dying")):
            step = erase(begin(drive, saying(before)), drive, Watching(), SWORN, look=saying(answer))
            assert (step.outcome, step.facts[luks.HEADERS_GONE]) == (StepOutcome.FAILED, 0)


def test_a_person_stops_it_and_it_goes_on_from_what_was_noted(tmp_path: Path) -> None:
    image = made.luks(tmp_path, 24 * MIB)
    with on_loop(image) as drive:
        before = image.read_bytes()
        noted = begin(drive)
        step = erase(noted, drive, Watching(stop_at=3), SWORN)

        assert (step.outcome, step.completed, step.bytes_written) == (StepOutcome.INTERRUPTED, False, 3 * MIB)
        assert erased(drive.medium, step).reached is SanitizationClass.NONE

        # No header is left that would tell where to go on; what was noted tells it.
        assert considered(drive).available is Available.NO
        again = resume(noted, drive, Watching(), SWORN)
    assert (again.outcome, again.resumed, again.bytes_written) == (StepOutcome.DONE, 1, 16 * MIB)
    assert again.facts["luks_header_0_sha256"] == sha256(before[: 16 * MIB]).hexdigest()
    assert erased(drive.medium, again).reached is SanitizationClass.CLEAR


def test_a_drive_that_somebody_else_has_is_not_touched(tmp_path: Path) -> None:
    image = made.luks(tmp_path, 24 * MIB)
    before = image.read_bytes()
    with on_loop(image) as drive:
        noted = begin(drive)
        descriptor = os.open(drive.node, os.O_RDONLY | os.O_EXCL)
        try:
            refused, failed = begin(drive), erase(noted, drive, Watching(), SWORN)
        finally:
            os.close(descriptor)

    assert (refused.outcome, refused.detail) == (StepOutcome.REFUSED, f"{drive.node}: Device or resource busy")
    assert (failed.outcome, failed.bytes_written) == (StepOutcome.FAILED, 0)
    assert image.read_bytes() == before


def test_a_drive_that_came_in_the_place_of_the_one_that_was_looked_at_is_not_touched(tmp_path: Path) -> None:
    image = made.luks(tmp_path, 24 * MIB)
    (tmp_path / "other").mkdir()
    another = made.luks(tmp_path / "other", 24 * MIB)
    before = another.read_bytes()
    with on_loop(image) as drive:
        noted = begin(drive)
        subprocess.run(["losetup", "--detach", drive.node], check=True)
        subprocess.run(["losetup", drive.node, another], check=True)
        step = erase(noted, drive, Watching(), SWORN)

    assert (step.outcome, step.bytes_written) == (StepOutcome.FAILED, 0)
    assert "in its place" in step.detail
    assert another.read_bytes() == before


def test_a_drive_without_a_header_or_that_cannot_be_read_is_refused_and_not_touched(tmp_path: Path) -> None:
    image = made.image(tmp_path, 4 * MIB)
    made.put(image, MIB, b"PATIENT")
    with on_loop(image) as drive:
        step = erase(begin(drive), drive, Watching(), SWORN)
        dying = begin(drive, saying(Answer(drive.number, (), None, "it is dying")))
        unread = erase(dying, drive, Watching(), SWORN)
        assert considered(drive, saying(Answer(drive.number, (), None, "x"))).available is Available.UNKNOWN

    assert (step.outcome, step.detail) == (StepOutcome.REFUSED, "no LUKS header lies on it")
    assert (unread.outcome, unread.detail) == (StepOutcome.REFUSED, "it is dying")
    assert image.read_bytes()[MIB : MIB + 7] == b"PATIENT"


def test_a_second_header_that_is_alone_and_a_damaged_one_are_erased_to_their_longest() -> None:
    whole = made.luks2_bytes(size_bytes=200 * MIB)
    cut = bytes(512) + whole[512:]

    assert areas(made.surveyed_bytes(whole), 512) == (Area(0, Kind.LUKS2, 0, 16 * MIB),)
    assert areas(made.surveyed_bytes(whole[:4096] + b"x" + whole[4097:0x4000] + bytes(199 * MIB)), 512) == (
        Area(0, Kind.LUKS2, 0, 136 * MIB),
    )
    assert [area.start for area in areas(made.surveyed_bytes(cut), 512)] == [0]


def test_all_is_inside_only_where_every_header_encrypts_and_nothing_lies_beside_it() -> None:
    luks1 = b"LUKS\xba\xbe\x00\x01" + b"aes".ljust(32, b"\0") + b"xts-plain64".ljust(32, b"\0") + bytes(600)
    table = made.mbr((0x83, 2048, 2048))

    def disk(header: bytes, beside: bytes = bytes(MIB)) -> Survey:
        return made.surveyed_bytes(table + bytes(MIB - 512) + header.ljust(MIB, b"\0") + bytes(MIB) + beside)

    assert all_inside(made.surveyed_bytes(made.luks2_bytes()))
    assert all_inside(made.surveyed_bytes(luks1.ljust(MIB, b"\0")))
    assert all_inside(disk(luks1))
    assert not all_inside(disk(luks1, b"PATIENT".ljust(MIB, b"\0")))
    assert not all_inside(disk(luks1.replace(b"aes", b"cipher_null", 1)))
    assert not all_inside(disk(b"PATIENT"))
    assert not all_inside(made.surveyed_bytes(bytes(MIB)))


# ---- what it comes to

DONE: dict[str, Any] = {
    luks.HEADERS: 2, luks.HEADERS_GONE: 2, luks.ALL_INSIDE: True, luks.COPIES: "none-attested", luks.NAMED_COPIES: "",
    luks.FROM_START: True,
}  # fmt: skip
NEEDED = DONE.keys() - {luks.NAMED_COPIES}


def step(**changes: Any) -> Step:
    return replace(
        Step(
            Technique.LUKS_ERASE, "", "cryptsetup 2.6.1", StepOutcome.DONE, accepted=True, progress_seen=True,
            completed=True, pattern="00", commitment=None, seed=None, bytes_total=MIB, bytes_written=MIB, retries=0,
            unwritable=Extents(0, ()), resumed=0, started=NOW, ended=NOW, detail="", facts=DONE,
        ),
        **changes,
    )  # fmt: skip


@given(st.sampled_from(MediumKind), st.booleans())
def test_it_is_purge_on_a_magnetic_drive_only_and_elsewhere_says_what_may_survive(
    kind: MediumKind, rotational: bool
) -> None:
    judged = erased(replace(MEDIUM, kind=kind, rotational=rotational), step())

    is_magnetic = kind in MAGNETIC and rotational
    assert judged.reached is (SanitizationClass.PURGE if is_magnetic else SanitizationClass.CLEAR)
    assert bool(judged.not_reached) is not is_magnetic


@pytest.mark.parametrize(
    "changes",
    [
        {"technique": Technique.OVERWRITE},
        {"outcome": StepOutcome.UNKNOWN},
        {"outcome": StepOutcome.INTERRUPTED},
        {"completed": False},
        {"bytes_written": MIB - 512},
        {"bytes_total": 0, "bytes_written": 0},
        {"unwritable": Extents(1, (Extent(7, 1),))},
        *({"facts": {name: DONE[name] for name in DONE if name != missing}} for missing in NEEDED),
        {"facts": {**DONE, luks.HEADERS_GONE: 1}},
        {"facts": {**DONE, luks.HEADERS: 0, luks.HEADERS_GONE: 0}},
        {"facts": {**DONE, luks.ALL_INSIDE: 1}},
        {"facts": {**DONE, luks.COPIES: "unknown"}},
        {"facts": {**DONE, luks.COPIES: "known"}},
        {"facts": {**DONE, luks.FROM_START: False}},
    ],
)  # fmt: skip
def test_it_comes_to_nothing_where_anything_of_it_is_missing(changes: dict[str, Any]) -> None:
    judged = erased(MEDIUM, step(**changes))

    assert judged.reached is SanitizationClass.NONE
    assert judged.not_reached
