"""What the people's door takes and answers of policies, who signs them, and how far they are rolled out."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from control_plane.http.people_models import RolloutStatus, Strict
from shared.policy.document import ORGANISATION
from shared.policy.layer import LAYER_PATTERN


class RolloutRing(Strict):
    """Who a ring brings a policy to, in addition to those before it."""

    hosts: list[str] = Field(max_length=64)
    layers: list[str] = Field(max_length=16)
    percent: int = Field(ge=0, le=100)


class RolloutPlan(Strict):
    """The rings of a roll-out, the last of which is everybody, and what one has to show before the next one opens."""

    rings: list[RolloutRing] = Field(min_length=2, max_length=16)
    soak_s: int = Field(ge=0, le=30 * 86_400)
    healthy_percent: int = Field(ge=1, le=100)
    abort_percent: int = Field(ge=1, le=100)
    on_abort: Literal["revert", "pause"]
    quiet_s: int = Field(ge=1, le=7 * 86_400)


class PublishRequest(Strict):
    """A policy layer, signed by its author; everything base64 but the layer's name."""

    layer: str = Field(pattern=f"^{LAYER_PATTERN}$")
    metadata: str = Field(max_length=1 << 20)
    policy: str = Field(max_length=1 << 20)
    stable: str | None = Field(default=None, max_length=1 << 20)
    plan: RolloutPlan | None = None


class SignedLayer(Strict):
    """A layer's metadata and policy, base64."""

    metadata: str = Field(max_length=1 << 20)
    policy: str = Field(max_length=1 << 20)


class SteerRequest(Strict):
    """What is done to the roll-out of a layer, and why; the reason stands in the audit log."""

    layer: str = Field(pattern=f"^{LAYER_PATTERN}$")
    do: Literal["pause", "resume", "revert", "widen"]
    because: str = Field(default="", max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")


class RolloutsQuery(BaseModel):
    """A layer; without one, all that have a roll-out."""

    model_config = ConfigDict(extra="forbid")
    layer: str | None = Field(default=None, pattern=f"^{LAYER_PATTERN}$")


class RootRequest(Strict):
    """A new policy root, and what is signed anew under it: base64, each layer by its name."""

    root: str = Field(max_length=1 << 20)
    targets: str = Field(max_length=1 << 20)
    layers: dict[str, SignedLayer] = Field(max_length=100)


class TargetsRequest(Strict):
    """Targets that delegate more layers, base64."""

    targets: str = Field(max_length=1 << 20)


class OnlineKeyAnswer(BaseModel):
    """The key that may take over snapshot and timestamp: base64 of DER SubjectPublicKeyInfo."""

    public: str


class PublishAnswer(BaseModel):
    """`remark` says where nobody else could look at what may do harm, and is empty otherwise."""

    version: int
    remark: str = ""


class VersionsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    most: int = Field(default=20, ge=1, le=200)
    layer: str = Field(default=ORGANISATION, pattern=f"^{LAYER_PATTERN}$")


class VersionQuery(BaseModel):
    """Which layer a version is of."""

    model_config = ConfigDict(extra="forbid")
    layer: str = Field(default=ORGANISATION, pattern=f"^{LAYER_PATTERN}$")


class PastVersion(BaseModel):
    """`state` is signed, or why its signatures do not hold; `dangers` counts changes that may do harm."""

    version: int
    published: str
    person: str
    state: str
    changed: str
    dangers: int | None


class VersionsAnswer(BaseModel):
    versions: list[PastVersion]


class VersionAnswer(BaseModel):
    """A version as it was signed; everything base64 but the layer's name. `stable` is empty where it has none."""

    layer: str
    metadata: str
    policy: str
    stable: str = ""


class SimulateRequest(Strict):
    """A policy as a file says it, and how many days back captures are looked at."""

    policy: str = Field(max_length=1 << 20)
    days: int = Field(default=30, ge=1, le=366)


class DeviceDifference(BaseModel):
    """`then` is null where it cannot be told; `why` says by which rule, or why not.

    `last_attached` is null for a device that is in the report.
    """

    where: str
    id: str
    name: str
    serial: str
    now: str
    then: str | None
    why: str
    loosens: bool
    last_attached: str | None


class SimulatedDevices(BaseModel):
    """`policy` is the version that the guard reported them under."""

    policy: int
    same: int
    gone_same: int
    differ: list[DeviceDifference]
    left_out: int


class SimulatedCaptures(BaseModel):
    ae_title: str
    count: int
    treated: Literal["as before", "refused", "otherwise", "not evaluated"]
    then: str
    why: str


class SimulatedHost(BaseModel):
    """`devices` is null where nothing is known of them: that is no *unchanged*."""

    host: str
    asset: str
    last_seen: str | None
    state: Literal["reported", "silent", "not evaluated", "unknown"]
    why: str
    devices: SimulatedDevices | None
    captures: list[SimulatedCaptures]


class SimulateAnswer(BaseModel):
    time: str
    days: int
    hosts: list[SimulatedHost]
    hosts_without_layer: int
    captures_unreadable: int
    captures_left_out: int
    attachments_unreadable: int
    attachments_left_out: int


class RolloutsAnswer(BaseModel):
    """`unreadable` says of each roll-out that cannot be read what is wrong, and what to do."""

    rollouts: list[RolloutStatus]
    unreadable: list[str]
