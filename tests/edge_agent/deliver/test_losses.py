"""What the vault says that it lost: the host takes its receipt back, and nothing that lies here is let go of."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.config import AgentFolder, load_identity
from edge_agent.deliver.losses import Losses
from edge_agent.deliver.receipts import Receipts
from edge_agent.deliver.uploader import Delivery, DeliveryUploader
from edge_agent.https import HttpsDoor, verified_context
from edge_agent.spool.catalogue import State
from edge_agent.spool.decisions import ANSWERED_FOR
from shared.fleet.receipt import MOST_LOST, Receipt, path_of
from shared.identity import ObjectId
from tests.edge_agent.deliver.test_uploader import host, uploader
from tests.fakes.centre import Centre
from tests.fakes.host import Host
from tests.fakes.log import MemoryLog

__all__ = ["host"]


class Hearing:
    """A host that hears what the answers at its door say."""

    def __init__(self, host: Host, enrolled: AgentFolder) -> None:
        self.reconsidered, self.woken, self.log = 0, 0, MemoryLog()
        self.losses = Losses(host.database, host.captures.receipts, self._reconsider, self._wake, self.log)
        doors = load_identity(enrolled).config.doors
        context = verified_context(enrolled.ca, enrolled.tls)
        self.door = HttpsDoor(
            doors.host, doors.https_port, context, timeout_s=30, on_answer=lambda _, answer: self.losses.heard(answer)
        )
        self.deliver: DeliveryUploader = uploader(host, self.door, lost=self.losses.take_without_receipt)

    def _reconsider(self) -> None:
        self.reconsidered += 1

    def _wake(self) -> None:
        self.woken += 1


@pytest.fixture
def hearing(host: Host, enrolled: AgentFolder, tmp_path: Path) -> Iterator[Hearing]:
    hearing = Hearing(host, enrolled)
    yield hearing
    hearing.door.close()


def test_what_the_vault_lost_is_captured_again_when_it_is_sent_again(
    centre: Centre, host: Host, hearing: Hearing
) -> None:
    kept, lost = host.capture(b"\x01", uid="1.2.1"), host.capture(b"\x02", uid="1.2.2")
    for _ in range(2):
        hearing.deliver.deliver_oldest()
    before = host.capture(b"\x02", uid="1.2.2")
    del centre.objects[str(lost)]
    centre.lost = str(lost)

    hearing.door.get("/api/v1/policy/head")
    in_doubt = not host.captures.receipts.holds(lost)
    centre.lost = ""
    hearing.deliver.ask_about_doubted()

    assert (before, in_doubt, hearing.reconsidered, hearing.woken) == (lost, True, 1, 1)
    assert host.capture(b"\x01", uid="1.2.1") == kept
    again = host.capture(b"\x02", uid="1.2.2")
    assert again != lost
    assert hearing.deliver.deliver_oldest() is Delivery.DELIVERED
    assert centre.open(str(again))[0] == b"\x02"


def test_a_centre_that_lies_about_a_loss_takes_back_no_receipt_that_it_gives_again(
    centre: Centre, host: Host, hearing: Hearing
) -> None:
    image = host.capture()
    hearing.deliver.deliver_oldest()
    centre.lost = str(image)
    hearing.door.get("/api/v1/policy/head")
    centre.lost = ""

    assert hearing.deliver.ask_about_doubted()
    assert host.captures.receipts.holds(image)


def test_a_hostile_centre_has_nothing_dropped_that_lies_in_the_spool(
    centre: Centre, host: Host, hearing: Hearing
) -> None:
    owed, waiting = host.capture(b"\x01", uid="1.2.1"), host.capture(b"\x02", uid="1.2.2")
    deliver = uploader(host, hearing.door, is_owed=lambda _: True, lost=hearing.losses.take_without_receipt)
    deliver.deliver_oldest()
    centre.objects.clear()
    centre.lost = f"{owed}, {waiting}"

    hearing.door.get("/api/v1/policy/head")
    deliver.ask_about_doubted()
    deliver.let_go_of_what_is_owed_no_more()

    assert host.spool.holds(owed)
    assert host.spool.holds(waiting)
    assert host.spool.waiting() == 2


class HeardOfALossMeanwhile(Receipts):
    """Receipts of which the first that is asked for is doubted right after the answer, as by another thread."""

    def holds(self, object_id: ObjectId) -> bool:
        held = super().holds(object_id)
        if held and not self._is_heard:
            self._is_heard = True
            self.doubt([str(object_id)])
        return held

    _is_heard = False


def test_a_loss_that_is_heard_while_a_receipt_is_asked_for_lets_nothing_go(
    centre: Centre, host: Host, hearing: Hearing
) -> None:
    image = host.capture()
    host.captures.receipts.keep(Receipt(image, bytes(32), host.clock.now()), b"signed")

    outcome = uploader(host, hearing.door, receipts=HeardOfALossMeanwhile(host.database)).deliver_oldest()

    assert (outcome, list(centre.objects)) == (Delivery.DELIVERED, [str(image)])


def test_control_what_the_vault_answered_for_goes_without_being_sent(
    centre: Centre, host: Host, hearing: Hearing
) -> None:
    image = host.capture()
    host.captures.receipts.keep(Receipt(image, bytes(32), host.clock.now()), b"signed")

    assert hearing.deliver.deliver_oldest() is Delivery.DELIVERED
    assert (host.spool.holds(image), centre.objects) == (False, {})


def discarded_by_receipt(centre: Centre, host: Host, hearing: Hearing) -> ObjectId:
    """Return what the vault has and a person therefore called worthless here, where it had been put aside."""
    image = host.capture()
    is_owed = [True]
    deliver = uploader(host, hearing.door, is_owed=lambda _: is_owed.pop())
    deliver.deliver_oldest()
    (owed,) = host.spool.rows(State.OWED)
    with host.database.transaction() as connection:
        host.spool.catalogue.change(connection, owed.spooled, State.DISCARDED, ANSWERED_FOR)
    return image


def test_what_a_person_called_worthless_because_the_vault_has_it_stays_while_that_is_in_doubt(
    centre: Centre, host: Host, hearing: Hearing
) -> None:
    image = discarded_by_receipt(centre, host, hearing)
    host.captures.receipts.doubt([str(image)])
    centre.objects.clear()

    hearing.deliver.let_go_of_what_was_discarded()
    hearing.deliver.ask_about_doubted()

    assert host.spool.waiting() == 1
    assert hearing.deliver.deliver_oldest() is Delivery.DELIVERED
    assert list(centre.objects) == [str(image)]


def test_control_it_goes_where_nothing_is_in_doubt(centre: Centre, host: Host, hearing: Hearing) -> None:
    discarded_by_receipt(centre, host, hearing)

    hearing.deliver.let_go_of_what_was_discarded()

    assert [row.state for row in host.spool.rows(*State)] == [State.GONE]


def test_of_what_this_host_has_no_receipt_the_centre_hears_that_it_was_told(
    centre: Centre, host: Host, hearing: Hearing
) -> None:
    unknown = ObjectId(bytes(16))
    centre.lost = str(unknown)
    hearing.door.get("/api/v1/policy/head")
    centre.lost = ""

    assert [hearing.deliver.ask_about_doubted() for _ in range(2)] == [False, False]
    assert centre.requests.count(f"GET {path_of(unknown)}") == 1
    assert (hearing.reconsidered, host.events()) == (0, [])


@pytest.mark.parametrize(
    "said", ["none", "0" * 31, ", ".join(["0" * 32] * (MOST_LOST + 1))], ids=["a word", "too short", "too many"]
)
def test_what_names_no_objects_changes_nothing_and_stops_nothing(
    centre: Centre, host: Host, hearing: Hearing, said: str
) -> None:
    image = host.capture()
    hearing.deliver.deliver_oldest()
    centre.lost = said

    hearing.door.get("/api/v1/policy/head")

    assert host.captures.receipts.holds(image)
    assert hearing.woken == 0
    assert "delivery.losses-unreadable" in {event for event, _ in hearing.log.events}
