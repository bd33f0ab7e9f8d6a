"""What people send to their door and what it answers: checked on the way in, described in the OpenAPI document."""

from datetime import date
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

from shared.errors import Malformed
from shared.identity import SOURCE_PATTERN

_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_HOST = r"^host-[0-9a-f]{32}$"


def day_of(text: str) -> date:
    """Read a day of the calendar. Raises Malformed."""
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise Malformed("day", str(exc)) from exc


class Strict(BaseModel):
    """What somebody sent. No text in it has the character NUL, which PostgreSQL keeps none of."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nul(cls, sent: object) -> object:
        if _has_nul(sent):
            raise ValueError("a text in it has the character NUL")
        return sent


def _has_nul(sent: object) -> bool:
    match sent:
        case str():
            return "\x00" in sent
        case dict():
            return any(_has_nul(one) for pair in sent.items() for one in pair)
        case list() | tuple():
            return any(_has_nul(one) for one in sent)
    return False


class OpenRequest(Strict):
    """Why an image is opened, and in which form it is wanted."""

    reason: str = Field(min_length=3, max_length=300)
    form: Literal["part10", "dataset"] = Field(default="part10", alias="as")


class FindRequest(Strict):
    """At most one of the searched attributes, or conflicts; none asks for the newest objects."""

    patient_id: str | None = Field(default=None, min_length=1, max_length=64)
    study: str | None = Field(default=None, pattern=r"^[0-9.]{1,64}$")
    sop_instance: str | None = Field(default=None, pattern=r"^[0-9.]{1,64}$")
    conflicts: bool = False


class SettleRequest(Strict):
    """Why a conflict, or a doubt about a host, is closed; the reason is sealed into the audit log."""

    reason: str = Field(min_length=3, max_length=300)


class SettleAnswer(BaseModel):
    settled: str


class LostImage(BaseModel):
    """An image that the vault has no more; `settled` is when a person said that nothing comes for it."""

    object: str
    state: Literal["lost", "lost, settled"]
    host: str
    asset: str
    standing: str
    found: str
    settled: str | None


class LossesAnswer(BaseModel):
    """The first thousand, and how many there are of either."""

    losses: list[LostImage]
    open: int
    settled: int


class AuditQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    source: str | None = Field(default=None, max_length=40)
    after: int = Field(default=0, ge=0)
    limit: int = Field(default=100, ge=1, le=1000)


class FoundObject(BaseModel):
    """Facts of an object that identify nobody; null where the host's signature on them does not hold.

    `claims` is how many objects claim its SOP Instance UID, itself too: those with another data set, with the same one,
    and those that could not be compared, at most ten of each. Null where its attributes were not evaluated.
    """

    object: str
    host: str
    received: str
    index_state: Literal["indexed", "not evaluated"]
    record: Literal["signed", "not authentic"]
    captured: str | None
    dataset_bytes: int | None
    grade: str | None
    policy_version: int | None
    claims: int | None
    conflicts_with: list[str] | None
    same_as: list[str] | None
    not_compared: list[str] | None


class FindAnswer(BaseModel):
    objects: list[FoundObject]


class AuditParticipant(BaseModel):
    kind: str
    name: str
    requestor: bool


class AuditSubject(BaseModel):
    kind: str
    name: str


class AuditEntry(BaseModel):
    """The public part of one record as it is stored; `leadglass-server audit verify` says whether it is as signed.

    `altered`: it is not the record that was entered in the log in its place.
    """

    source: str
    seq: int
    time: str
    event: str
    action: str
    outcome: int
    who: list[AuditParticipant]
    what: list[AuditSubject]
    reason: str
    received: str
    private: bool
    altered: bool


class AuditAnswer(BaseModel):
    records: list[AuditEntry]


class SourceVerdict(BaseModel):
    records: int
    state: Literal["verified", "altered"]
    first_bad: int | None
    why: str


class VerifyRequest(Strict):
    """Checkpoints of the Merkle log that somebody kept, each as it was signed; the log has to go on from them."""

    checkpoints: list[Annotated[str, Field(max_length=131_072)]] = Field(default_factory=list, max_length=16)


class LogProofRequest(Strict):
    source: str = Field(pattern=f"^({SOURCE_PATTERN})$")
    seq: int = Field(ge=1, le=2**53 - 1)


class LogProofAnswer(BaseModel):
    """A record's public part, and a C2SP tlog-proof of it."""

    public: str
    proof: str


class VerdictAnswer(RootModel[dict[str, SourceVerdict]]):
    """One verdict for each source of audit records."""


class HostBudget(BaseModel):
    """What agent and guard take of the host, against what they may."""

    verdict: Literal["within", "exceeded", "not evaluated"]
    findings: list[str]


class HostRoute(BaseModel):
    """A route that a host serves by itself; `error` is empty where its last attempt did not fail."""

    name: str
    waiting: int
    error: str


class HostFolder(BaseModel):
    """A modality's export folder: what its disk was found to be, and how many files have no receipt yet."""

    ae_title: str
    lies_on: Literal["memory", "encrypted disk", "plain disk", "unknown", "missing"]
    waiting: int


class DeviceCounts(BaseModel):
    """USB devices of a host; one may count under several."""

    devices: int
    blocked: int
    not_enforced: int
    unknown: int
    observed: int
    suspicious: int
    not_allowed: int


class HostLayer(BaseModel):
    """A layer that people gave a host, besides the organisation's; where `enrolled` is false, that it reports.

    `newest` is what the host should have by now, 0 where that is nothing; `published` is the newest there is, 0 where
    nothing of it is published. The others are null where the host, or its guard, reports nothing of it.
    """

    layer: str
    enrolled: bool
    newest: int
    published: int
    accepted: int | None
    in_force: int | None
    guard_in_force: int | None


class HostStatus(BaseModel):
    """A host as its last signed report describes it; null where it never reported, or not authentically.

    A spool has no used percent where policy gives it no quota. Devices are counted where a guard watches now.
    `senders_refused` are interception attempts: how often somebody tried to send whom policy does not let in.
    """

    host: str
    asset: str
    enrolled: str
    active: bool
    standing: Literal["active", "quarantined", "lapsed", "revoked", "decommissioned", "replaced"]
    tombstone: bool
    replaces: str | None
    certificate_expires: str | None
    last_seen: str | None
    state: str
    doubt: Literal["", "restored", "cloned"]
    layers: list[HostLayer]
    moves_to: list[str] | None
    reported: str | None = None
    software: str | None = None
    policy_accepted: int | None = None
    policy_in_force: int | None = None
    policy_error: str | None = None
    centre_log: str | None = None
    renewal_error: str | None = None
    waiting: int | None = None
    captured: int | None = None
    delivered: int | None = None
    refused: int | None = None
    audit_waiting: int | None = None
    spool_bytes: int | None = None
    spool_quota_bytes: int | None = None
    spool_used_percent: int | None = None
    damaged: int | None = None
    openable_here: int | None = None
    senders_refused: int | None = None
    commitments_waiting: int | None = None
    export_folders: list[HostFolder] | None = None
    keys: Literal["file", "tpm"] | None = None
    budget: HostBudget | None = None
    routes: list[HostRoute] | None = None
    guard: Literal["watching", "no guard", "unknown"] | None = None
    guard_policy: int | None = None
    guard_policy_error: str | None = None
    devices: DeviceCounts | None = None


class DevicesQuery(BaseModel):
    """A host's id or asset name; without one, all hosts. `renewed`: a browser asks again by itself."""

    model_config = ConfigDict(extra="forbid")
    host: str | None = Field(default=None, min_length=1, max_length=100)
    renewed: Literal["1"] | None = None


class AttachedDevice(BaseModel):
    """A USB device, its verdict and what was proved of it, in the order of the tree.

    `enforcement` is what sysfs proved, or unknown where the host is not heard now; `observed` says what *observe* mode
    would have done, empty where the verdict is meant.
    """

    port: str
    parent: str
    depth: int
    id: str
    name: str
    serial: str
    identity: str
    interfaces: str
    seen: Literal["now", "while-down", "before"]
    since: str
    target: Literal["allow", "block", "reject"]
    would_be: Literal["allow", "block", "reject"]
    cause: str
    rule: int
    detail: str
    access: Literal["read-write", "read-only"]
    authorized: Literal["yes", "no", "unknown"]
    verdict: str
    reason: str
    enforcement: Literal["enforced", "not enforced", "unknown"]
    observed: str
    suspicious: bool


class DetectedDevice(BaseModel):
    """Something on a bus where attachment is detected, not prevented. `verdict` is `state` in words."""

    kind: str
    name: str
    detail: str
    seen: Literal["now", "while-down", "before"]
    since: str
    state: Literal["allowed", "not allowed", "not evaluated", "judged with its USB device"]
    verdict: str


class HostFinding(BaseModel):
    check: str
    state: Literal["fine", "found", "not evaluated"]
    detail: str
    time: str


class GuardTree(BaseModel):
    software: str
    policy: int
    policy_error: str
    clock_sure: bool
    default_deny: Literal["boot", "late", "no"]
    sidecar: bool
    gaps: int
    records: int
    left_out: int
    devices: list[AttachedDevice]
    others: list[DetectedDevice]
    findings: list[HostFinding]


class HostDevices(BaseModel):
    """`report` is null where no guard was in the last report; `guard` says whether one watches now."""

    host: str
    asset: str
    active: bool
    standing: str
    last_seen: str | None
    reported: str | None
    state: str
    guard: Literal["watching", "no guard", "unknown"]
    report: GuardTree | None
    not_proved: list[str]


class DevicesAnswer(BaseModel):
    time: str
    hosts: list[HostDevices]


class PolicyDrift(BaseModel):
    """A host's agent or guard that does not report the newest policy; `in_force` is null where it never reported.

    `since` is when the first version it lacks was published; null where it reports more than was ever published here.
    """

    host: str
    asset: str
    part: Literal["agent", "guard"]
    layer: str
    in_force: int | None
    newest: int
    since: str | None
    state: str
    error: str
    text: str


class RingMember(BaseModel):
    """A host of a ring; `health` is null while the ring is not open."""

    host: str
    asset: str
    health: Literal["healthy", "failed", "waiting", "not heard"] | None


class RingStatus(BaseModel):
    """One ring, with the hosts that are in none before it; `opened` is null while it is not."""

    ring: int
    who: str
    opened: str | None
    hosts: int
    healthy: int
    failed: int
    waiting: int
    not_heard: int
    members: list[RingMember]


class RolloutStatus(BaseModel):
    """How far the newest version of a layer is. `person` did the last thing to it, at `since`, because of `why`."""

    layer: str
    version: int
    state: Literal["running", "paused", "reverted", "finished"]
    since: str
    person: str
    why: str
    waits_for: str
    ring: int
    soak_s: int
    healthy_percent: int
    abort_percent: int
    on_abort: Literal["revert", "pause"]
    quiet_s: int
    rings: list[RingStatus]


class PolicyStatus(BaseModel):
    version: int


class ObjectStatus(BaseModel):
    """`conflicts` counts SOP Instance UIDs with several data sets that no person has settled.

    `lost_settled` counts images that the vault lost and that a person gave up.
    """

    count: int
    not_indexed: int
    conflicts: int
    lost_settled: int


class RecoveryStatus(BaseModel):
    state: Literal["recoverable", "not recoverable"]
    drilled: str | None


class BrokerStatus(BaseModel):
    state: Literal["running", "connecting", "restarting", "absent"]
    reason: str


class CoverageQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    day: date | None = None


class CoverageRunRequest(Strict):
    """The day to compare, as 2026-03-01."""

    day: str = Field(pattern=_DAY)

    @property
    def on(self) -> date:
        return day_of(self.day)


class CoverageGapRequest(CoverageRunRequest):
    """Whose gap is looked at, and why; the reason stands in the audit log."""

    modality: str = Field(min_length=1, max_length=16)
    reason: str = Field(min_length=3, max_length=300)


class CoverageResult(BaseModel):
    """One comparison. `known` = `protected` + `unprotected`; `..._then` was found by `then` and is not closed since."""

    day: str
    modality: str
    archive: str
    state: Literal["complete", "partial", "not evaluated"]
    why: str
    compared: str
    known: int
    protected: int
    unprotected: int
    captured: int
    not_in_archive: int
    not_evaluated: int
    by_modality_only: bool
    then: str | None
    unprotected_then: int
    not_in_archive_then: int


class CoverageStatus(BaseModel):
    """The newest comparisons; `unknown` says which modalities nobody has compared."""

    running: bool
    results: list[CoverageResult]
    unknown: list[str]


class StudyInGap(BaseModel):
    study: str
    instances: int


class GapListing(BaseModel):
    """`count` is of all; instances and studies are listed as far as a record has room."""

    count: int
    instances: list[str]
    studies: list[StudyInGap]


class CoverageGapAnswer(BaseModel):
    day: str
    modality: str
    recorded: str
    record: int
    unprotected: GapListing
    not_in_archive: GapListing


class RefusalReason(BaseModel):
    why: str
    count: int


class RouteStatus(BaseModel):
    """One way to an archive. `peer` and `tls` are null where policy has no such route."""

    route: str
    peer: str | None
    tls: bool | None
    waiting: int
    waiting_since: str | None
    delivered: int
    delivered_with_remarks: int
    proved_by: str
    last_delivered: str | None
    refused: int
    reasons: list[RefusalReason]
    unknown_route: int
    failing_since: str | None
    next_try: str | None
    error: str


class RoutesAnswer(BaseModel):
    """`certificates` is PEM: what the centre shows an archive over TLS, and the authority above it."""

    routes: list[RouteStatus]
    certificates: str


class RetryAnswer(BaseModel):
    count: int


class AgainRequest(Strict):
    """Which images an archive is to get once more: `objects`, or what it was given since, and before `until`."""

    objects: list[Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]] | None = Field(
        default=None, min_length=1, max_length=1000
    )
    since: str | None = Field(default=None, max_length=32)
    until: str | None = Field(default=None, max_length=32)
    reason: str = Field(min_length=3, max_length=300)

    @model_validator(mode="after")
    def _one_of_the_two(self) -> "AgainRequest":
        if (self.objects is None) == (self.since is None) or (self.until is not None and self.since is None):
            raise ValueError("either objects, or since and perhaps until")
        return self


class LossRequest(Strict):
    """Why records of the centre's own log are given up for lost; the reason is kept sealed."""

    reason: str = Field(min_length=3, max_length=300)


class LossAnswer(BaseModel):
    """Records `first` to `last` are lost, as far as anybody saw them, and of the Merkle log what had `tree` entries."""

    first: int
    last: int
    tree: int


class ShownLog(BaseModel):
    origin: str
    vkey: str
    size: int
    root: str


class ShownWitness(BaseModel):
    """What one witness cosigned last. `consistent`: this log has it; null: it has cosigned nothing."""

    name: str
    asset: str
    vkey: str
    size: int
    root: str
    cosigned: str | None
    heard: str | None
    consistent: bool | None
    why: str
    silent: bool


class WitnessFinding(BaseModel):
    """What somebody saw that this log does not have."""

    who: str
    what: str
    accepted_by: str | None


class WitnessesAnswer(BaseModel):
    """`own_vkey` is the key by which this centre cosigns `others`, empty where there are none."""

    log: ShownLog
    own_vkey: str
    others: list[str]
    witnesses: list[ShownWitness]
    findings: list[WitnessFinding]


class MoveRequest(Strict):
    """Which host may deliver for which other one, for how long, and why; the reason is kept sealed."""

    source: str = Field(alias="from", pattern=_HOST)
    bearer: str = Field(alias="to", pattern=_HOST)
    reason: str = Field(min_length=3, max_length=300)
    days: int = Field(default=14, ge=1, le=90)


class MoveStatus(BaseModel):
    """One move. `objects` and `records` came by it so far; whether more are to come is not known here."""

    move: str
    source: str = Field(alias="from")
    from_asset: str
    bearer: str = Field(alias="to")
    to_asset: str
    allowed_by: str
    allowed: str
    until: str
    ended: str | None
    state: Literal["open", "ended", "expired", "not authentic"]
    objects: int
    records: int


class MovesAnswer(BaseModel):
    moves: list[MoveStatus]


class CommandRequest(Strict):
    """A command as people signed it, base64."""

    signed: str = Field(min_length=1, max_length=128 << 10)


class CommandsQuery(BaseModel):
    """A host's id, or a command's; without either, the newest commands of all hosts."""

    model_config = ConfigDict(extra="forbid")
    host: str | None = Field(default=None, pattern=_HOST)
    command: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")


class CommandStatus(BaseModel):
    """One command. `state` is the host's own signed word, or *waiting*, or *unknown* where it expired without one."""

    command: str
    host: str
    asset: str
    action: str
    person: str
    issued: str
    expires: str
    state: Literal["waiting", "done", "failed", "refused", "unknown", "not authentic"]
    detail: str
    answered: str | None
    facts: dict[str, bool | int | str | list[str]]


class CommandsAnswer(BaseModel):
    commands: list[CommandStatus]


class TokenRunningOut(BaseModel):
    """A token that opens nothing any more within 30 days."""

    person: str
    name: str
    expires: str


class StatusAnswer(BaseModel):
    """Everything the centre knows at a glance; `not_evaluated` says what nobody has proved."""

    time: str
    hosts: list[HostStatus]
    policy: PolicyStatus
    objects: ObjectStatus
    recovery: RecoveryStatus
    broker: BrokerStatus
    coverage: CoverageStatus
    routes: list[RouteStatus]
    moves: list[MoveStatus]
    drift: list[PolicyDrift]
    rollouts: list[RolloutStatus]
    commands: list[CommandStatus]
    tokens_running_out: list[TokenRunningOut]
    not_evaluated: list[str]
