"""What people send and are answered about enrolment codes, hosts, and acts that take two persons."""

from typing import Literal

from pydantic import BaseModel, Field

from control_plane.http.people_models import Strict
from shared.enrolment.lapsed import FINGERPRINT_PATTERN
from shared.policy.layer import PART_NAME_PATTERN

_ASSET = r"^[^\x00-\x1f\x7f]+$"
_MOST_OF_A_LIST = 1000


class CodeEntry(Strict):
    """`site` and `modality_type` name the layers that the host has besides the organisation's, without `site-` and
    `modality-`; it keeps them for good.
    """

    asset: str = Field(min_length=1, max_length=100, pattern=_ASSET)
    site: str | None = Field(default=None, pattern=f"^{PART_NAME_PATTERN}$")
    modality_type: str | None = Field(default=None, pattern=f"^{PART_NAME_PATTERN}$")


class CodeRequest(CodeEntry):
    """Which asset an enrolment code is for, and how long it may be used."""

    valid_s: int = Field(default=86_400, ge=60, le=30 * 86_400)


class CodeListRequest(Strict):
    """The assets of a list, one code for each; all of them are issued, or none."""

    entries: list[CodeEntry] = Field(min_length=1, max_length=_MOST_OF_A_LIST)
    valid_s: int = Field(default=86_400, ge=60, le=30 * 86_400)


class CodeAnswer(BaseModel):
    """A one-time code, shown this once; `id` names it from then on."""

    id: str
    code: str
    asset: str
    expires: str
    layers: list[str]


class CodeListAnswer(BaseModel):
    codes: list[CodeAnswer]


class ListedCode(BaseModel):
    """A code without its secret. `tried_again`: when somebody had it after it was used, until that is settled."""

    code: str
    asset: str
    layers: list[str]
    issued_by: str
    expires: str
    state: Literal["open", "used", "cancelled", "expired"]
    host: str | None
    replaces: str | None
    tried_again: str | None


class CodesAnswer(BaseModel):
    codes: list[ListedCode]


class CodeChanged(BaseModel):
    code: str
    asset: str


class ReasonRequest(Strict):
    """Why; it is kept sealed in the audit log."""

    reason: str = Field(min_length=3, max_length=300)


class TakeBackRequest(Strict):
    """Either a file of `leadglass-agent claim` in base64, or a host that has shown one at the enrolment door.

    The reason is told to whoever approves it.
    """

    claim: str | None = Field(default=None, max_length=400_000)
    host: str | None = None
    reason: str = Field(min_length=3, max_length=100)


class HostSettleRequest(ReasonRequest):
    """What was found out about a host that was doubted; with `rekey` its certificates are barred."""

    rekey: bool = False


class RevocationAnswer(BaseModel):
    """`session` is *ended*, or says why the host may still be connected to the broker."""

    host: str
    asset: str
    session: str


class Ask(BaseModel):
    """A machine that asks to go on as a host that has no certificate left, by the fingerprint of its fresh key."""

    host: str
    asset: str
    fingerprint: str
    asked: str
    address: str
    approved: str | None
    approved_by: str | None


class ShownClaim(BaseModel):
    """A host that the log lost, by what it shows of itself; `certified` is when its evidence certificate began."""

    host: str
    asset: str
    layers: list[str]
    certified: str


class AsksAnswer(BaseModel):
    asks: list[Ask]
    claims: list[ShownClaim]


class ApprovalRequest(Strict):
    """The fingerprint as the machine itself shows it."""

    fingerprint: str = Field(pattern=f"^{FINGERPRINT_PATTERN}$")


class RenameRequest(Strict):
    asset: str = Field(min_length=1, max_length=100, pattern=_ASSET)


class RenameAnswer(BaseModel):
    host: str
    before: str
    asset: str


class ReplacementRequest(Strict):
    valid_s: int = Field(default=86_400, ge=60, le=30 * 86_400)


class PendingRequest(BaseModel):
    """An act that one person asked for, and that is done once another one approves it."""

    request: str
    action: str
    subject: str
    reason: str
    asked_by: str
    asked: str
    expires: str
    done: bool


class RequestsAnswer(BaseModel):
    requests: list[PendingRequest]
