"""The state report: host-signed and numbered, so a broker that repeats or swaps reports is found out."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from shared import canonical, clock
from shared.canonical import Json
from shared.errors import Malformed
from shared.fields import Fields
from shared.fleet.budget import MEMBER, Budget, parse_budget
from shared.fleet.devices import DeviceState, Finding, GuardReport, OtherDevice
from shared.fleet.keys import KeyProtection
from shared.identity import HostId
from shared.policy.layer import LAYER_PATTERN, MAX_PARTS, PART_PATTERN, verify_parts
from shared.policy.routes import MAX_ROUTES
from shared.signing import EvidencePublicKey, EvidenceSigner, Label, sign_statement, verify_statement

MAX_BYTES = 256 << 10  # signed; room for the device tree of a guard at all its limits, in ASCII
_SIGNED_BYTES = 92  # what a signed statement adds
_COUNT_BYTES = 16  # more digits in `left_out`
MAX_FOLDERS, MAX_ERROR_CHARS = 16, 200
MAX_SAID_CHARS = 300
RUN_PATTERN = r"[0-9a-f]{32}"
# Members that came once others were in use. A centre that reads them says so with every answer at the hosts' door.
READS_HEADER, READS = "Leadglass-Reads", (MEMBER,)
MISSING = "missing"
LIES_ON = ("memory", "encrypted disk", "plain disk", "unknown", MISSING)


@dataclass(frozen=True)
class FolderState:
    """A modality's export folder: `lies_on` is what its disk was found to be, `waiting` its files without a receipt."""

    ae_title: str
    lies_on: str  # one of LIES_ON
    waiting: int

    def json(self) -> dict[str, Json]:
        return {"ae_title": self.ae_title, "lies_on": self.lies_on, "waiting": self.waiting}

    @classmethod
    def parse(cls, value: Json) -> "FolderState":
        fields = Fields(value, "host state folder")
        state = cls(fields.text("ae_title", max_chars=16), fields.choice("lies_on", LIES_ON), fields.integer("waiting"))
        fields.done()
        return state


@dataclass(frozen=True)
class RouteState:
    """A route that the host serves by itself. `error` is why its last attempt failed; empty when it did not."""

    name: str
    waiting: int
    error: str

    def json(self) -> dict[str, Json]:
        return {"name": self.name, "waiting": self.waiting, "error": self.error}

    @classmethod
    def parse(cls, value: Json) -> "RouteState":
        fields = Fields(value, "host state route")
        name, waiting = fields.text("name", max_chars=32), fields.integer("waiting")
        state = cls(name, waiting, fields.text("error", max_chars=MAX_ERROR_CHARS))
        fields.done()
        return state


def percent_used(held_bytes: int, quota_bytes: int) -> int | None:
    """Return how full a spool is, in whole percent, rounded down; None where it has no quota."""
    return held_bytes * 100 // quota_bytes if quota_bytes else None


@dataclass(frozen=True)
class CaptureState:
    """What a host says of its capture beyond counts. `openable_here` is how many images its forwarding key opens."""

    spool_bytes: int = 0
    spool_quota_bytes: int = 0  # 0: the disk's own limit
    openable_here: int = 0
    senders_refused: int = 0  # attempts to send by whom policy does not list
    commitments_waiting: int = 0
    damaged: int = 0  # objects of the spool that do not reach the vault by themselves: not whole, or refused
    folders: tuple[FolderState, ...] = ()
    routes: tuple[RouteState, ...] = ()

    @property
    def spool_used_percent(self) -> int | None:
        return percent_used(self.spool_bytes, self.spool_quota_bytes)

    def json(self) -> dict[str, Json]:
        return {
            "spool_bytes": self.spool_bytes,
            "spool_quota_bytes": self.spool_quota_bytes,
            "openable_here": self.openable_here,
            "senders_refused": self.senders_refused,
            "commitments_waiting": self.commitments_waiting,
            "damaged": self.damaged,
            "folders": [folder.json() for folder in self.folders],
            "routes": [route.json() for route in self.routes],
        }

    @classmethod
    def parse(cls, fields: Fields) -> "CaptureState":
        """Raises Malformed."""
        state = cls(
            fields.integer("spool_bytes"),
            fields.integer("spool_quota_bytes"),
            fields.integer("openable_here"),
            fields.integer("senders_refused"),
            fields.integer("commitments_waiting"),
            fields.integer("damaged"),
            tuple(map(FolderState.parse, fields.items("folders", most=MAX_FOLDERS))),
            tuple(map(RouteState.parse, fields.items("routes", most=MAX_ROUTES))),
        )
        fields.done()
        return state


@dataclass(frozen=True)
class LayerState:
    """What a host says of the policy of its site, or of its type of modality; 0: none yet."""

    layer: str
    accepted: int
    in_force: int

    def json(self) -> dict[str, Json]:
        return dict(self.__dict__)

    @classmethod
    def parse(cls, value: Json) -> "LayerState":
        fields = Fields(value, "host state layer")
        state = cls(fields.text("layer", PART_PATTERN), fields.integer("accepted"), fields.integer("in_force"))
        fields.done()
        return state


@dataclass(frozen=True)
class FailedLayer:
    """A version that a host was to act by and does not, because it failed its self-check there."""

    layer: str
    version: int

    def json(self) -> dict[str, Json]:
        return dict(self.__dict__)

    @classmethod
    def parse(cls, value: Json) -> "FailedLayer":
        fields = Fields(value, "host state failed layer")
        failed = cls(fields.text("layer", LAYER_PATTERN), fields.integer("version", least=1))
        fields.done()
        return failed


@dataclass(frozen=True)
class HostState:
    """`number` rises with every report of a host, across restarts. Counts are since enrolment.

    `run` is drawn at each start of the agent, so that a disk that was put back, or copied, gives itself away; empty: an
    agent of an earlier version says nothing of it. It is not written then, `capture` is not where nothing of it differs
    from its defaults, `guard` is not where no guard answers, `isolated` is where it is true, `layers` where it has any,
    `failed` where anything did, `budget` where the centre says that it reads it, and `keys` where it is not *file*.
    `policy_in_force` is lower than `policy_accepted` where a roll-out has not reached the host, or the newer one failed
    here. `centre_log` and `renewal_error` are not written where they are empty.
    """

    host_id: HostId
    number: int
    time: datetime
    software: str
    policy_accepted: int  # 0: none yet
    policy_in_force: int
    policy_error: str  # why the last offer was refused; empty when it was not
    listening: bool
    waiting: int  # objects in the spool without the vault's receipt
    captured: int
    delivered: int
    refused: int
    audit_waiting: int
    capture: CaptureState = field(default_factory=CaptureState)
    guard: GuardReport | None = None  # None: no guard answers on this host
    run: str = ""
    isolated: bool = False  # people had it take nothing in any more
    layers: tuple[LayerState, ...] = ()  # those besides the organisation's
    failed: tuple[FailedLayer, ...] = ()  # which together are why it acts by an earlier policy
    centre_log: str = ""  # what is wrong with the centre's log, by what this host saw of it
    renewal_error: str = ""  # why its certificate is due and was not renewed
    keys: KeyProtection = KeyProtection.FILE
    budget: Budget | None = None  # what agent and guard take

    def encode(self) -> bytes:
        capture: dict[str, Json] = {} if self.capture == CaptureState() else {"capture": self.capture.json()}
        guard: dict[str, Json] = {} if self.guard is None else {"guard": self.guard.json()}
        run: dict[str, Json] = {"run": self.run} if self.run else {}
        isolated: dict[str, Json] = {"isolated": True} if self.isolated else {}
        layers: dict[str, Json] = {"layers": [layer.json() for layer in self.layers]} if self.layers else {}
        failed: dict[str, Json] = {"failed": [layer.json() for layer in self.failed]} if self.failed else {}
        said: dict[str, Json] = {"centre_log": self.centre_log, "renewal_error": self.renewal_error}
        keys: dict[str, Json] = {} if self.keys is KeyProtection.FILE else {"keys": self.keys.value}
        budget: dict[str, Json] = {} if self.budget is None else {"budget": self.budget.json()}
        return canonical.encode(
            {
                **capture,
                **guard,
                **run,
                **isolated,
                **layers,
                **failed,
                **{name: text for name, text in said.items() if text},
                **keys,
                **budget,
                "v": 1,
                "host": str(self.host_id),
                "number": self.number,
                "time": clock.text(self.time),
                "software": self.software,
                "policy_accepted": self.policy_accepted,
                "policy_in_force": self.policy_in_force,
                "policy_error": self.policy_error,
                "listening": self.listening,
                "waiting": self.waiting,
                "captured": self.captured,
                "delivered": self.delivered,
                "refused": self.refused,
                "audit_waiting": self.audit_waiting,
            }
        )

    def fitted(self, most_bytes: int = MAX_BYTES - _SIGNED_BYTES) -> "HostState":
        """Return this state with as much of the guard's report as there is room for; what is left out is counted.

        Devices go first, from the end of their list, then those of other buses, then findings.
        """
        guard = self.guard
        if guard is None or len(self.encode()) <= most_bytes:
            return self
        bare = replace(self, guard=replace(guard, devices=(), others=(), findings=()))
        room = _Room(most_bytes - len(bare.encode()) - _COUNT_BYTES)
        findings = guard.findings[: room.for_as_many_of(guard.findings)]
        others = guard.others[: room.for_as_many_of(guard.others)]
        devices = guard.devices[: room.for_as_many_of(guard.devices)]
        had = len(guard.findings) + len(guard.others) + len(guard.devices)
        left_out = guard.left_out + had - len(findings) - len(others) - len(devices)
        fitted = replace(guard, devices=devices, others=others, findings=findings, left_out=left_out)
        return replace(self, guard=fitted)

    @classmethod
    def parse(cls, payload: bytes) -> "HostState":
        """Raises Malformed."""
        fields = Fields(canonical.parse(payload, "host state"), "host state")
        fields.version()
        state = cls(
            host_id=HostId.parse(fields.text("host")),
            number=fields.integer("number", least=1),
            time=fields.instant("time"),
            software=fields.text("software", max_chars=64),
            policy_accepted=fields.integer("policy_accepted"),
            policy_in_force=fields.integer("policy_in_force"),
            policy_error=fields.text("policy_error", max_chars=500),
            listening=fields.flag("listening"),
            waiting=fields.integer("waiting"),
            captured=fields.integer("captured"),
            delivered=fields.integer("delivered"),
            refused=fields.integer("refused"),
            audit_waiting=fields.integer("audit_waiting"),
            capture=CaptureState.parse(fields.fields("capture")) if fields.has("capture") else CaptureState(),
            guard=GuardReport.parse(fields.fields("guard")) if fields.has("guard") else None,
            run=fields.text("run", RUN_PATTERN) if fields.has("run") else "",
            isolated=fields.flag("isolated") if fields.has("isolated") else False,
            layers=tuple(map(LayerState.parse, fields.items("layers", most=MAX_PARTS) if fields.has("layers") else ())),
            failed=tuple(
                map(FailedLayer.parse, fields.items("failed", most=1 + MAX_PARTS) if fields.has("failed") else ())
            ),
            centre_log=_said(fields, "centre_log"),
            renewal_error=_said(fields, "renewal_error"),
            keys=KeyProtection(fields.choice("keys", tuple(KeyProtection)) if fields.has("keys") else "file"),
            budget=parse_budget(fields.fields("budget")) if fields.has("budget") else None,
        )
        fields.done()
        verify_parts([layer.layer for layer in state.layers])
        if state.encode() != payload:
            raise Malformed(
                "host state",
                "a field that says nothing is written: 'capture', 'isolated', 'layers', 'failed', 'keys', 'centre_log' "
                "or 'renewal_error'",
            )
        return state


def _said(fields: Fields, name: str) -> str:
    return fields.text(name, max_chars=MAX_SAID_CHARS) if fields.has(name) else ""


class _Room:
    def __init__(self, size_bytes: int) -> None:
        self._left = size_bytes

    def for_as_many_of(self, items: Sequence[DeviceState | OtherDevice | Finding]) -> int:
        """Return how many of `items` still fit, from the first on, and take their room."""
        for number, item in enumerate(items):
            size = len(canonical.encode(item.json())) + 1  # and a comma
            if size > self._left:
                return number
            self._left -= size
        return len(items)


def sign_state(state: HostState, signer: EvidenceSigner) -> bytes:
    return sign_statement(signer, Label.HOST_STATE, state.encode())


def verify_state(signed: bytes, key: EvidencePublicKey) -> HostState:
    """Raises Malformed, WrongSigner, SignatureInvalid. Whether the number is new is the caller's to judge."""
    return HostState.parse(verify_statement(signed, Label.HOST_STATE, key))
