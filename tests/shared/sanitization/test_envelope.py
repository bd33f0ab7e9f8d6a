"""Whether a ticket is approved by enough people, none of whom asked for it, and no laxer than policy."""

import dataclasses
from datetime import timedelta
from typing import Any

import pytest

from shared.envelope import Signatories, SignerUnknown, TooFewSignatures
from shared.errors import IntegrityFailure, Malformed, Refused
from shared.identity import HostId
from shared.policy.wipe import LeastClass, ReadBack, WipePolicy
from shared.sanitization.envelope import (
    HoldsTooLong,
    LaxerThanPolicy,
    NoWipes,
    OwnTicket,
    SignedTicket,
    SignerUnnamed,
    sign_ticket,
    verify_ticket,
)
from shared.sanitization.note import NoteEvent, WipeNote
from shared.sanitization.ticket import Override, Ticket
from shared.signing import Label, SignatureInvalid, SoftwareSigner, sign_statement
from tests.shared import made
from tests.shared.sanitization.tickets import ADA, BEA, CAI, METHOD, NAMES, PEOPLE, POLICY, STRANGER, ticket

TWO = dataclasses.replace(POLICY, approvals=2)
UNNAMED = Signatories(PEOPLE.keys, 1, {ADA.public.key_id: "Ada"})
ONE_NAME = Signatories(PEOPLE.keys, 1, {**NAMES, CAI.public.key_id: " bea"})


def test_one_other_person_is_enough_where_policy_says_so() -> None:
    approved = verify_ticket(sign_ticket(ticket(), [BEA]), PEOPLE, POLICY)

    assert (approved.ticket, [signer.name for signer in approved.signers]) == (ticket(), ["Bea"])


@pytest.mark.parametrize(
    "error, drawn_up, signers, people, policy",
    [
        (NoWipes, ticket(), [BEA], PEOPLE, None),
        (OwnTicket, ticket(), [ADA], PEOPLE, POLICY),
        (OwnTicket, ticket(), [ADA, BEA], PEOPLE, POLICY),
        (OwnTicket, ticket(requester="ADA "), [ADA], PEOPLE, POLICY),
        (SignerUnknown, ticket(), [STRANGER], PEOPLE, POLICY),
        (SignerUnknown, ticket(), [BEA, STRANGER], PEOPLE, POLICY),
        (SignerUnnamed, ticket(), [BEA], UNNAMED, POLICY),
        (TooFewSignatures, ticket(), [BEA], PEOPLE, TWO),
        (TooFewSignatures, ticket(), [BEA], dataclasses.replace(PEOPLE, threshold=2), POLICY),
        (TooFewSignatures, ticket(), [BEA, CAI], ONE_NAME, TWO),
        (TooFewSignatures, ticket(overrides=(Override.INCIDENT_HOLD,)), [BEA], PEOPLE, POLICY),
        (LaxerThanPolicy, ticket(), [BEA], PEOPLE, dataclasses.replace(POLICY, least=LeastClass.PURGE)),
        (
            LaxerThanPolicy,
            ticket(method=dataclasses.replace(METHOD, read_back=ReadBack.SAMPLES)),
            [BEA],
            PEOPLE,
            POLICY,
        ),
        (HoldsTooLong, ticket(), [BEA], PEOPLE, dataclasses.replace(POLICY, ticket_hours=23)),
    ],
)
def test_refuses(
    error: type[Refused], drawn_up: Ticket, signers: list[SoftwareSigner], people: Signatories,
    policy: WipePolicy | None,
) -> None:  # fmt: skip
    with pytest.raises(error):
        verify_ticket(sign_ticket(drawn_up, signers), people, policy)


def test_two_people_override_where_one_may_not() -> None:
    signed = sign_ticket(ticket(overrides=(Override.INCIDENT_HOLD,)), [BEA, CAI])

    assert len(verify_ticket(signed, PEOPLE, POLICY).signers) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"host_id": HostId(bytes(16))},
        {"asset": "CT 3"},
        {"expires": ticket().expires - timedelta(hours=1)},
        {"requester": "Cai"},
        {"person": "Eve"},
    ],
)
def test_a_ticket_that_was_edited_after_it_was_signed_is_refused(changes: dict[str, Any]) -> None:
    signed, edited = sign_ticket(ticket(), [BEA]), ticket(**changes).encode()
    head, (statement,) = 24, signed.statements
    forged = statement[:head] + len(edited).to_bytes(4) + edited + statement[-64:]

    with pytest.raises(SignatureInvalid):
        verify_ticket(SignedTicket.of([forged]), PEOPLE, POLICY)


def test_signatures_over_two_tickets_make_no_envelope() -> None:
    over_another = sign_ticket(ticket(asset="CT 3"), [CAI]).statements

    with pytest.raises(Malformed):
        SignedTicket.of([*sign_ticket(ticket(), [BEA]).statements, *over_another])


def test_what_was_signed_as_a_command_approves_no_ticket() -> None:
    with pytest.raises(IntegrityFailure):
        verify_ticket(SignedTicket.of([sign_statement(BEA, Label.COMMAND, ticket().encode())]), PEOPLE, POLICY)


@pytest.mark.parametrize(
    "unfit", ["\x9b2K", "\N{RIGHT-TO-LEFT OVERRIDE}", "\N{LINE SEPARATOR}", "\N{ZERO WIDTH SPACE}"]
)
def test_nothing_that_could_show_a_ticket_as_another_is_in_one_or_in_a_note(unfit: str) -> None:
    """An approver reads it in a terminal, where such text could hide a line."""
    for changes in ({"person": f"Dan{unfit}"}, {"asset": f"CT{unfit}2"}, {"requester": f"{unfit}Ada"}):
        with pytest.raises(Malformed):
            Ticket.parse(ticket(**changes).encode())
    note = WipeNote(ticket().ticket_id, 1, NoteEvent.REFUSED, made.NOW, f"it is mounted{unfit}")
    with pytest.raises(Malformed):
        WipeNote.parse(note.encode())
    assert Ticket.parse(ticket(person="张伟", asset="CT 2, 地下一层").encode()).person == "张伟"
