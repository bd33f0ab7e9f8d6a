"""Commitment with a modality that waits on its association, and reports that have nowhere to go yet."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.presentation import build_role

from edge_agent.capture.association import Patience
from edge_agent.capture.listener import DicomListener
from edge_agent.commitment.conversation import ANSWER_S, Conversation
from edge_agent.commitment.judge import UNKNOWN_AFTER_LAST_CAPTURE
from shared.audit.events import Event
from shared.dicom.dimse import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, Command, CommandField, Status
from shared.identity import ObjectId
from tests.edge_agent.capture.images import Image, load
from tests.edge_agent.commitment.test_orthanc import until
from tests.edge_agent.commitment.world import QUICK, World, modality
from tests.fakes.dicom_server import serve
from tests.fakes.host import Host
from tests.fakes.ports import free_port
from tests.fakes.told import Told

CT, MR = load("CT_small.dcm"), load("MR_small.dcm")
IMPLICIT = "1.2.840.10008.1.2"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(Host(tmp_path / "host"))
    world.enforce(modality("CT1"))
    return world


@contextmanager
def associated(
    listener: DicomListener, told: Told | None = None, calling: str = "CT1", **more: Any
) -> Iterator[Association]:
    assert listener.port is not None
    entity = ApplicationEntity(calling)
    entity.add_requested_context(STORAGE_COMMITMENT)
    for image in (CT, MR):
        entity.add_requested_context(image.sop_class, image.transfer_syntax)
    told = told or Told(Status.PROCESSING_FAILURE)
    association = entity.associate(
        "127.0.0.1", listener.port, ae_title="LEADGLASS", evt_handlers=told.handlers(), **more
    )
    assert association.is_established
    try:
        yield association
    finally:
        told.release(association)


def ask(association: Association, *images: Image, transaction: str = "1.2.9", **change: str) -> int:
    request = Dataset()
    request.TransactionUID = transaction
    request.ReferencedSOPSequence = []
    for image in images:
        item = Dataset()
        item.ReferencedSOPClassUID = change.get("sop_class", image.sop_class)
        item.ReferencedSOPInstanceUID = image.sop_instance
        request.ReferencedSOPSequence.append(item)
    answer, _ = association.send_n_action(request, 1, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE)
    return int(answer.Status)


def send(world: World, association: Association, *images: Image) -> list[ObjectId]:
    for image in images:
        assert association.send_c_store(image.path).Status == Status.SUCCESS
    return world.captured(*images)


def uids(items: Any) -> list[str]:
    return [str(item.ReferencedSOPInstanceUID) for item in items]


def test_a_modality_that_stays_is_told_on_its_association(world: World) -> None:
    heard = Told()
    with world.running() as listener, associated(listener, heard) as association:
        objects = send(world, association, CT, MR)
        status = ask(association, CT, MR)
        world.receipt(*objects)
        heard.wait()
        until(lambda: world.store.waiting() == 0)
        still_serves = association.send_c_store(CT.path).Status

    ((event_type, report),) = heard.reports
    assert (status, event_type, still_serves) == (Status.SUCCESS, 1, Status.SUCCESS)
    assert (report.TransactionUID, uids(report.ReferencedSOPSequence)) == ("1.2.9", [CT.sop_instance, MR.sop_instance])
    assert "FailedSOPSequence" not in report
    events = [e for e in world.host.events() if e.value.startswith("capture.commitment")]
    assert events == [Event.COMMITMENT_REQUESTED, Event.COMMITMENT_REPORTED]


def test_nothing_is_said_while_one_receipt_is_missing(world: World) -> None:
    heard = Told()
    with world.running() as listener, associated(listener, heard) as association:
        objects = send(world, association, CT, MR)
        ask(association, CT, MR)
        world.receipt(objects[0])
        world.reporter.judge()
        decided = world.desk.ready()
        world.receipt(objects[1])
        heard.wait()

    assert decided == set()


def test_whom_a_new_policy_leaves_out_is_told_nothing_until_one_lets_it_in_again(world: World) -> None:
    both, out, stays = (modality("CT1"), modality("MR")), Told(), Told()
    world.enforce(*both)
    with (
        world.running() as listener,
        associated(listener, out) as left_out,
        associated(listener, stays, "MR") as kept,
    ):
        objects = send(world, left_out, CT)
        ask(left_out, CT)
        world.enforce(modality("MR"))
        listener.bell.ring()
        until(lambda: "dicom.association-dismissed" in world.host.log.names())
        world.receipt(*objects)
        until(lambda: world.desk.ready() == {"CT1"})
        for number in (1, 2):
            # Told once it was silent for a while, as the other is all the time.
            ask(kept, CT, transaction=f"1.2.{number}")
            stays.wait(number)
        meanwhile = list(out.reports)
        world.enforce(*both)
        listener.bell.ring()
        out.wait()
        still_serves = left_out.send_c_store(CT.path).Status

    assert (meanwhile, [event_type for event_type, _ in out.reports], still_serves) == ([], [1], Status.SUCCESS)
    assert Event.ASSOCIATION_REFUSED not in world.host.events()


def test_evidence_that_says_yes_wrongly_commits_what_the_vault_never_had(tmp_path: Path) -> None:
    # The negative control of the test above: with the receipts taken out, the modality is told to delete its images.
    class Gullible:
        def holds(self, object_id: ObjectId) -> bool:
            return True

    world = World(Host(tmp_path / "host"), evidence=Gullible())
    world.enforce(modality("CT1"))
    heard = Told()
    with world.running() as listener, associated(listener, heard) as association:
        send(world, association, CT)
        ask(association, CT)
        heard.wait()

    assert heard.reports[0][0] == 1


def test_weeks_and_a_restart_later_it_is_told_on_a_new_association(world: World) -> None:
    there, heard = free_port(), Told()
    world.enforce(modality("CT1", there))
    with world.running() as listener, associated(listener) as association:
        objects = send(world, association, CT)
        assert ask(association, CT) == Status.SUCCESS
    world.restart()
    world.host.clock.advance(timedelta(weeks=5))
    with world.running():
        world.reporter.judge()
        waiting_before = (world.store.waiting(), world.desk.ready())
        entity = ApplicationEntity("CT1")
        entity.add_supported_context(STORAGE_COMMITMENT, scu_role=False, scp_role=True)
        server = serve(entity, there, handlers=[(evt.EVT_N_EVENT_REPORT, heard.handle)])
        world.receipt(*objects)
        heard.wait()
        until(lambda: world.store.waiting() == 0)
        server.shutdown()

    assert waiting_before == (1, set())
    assert [event_type for event_type, _ in heard.reports] == [1]


def test_what_was_decided_before_the_vault_was_put_back_is_not_said_before_it_holds_anew(world: World) -> None:
    with world.running() as listener, associated(listener) as association:
        (object_id,) = send(world, association, CT)
        ask(association, CT)
    world.receipt(object_id)
    world.reporter.judge()
    decided = world.desk.ready()
    world.receipts.doubt([str(object_id)])
    world.store.reconsider()
    world.reporter.judge()
    in_doubt = (world.desk.ready(), world.desk.take("CT1"))
    world.receipt(object_id)
    world.reporter.judge()

    assert (decided, in_doubt, world.desk.ready()) == ({"CT1"}, (set(), None), {"CT1"})


def test_a_modality_that_is_away_or_refuses_is_tried_again_without_end(world: World) -> None:
    there = free_port()
    world.enforce(modality("CT1", there))
    with world.running() as listener, associated(listener) as association:
        world.receipt(*send(world, association, CT))
        ask(association, CT)
    failures = []
    for _ in range(3):
        world.reporter._not_before_s.clear()  # as it ran it may have tried once by itself
        world.reporter.judge()
        world.reporter.bring()
        until(world.reporter._couriers["CT1"].is_back.is_set)
        world.reporter.bring()
        failures.append(world.reporter._failures["CT1"])

    assert failures == sorted(failures)
    assert failures[-1] >= 3
    assert world.store.waiting() == 1


def test_without_an_address_the_report_waits_for_the_modality_s_next_association(world: World) -> None:
    heard = Told()
    with world.running() as listener:
        with associated(listener) as association:
            world.receipt(*send(world, association, CT))
            status = ask(association, CT)
        until(lambda: not world.desk.is_attended("CT1"))
        left = world.store.waiting()
        with associated(listener, heard):
            heard.wait()
            until(lambda: world.store.waiting() == 0)

    assert (status, left) == (Status.SUCCESS, 1)


def test_a_report_goes_to_nobody_else(world: World) -> None:
    world.enforce(modality("CT1"), modality("MR 2"))
    heard, other = Told(), Told()
    with world.running() as listener:
        with associated(listener) as association:
            world.receipt(*send(world, association, CT))
            ask(association, CT)
        with associated(listener, other, "MR 2"), associated(listener, heard):
            heard.wait()

    assert other.reports == []


def test_a_report_that_the_modality_refuses_comes_with_a_later_association_and_holds_up_no_other(world: World) -> None:
    heard, other = Told(Status.PROCESSING_FAILURE), Told()
    with world.running() as listener, associated(listener, heard) as association:
        world.receipt(*send(world, association, CT), *send(world, association, MR))
        ask(association, CT)
        heard.wait()
        # Behind what it refused comes another; what it refused does not come again on this association.
        ask(association, MR, transaction="1.2.10")
        heard.wait(2)
        assert [report.TransactionUID for _, report in heard.reports] == ["1.2.9", "1.2.10"]
        assert world.store.waiting() == 2
        with associated(listener, other):
            other.wait(2)

    assert world.store.waiting() == 0
    assert world.host.events().count(Event.COMMITMENT_REFUSED) == 2


def test_what_was_captured_and_lost_on_this_host_is_a_failure_as_what_never_came(world: World) -> None:
    heard = Told()
    with world.running() as listener, associated(listener, heard) as association:
        kept, lost = send(world, association, CT, MR)
        spooled = world.host.spool.find(lost)
        assert spooled is not None
        world.host.spool.put_aside(spooled, "damaged")
        world.host.spool.give_up(spooled)
        world.receipt(kept)
        ask(association, CT, MR)
        world.host.clock.advance(UNKNOWN_AFTER_LAST_CAPTURE + timedelta(seconds=1))
        world.bell.ring()
        heard.wait()

    ((event_type, report),) = heard.reports
    assert (event_type, uids(report.ReferencedSOPSequence)) == (2, [CT.sop_instance])
    assert [int(one.FailureReason) for one in report.FailedSOPSequence] == [0x0112]


def test_a_class_that_is_not_the_instance_s_is_said(world: World) -> None:
    heard = Told()
    with world.running() as listener, associated(listener, heard) as association:
        send(world, association, CT)
        ask(association, CT, sop_class=MR.sop_class)
        heard.wait()

    ((event_type, report),) = heard.reports
    assert event_type == 2
    assert report.FailedSOPSequence[0].FailureReason == 0x0119
    assert "ReferencedSOPSequence" not in report


def test_asking_twice_is_one_request_and_another_under_the_same_uid_is_refused(world: World) -> None:
    with world.running() as listener, associated(listener) as association:
        statuses = [ask(association, CT), ask(association, CT), ask(association, MR)]

    assert statuses == [Status.SUCCESS, Status.SUCCESS, Status.INVALID_ARGUMENT]
    assert world.store.waiting() == 1


def test_a_request_that_cannot_be_kept_is_not_acknowledged(world: World) -> None:
    with world.running() as listener, associated(listener) as association:
        world.host.database.close()
        status = ask(association, CT)

    assert status == Status.PROCESSING_FAILURE


@pytest.mark.parametrize(
    "action, sop_class, instance, expected",
    [
        (2, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, Status.NO_SUCH_ACTION),
        (1, STORAGE_COMMITMENT, "1.2.3", Status.NO_SUCH_INSTANCE),
    ],
)
def test_what_is_no_request_for_commitment_is_answered_so(
    world: World, action: int, sop_class: str, instance: str, expected: Status
) -> None:
    request = Dataset()
    request.TransactionUID = "1.2.9"
    with world.running() as listener, associated(listener) as association:
        answer, _ = association.send_n_action(request, action, sop_class, instance)

    assert answer.Status == expected


def test_an_empty_request_is_refused_and_recorded(world: World) -> None:
    with world.running() as listener, associated(listener) as association:
        status = ask(association)

    assert status == Status.INVALID_ARGUMENT
    assert world.host.events() == [Event.COMMITMENT_REFUSED]


@pytest.mark.parametrize("scu, scp, accepted", [(True, False, True), (True, True, True), (False, True, False)])
def test_the_peer_is_told_that_it_is_the_user(world: World, scu: bool, scp: bool, accepted: bool) -> None:
    role = build_role(STORAGE_COMMITMENT, scu_role=scu, scp_role=scp)
    with world.running() as listener, associated(listener, ext_neg=[role]) as association:
        contexts = {str(context.abstract_syntax): context for context in association.accepted_contexts}

    assert (STORAGE_COMMITMENT in contexts) == accepted
    if accepted:
        assert (contexts[STORAGE_COMMITMENT].as_scu, contexts[STORAGE_COMMITMENT].as_scp) == (True, False)


def test_an_association_that_ends_unanswered_leaves_the_report_open(world: World) -> None:
    class Hangs(Told):
        ended = threading.Event()

        def handle(self, event: Any) -> tuple[int, None]:
            answer = super().handle(event)
            assert self.ended.wait(20)
            return answer

    hangs, heard = Hangs(), Told()
    with world.running() as listener:
        with associated(listener, hangs) as association:
            world.receipt(*send(world, association, CT))
            ask(association, CT)
            hangs.wait()
            association.abort()
            hangs.ended.set()
        with associated(listener, heard):
            heard.wait()
            until(lambda: world.store.waiting() == 0)

    assert len(heard.reports) == 1


def test_a_report_that_is_not_answered_is_left_to_a_new_association_and_a_late_answer_still_counts(
    world: World,
) -> None:
    with world.running() as listener, associated(listener) as association:
        (object_id,) = send(world, association, CT)
        ask(association, CT)
    world.receipt(object_id)
    now_s = [0.0]
    conversation = Conversation(world.desk, "CT1", 1, IMPLICIT, 0, lambda: now_s[0])
    world.reporter.judge()
    said = conversation.say()
    world.reporter.judge()
    meanwhile = world.desk.ready()
    now_s[0] = ANSWER_S + 1
    conversation.say()
    world.reporter.judge()
    overdue = world.desk.ready()
    conversation.hear(Command(CommandField.N_EVENT_REPORT_RSP, 1, has_data_set=False, sop_class_uid="",
                              sop_instance_uid="", status=Status.SUCCESS))  # fmt: skip

    assert said is not None
    assert (meanwhile, overdue, world.store.waiting()) == (set(), {"CT1"}, 0)
    conversation.close()


def test_a_silent_association_is_still_ended_in_time(world: World) -> None:
    world.host.patience = Patience(idle_s=2)
    with world.running() as listener, associated(listener) as association:
        until(lambda: not association.is_established)

    assert QUICK.attended_s < 2
