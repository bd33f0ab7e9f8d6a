"""Losses that a disk's bad hour left behind end by themselves, and none that is one does."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import select

from control_plane.app import ControlPlane
from control_plane.db.models import Host, LostObject, Object
from control_plane.db.transactions import DatabaseUnavailable
from control_plane.settings import Settings
from control_plane.vault.losses import Losses, OpenLoss, gaps
from control_plane.vault.object_store import Body, BodyUnreadable
from control_plane.vault.rechecking import BrokenOff, LossRecheck, PacedRecheck
from shared.audit.events import Event
from shared.clock import SystemClock
from shared.errors import IntegrityFailure
from shared.identity import ObjectId
from tests.control_plane.begun import begun
from tests.control_plane.fleet.processes import eventually
from tests.control_plane.vault.bench import Bench, HostBench, SealedImage
from tests.control_plane.vault.test_losses import (
    cut,
    events,
    given_up,
    harmed,
    not_given,
    not_opened,
    rot,
    states,
    take_away,
)

Harm = Callable[[Bench, SealedImage], None]


class Asked:
    """The bodies of a bench, and which of them were asked for."""

    def __init__(self, bench: Bench) -> None:
        self._bodies, self.ids = bench.objects, list[ObjectId]()

    def open(self, object_id: ObjectId) -> Body:
        self.ids.append(object_id)
        return self._bodies.open(object_id)


def lost(
    bench: Bench, host: HostBench, count: int, harm: Harm = not_given, size_bytes: int = 1000
) -> list[tuple[SealedImage, bytes]]:
    """Return lost images, by their ids, with the bodies that they had."""
    images = []
    for number in range(count):
        image = host.seal(bytes([number]) * size_bytes)
        bench.receive(image)
        images.append((image, bench.body(image.object_id).read_bytes()))
        harm(bench, image)
        with pytest.raises((IntegrityFailure, BodyUnreadable)):
            bench.read(image)
    return sorted(images, key=lambda one: str(one[0].object_id))


def give_again(bench: Bench, image: SealedImage, body: bytes) -> None:
    path = bench.body(image.object_id)
    path.unlink(missing_ok=True)
    path.write_bytes(body)


def open_losses(bench: Bench) -> list[ObjectId]:
    return [one.object_id for one in bench.losses.open_after(None)]


@pytest.mark.parametrize("harm", [not_given, not_opened, take_away])
def test_when_the_disk_is_well_again_the_losses_end_by_themselves_and_are_recorded(
    bench: Bench, host: HostBench, harm: Harm
) -> None:
    images = lost(bench, host, 5, harm)
    assert len(open_losses(bench)) == 5
    for image, body in images:
        give_again(bench, image, body)

    assert LossRecheck(bench.losses, bench.objects).round() == 5

    assert events(bench) == [Event.OBJECT_LOST] * 5 + [Event.LOSS_OVER] * 5
    with bench.database() as session:
        assert list(gaps(session)) == []
    for image, _ in images:
        assert bench.intake.receipt_of(image.object_id, host.host_id)
    assert LossRecheck(bench.losses, bench.objects).round() == 0
    assert len(events(bench)) == 10


def test_a_loss_that_was_given_up_ends_too_and_what_is_lost_afterwards_is_open_again(
    bench: Bench, host: HostBench
) -> None:
    ((image, body),) = lost(bench, host, 1, take_away)
    given_up(bench, image)
    assert LossRecheck(bench.losses, bench.objects).round() == 0
    assert states(bench) == (["lost, settled"], 0, 1)

    give_again(bench, image, body)
    assert LossRecheck(bench.losses, bench.objects).round() == 1
    assert states(bench) == ([], 0, 0)

    take_away(bench, image)
    with pytest.raises(IntegrityFailure):
        bench.read(image)
    assert states(bench) == (["lost"], 1, 0)


@pytest.mark.parametrize("harm", [not_given, not_opened, take_away, rot, cut])
def test_control_what_is_not_as_its_host_signed_it_stays_lost(bench: Bench, host: HostBench, harm: Harm) -> None:
    image = harmed(bench, host, harm)

    assert LossRecheck(bench.losses, bench.objects).round() == 0

    assert open_losses(bench) == [image.object_id]
    assert events(bench) == [Event.OBJECT_LOST]


def test_a_body_is_read_to_its_last_byte_before_its_loss_ends(bench: Bench, host: HostBench) -> None:
    ((image, body),) = lost(bench, host, 1, take_away, 1_500_000)

    for there in (body[:-1] + bytes([body[-1] ^ 1]), body[:-1], body + b"x"):
        give_again(bench, image, there)
        assert LossRecheck(bench.losses, bench.objects).round() == 0
    give_again(bench, image, body)
    assert LossRecheck(bench.losses, bench.objects).round() == 1


def test_a_disk_that_is_not_well_yet_is_asked_for_three_bodies_and_the_next_round_goes_on_behind_them(
    bench: Bench, host: HostBench
) -> None:
    images, bodies = lost(bench, host, 7), Asked(bench)
    recheck = LossRecheck(bench.losses, bodies)

    assert [recheck.round() for _ in range(2)] == [0, 0]
    assert bodies.ids == [image.object_id for image, _ in images[:6]]

    for image, body in images:
        give_again(bench, image, body)
    assert [recheck.round() for _ in range(2)] == [1, 6]


def test_bodies_that_the_disk_never_gives_again_keep_no_others_waiting(bench: Bench, host: HostBench) -> None:
    images = lost(bench, host, 6)
    for image, body in images[::2]:
        give_again(bench, image, body)

    assert LossRecheck(bench.losses, bench.objects).round() == 3
    assert open_losses(bench) == [image.object_id for image, _ in images[1::2]]


def test_a_round_reads_so_much_and_no_more(bench: Bench, host: HostBench) -> None:
    images = lost(bench, host, 5, take_away)
    for image, body in images:
        give_again(bench, image, body)
    recheck = LossRecheck(bench.losses, bench.objects, most_bytes=2 * len(images[0][1]))

    assert [recheck.round() for _ in range(4)] == [2, 2, 1, 0]


def test_no_more_than_a_few_losses_are_held_at_a_time_and_none_is_left_out(
    bench: Bench, host: HostBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.vault.losses._AT_ONCE", 2)
    images = lost(bench, host, 5, take_away)
    for image, body in images:
        give_again(bench, image, body)

    assert LossRecheck(bench.losses, bench.objects).round() == 5


def test_where_the_disk_is_not_mounted_nothing_ends_and_the_rest_waits(
    bench: Bench, host: HostBench, caplog: pytest.LogCaptureFixture
) -> None:
    lost(bench, host, 4, take_away)
    (bench.folder / "objects").rename(bench.folder / "away")
    bodies = Asked(bench)

    with caplog.at_level(logging.WARNING):
        LossRecheck(bench.losses, bodies).round()

    assert [record.message for record in caplog.records] == ["vault.recheck-waits"]
    assert (len(bodies.ids), len(open_losses(bench))) == (3, 4)


def test_one_body_that_cannot_be_asked_for_keeps_no_others_waiting(bench: Bench, host: HostBench) -> None:
    (strange, _), (image, body) = lost(bench, host, 2, take_away)
    bench.body(strange.object_id).mkdir()
    give_again(bench, image, body)

    assert LossRecheck(bench.losses, bench.objects).round() == 1
    assert open_losses(bench) == [strange.object_id]


def test_a_database_that_is_away_puts_a_round_off(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    class Away(Losses):
        def open_after(self, after: ObjectId | None) -> Iterator[OpenLoss]:
            raise DatabaseUnavailable("it is locked")

    with caplog.at_level(logging.WARNING):
        PacedRecheck(Away(bench.database, bench.journal, bench.clock), bench.objects).round()

    assert [record.message for record in caplog.records] == ["vault.recheck-waits"]


def test_a_row_that_was_altered_ends_a_round_and_the_next_goes_on_behind_it(
    bench: Bench, host: HostBench, caplog: pytest.LogCaptureFixture
) -> None:
    images = lost(bench, host, 2, take_away)
    for image, body in images:
        give_again(bench, image, body)
    (altered, _), _ = images
    bench.sql("UPDATE objects SET body_bytes = 'none' WHERE object_id = :id", id=str(altered.object_id))
    paced = PacedRecheck(bench.losses, bench.objects)

    with caplog.at_level(logging.ERROR):
        paced.round()
    assert [record.message for record in caplog.records] == ["vault.recheck-failed"]
    paced.round()
    with bench.database() as session:
        assert list(session.scalars(select(LostObject.object_id))) == [str(altered.object_id)]


def test_it_rests_before_each_body_and_after_each_quarter_of_a_mebibyte(bench: Bench, host: HostBench) -> None:
    (one, body), (other, _) = lost(bench, host, 2, take_away, 1 << 20)
    give_again(bench, one, body)
    rests = list[int]()

    LossRecheck(bench.losses, bench.objects, lambda: rests.append(1)).round()

    assert len(rests) == 2 + -(-len(body) // (1 << 18))
    assert open_losses(bench) == [other.object_id]


def test_a_round_that_is_broken_off_in_the_middle_of_a_body_ends_nothing(bench: Bench, host: HostBench) -> None:
    ((image, body),) = lost(bench, host, 1, take_away, 1 << 20)
    give_again(bench, image, body)
    rests = iter([None, None])

    def rest() -> None:
        if next(rests, BrokenOff) is BrokenOff:
            raise BrokenOff

    with pytest.raises(BrokenOff):
        LossRecheck(bench.losses, bench.objects, rest).round()

    assert open_losses(bench) == [image.object_id]


def test_a_centre_that_stops_waits_for_no_round_and_says_nothing_of_it(
    bench: Bench, host: HostBench, caplog: pytest.LogCaptureFixture
) -> None:
    ((image, body),) = lost(bench, host, 1, take_away)
    give_again(bench, image, body)
    paced = PacedRecheck(bench.losses, bench.objects)
    paced.stop()

    paced.round()

    assert (open_losses(bench), caplog.records) == ([image.object_id], [])


def test_a_control_plane_that_starts_ends_what_is_no_loss_any_more_and_nothing_else(
    bench: Bench, host: HostBench, tmp_path: Path
) -> None:
    (cut_short, cut_body), (whole, body) = lost(bench, host, 2, take_away)
    centre, place = missing(bench, tmp_path)
    place(cut_short).write_bytes(cut_body[:-1])
    place(whole).write_bytes(body)

    centre.start()
    try:
        # The control comes first, for they are looked at in the order of their ids.
        assert eventually(lambda: missed(centre) == [cut_short.object_id])
    finally:
        centre.stop()


def test_a_disk_that_hangs_holds_up_neither_a_start_nor_a_stop(
    bench: Bench, host: HostBench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("control_plane.vault.rechecking._JOIN_S", 0.1)
    ((image, _),) = lost(bench, host, 1, take_away)
    centre, place = missing(bench, tmp_path)
    where = place(image)
    os.mkfifo(where)  # whoever reads it waits for what is written

    centre.start()
    with where.open("wb"):  # which waits for a reader
        stopping = Thread(target=centre.stop, daemon=True)
        stopping.start()
        stopping.join(30)
        assert not stopping.is_alive()


def missing(bench: Bench, folder: Path) -> tuple[ControlPlane, Callable[[SealedImage], Path]]:
    """Return a control plane that lost the images that `bench` lost, and what says where the body of one would be."""
    (folders, _), clock = begun(folder / "begun"), SystemClock()
    centre = ControlPlane(Settings(folders, host_port=0, enrol_port=0, people_port=0, with_broker=False), clock)
    with bench.database() as theirs, centre._database.begin() as own:
        for row in (Host, Object, LostObject):
            for one in theirs.scalars(select(row)):
                own.merge(one)
            own.flush()
    return centre, lambda image: folders.objects / str(image.object_id)[:2] / f"{image.object_id}.body"


def missed(centre: ControlPlane) -> list[ObjectId]:
    return [one.object_id for one in centre._losses().open_after(None)]
