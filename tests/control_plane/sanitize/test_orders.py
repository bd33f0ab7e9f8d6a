"""A wipe order from the wish to the certificate's door: people sign, the host proves, and nobody can say otherwise."""

import dataclasses
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError

from control_plane.db.models import Host, WipeOrderRow, WipeReportRow, WipeSignatureRow
from control_plane.enrolment.standing import ENDED, Standing
from control_plane.fleet.states import HostUnknown
from control_plane.sanitize.holds import HeldAlready, HostHeld
from control_plane.sanitize.intake import NeverApproved, NoteHeld, NotItsOrder, ReportHeld, ReportOfAnotherDrive
from control_plane.sanitize.orders import (
    DriveOrderedTwice,
    NotApproved,
    OrderClosed,
    OrderHeld,
    SignedBefore,
    SignedByAnother,
    TooFewToApprove,
)
from control_plane.sanitize.reading import Known, OrderUnknown, ReportOfAnother, find
from shared.audit.events import Event, Participant
from shared.audit.record import AuditRecord
from shared.envelope import SignerUnknown
from shared.errors import Malformed, Refused
from shared.policy.wipe import LeastClass, ReadBack
from shared.sanitization.envelope import (
    HoldsTooLong,
    LaxerThanPolicy,
    NoWipes,
    OwnTicket,
    SignedTicket,
    sign_ticket,
    verify_ticket,
)
from shared.sanitization.note import NoteEvent
from shared.sanitization.report import Ending
from shared.sanitization.technique import Technique
from shared.sanitization.ticket import Override, TargetDrive, Ticket, TicketId
from shared.signing import SignatureInvalid, WrongSigner
from tests.control_plane.sanitize.desk import Desk
from tests.control_plane.vault.bench import Bench
from tests.shared.sanitization import wipes
from tests.shared.sanitization.tickets import ADA, BEA, CAI, PEOPLE, POLICY, STRANGER

HOUR = timedelta(hours=1)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(Bench(tmp_path / "centre"))


def test_from_the_order_to_what_the_evidence_comes_to(desk: Desk) -> None:
    ticket = desk.order()
    states, offered = [desk.state(ticket)], [desk.tickets()]
    desk.approve(ticket)
    states, offered = [*states, desk.state(ticket)], [*offered, desk.tickets()]
    for seq, event in enumerate((NoteEvent.ACCEPTED, NoteEvent.STARTED), 1):
        desk.note(ticket, seq, event)
        states.append(desk.state(ticket))
    desk.clock.advance(2 * HOUR)
    desk.report(ticket)

    assert [*states, desk.state(ticket)] == ["requested", "approved", "accepted", "running", "verified"]
    assert offered[0] == ()
    assert verify_ticket(SignedTicket.parse(offered[1][0]), PEOPLE, POLICY).ticket == ticket
    assert desk.hinted == [desk.host.host_id]
    assert desk.tickets() == (), "what was reported is offered no more"
    assert desk.events() == [
        Event.WIPE_REQUESTED, Event.WIPE_SIGNED, Event.WIPE_APPROVED, Event.WIPE_EVIDENCE_RECEIVED, Event.WIPE_JUDGED,
    ]  # fmt: skip
    assert desk.bench.reading.prove()["control-plane"].json()["state"] == "verified"
    public = b"".join(row.public for row in desk.bench.rows("SELECT public FROM audit_records"))
    assert b"goes back" not in public, "why, in free words, is in the sealed part alone"


@pytest.mark.parametrize(
    "error, approve",
    [
        (OwnTicket, lambda desk, ticket: desk.approve(ticket, "Ada", ADA)),
        (OwnTicket, lambda desk, ticket: desk.approve(ticket, "Ada", BEA)),
        (OwnTicket, lambda desk, ticket: desk.approve(ticket, "Bea", ADA)),
        (SignedByAnother, lambda desk, ticket: desk.approve(ticket, "Bea", CAI)),
        (SignerUnknown, lambda desk, ticket: desk.approve(ticket, "Bea", STRANGER)),
        (Malformed, lambda desk, ticket: desk.desk.orders.approve(
            "Bea", ticket.ticket_id, sign_ticket(dataclasses.replace(ticket, asset="CT 9"), [BEA]).encode())),
        (Malformed, lambda desk, ticket: desk.desk.orders.approve(
            "Bea", ticket.ticket_id, sign_ticket(ticket, [BEA, CAI]).encode())),
        (SignatureInvalid, lambda desk, ticket: desk.desk.orders.approve(
            "Bea", ticket.ticket_id, _with_another_signature(ticket))),
    ],
)  # fmt: skip
def test_nobody_approves_what_is_not_theirs_to_approve_and_that_is_recorded(
    desk: Desk, error: type[Exception], approve: Callable[[Desk, Ticket], None]
) -> None:
    ticket = desk.order()
    with pytest.raises(error):
        approve(desk, ticket)

    assert (desk.state(ticket), desk.tickets()) == ("requested", ())
    assert desk.events()[-1] == Event.WIPE_SIGNED
    assert int(desk.bench.last_record().outcome) > 0


def _with_another_signature(ticket: Ticket) -> bytes:
    (good,), (other,) = (sign_ticket(one, [BEA]).statements for one in (ticket, dataclasses.replace(ticket, asset="X")))
    return SignedTicket.of([good[:-64] + other[-64:]]).encode()


def test_one_person_is_not_two(desk: Desk) -> None:
    desk.policy = dataclasses.replace(POLICY, approvals=2)
    ticket = desk.approved()
    with pytest.raises(SignedBefore):
        desk.approve(ticket)
    one = desk.state(ticket), desk.tickets()
    with pytest.raises(NotApproved):
        desk.desk.orders.ticket(ticket.ticket_id)
    desk.approve(ticket, "Cai", CAI)

    assert one == ("requested", ())
    assert (desk.state(ticket), len(desk.tickets())) == ("approved", 1)
    assert desk.events().count(Event.WIPE_APPROVED) == 1
    assert SignedTicket.parse(desk.desk.orders.ticket(ticket.ticket_id)).claimed == ticket


def test_a_threshold_of_the_layer_and_an_override_each_take_two(desk: Desk) -> None:
    overriding = desk.approved(overrides=(Override.UNDELIVERED_IMAGES,))
    desk.people = dataclasses.replace(PEOPLE, threshold=2)
    plain = desk.approved()

    assert [desk.state(one) for one in (overriding, plain)] == ["requested", "requested"]


def test_an_order_that_nobody_could_have_approved_is_refused_and_recorded(desk: Desk) -> None:
    bea_alone = dataclasses.replace(PEOPLE, keys=(BEA.public,))
    desk.people = bea_alone
    assert desk.state(desk.approved()) == "approved"

    with pytest.raises(TooFewToApprove, match=r"takes 2 people .* names 1; .* policy root propose --add"):
        desk.order(overrides=(Override.UNDELIVERED_IMAGES,))
    with pytest.raises(TooFewToApprove, match="names 0"):
        desk.order(by="bea")
    assert desk.events()[-1] == Event.WIPE_REQUESTED


def test_an_approval_of_who_may_sign_no_more_does_not_count(desk: Desk) -> None:
    ticket = desk.approved()
    desk.people = dataclasses.replace(PEOPLE, keys=(ADA.public, CAI.public))

    assert (desk.state(ticket), desk.tickets()) == ("requested", ())


@pytest.mark.parametrize(
    "error, changes, policy",
    [
        (NoWipes, {}, None),
        (LaxerThanPolicy, {"least": LeastClass.CLEAR}, dataclasses.replace(POLICY, least=LeastClass.PURGE)),
        (LaxerThanPolicy, {"read_back": ReadBack.SAMPLES}, POLICY),
        (HoldsTooLong, {"hours": POLICY.ticket_hours + 1}, POLICY),
        (HostUnknown, {}, POLICY),
    ],
)
def test_what_policy_does_not_allow_is_not_ordered(
    desk: Desk, error: type[Refused], changes: dict[str, Any], policy: Any
) -> None:
    if error is HostUnknown:
        _ended(desk, Standing.REVOKED)
    desk.policy = policy
    with pytest.raises(error):
        desk.order(**changes)

    assert desk.desk.showing.orders(desk.host.host_id) == []
    assert desk.bench.last_record().event == Event.WIPE_REQUESTED
    assert int(desk.bench.last_record().outcome) > 0


def test_a_policy_that_has_become_stricter_since_is_held_against_at_approval(desk: Desk) -> None:
    ticket = desk.order()
    desk.policy = dataclasses.replace(POLICY, least=LeastClass.PURGE)
    with pytest.raises(LaxerThanPolicy):
        desk.approve(ticket)


def test_a_ticket_that_expired_is_neither_signed_nor_offered(desk: Desk) -> None:
    waiting, approved = desk.order(), desk.approved()
    desk.clock.advance(timedelta(hours=POLICY.ticket_hours))
    with pytest.raises(OrderClosed):
        desk.approve(waiting)
    with pytest.raises(OrderClosed):
        desk.desk.orders.ticket(approved.ticket_id)

    assert (desk.state(waiting), desk.state(approved), desk.tickets()) == ("expired", "expired", ())


@pytest.mark.parametrize("closed_as", ["cancelled", "refused"])
def test_an_order_that_people_closed_is_offered_no_more(desk: Desk, closed_as: str) -> None:
    ticket = desk.approved()
    desk.desk.orders.close("Cai", ticket.ticket_id, closed_as, "another drive was meant")

    assert (desk.state(ticket), desk.tickets()) == (closed_as, ())
    for act in (lambda: desk.approve(ticket, "Cai", CAI), lambda: desk.desk.orders.ticket(ticket.ticket_id)):
        with pytest.raises(OrderClosed):
            act()


def test_what_has_begun_nobody_takes_back_and_it_ends_by_evidence_alone(desk: Desk) -> None:
    ticket = desk.approved()
    desk.note(ticket, 1, NoteEvent.STARTED)
    with pytest.raises(OrderClosed):
        desk.desk.orders.close("Ada", ticket.ticket_id, "cancelled", "no longer wanted")
    running = desk.state(ticket)
    desk.clock.advance(timedelta(days=2))
    unknown = desk.state(ticket)
    (gap,) = desk.gaps()
    desk.report(ticket)

    assert (running, unknown, desk.state(ticket)) == ("running", "unknown", "verified")
    assert "no evidence came" in gap


def test_a_host_that_took_the_ticket_before_it_was_cancelled_is_believed_by_its_evidence(desk: Desk) -> None:
    ticket = desk.approved()
    desk.desk.orders.close("Ada", ticket.ticket_id, "cancelled", "no longer wanted")
    desk.report(ticket)

    assert desk.state(ticket) == "verified"


@pytest.mark.parametrize(
    "ending, state",
    [
        (Ending.REFUSED, "refused"),
        (Ending.FAILED, "failed"),
        (Ending.ABORTED, "incomplete"),
        (Ending.UNKNOWN, "unknown"),
    ],
)
def test_what_did_not_end_well_is_never_verified(desk: Desk, ending: Ending, state: str) -> None:
    ticket = desk.approved()
    nothing = {"steps": (), "checks": ()} if ending is Ending.REFUSED else {}
    desk.report(ticket, ending=ending, **nothing)

    assert desk.state(ticket) == state
    assert any(state in gap for gap in desk.gaps()) == (ending is not Ending.REFUSED)


def test_a_refused_attempt_may_be_followed_by_another(desk: Desk) -> None:
    ticket = desk.approved()
    desk.note(ticket, 1, NoteEvent.REFUSED, "the drive is mounted")
    desk.report(ticket, ending=Ending.REFUSED, steps=(), checks=(), ended=wipes.STARTED)
    refused, offered = desk.state(ticket), len(desk.tickets())
    desk.clock.advance(2 * HOUR)
    desk.note(ticket, 2, NoteEvent.STARTED)
    running = desk.state(ticket)
    desk.report(ticket)

    assert (refused, running, desk.state(ticket)) == ("refused", "running", "verified")
    assert (offered, desk.tickets()) == (1, ())


def test_what_was_begun_is_not_called_refused_because_its_ticket_was_refused_afterwards(desk: Desk) -> None:
    ticket = desk.approved()
    desk.note(ticket, 1, NoteEvent.ACCEPTED)
    desk.note(ticket, 2, NoteEvent.STARTED)
    desk.note(ticket, 3, NoteEvent.REFUSED, "it was begun here before")
    running = desk.state(ticket)
    desk.clock.advance(200 * HOUR)

    assert (running, desk.state(ticket)) == ("running", "unknown")


def test_a_ticket_that_was_refused_waits_for_its_host_until_something_was_done(desk: Desk) -> None:
    ticket = desk.approved()
    desk.report(ticket, ending=Ending.REFUSED, steps=(), checks=(), ended=wipes.STARTED)
    again = desk.tickets()
    desk.report(ticket)

    assert (len(again), desk.tickets()) == (1, ())


def test_a_ticket_that_its_host_refused_can_be_cancelled(desk: Desk) -> None:
    ticket = desk.approved()
    desk.note(ticket, 1, NoteEvent.REFUSED, "the drive is mounted")
    desk.report(ticket, ending=Ending.REFUSED, steps=(), checks=(), ended=wipes.STARTED)
    desk.desk.orders.close("Ada", ticket.ticket_id, "cancelled", "another drive was meant")

    assert desk.tickets() == ()


# ---- evidence that is not what it says


def test_a_report_that_comes_again_changes_nothing_and_another_one_is_refused(desk: Desk) -> None:
    ticket = desk.approved()
    signed = desk.report(ticket)
    desk.desk.intake.take_report(desk.host.host_id, ticket.ticket_id, signed)
    with pytest.raises(ReportHeld):
        desk.report(ticket, interruptions=1)

    assert desk.events().count(Event.WIPE_EVIDENCE_RECEIVED) == 1
    assert desk.events()[-1] == Event.WIPE_EVIDENCE_REFUSED


def _edited(desk: Desk, ticket: Ticket) -> bytes:
    failed, good = (desk.signed(wipes.report_of(ticket, interruptions=number)) for number in (1, 0))
    return good[:-64] + failed[-64:]


@pytest.mark.parametrize(
    "error, made",
    [
        (WrongSigner, lambda desk, ticket: desk.signed(wipes.report_of(ticket), STRANGER)),
        (SignatureInvalid, _edited),
        (ReportOfAnother, lambda desk, ticket: desk.signed(wipes.report_of(ticket, ticket_sha256=bytes(32)))),
        (ReportOfAnother, lambda desk, ticket: desk.signed(wipes.report_of(desk.approved()))),
        (ReportOfAnother, lambda desk, ticket: desk.signed(
            wipes.report_of(ticket, host_id=type(ticket.host_id)(bytes(16))))),
        (ReportOfAnotherDrive, lambda desk, ticket: desk.signed(
            wipes.report_of(ticket, medium=dataclasses.replace(wipes.DISK, serial="ANOTHER")))),
    ],
)  # fmt: skip
def test_a_forged_edited_replayed_or_foreign_report_is_refused_and_recorded(
    desk: Desk, error: type[Exception], made: Callable[[Desk, Ticket], bytes]
) -> None:
    ticket = desk.approved()
    signed = made(desk, ticket)
    with pytest.raises(error):
        desk.desk.intake.take_report(desk.host.host_id, ticket.ticket_id, signed)
    assert desk.bench.last_record().event == Event.WIPE_EVIDENCE_REFUSED
    who = Participant("person", "Dan", True)
    with pytest.raises(error):
        desk.desk.intake._take(_known(desk, ticket), signed, who, "Dan")
    assert desk.bench.last_record().event == Event.WIPE_EVIDENCE_REFUSED

    assert desk.state(ticket) == "approved"


def _known(desk: Desk, ticket: Ticket) -> Known:
    with desk.bench.database() as session:
        return find(session, ticket.ticket_id)


def test_another_host_tells_nothing_of_an_order_that_is_not_its_own(desk: Desk) -> None:
    ticket, other = desk.approved(), desk.bench.enrol()
    signed = desk.signed(wipes.report_of(ticket))
    with pytest.raises(NotItsOrder):
        desk.desk.intake.take_report(other.host_id, ticket.ticket_id, signed)
    with pytest.raises(WrongSigner):
        desk.desk.intake.take_report(
            desk.host.host_id, ticket.ticket_id, desk.signed(wipes.report_of(ticket), other.signer)
        )
    with pytest.raises(OrderUnknown):
        desk.desk.intake.take_report(desk.host.host_id, TicketId(bytes(16)), signed)

    assert desk.desk.orders.waiting(other.host_id) == (False, ())
    assert desk.state(ticket) == "approved"


def test_the_first_note_of_a_number_stays(desk: Desk) -> None:
    ticket = desk.approved()
    for _ in range(2):
        desk.note(ticket, 1, NoteEvent.ACCEPTED)
    with pytest.raises(NoteHeld):
        desk.note(ticket, 1, NoteEvent.STARTED)

    assert desk.state(ticket) == "accepted"


# ---- one drive, several orders


def drive(name: str, **changes: Any) -> TargetDrive:
    """Return a drive of one test alone: orders for the same one are beside each other, whoever's they are."""
    return dataclasses.replace(wipes.drive_of(wipes.DISK), **{"serial": name, "wwn": f"naa.{name}", **changes})


def beside(desk: Desk, ticket: Ticket) -> list[tuple[str, str]]:
    shown: Any = desk.desk.showing.order(ticket.ticket_id)
    return [(one["order"], one["state"]) for one in shown["same_drive"]]


def test_a_second_order_for_a_drive_is_named_to_who_asks_and_to_who_approves(desk: Desk) -> None:
    first, second = desk.order(drive=drive("TWICE")), desk.order(by="Cai", drive=drive("TWICE", wwn=""))
    alone = desk.order(drive=drive("ALONE"))
    told = [beside(desk, one) for one in (first, second, alone)]

    with pytest.raises(DriveOrderedTwice, match=str(first.ticket_id)):
        desk.approve(second, beside="")
    desk.approve(alone, beside="")  # the control

    assert told == [[(str(second.ticket_id), "requested")], [(str(first.ticket_id), "requested")], []]
    assert desk.state(second) == "requested"
    assert sum("is not the only one for this drive" in gap for gap in desk.gaps()) == 1


def test_a_second_order_is_approved_with_a_reason_that_the_log_keeps_sealed(desk: Desk) -> None:
    first, second = desk.approved(drive=drive("REASON")), desk.order(drive=drive("REASON"))

    desk.approve(second, beside="the first host is broken")

    public = desk.bench.rows("SELECT public FROM audit_records WHERE source = 'control-plane' ORDER BY seq")
    signed = [record for row in public if (record := AuditRecord.parse(row.public)).event is Event.WIPE_SIGNED][-1]
    assert desk.state(second) == "approved"
    assert f"beside order: {first.ticket_id}" in {subject.name for subject in signed.what}
    assert not any(b"broken" in row.public for row in public)


def test_what_ended_or_was_closed_is_no_order_beside_another(desk: Desk) -> None:
    cancelled, failed = desk.order(drive=drive("ENDED")), desk.approved(drive=drive("ENDED"))
    desk.desk.orders.close("Ada", cancelled.ticket_id, "cancelled", "a slip")
    desk.report(failed, ending=Ending.FAILED)
    next_one = desk.order(drive=drive("ENDED"))

    desk.approve(next_one, beside="")

    assert beside(desk, next_one) == []
    assert (desk.state(failed), desk.state(next_one)) == ("failed", "approved")


def test_a_proved_wipe_ends_the_other_orders_for_the_drive_by_evidence_alone(desk: Desk) -> None:
    first, second = desk.approved(drive=drive("PROVED")), desk.approved(drive=drive("PROVED"))
    other_size = desk.approved(drive=drive("PROVED", size_bytes=4096))
    waiting = len(desk.tickets())
    desk.report(first)

    assert (desk.state(first), desk.state(second)) == ("verified", "superseded")
    assert str(first.ticket_id) in str(desk.desk.showing.order(second.ticket_id)["detail"])
    assert desk.state(other_size) == "approved", "what differs in any name that a ticket binds is another drive"
    assert len(desk.tickets()) == waiting - 2
    for act in (lambda: desk.desk.orders.ticket(second.ticket_id), lambda: desk.approve(second, "Cai", CAI)):
        with pytest.raises(OrderClosed, match="was wiped since"):
            act()


@pytest.mark.parametrize(
    "least, ending", [(LeastClass.CLEAR, Ending.FAILED), (LeastClass.PURGE, Ending.COMPLETED)], ids=["failed", "less"]
)
def test_what_does_not_prove_what_is_asked_ends_no_other_order(desk: Desk, least: LeastClass, ending: Ending) -> None:
    mine = drive(f"LESS-{least}")
    first, techniques = desk.approved(drive=mine), (Technique.ATA_SANITIZE_BLOCK, Technique.OVERWRITE)
    second = desk.approved(drive=mine, least=least, techniques=techniques)
    desk.report(first, ending=ending)

    assert desk.state(second) == "approved"
    assert desk.desk.orders.ticket(second.ticket_id)


def test_a_drive_that_was_wiped_before_is_ordered_and_wiped_once_more(desk: Desk) -> None:
    """By then it may hold somebody else's data, which somebody decided about."""
    desk.report(desk.approved(drive=drive("AGAIN")))
    desk.clock.advance(timedelta(hours=2))
    again = desk.order(drive=drive("AGAIN"))
    desk.approve(again, beside="")

    assert desk.state(again) == "approved"


def test_a_drive_that_was_destroyed_is_wiped_by_no_other_order(desk: Desk) -> None:
    first, second = desk.approved(drive=drive("SHREDDED")), desk.approved(drive=drive("SHREDDED"))
    desk.clock.advance(HOUR)
    desk.desk.orders.destroyed("Dan", first.ticket_id, "Cai", "shredder HSM 3, H-5", [])

    assert (desk.state(first), desk.state(second)) == ("destroyed", "superseded")


# ---- what outlives what


@pytest.mark.parametrize("ended", sorted(ENDED))
def test_an_order_of_a_host_that_ended_says_so_until_its_ticket_is_past(desk: Desk, ended: Standing) -> None:
    approved, asked = desk.approved(drive=drive(f"A-{ended}")), desk.order(drive=drive(f"B-{ended}"))
    of_another = Desk(desk.bench, desk.bench.enrol()).approved(drive=drive(f"C-{ended}"))
    _ended(desk, ended)
    states = [desk.state(one) for one in (approved, asked, of_another)]
    shown = desk.desk.showing.order(approved.ticket_id)
    told = [gap for gap in desk.gaps() if "fetches no ticket" in gap]

    assert states == ["host-ended", "host-ended", "approved"]
    assert (shown["host_standing"], f"its host is {ended}" in str(shown["detail"])) == (ended, True)
    assert len(told) == 2
    desk.clock.advance(timedelta(hours=25))
    assert [desk.state(one) for one in (approved, asked)] == ["expired", "expired"]
    assert f"its host is {ended}" in str(desk.desk.showing.order(approved.ticket_id)["detail"])


def test_what_a_host_did_before_it_ended_comes_before_that_it_ended(desk: Desk) -> None:
    begun, proved = desk.approved(drive=drive("BEGUN")), desk.approved(drive=drive("DONE"))
    desk.note(begun, 1, NoteEvent.STARTED)
    desk.report(proved)
    _ended(desk, Standing.REVOKED)

    assert (desk.state(begun), desk.state(proved)) == ("running", "verified")


def test_no_host_can_be_deleted_that_has_an_order(desk: Desk) -> None:
    ticket, without = desk.approved(drive=drive("KEPT")), desk.bench.enrol()
    with pytest.raises(IntegrityError), desk.bench.database.begin() as session:
        session.execute(delete(Host).where(Host.host_id == str(desk.host.host_id)))

    assert desk.state(ticket) == "approved"
    assert without.host_id != desk.host.host_id


def test_the_order_of_a_host_that_was_revoked_stays_and_takes_its_report_from_a_person(desk: Desk) -> None:
    ticket = desk.approved()
    _ended(desk, Standing.REVOKED)
    desk.desk.intake.bring_report("Dan", desk.signed(wipes.report_of(ticket)))

    assert desk.state(ticket) == "verified"
    assert desk.desk.showing.order(ticket.ticket_id)["reports"][0]["brought_by"] == "Dan"  # type: ignore[index, call-overload]


def test_evidence_that_was_received_and_not_judged_is_judged_after_a_restart(desk: Desk) -> None:
    ticket = desk.approved()
    desk.report(ticket)
    with desk.bench.database.begin() as session:
        session.get_one(WipeReportRow, (str(ticket.ticket_id), 1)).judged = None
    received = desk.state(ticket)
    again = Desk(Bench(desk.bench.folder), desk.host)
    again.desk.intake.judge_what_was_not()

    assert (received, again.state(ticket)) == ("evidence-received", "verified")


def test_who_writes_rows_proves_nothing(desk: Desk) -> None:
    signed_by_nobody, edited, foreign, closed = desk.order(), desk.approved(), desk.approved(), desk.order()
    report = desk.signed(wipes.report_of(foreign))
    with desk.bench.database.begin() as session:
        forged = dataclasses.replace(edited, person="Eve")
        session.get_one(WipeOrderRow, str(edited.ticket_id)).ticket = forged.encode()
        session.get_one(WipeOrderRow, str(closed.ticket_id)).closed_as = "certified"
        session.add(WipeReportRow(order_id=str(signed_by_nobody.ticket_id), number=1, signed=report,
                                  received=desk.clock.now(), judged="cleared-verified"))  # fmt: skip
        session.add(WipeSignatureRow(order_id=str(foreign.ticket_id), key_id="0" * 32, person="Cai",
                                     signed=desk.clock.now(), statement=b"nothing"))  # fmt: skip

    assert [desk.state(one) for one in (signed_by_nobody, edited, foreign, closed)] == ["not authentic"] * 4
    assert all("not authentic" in gap for gap in desk.gaps())


def test_an_order_that_a_restored_centre_has_lost_comes_back_by_its_ticket_and_takes_its_report(
    desk: Desk,
) -> None:
    ticket = desk.approved()
    report, envelope = desk.signed(wipes.report_of(ticket)), desk.desk.orders.ticket(ticket.ticket_id)
    with pytest.raises(OrderHeld):
        desk.desk.orders.bring("Dan", envelope)
    with desk.bench.database.begin() as session:  # as in a backup of before it
        session.execute(delete(WipeSignatureRow).where(WipeSignatureRow.order_id == str(ticket.ticket_id)))
        session.execute(delete(WipeOrderRow).where(WipeOrderRow.order_id == str(ticket.ticket_id)))
    with pytest.raises(OrderUnknown):
        desk.desk.intake.bring_report("Dan", report)
    for signers, error in (([ADA], OwnTicket), ([STRANGER], SignerUnknown)):
        with pytest.raises(error):
            desk.desk.orders.bring("Dan", sign_ticket(ticket, signers).encode())
    desk.desk.orders.bring("Dan", envelope)
    approved = desk.state(ticket)
    desk.desk.intake.bring_report("Dan", report)

    assert (approved, desk.state(ticket)) == ("approved", "verified")


def test_signatures_that_a_restored_centre_has_lost_come_back_by_the_ticket(desk: Desk) -> None:
    ticket = desk.approved()
    report, envelope = desk.signed(wipes.report_of(ticket)), desk.desk.orders.ticket(ticket.ticket_id)
    with desk.bench.database.begin() as session:  # as in a backup of before it was approved
        session.execute(delete(WipeSignatureRow).where(WipeSignatureRow.order_id == str(ticket.ticket_id)))
    with pytest.raises(NeverApproved):
        desk.desk.intake.bring_report("Dan", report)
    edited = dataclasses.replace(ticket, person="Eve")
    with pytest.raises(OrderHeld):
        desk.desk.orders.bring("Dan", sign_ticket(edited, [BEA]).encode())
    desk.desk.orders.bring("Dan", envelope)
    desk.desk.intake.bring_report("Dan", report)

    assert desk.state(ticket) == "verified"
    with pytest.raises(OrderHeld):
        desk.desk.orders.bring("Dan", envelope)


# ---- holds and destruction


def test_a_held_host_gets_no_ticket_without_the_override_of_two(desk: Desk) -> None:
    before = desk.approved()
    desk.desk.holds.place("Cai", desk.host.host_id, "ransom note on the console")
    with pytest.raises(HostHeld):
        desk.order()
    with pytest.raises(HostHeld):
        desk.desk.orders.ticket(before.ticket_id)
    with pytest.raises(HeldAlready):
        desk.desk.holds.place("Cai", desk.host.host_id, "again")
    held = desk.desk.orders.waiting(desk.host.host_id)
    overriding = desk.approved(overrides=(Override.INCIDENT_HOLD,))
    one = desk.tickets()
    desk.approve(overriding, "Cai", CAI)

    assert held == (True, ())
    assert (one, [SignedTicket.parse(two).claimed for two in desk.tickets()]) == ((), [overriding])
    assert any("held for an incident" in gap for gap in desk.desk.showing.gaps())


def test_that_a_drive_was_destroyed_is_people_s_word_on_an_approved_order(desk: Desk) -> None:
    ticket, photograph = desk.order(), "ab" * 32
    destroyed = ("Dan", ticket.ticket_id, "Eve", "shredder HSM 3, H-5", [photograph])
    with pytest.raises(NotApproved):
        desk.desk.orders.destroyed(*destroyed)
    desk.approve(ticket)
    with pytest.raises(Malformed):
        desk.desk.orders.destroyed("Dan", ticket.ticket_id, "dan ", "shredder HSM 3, H-5", [])
    desk.desk.orders.destroyed(*destroyed)

    assert (desk.state(ticket), desk.tickets()) == ("destroyed", ())
    record = desk.bench.last_record()
    assert record.event == Event.DRIVE_DESTROYED
    assert f"photograph: {photograph}" in [subject.name for subject in record.what]
    with pytest.raises(OrderClosed):
        desk.desk.orders.destroyed(*destroyed)


def _ended(desk: Desk, standing: Standing) -> None:
    with desk.bench.database.begin() as session:
        session.get_one(Host, str(desk.host.host_id)).standing = standing
