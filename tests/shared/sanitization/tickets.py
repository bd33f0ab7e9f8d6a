"""Tickets to start from, and the people who sign them: Ada asks, Bea and Cai approve, Dan wipes."""

import dataclasses
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from shared.envelope import Signatories
from shared.policy.wipe import LeastClass, ReadBack, WipePolicy
from shared.sanitization.method import Method
from shared.sanitization.technique import Sequence, Technique
from shared.sanitization.ticket import Reason, TargetDrive, Ticket, TicketId
from shared.signing import SoftwareSigner
from tests.shared import made


def signer_of(number: int) -> SoftwareSigner:
    return SoftwareSigner(ec.derive_private_key(number, ec.SECP256R1()))


ADA, BEA, CAI, STRANGER = (signer_of(number) for number in (11, 12, 13, 14))
NAMES = {ADA.public.key_id: "Ada", BEA.public.key_id: "Bea", CAI.public.key_id: "Cai"}
PEOPLE = Signatories((ADA.public, BEA.public, CAI.public), 1, NAMES)
POLICY = WipePolicy(LeastClass.CLEAR, ReadBack.WHOLE, 1, 24)
METHOD = Method(LeastClass.CLEAR, (Technique.OVERWRITE,), Sequence.RANDOM, (), ReadBack.WHOLE)
DRIVE = TargetDrive("S3R1AL4711", "naa.5000c500a1b2c3d4", "ST4000NM0035", 4_000_787_030_016)


def ticket(**changes: Any) -> Ticket:
    drawn_up = Ticket(
        ticket_id=TicketId(bytes(range(32, 48))),
        host_id=made.HOST,
        evidence_key=made.HOST_SIGNER.public.key_id,
        asset="CT 2",
        drive=DRIVE,
        method=METHOD,
        reason=Reason.DISPOSAL,
        requester="Ada",
        person="Dan",
        overrides=(),
        issued=made.NOW,
        expires=made.NOW + timedelta(hours=24),
    )
    return dataclasses.replace(drawn_up, **changes)
