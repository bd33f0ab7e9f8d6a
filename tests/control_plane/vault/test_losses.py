"""What the vault lost: its host is told, the image is taken in again, and then it is lost no more."""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from control_plane.vault.final_losses import FinalLosses, NoOpenLoss
from control_plane.vault.local import DAMAGED
from control_plane.vault.losses import gaps
from control_plane.vault.object_store import Body, BodyConflict, BodyUnreadable, StoreUnavailable
from control_plane.vault.opening import ReasonMissing
from control_plane.vault.receive import NotHeld, ObjectConflict
from shared.audit.events import Event
from shared.audit.record import AuditRecord
from shared.errors import IntegrityFailure
from shared.identity import ObjectId
from shared.sealing.index import IndexEntry
from shared.sealing.open import ObjectAltered
from shared.sealing.record import sign_record, verify_record
from tests.control_plane.vault.bench import ENTRY, NOTHING_READ, TRANSFER_SYNTAX, Bench, HostBench, SealedImage
from tests.control_plane.vault.harm import not_given_to_a_reader, not_given_to_an_opener
from tests.control_plane.vault.test_receive import rebuilt

Harm = Callable[[Bench, SealedImage], None]


def take_away(bench: Bench, image: SealedImage) -> None:
    bench.body(image.object_id).unlink()


def rot(bench: Bench, image: SealedImage) -> None:
    path = bench.body(image.object_id)
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)


def cut(bench: Bench, image: SealedImage) -> None:
    os.truncate(bench.body(image.object_id), 100)


def not_given(bench: Bench, image: SealedImage) -> None:
    not_given_to_a_reader(bench.body(image.object_id))


def not_opened(bench: Bench, image: SealedImage) -> None:
    not_given_to_an_opener(bench.body(image.object_id))


def harmed(bench: Bench, host: HostBench, harm: Harm = take_away, dataset: bytes = b"image" * 9000) -> SealedImage:
    """Return an image that is lost, and of which somebody found that out."""
    image = host.seal(dataset)
    bench.receive(image)
    harm(bench, image)
    with pytest.raises((IntegrityFailure, BodyUnreadable)):
        bench.read(image)
    return image


def events(bench: Bench) -> list[str]:
    return [event for event in bench.events() if event in {Event.OBJECT_LOST, Event.LOSS_OVER}]


def named_as_over(bench: Bench) -> list[str]:
    records = [AuditRecord.parse(row.public) for row in bench.rows("SELECT public FROM audit_records")]
    return [what.name for record in records if record.event is Event.LOSS_OVER for what in record.what]


def said(bench: Bench) -> list[str]:
    with bench.database() as session:
        return list(gaps(session))


@pytest.mark.parametrize("harm", [take_away, rot, cut, not_given, not_opened])
def test_its_host_is_told_and_no_other_until_it_has_asked(bench: Bench, host: HostBench, harm: Harm) -> None:
    kept, other = host.seal(), bench.enrol()
    bench.receive(kept)

    lost = harmed(bench, host, harm)

    assert [bench.losses.untold(one.host_id) for one in (host, other)] == [(lost.object_id,), ()]
    with pytest.raises(NotHeld):
        bench.intake.receipt_of(lost.object_id, other.host_id)
    assert bench.losses.untold(host.host_id) == (lost.object_id,)
    with pytest.raises(NotHeld):
        bench.intake.receipt_of(lost.object_id, host.host_id)
    assert bench.losses.untold(host.host_id) == ()
    assert bench.intake.receipt_of(kept.object_id, host.host_id)


def test_a_loss_is_recorded_once_and_the_status_names_it(bench: Bench, host: HostBench) -> None:
    lost = harmed(bench, host)
    with pytest.raises(IntegrityFailure):
        bench.read(lost)

    assert events(bench) == [Event.OBJECT_LOST]
    (line,) = said(bench)
    assert line.startswith(f"CT 1: the vault lost 1 image, or it is damaged there: {lost.object_id}; ")
    assert "the host does not know yet: do not send it there" in line
    with pytest.raises(NotHeld):
        bench.intake.receipt_of(lost.object_id, host.host_id)
    assert [one.partition("; ")[2] for one in said(bench)] == ["the host knows: send it again"]


def test_the_status_counts_apart_what_the_host_knows_and_names_a_few(bench: Bench, host: HostBench) -> None:
    lost = sorted((harmed(bench, host, dataset=bytes([n])).object_id for n in range(5)), key=str)
    with pytest.raises(NotHeld):
        bench.intake.receipt_of(lost[4], host.host_id)

    untold, told = said(bench)
    assert (
        f"lost 4 images, or they are damaged there: {lost[0]}, {lost[1]}, {lost[2]} and 1 more; the host does" in untold
    )
    assert f"lost 1 image, or it is damaged there: {lost[4]}; the host knows" in told


def test_what_a_host_lost_whose_identity_ended_goes_through_another(bench: Bench, host: HostBench) -> None:
    harmed(bench, host)
    bench.sql("UPDATE hosts SET standing = 'replaced'")

    (line,) = said(bench)
    assert line.endswith("this host is replaced: send it to another one, or `leadglass-server losses settle`")


@pytest.mark.parametrize("harm", [take_away, rot, cut, not_given, not_opened])
def test_what_came_again_as_another_object_gets_no_receipt_and_is_not_lost_anew(
    bench: Bench, host: HostBench, harm: Harm
) -> None:
    lost = harmed(bench, host, harm)
    bench.receive(host.seal(lost.dataset))

    with pytest.raises(NotHeld):
        bench.intake.receipt_of(lost.object_id, host.host_id)
    with pytest.raises((IntegrityFailure, BodyUnreadable)):
        bench.read(lost)
    assert (events(bench), said(bench)) == ([Event.OBJECT_LOST, Event.LOSS_OVER], [])
    assert bench.losses.untold(host.host_id) == ()


def test_with_what_came_in_its_place_lost_too_it_is_missed_again_until_either_is_here(
    bench: Bench, host: HostBench
) -> None:
    lost = harmed(bench, host)
    with pytest.raises(NotHeld):
        bench.intake.receipt_of(lost.object_id, host.host_id)
    again = host.seal(lost.dataset)
    bench.receive(again)

    take_away(bench, again)
    with pytest.raises(IntegrityFailure):
        bench.read(again)

    both = {lost.object_id, again.object_id}
    assert set(bench.losses.untold(host.host_id)) == both
    assert events(bench) == [Event.OBJECT_LOST, Event.LOSS_OVER, Event.OBJECT_LOST, Event.OBJECT_LOST]
    bench.receive(again)
    assert (bench.losses.untold(host.host_id), said(bench)) == ((), [])
    assert bench.intake.receipt_of(again.object_id, host.host_id)
    with pytest.raises(NotHeld):
        bench.intake.receipt_of(lost.object_id, host.host_id)


def test_what_came_in_the_place_of_a_lost_one_and_was_put_back_ends_both_when_it_is_opened(
    bench: Bench, host: HostBench
) -> None:
    lost = harmed(bench, host)
    again = bench.enrol().seal(lost.dataset)
    bench.receive(again)
    body = bench.body(again.object_id).read_bytes()
    take_away(bench, again)
    with pytest.raises(IntegrityFailure):
        bench.read(again)
    assert len(said(bench)) == 2
    bench.body(again.object_id).write_bytes(body)

    assert bench.read(again) == lost.dataset

    assert said(bench) == []
    noted = len(bench.events())
    bench.read(again)
    assert len(bench.events()) == noted + 1, "that it was opened, and nothing else"


def test_the_lost_object_itself_has_its_receipt_again_though_another_had_come_for_it(
    bench: Bench, host: HostBench
) -> None:
    lost = harmed(bench, host)
    bench.receive(host.seal(lost.dataset))

    receipt = bench.receive(lost)

    assert bench.intake.receipt_of(lost.object_id, host.host_id) == receipt
    assert events(bench) == [Event.OBJECT_LOST, Event.LOSS_OVER]


class AwayStore:
    """Bodies on a disk that does not answer."""

    def open(self, object_id: ObjectId) -> Body:
        raise StoreUnavailable("Input/output error")


def test_control_what_is_whole_or_cannot_be_read_now_is_not_lost(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    bench.receive(image)

    bench.read(image)
    with pytest.raises(StoreUnavailable):
        bench.read(image, opener=bench.opener_with(store=AwayStore()))

    assert (bench.losses.untold(host.host_id), events(bench), said(bench)) == ((), [], [])


def test_what_was_replaced_while_it_was_read_is_not_lost(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    bench.receive(image)
    rot(bench, image)

    class Replaced:
        """A store in which the body is replaced as soon as somebody has opened the rotten one."""

        def open(self, object_id: ObjectId) -> Body:
            rotten = bench.objects.open(object_id)
            bench.receive(image)
            return rotten

    with pytest.raises(IntegrityFailure):
        bench.read(image, opener=bench.opener_with(store=Replaced()))

    assert bench.losses.untold(host.host_id) == ()
    assert events(bench) == [Event.OBJECT_LOST, Event.LOSS_OVER], "of whoever replaced it"


def test_where_the_disk_of_the_vault_is_not_mounted_nothing_is_lost(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    receipt = bench.receive(image)
    folder, away = bench.folder / "objects", bench.folder / "away"
    folder.rename(away)
    folder.mkdir()

    for asked in (partial(bench.read, image), partial(bench.intake.receipt_of, image.object_id, host.host_id)):
        with pytest.raises(StoreUnavailable):
            asked()
    folder.rmdir()
    away.rename(folder)

    assert bench.intake.receipt_of(image.object_id, host.host_id) == receipt
    assert (events(bench), said(bench)) == ([], [])


def test_control_a_row_that_somebody_altered_takes_no_receipt_back(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    bench.receive(image)
    bench.sql("UPDATE wraps SET wrap = :wrap", wrap=b"no wrap")

    with pytest.raises(IntegrityFailure):
        bench.read(image)
    assert bench.losses.untold(host.host_id) == ()


@pytest.mark.parametrize("is_another_host", [False, True])
def test_the_same_image_ends_the_loss_whichever_host_brings_it_and_the_log_names_both(
    bench: Bench, host: HostBench, is_another_host: bool
) -> None:
    lost = harmed(bench, host)
    others = harmed(bench, host, dataset=b"another image")
    sender = bench.enrol() if is_another_host else host
    again = sender.seal(lost.dataset)

    bench.receive(again)

    assert named_as_over(bench) == [str(again.object_id), str(lost.object_id)]
    assert bench.losses.untold(host.host_id) == (others.object_id,)
    assert bench.read(again) == lost.dataset


def test_a_host_that_only_says_it_brings_what_was_lost_is_refused(bench: Bench, host: HostBench) -> None:
    lost, liar = harmed(bench, host), bench.enrol()
    other = liar.seal(b"x" * len(lost.dataset))
    record = verify_record(other.record, liar.signer.public)
    false = replace(record, dataset_sha256=verify_record(lost.record, host.signer.public).dataset_sha256)

    with pytest.raises(ObjectAltered, match="dataset"):
        bench.receive(rebuilt(other, record=sign_record(false, liar.signer)))

    assert bench.losses.untold(host.host_id) == (lost.object_id,)
    assert events(bench) == [Event.OBJECT_LOST]


@pytest.mark.parametrize("harm", [take_away, rot, cut])
def test_the_same_object_takes_the_place_of_what_rotted_which_stays_beside(
    bench: Bench, host: HostBench, harm: Harm
) -> None:
    lost = harmed(bench, host, harm)
    beside, rotten = bench.body(lost.object_id).with_suffix(DAMAGED), b""
    if harm is not take_away:
        rotten = bench.body(lost.object_id).read_bytes()

    receipt = bench.receive(lost)

    assert bench.read(lost) == lost.dataset
    assert bench.intake.receipt_of(lost.object_id, host.host_id) == receipt
    assert (beside.read_bytes() if rotten else b"") == rotten
    assert (events(bench), said(bench)) == ([Event.OBJECT_LOST, Event.LOSS_OVER], [])


def test_what_rotted_and_nobody_noticed_is_replaced_when_it_comes_again(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    receipt = bench.receive(image)
    rot(bench, image)

    assert bench.receive(image) == receipt
    assert bench.read(image) == image.dataset
    assert (events(bench), said(bench)) == ([Event.OBJECT_LOST, Event.LOSS_OVER], [])


def test_control_a_body_without_a_row_of_the_same_record_is_replaced_by_nothing(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    bench.receive(image)
    other = bench.enrol().seal(object_id=image.object_id)
    unknown = host.seal()
    bench.body(unknown.object_id).write_bytes(b"of an upload that was cut off")

    with pytest.raises(ObjectConflict):
        bench.receive(other)
    with pytest.raises(BodyConflict):
        bench.receive(unknown)
    assert bench.read(image) == image.dataset
    assert bench.body(unknown.object_id).read_bytes() == b"of an upload that was cut off"
    assert events(bench) == []


def test_what_a_host_sealed_wrong_is_no_loss_of_the_vault(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    record = verify_record(image.record, host.signer.public)
    false = rebuilt(image, record=sign_record(replace(record, dataset_sha256=bytes(32)), host.signer))
    bench.receive(false)

    with pytest.raises(ObjectAltered, match="dataset"):
        bench.read(false)

    assert (events(bench), said(bench), bench.losses.untold(host.host_id)) == ([], [], ())
    rot(bench, false)
    with pytest.raises(IntegrityFailure):
        bench.read(false)
    assert bench.losses.untold(host.host_id) == (false.object_id,)


OTHER_SYNTAX = "1.2.840.10008.1.2.2"


@pytest.mark.parametrize(
    "was, entry, transfer_syntax, is_over",
    [
        (ENTRY, ENTRY, TRANSFER_SYNTAX, True),
        (ENTRY, ENTRY, OTHER_SYNTAX, False),
        (ENTRY, NOTHING_READ, TRANSFER_SYNTAX, False),
        (NOTHING_READ, NOTHING_READ, TRANSFER_SYNTAX, True),
        (NOTHING_READ, ENTRY, TRANSFER_SYNTAX, True),
    ],
    ids=["the same", "another transfer syntax", "no look-up finds it", "none found it before", "more is known"],
)
def test_a_loss_ends_by_what_can_stand_in_for_it(
    bench: Bench, host: HostBench, was: IndexEntry, entry: IndexEntry, transfer_syntax: str, is_over: bool
) -> None:
    lost = host.seal(entry=was)
    bench.receive(lost)
    take_away(bench, lost)
    with pytest.raises(IntegrityFailure):
        bench.read(lost)

    bench.receive(bench.enrol().seal(lost.dataset, entry, transfer_syntax=transfer_syntax))

    assert (bench.losses.untold(host.host_id) == ()) == is_over


def test_a_body_that_is_here_again_has_its_receipt_and_one_that_is_not_whole_has_none(
    bench: Bench, host: HostBench
) -> None:
    image = host.seal()
    receipt = bench.receive(image)
    body = bench.body(image.object_id).read_bytes()
    take_away(bench, image)
    for there in (None, body[:-1]):
        if there is not None:
            bench.body(image.object_id).write_bytes(there)
        with pytest.raises(NotHeld):
            bench.intake.receipt_of(image.object_id, host.host_id)

    bench.body(image.object_id).write_bytes(body)

    assert bench.intake.receipt_of(image.object_id, host.host_id) == receipt
    assert (events(bench), said(bench)) == ([Event.OBJECT_LOST, Event.LOSS_OVER], [])


@pytest.mark.parametrize("harm", [take_away, not_opened])
def test_a_host_that_asks_for_its_receipt_hears_of_a_loss_that_nobody_had_noticed(
    bench: Bench, host: HostBench, harm: Harm
) -> None:
    image = host.seal()
    bench.receive(image)
    harm(bench, image)

    with pytest.raises(NotHeld):
        bench.intake.receipt_of(image.object_id, host.host_id)

    assert (events(bench), len(said(bench))) == ([Event.OBJECT_LOST], 1)


def test_a_body_that_people_put_back_ends_the_loss_when_it_is_opened(bench: Bench, host: HostBench) -> None:
    image = host.seal()
    bench.receive(image)
    body = bench.body(image.object_id).read_bytes()
    take_away(bench, image)
    with pytest.raises(NotHeld):
        bench.intake.receipt_of(image.object_id, host.host_id)

    bench.body(image.object_id).write_bytes(body)

    assert bench.read(image) == image.dataset
    assert (events(bench), said(bench)) == ([Event.OBJECT_LOST, Event.LOSS_OVER], [])
    assert bench.intake.receipt_of(image.object_id, host.host_id)


def test_a_crowd_is_told_piece_by_piece(bench: Bench, host: HostBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control_plane.vault.losses.MOST_LOST", 2)
    lost = sorted((harmed(bench, host, dataset=bytes([n])).object_id for n in range(3)), key=str)

    first = bench.losses.untold(host.host_id)
    for object_id in first:
        bench.clock.advance(timedelta(seconds=1))
        with pytest.raises(NotHeld):
            bench.intake.receipt_of(object_id, host.host_id)

    assert [*first, *bench.losses.untold(host.host_id)] == lost


def given_up(bench: Bench, image: SealedImage, why: str = "scanner scrapped") -> None:
    FinalLosses(bench.database, bench.journal, bench.clock).settle(image.object_id, "A. Admin", why)


def states(bench: Bench) -> tuple[list[str], object, object]:
    listed: Any = FinalLosses(bench.database, bench.journal, bench.clock).listed()
    return [one["state"] for one in listed["losses"]], listed["open"], listed["settled"]


def test_a_loss_that_a_person_gives_up_is_no_open_one_and_stays_counted(bench: Bench, host: HostBench) -> None:
    lost, other = harmed(bench, host), harmed(bench, host, dataset=b"other")
    with pytest.raises(ReasonMissing):
        given_up(bench, lost, " ")
    assert states(bench) == (["lost", "lost"], 2, 0)

    given_up(bench, lost)

    assert states(bench) == (["lost", "lost, settled"], 1, 1)
    (line,) = said(bench)
    assert f"the vault lost 1 image, or it is damaged there: {other.object_id};" in line
    record = bench.last_record()
    assert (record.event, record.who[0].name) == (Event.LOSS_SETTLED, "A. Admin")
    assert "scrapped" not in record.encode().decode()
    with pytest.raises(NoOpenLoss):
        given_up(bench, lost)
    with pytest.raises(NoOpenLoss):
        given_up(bench, host.seal())


def test_an_image_that_comes_after_it_was_given_up_is_lost_no_more(bench: Bench, host: HostBench) -> None:
    lost = harmed(bench, host)
    given_up(bench, lost)

    bench.receive(host.seal(lost.dataset))

    assert states(bench) == ([], 0, 0)
    assert events(bench) == [Event.OBJECT_LOST, Event.LOSS_OVER]


def test_what_a_loss_was_over_by_and_is_lost_too_has_to_be_given_up_anew(bench: Bench, host: HostBench) -> None:
    lost = harmed(bench, host)
    given_up(bench, lost)
    again = host.seal(lost.dataset)
    bench.receive(again)

    take_away(bench, again)
    with pytest.raises(IntegrityFailure):
        bench.read(again)

    assert states(bench) == (["lost", "lost"], 2, 0)
