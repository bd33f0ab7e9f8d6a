"""What people ask of the log, and what they are told."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from control_plane.http.people_hosts_models import PendingRequest
from control_plane.http.people_models import AuditEntry, Strict

_PLACE = Annotated[str, Field(max_length=60)]
_NAME = Annotated[str, Field(min_length=1, max_length=200)]
_TIME = Annotated[str, Field(max_length=32)]


class AuditQuestion(Strict):
    """All conditions hold for each record. `since` and `until` are times of the source's clock, the second excluded."""

    person: _NAME | None = None
    host: _NAME | None = None
    device: _NAME | None = None
    event: _NAME | None = None
    action: Literal["C", "R", "U", "D", "E"] | None = None
    outcome: Literal[0, 4, 8, 12] | None = None
    since: _TIME | None = None
    until: _TIME | None = None
    patient: _NAME | None = None
    study: _NAME | None = None


class AuditFindRequest(Strict):
    question: AuditQuestion
    after: _PLACE | None = None
    limit: int = Field(default=1000, ge=1, le=1000)


class TouchedRequest(Strict):
    patient: _NAME
    after: _PLACE | None = None
    limit: int = Field(default=1000, ge=1, le=1000)


class FoundEntry(BaseModel):
    """One record's public part. `private` says whether what is sealed beside it can be opened at the centre.

    `altered`: it is not the record that was entered in the log in its place.
    """

    entry: int
    source: str
    seq: int
    time: str
    event: str
    action: str
    outcome: int
    who: list[dict[str, str | bool]]
    what: list[dict[str, str]]
    reason: str
    received: str
    altered: bool
    private: Literal["none", "opens", "erased", "not openable"]


class FoundAnswer(BaseModel):
    """`rest` is what to ask with next, null where this was all."""

    records: list[FoundEntry]
    rest: str | None


class TouchedAnswer(FoundAnswer):
    """`not_evaluated` counts images of which nobody knows whose they are."""

    objects: int
    not_evaluated: int


class FollowAnswer(BaseModel):
    follow: str
    after: int


class FollowQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    after: int = Field(ge=0, lt=2**62)


class FollowedEntry(AuditEntry):
    entry: int


class FollowedAnswer(BaseModel):
    records: list[FollowedEntry]
    after: int


class ArchiveRequest(Strict):
    """`kept` is a checkpoint of before: the archive proves that the log goes on from it."""

    question: AuditQuestion
    kept: str | None = Field(default=None, max_length=131_072)


class ErasureRequest(Strict):
    """Whose key is to be destroyed: one of the three."""

    kind: Literal["patient", "person", "object"]
    value: _NAME


class ErasureAskRequest(ErasureRequest):
    reason: str = Field(min_length=1, max_length=300)


class CopyHolding(BaseModel):
    label: str
    place: str
    begun: str


class ErasableAnswer(BaseModel):
    """The key by its random id, and the copies that hold it too."""

    subject: str
    copies: list[CopyHolding]


class ErasureAskAnswer(ErasableAnswer):
    request: PendingRequest
