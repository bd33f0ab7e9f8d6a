"""What people send and are answered about wipe orders and incident holds."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from control_plane.http.people_models import Strict
from shared.envelope import MAX_ENVELOPE_BYTES
from shared.policy.wipe import MAX_TICKET_HOURS
from shared.sanitization.certificate import MAX_BYTES as MAX_CERTIFICATE_BYTES
from shared.sanitization.destruction import MAX_PHOTOGRAPHS
from shared.sanitization.report import MAX_BYTES

_TEXT = r"^[^\x00-\x1f\x7f]+$"
_PRINTABLE = r"^[\x20-\x7e]*$"


class WipeRequest(Strict):
    """A drive of a host, and how it is to be wiped; what is left out is as the host's policy has it.

    `text` says why in free words, and is kept sealed in the audit log.
    """

    host: str = Field(max_length=40)
    serial: str = Field(min_length=1, max_length=80, pattern=_PRINTABLE)
    wwn: str = Field(default="", max_length=80, pattern=_PRINTABLE)
    model: str = Field(max_length=80, pattern=_PRINTABLE)
    size_bytes: int = Field(ge=1, le=1 << 60)
    least: Literal["clear", "purge"] | None = None
    read_back: Literal["samples", "whole"] | None = None
    techniques: list[str] = Field(default=[], max_length=32)
    sequence: str = Field(default="random", max_length=40)
    passes: list[str] = Field(default=[], max_length=16)
    reason: Literal["disposal", "return", "repair", "reuse", "incident", "other"]
    text: str = Field(min_length=3, max_length=300)
    technician: str = Field(min_length=1, max_length=80, pattern=_TEXT)
    overrides: list[Literal["incident-hold", "undelivered-images"]] = Field(default=[], max_length=2)
    hours: int | None = Field(default=None, ge=1, le=MAX_TICKET_HOURS)


class WipesQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    host: str | None = Field(default=None, max_length=40)


class SameDrive(BaseModel):
    """Another order for the same drive, which a host may still do something about."""

    order: str
    host: str
    asset: str
    state: str


class WipeBrief(BaseModel):
    """`state` is derived from what is signed; `approvals` are those that count by what policy says now."""

    order: str
    host: str
    host_standing: str
    asset: str
    serial: str
    wwn: str
    model: str
    size_bytes: int
    least: str
    read_back: str
    reason: str
    requester: str
    technician: str
    overrides: list[str]
    requested: str
    expires: str
    approvals: int
    approvals_needed: int
    state: str
    detail: str
    same_drive: list[SameDrive]


class WipesAnswer(BaseModel):
    orders: list[WipeBrief]


class WipeSigned(BaseModel):
    person: str
    key: str
    signed: str


class WipeNoted(BaseModel):
    seq: int
    event: str
    time: str
    detail: str


class WipeReported(BaseModel):
    """`signed` is the host's signed statement in base64; `judged` is null until the centre has judged it."""

    received: str
    brought_by: str | None
    judged: str | None
    signed: str


class DriveDestroyed(BaseModel):
    v: int
    recorded_by: str
    witness: str
    means: str
    photographs: list[str]
    time: str


class WipeAnswer(WipeBrief):
    """`ticket` is in base64 the very bytes that approvers sign."""

    ticket: str
    signatures: list[WipeSigned]
    notes: list[WipeNoted]
    reports: list[WipeReported]
    destruction: DriveDestroyed | None


class WipeSignature(Strict):
    """An envelope with one signature, in base64."""

    signed: str = Field(max_length=MAX_ENVELOPE_BYTES * 2)


class WipeApproval(WipeSignature):
    """`beside` says why the wipe is to be although its drive has another order; it is kept sealed in the audit log."""

    beside: str = Field(default="", max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")


class WipeReportRequest(Strict):
    """A host's signed report, in base64, that a person carried here."""

    signed: str = Field(max_length=MAX_BYTES * 2)


class DestructionRequest(Strict):
    """By what means a drive was destroyed, who saw it, and the SHA-256 of photographs of it."""

    witness: str = Field(min_length=1, max_length=80, pattern=_TEXT)
    means: str = Field(min_length=3, max_length=200, pattern=_TEXT)
    photographs: list[str] = Field(default=[], max_length=MAX_PHOTOGRAPHS)


class LeavingRequest(Strict):
    """The certificate of a wipe of one of the host's drives: the JSON file in base64."""

    certificate: str = Field(max_length=MAX_CERTIFICATE_BYTES * 2)


class Left(BaseModel):
    host: str


class Hold(BaseModel):
    host: str
    asset: str
    placed: str
    placed_by: str


class HoldsAnswer(BaseModel):
    holds: list[Hold]
