"""What people send to their door, checked before anything looks at it."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.policy.document import LAYER_PATTERN


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class OpenRequest(_Strict):
    """Why an image is opened, and in which form it is wanted."""

    reason: str = Field(min_length=3, max_length=300)
    form: Literal["part10", "dataset"] = Field(default="part10", alias="as")


class PublishRequest(_Strict):
    """A policy layer, signed by its author; everything base64 but the layer's name."""

    layer: str = Field(pattern=f"^{LAYER_PATTERN}$")
    metadata: str = Field(max_length=1 << 20)
    policy: str = Field(max_length=1 << 20)
    targets: str | None = Field(default=None, max_length=1 << 20)


class CodeRequest(_Strict):
    """Which host an enrolment code is for, and how long it may be used."""

    asset: str = Field(min_length=1, max_length=100)
    valid_s: int = Field(default=86_400, ge=60, le=30 * 86_400)


class FindQuery(BaseModel):
    """At most one of the searched attributes; none asks for the newest objects."""

    model_config = ConfigDict(extra="forbid")
    patient_id: str | None = Field(default=None, min_length=1, max_length=64)
    study: str | None = Field(default=None, pattern=r"^[0-9.]{1,64}$")
    sop_instance: str | None = Field(default=None, pattern=r"^[0-9.]{1,64}$")


class AuditQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    source: str | None = Field(default=None, max_length=40)
    after: int = Field(default=0, ge=0)
    limit: int = Field(default=100, ge=1, le=1000)
