"""One audit record: a public part that stays for ever, and a private part that can be erased.

    public     = canonical JSON, the members of `AuditRecord`
    commitment = SHA-256(salt (32) || private), a member of the public part; null where there is no private part
    sealed     = HPKE box labelled AUDIT_PRIVATE, bound to the commitment, holding salt || private
    leaf       = SHA-256(0x00 || public), the leaf hash of RFC 6962 section 2.1; `prev` is the leaf of the record before

Destroying the key of the sealed part erases a person, and every leaf, chain and proof still holds. The vocabulary is
that of DICOM PS3.15 A.5: event, action, outcome, active participants, participant objects, audit source.
docs/formats/audit-record.md
"""

import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum, StrEnum
from hashlib import sha256
from typing import NamedTuple, Protocol, TypeAlias

from shared import canonical, clock
from shared.canonical import Json
from shared.errors import IntegrityFailure, Malformed
from shared.fields import Fields
from shared.identity import CONTROL_PLANE, SOURCE_PATTERN
from shared.sealing.hpke import BoxLabel

GENESIS = bytes(32)
SALT_BYTES = 32
MAX_PUBLIC_BYTES = 16_384
MAX_SEALED_BYTES = 32_768
MAX_NAME_CHARS = 200
MAX_WHO, MAX_WHAT = 16, 64
MAX_REASON_CHARS = 1024
_NAME = rf"[^\x00-\x1f\x7f]{{1,{MAX_NAME_CHARS}}}"
MAX_EVENT_CHARS = 40
_UNKNOWN_EVENT = r"[a-z]+(-[a-z]+)*\.[a-z]+(-[a-z]+)*"
_NAMED, _KIND = re.compile(_NAME), re.compile(r"[a-z]{1,32}")
_PARTICIPANT, _SUBJECT = {"kind", "name", "requestor"}, {"kind", "name"}
_KINDS = ("person", "host", "service", "ae")
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Event(StrEnum):
    """What happened, in our words; `EVENT_CODES` gives the DICOM code (PS3.16 CID 400, 401, 403) of each."""

    AGENT_STARTED = "agent.started"
    AGENT_STOPPED = "agent.stopped"
    SERVER_STARTED = "server.started"
    SERVER_STOPPED = "server.stopped"
    KEYS_CREATED = "keys.created"
    RECOVERY_DRILLED = "keys.recovery-drilled"
    KEY_DESTROYED = "keys.destroyed"
    BACKUP_MADE = "backup.made"
    BACKUP_FORGOTTEN = "backup.forgotten"
    CENTRE_RESTORED = "backup.centre-restored"
    RESTORE_SETTLED = "backup.restore-settled"
    CODE_ISSUED = "enrolment.code-issued"
    CODE_CANCELLED = "enrolment.code-cancelled"
    CODE_REUSED = "enrolment.code-reused"
    CODE_SETTLED = "enrolment.code-settled"
    HOST_ENROLLED = "enrolment.host-enrolled"
    ENROLMENT_REFUSED = "enrolment.refused"
    CERTIFICATE_RENEWED = "enrolment.certificate-renewed"
    RENEWAL_REFUSED = "enrolment.renewal-refused"
    HOST_REVOKED = "enrolment.host-revoked"
    ROOT_FOLLOWED = "enrolment.root-followed"
    ISSUING_REQUESTED = "authority.issuing-requested"
    ISSUING_INSTALLED = "authority.issuing-installed"
    ROOT_INSTALLED = "authority.root-installed"
    CERTIFICATE_ISSUED = "certificate.issued"
    TOMBSTONE_LIFTED = "enrolment.tombstone-lifted"
    HOST_QUARANTINED = "enrolment.host-quarantined"
    HOST_REKEYED = "enrolment.host-rekeyed"
    HOST_ASKED = "enrolment.host-asked"
    ASK_APPROVED = "enrolment.ask-approved"
    ASK_REFUSED = "enrolment.ask-refused"
    CERTIFICATE_REGAINED = "enrolment.certificate-regained"
    HOST_DECOMMISSIONED = "enrolment.host-decommissioned"
    HOST_RENAMED = "enrolment.host-renamed"
    HOST_REPLACED = "enrolment.host-replaced"
    HOST_MOVED = "enrolment.host-moved"
    KEYS_MOVED = "enrolment.keys-moved"
    ASSOCIATION_REFUSED = "capture.association-refused"
    IMAGE_CAPTURED = "capture.image-captured"
    IMAGE_REFUSED = "capture.image-refused"
    IMAGE_DELIVERED = "capture.image-delivered"
    DELIVERY_REFUSED = "capture.delivery-refused"
    IMAGE_REPEATED = "capture.image-repeated"
    IMAGE_CONFLICTS = "capture.image-conflicts"
    INTERCEPTION_ATTEMPTED = "capture.interception-attempted"
    COMMITMENT_REQUESTED = "capture.commitment-requested"
    COMMITMENT_REPORTED = "capture.commitment-reported"
    COMMITMENT_REFUSED = "capture.commitment-refused"
    FILE_REFUSED = "capture.file-refused"
    FILE_RELEASED = "capture.file-released"
    OBJECT_DAMAGED = "capture.object-damaged"
    DELIVERY_RETRIED = "capture.delivery-retried"
    OBJECT_DISCARDED = "capture.object-discarded"
    SPOOL_EXPORTED = "capture.spool-exported"
    SPOOL_IMPORTED = "capture.spool-imported"
    ROUTE_DELIVERED = "route.delivered"
    ROUTE_FAILED = "route.failed"
    ROUTE_RETRIED = "route.retried"
    ROUTE_DROPPED = "route.dropped"
    FRAMES_DIGESTED = "custody.frames-digested"
    FRAMES_REFUSED = "custody.frames-refused"
    COVERAGE_COMPARED = "coverage.compared"
    COVERAGE_GAP = "coverage.gap-found"
    COVERAGE_FAILED = "coverage.comparison-failed"
    OBJECT_STORED = "vault.object-stored"
    OBJECT_REFUSED = "vault.object-refused"
    OBJECT_OPENED = "vault.object-opened"
    OPEN_REFUSED = "vault.open-refused"
    SELF_TEST_COMPARED = "vault.self-test-compared"
    MOVE_ALLOWED = "vault.move-allowed"
    MOVE_ENDED = "vault.move-ended"
    LOOKED_UP = "vault.looked-up"
    CONFLICT_SETTLED = "vault.conflict-settled"
    POLICY_PUBLISHED = "policy.published"
    POLICY_REFUSED = "policy.refused"
    POLICY_ACCEPTED = "policy.accepted"
    POLICY_FAILED = "policy.failed-here"
    ROLLOUT_STARTED = "policy.rollout-started"
    ROLLOUT_WIDENED = "policy.rollout-widened"
    ROLLOUT_PAUSED = "policy.rollout-paused"
    ROLLOUT_RESUMED = "policy.rollout-resumed"
    ROLLOUT_REVERTED = "policy.rollout-reverted"
    ROLLOUT_FINISHED = "policy.rollout-finished"
    AUDIT_REFUSED = "audit.batch-refused"
    AUDIT_READ = "audit.read"
    LOG_LOSS_FOUND = "log.loss-found"
    LOG_LOSS_ACCEPTED = "log.loss-accepted"
    CHECKPOINT_REFUSED = "log.checkpoint-refused"
    LOG_NOT_CONTINUED = "log.not-continued"
    LOG_LOSS_FOLLOWED = "log.loss-followed"
    WITNESS_KNOWN = "log.witness-known"
    COSIGNATURE_REFUSED = "log.cosignature-refused"
    WITNESS_DISAGREES = "log.witness-disagrees"
    OTHER_LOG_REFUSED = "log.other-log-refused"
    HOST_SILENT = "audit.host-silent"
    PERSON_ADDED = "people.added"
    PERSON_REMOVED = "people.removed"
    PERSON_CHANGED = "people.changed"
    PERSON_VOUCHED = "people.vouched-for"
    PASSWORD_SET = "people.password-set"  # noqa: S105 (an event)
    FACTOR_ADDED = "people.factor-added"
    FACTOR_REMOVED = "people.factor-removed"
    TOKEN_MADE = "people.token-made"  # noqa: S105 (an event)
    TOKEN_ENDED = "people.token-ended"  # noqa: S105 (an event)
    LINK_MADE = "people.link-made"
    PROVIDER_SET = "people.provider-set"
    SESSION_ENDED = "people.session-ended"
    SIGNED_IN = "people.signed-in"
    SIGN_IN_REFUSED = "people.sign-in-refused"
    REQUEST_MADE = "people.request-made"
    REQUEST_APPROVED = "people.request-approved"
    REQUEST_REFUSED = "people.request-refused"
    GUARD_STARTED = "guard.started"
    GUARD_STOPPED = "guard.stopped"
    GUARD_POLICY_ACCEPTED = "guard.policy-accepted"
    GUARD_POLICY_REFUSED = "guard.policy-refused"
    GUARD_PEER_REFUSED = "guard.peer-refused"
    GUARD_CHAIN_BROKEN = "guard.chain-broken"
    CONSOLE_PINNED = "guard.console-pinned"
    RESCUE_USED = "guard.rescue-used"
    RESCUE_ENDED = "guard.rescue-ended"
    DEVICE_ATTACHED = "device.attached"
    DEVICE_DECIDED = "device.decided"
    DEVICE_ENFORCED = "device.enforced"
    DEVICE_DETACHED = "device.detached"
    DEVICE_DETECTED = "device.detected"
    DEVICE_GAP = "device.gap"
    STORAGE_JUDGED = "device.storage-judged"
    HOST_FINDING = "host.finding"
    HOST_RESTORED = "fleet.host-restored"
    HOST_CLONED = "fleet.host-cloned"
    HOST_SETTLED = "fleet.host-settled"
    STANDING_PUT_RIGHT = "fleet.standing-put-right"
    COMMAND_ISSUED = "fleet.command-issued"
    COMMAND_BEGUN = "fleet.command-begun"
    COMMAND_ENDED = "fleet.command-ended"
    COMMAND_REFUSED = "fleet.command-refused"
    COMMAND_ANSWERED = "fleet.command-answered"
    WIPE_REQUESTED = "wipe.requested"
    WIPE_SIGNED = "wipe.signed"
    WIPE_APPROVED = "wipe.approved"
    WIPE_CANCELLED = "wipe.cancelled"
    WIPE_ACCEPTED = "wipe.accepted"
    WIPE_REFUSED = "wipe.refused"
    WIPE_STARTED = "wipe.started"
    WIPE_RESUMED = "wipe.resumed"
    WIPE_ENDED = "wipe.ended"
    WIPE_EVIDENCE_RECEIVED = "wipe.evidence-received"
    WIPE_EVIDENCE_REFUSED = "wipe.evidence-refused"
    WIPE_JUDGED = "wipe.judged"
    WIPE_CERTIFIED = "wipe.certified"
    DRIVE_DESTROYED = "wipe.drive-destroyed"
    HOLD_PLACED = "wipe.hold-placed"
    HOLD_LIFTED = "wipe.hold-lifted"


# DCM codes: 110100 Application Activity, 110101 Audit Log Used, 110103 Instances Accessed, 110104 Instances
# Transferred, 110106 Export, 110107 Import, 110112 Query, 110113 Security Alert, 110114 User Authentication.
EVENT_CODES: dict[Event, str] = {
    Event.AGENT_STARTED: "110100",
    Event.AGENT_STOPPED: "110100",
    Event.SERVER_STARTED: "110100",
    Event.SERVER_STOPPED: "110100",
    Event.KEYS_CREATED: "110113",
    Event.RECOVERY_DRILLED: "110113",
    Event.KEY_DESTROYED: "110113",
    Event.BACKUP_MADE: "110106",
    Event.BACKUP_FORGOTTEN: "110113",
    Event.CENTRE_RESTORED: "110107",
    Event.RESTORE_SETTLED: "110113",
    Event.CODE_ISSUED: "110113",
    Event.CODE_CANCELLED: "110113",
    Event.CODE_REUSED: "110113",
    Event.CODE_SETTLED: "110113",
    Event.HOST_ENROLLED: "110113",
    Event.ENROLMENT_REFUSED: "110113",
    Event.CERTIFICATE_RENEWED: "110113",
    Event.RENEWAL_REFUSED: "110113",
    Event.HOST_REVOKED: "110113",
    Event.ROOT_FOLLOWED: "110113",
    Event.ISSUING_REQUESTED: "110113",
    Event.ISSUING_INSTALLED: "110113",
    Event.ROOT_INSTALLED: "110113",
    Event.CERTIFICATE_ISSUED: "110113",
    Event.TOMBSTONE_LIFTED: "110113",
    Event.HOST_QUARANTINED: "110113",
    Event.HOST_REKEYED: "110113",
    Event.HOST_ASKED: "110113",
    Event.ASK_APPROVED: "110113",
    Event.ASK_REFUSED: "110113",
    Event.CERTIFICATE_REGAINED: "110113",
    Event.HOST_DECOMMISSIONED: "110113",
    Event.HOST_RENAMED: "110113",
    Event.HOST_REPLACED: "110113",
    Event.HOST_MOVED: "110113",
    Event.KEYS_MOVED: "110113",
    Event.ASSOCIATION_REFUSED: "110113",
    Event.IMAGE_CAPTURED: "110107",
    Event.IMAGE_REFUSED: "110107",
    Event.IMAGE_DELIVERED: "110104",
    Event.DELIVERY_REFUSED: "110104",
    Event.IMAGE_REPEATED: "110107",
    Event.IMAGE_CONFLICTS: "110107",
    Event.INTERCEPTION_ATTEMPTED: "110113",
    Event.COMMITMENT_REQUESTED: "110104",
    Event.COMMITMENT_REPORTED: "110104",
    Event.COMMITMENT_REFUSED: "110104",
    Event.FILE_REFUSED: "110107",
    Event.FILE_RELEASED: "110104",
    Event.OBJECT_DAMAGED: "110107",
    Event.DELIVERY_RETRIED: "110104",
    Event.OBJECT_DISCARDED: "110113",
    Event.SPOOL_EXPORTED: "110106",
    Event.SPOOL_IMPORTED: "110107",
    Event.ROUTE_DELIVERED: "110104",
    Event.ROUTE_FAILED: "110104",
    Event.ROUTE_RETRIED: "110104",
    Event.ROUTE_DROPPED: "110104",
    Event.FRAMES_DIGESTED: "110103",
    Event.FRAMES_REFUSED: "110103",
    Event.COVERAGE_COMPARED: "110112",
    Event.COVERAGE_GAP: "110113",
    Event.COVERAGE_FAILED: "110112",
    Event.OBJECT_STORED: "110104",
    Event.OBJECT_REFUSED: "110104",
    Event.OBJECT_OPENED: "110103",
    Event.OPEN_REFUSED: "110103",
    Event.SELF_TEST_COMPARED: "110103",
    Event.MOVE_ALLOWED: "110113",
    Event.MOVE_ENDED: "110113",
    Event.LOOKED_UP: "110112",
    Event.CONFLICT_SETTLED: "110113",
    Event.POLICY_PUBLISHED: "110113",
    Event.POLICY_REFUSED: "110113",
    Event.POLICY_ACCEPTED: "110113",
    Event.POLICY_FAILED: "110113",
    Event.ROLLOUT_STARTED: "110113",
    Event.ROLLOUT_WIDENED: "110113",
    Event.ROLLOUT_PAUSED: "110113",
    Event.ROLLOUT_RESUMED: "110113",
    Event.ROLLOUT_REVERTED: "110113",
    Event.ROLLOUT_FINISHED: "110113",
    Event.AUDIT_REFUSED: "110113",
    Event.AUDIT_READ: "110101",
    Event.LOG_LOSS_FOUND: "110113",
    Event.LOG_LOSS_ACCEPTED: "110113",
    Event.CHECKPOINT_REFUSED: "110113",
    Event.LOG_NOT_CONTINUED: "110113",
    Event.LOG_LOSS_FOLLOWED: "110113",
    Event.WITNESS_KNOWN: "110113",
    Event.COSIGNATURE_REFUSED: "110113",
    Event.WITNESS_DISAGREES: "110113",
    Event.OTHER_LOG_REFUSED: "110113",
    Event.HOST_SILENT: "110113",
    Event.PERSON_ADDED: "110113",
    Event.PERSON_REMOVED: "110113",
    Event.PERSON_CHANGED: "110113",
    Event.PERSON_VOUCHED: "110113",
    Event.PASSWORD_SET: "110113",
    Event.FACTOR_ADDED: "110113",
    Event.FACTOR_REMOVED: "110113",
    Event.TOKEN_MADE: "110113",
    Event.TOKEN_ENDED: "110113",
    Event.LINK_MADE: "110113",
    Event.PROVIDER_SET: "110113",
    Event.SESSION_ENDED: "110114",
    Event.SIGNED_IN: "110114",
    Event.SIGN_IN_REFUSED: "110114",
    Event.REQUEST_MADE: "110113",
    Event.REQUEST_APPROVED: "110113",
    Event.REQUEST_REFUSED: "110113",
    Event.GUARD_STARTED: "110100",
    Event.GUARD_STOPPED: "110100",
    Event.GUARD_POLICY_ACCEPTED: "110113",
    Event.GUARD_POLICY_REFUSED: "110113",
    Event.GUARD_PEER_REFUSED: "110113",
    Event.GUARD_CHAIN_BROKEN: "110113",
    Event.CONSOLE_PINNED: "110113",
    Event.RESCUE_USED: "110113",
    Event.RESCUE_ENDED: "110113",
    Event.DEVICE_ATTACHED: "110113",
    Event.DEVICE_DECIDED: "110113",
    Event.DEVICE_ENFORCED: "110113",
    Event.DEVICE_DETACHED: "110113",
    Event.DEVICE_DETECTED: "110113",
    Event.DEVICE_GAP: "110113",
    Event.STORAGE_JUDGED: "110113",
    Event.HOST_FINDING: "110113",
    Event.HOST_RESTORED: "110113",
    Event.HOST_CLONED: "110113",
    Event.HOST_SETTLED: "110113",
    Event.STANDING_PUT_RIGHT: "110113",
    Event.COMMAND_ISSUED: "110113",
    Event.COMMAND_BEGUN: "110113",
    Event.COMMAND_ENDED: "110113",
    Event.COMMAND_REFUSED: "110113",
    Event.COMMAND_ANSWERED: "110113",
    Event.WIPE_REQUESTED: "110113",
    Event.WIPE_SIGNED: "110113",
    Event.WIPE_APPROVED: "110113",
    Event.WIPE_CANCELLED: "110113",
    Event.WIPE_ACCEPTED: "110113",
    Event.WIPE_REFUSED: "110113",
    Event.WIPE_STARTED: "110113",
    Event.WIPE_RESUMED: "110113",
    Event.WIPE_ENDED: "110113",
    Event.WIPE_EVIDENCE_RECEIVED: "110113",
    Event.WIPE_EVIDENCE_REFUSED: "110113",
    Event.WIPE_JUDGED: "110113",
    Event.WIPE_CERTIFIED: "110113",
    Event.DRIVE_DESTROYED: "110113",
    Event.HOLD_PLACED: "110113",
    Event.HOLD_LIFTED: "110113",
}


@dataclass(frozen=True)
class UnknownEvent:
    """An event that this version does not know, of a host that is newer. It means nothing to whoever looks for one.

    `code` is the DICOM code that its writer gave it. Such a record is kept and shown as what it is.
    """

    value: str
    code: str

    @classmethod
    def parse(cls, fields: Fields) -> "UnknownEvent":
        """Raises Malformed."""
        return cls(fields.text("event", _UNKNOWN_EVENT, max_chars=MAX_EVENT_CHARS), fields.text("code", r"[0-9]{6}"))


EventName: TypeAlias = Event | UnknownEvent


class Action(StrEnum):
    """DICOM PS3.15 A.5.1 EventActionCode."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class Outcome(IntEnum):
    """DICOM PS3.15 A.5.1 EventOutcomeIndicator."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8
    MAJOR_FAILURE = 12


_EVENTS = {one.value: one for one in Event}
_ACTIONS = {one.value: one for one in Action}
_OUTCOMES = {str(int(one)): one for one in Outcome}


@dataclass(frozen=True)
class Participant:
    """Who took part. `kind` is person, host, service or ae (a calling AE title)."""

    kind: str
    name: str
    requestor: bool

    def json(self) -> Json:
        return {"kind": self.kind, "name": self.name, "requestor": self.requestor}


@dataclass(frozen=True)
class Subject:
    """What it was done to.

    Its kind is object, policy, layer, host, key, batch, code, association, address, export, file, move, root, issuing
    or log. Of a certificate it is certificate (the serial number), host or holder, purpose, digest, time and fact.
    What a guard wrote has device, check or guard first, then record, digest, time and facts (the page's section 1).
    """

    kind: str
    name: str

    def json(self) -> Json:
        return {"kind": self.kind, "name": self.name}


@dataclass(frozen=True)
class Happening:
    """An event as the code that causes it states it; the journal adds source, number, time and chain."""

    event: Event
    action: Action
    outcome: Outcome
    who: tuple[Participant, ...] = ()
    what: tuple[Subject, ...] = ()
    reason: str = ""  # why it was refused or failed; ours, never the patient's
    private: dict[str, Json] | None = None  # what names a patient; sealed before it is written


class Named(Protocol):
    """A participant or a subject, whoever read it."""

    @property
    def kind(self) -> str: ...

    @property
    def name(self) -> str: ...


class ReadRecord(Protocol):
    """A record as it was read, by `AuditRecord.parse` or by a reader that takes and refuses the same bytes."""

    @property
    def source(self) -> str: ...

    @property
    def seq(self) -> int: ...

    @property
    def prev(self) -> bytes: ...

    @property
    def time(self) -> datetime: ...

    @property
    def happened(self) -> int: ...

    @property
    def event(self) -> EventName: ...

    @property
    def action(self) -> Action: ...

    @property
    def outcome(self) -> Outcome: ...

    @property
    def who(self) -> Sequence[Named]: ...

    @property
    def what(self) -> Sequence[Named]: ...

    @property
    def commitment(self) -> bytes | None: ...


@dataclass(frozen=True)
class AuditRecord:
    source: str
    seq: int
    prev: bytes
    time: datetime
    event: EventName
    action: Action
    outcome: Outcome
    who: tuple[Participant, ...]
    what: tuple[Subject, ...]
    reason: str
    commitment: bytes | None

    @property
    def happened(self) -> int:
        """`time` in microseconds of 1970, by which records are ordered."""
        return clock.microseconds(self.time)

    def encode(self) -> bytes:
        return canonical.encode(
            {
                "v": 1,
                "source": self.source,
                "seq": self.seq,
                "prev": self.prev.hex(),
                "time": clock.text(self.time),
                "event": self.event.value,
                "code": self.event.code if isinstance(self.event, UnknownEvent) else EVENT_CODES[self.event],
                "action": self.action.value,
                "outcome": int(self.outcome),
                "who": [p.json() for p in self.who],
                "what": [s.json() for s in self.what],
                "reason": self.reason,
                "private": self.commitment.hex() if self.commitment is not None else None,
            }
        )

    @classmethod
    def parse(cls, public: bytes) -> "AuditRecord":
        """Read a public part; what parses prints back unchanged. Raises Malformed."""
        if len(public) > MAX_PUBLIC_BYTES:
            raise Malformed("audit record", f"larger than {MAX_PUBLIC_BYTES} bytes")
        return _plain(public) or cls._parse_any(public)

    @classmethod
    def _parse_any(cls, public: bytes) -> "AuditRecord":
        fields = Fields(canonical.parse(public, "audit record"), "audit record")
        fields.version()
        source = fields.text("source", SOURCE_PATTERN)
        record = cls(
            source=source,
            seq=fields.integer("seq", least=1),
            prev=fields.hex("prev", 32),
            time=fields.instant("time"),
            event=_event(fields, source),
            action=_ACTIONS[fields.choice("action", _ACTIONS)],
            outcome=_outcome(fields.integer("outcome", most=12)),
            who=tuple(_participant(item) for item in fields.items("who", most=MAX_WHO)),
            what=tuple(_subject(item) for item in fields.items("what", most=MAX_WHAT)),
            reason=fields.text("reason", max_chars=MAX_REASON_CHARS),
            commitment=None if fields.is_null("private") else fields.hex("private", 32),
        )
        fields.done()
        return record


# Nearly every record is written in these characters. What matches has the one encoding: with no escapes in it, nothing
# is left that could be written otherwise.
_TEXT_OF = r'[^"\\\x00-\x1f\x7f]'
_ONE_SUBJECT = rf'\{{"kind":"([a-z]{{1,32}})","name":"({_TEXT_OF}{{1,{MAX_NAME_CHARS}}})"\}}'
_ONE_PARTICIPANT = (
    rf'\{{"kind":"({"|".join(_KINDS)})","name":"({_TEXT_OF}{{1,{MAX_NAME_CHARS}}})","requestor":(true|false)\}}'
)


def _list_of(one: str) -> str:
    inside = re.sub(r"\((?!\?)", "(?:", one)
    return rf"\[((?:{inside}(?:,{inside})*+)?+)\]"


_PLAIN = re.compile(
    r'\{"action":"([CRUDE])","code":"([0-9]{6})","event":"([a-z.-]++)","outcome":(0|4|8|12),"prev":"([0-9a-f]{64})",'
    rf'"private":(?:null|"([0-9a-f]{{64}})"),"reason":"({_TEXT_OF}{{0,{MAX_REASON_CHARS}}}+)","seq":([1-9][0-9]{{0,14}}+),'
    rf'"source":"({SOURCE_PATTERN})","time":"([0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}T(?:[01][0-9]|2[0-3])(?::[0-9]{{2}}){{2}}'
    rf'\.[0-9]{{6}}Z)","v":1,"what":{_list_of(_ONE_SUBJECT)},"who":{_list_of(_ONE_PARTICIPANT)}\}}'
)
_SUBJECTS, _PARTICIPANTS = re.compile(_ONE_SUBJECT), re.compile(_ONE_PARTICIPANT)


def _plain(public: bytes) -> AuditRecord | None:
    """Read a record by one expression, in a quarter of the time; None for whatever that does not read."""
    try:
        found = _PLAIN.fullmatch(public.decode())
        if found is None:
            return None
        action, code, name, outcome, prev, private, reason, seq, source, time, what, who = found.groups()
        event, subjects, participants = _EVENTS.get(name), _SUBJECTS.findall(what), _PARTICIPANTS.findall(who)
        if event is None or EVENT_CODES[event] != code or len(subjects) > MAX_WHAT or len(participants) > MAX_WHO:
            return None
        return AuditRecord(
            source, int(seq), bytes.fromhex(prev), datetime.fromisoformat(time), event, _ACTIONS[action],
            _OUTCOMES[outcome], tuple(Participant(kind, named, asked == "true") for kind, named, asked in participants),
            tuple(Subject(*one) for one in subjects), reason, bytes.fromhex(private) if private else None,
        )  # fmt: skip
    except ValueError:
        return None


def _event(fields: Fields, source: str) -> EventName:
    """Raises Malformed: also an unknown event of the centre's own log, on which rests who is let in."""
    name = fields.peek_text("event")
    if name not in _EVENTS and source != CONTROL_PLANE:
        return UnknownEvent.parse(fields)
    event = _EVENTS[fields.choice("event", _EVENTS)]
    fields.choice("code", (EVENT_CODES[event],))
    return event


class StoredRecord(NamedTuple):
    """One record as it is kept and sent: the exact public bytes, and the sealed private part or none.

    A tuple, for one is made of each record that is taken in or proved.
    """

    public: bytes
    sealed: bytes | None

    @property
    def leaf(self) -> bytes:
        return leaf_hash(self.public)


class PrivatePartMismatch(IntegrityFailure):
    def __init__(self, source: str, seq: int) -> None:
        super().__init__(f"sealed private part beside record {seq} of {source} is not the one committed to")
        self.source, self.seq = source, seq


def leaf_hash(public: bytes) -> bytes:
    """Return the RFC 6962 leaf hash of a public part."""
    return sha256(b"\x00" + public).digest()


class PrivateSealer(Protocol):
    """Seals `salt || private part`, bound to the commitment: to a key, or to the keys of everybody concerned."""

    def seal(self, label: BoxLabel, bound: bytes, plaintext: bytes, /) -> bytes: ...


class PrivateOpener(Protocol):
    def open(self, label: BoxLabel, bound: bytes, box: bytes, /) -> bytes: ...


def compose(
    happening: Happening,
    *,
    source: str,
    seq: int,
    prev: bytes,
    time: datetime,
    salt: bytes,
    key: PrivateSealer | None,
) -> StoredRecord:
    """Return the record of `happening`, chained to `prev`, its private part sealed to `key`.

    Where no key is known yet, or the private part cannot be written, it is left out, never written in clear; the record
    then says so. Names and reasons are cut and control characters replaced: what a hostile peer sent as its name must
    not make a record that the centre refuses, for that would stop the chain. `salt` is 32 fresh random bytes.

    Raises Malformed: too many participants or subjects for one record; nothing was made.
    """
    commitment = sealed = None
    reasons = [happening.reason] if happening.reason else []
    if happening.private is not None:
        try:
            commitment, sealed = _seal_private(happening.private, salt, key)
        except Malformed as exc:
            reasons.append(f"private part not kept: {exc.why}")
    record = AuditRecord(
        source, seq, prev, time, happening.event, happening.action, happening.outcome,
        tuple(replace(who, name=readable(who.name, MAX_NAME_CHARS)) for who in happening.who),
        tuple(replace(what, name=readable(what.name, MAX_NAME_CHARS)) for what in happening.what),
        readable("; ".join(reasons), MAX_REASON_CHARS) if reasons else "", commitment,
    )  # fmt: skip
    public = record.encode()
    AuditRecord.parse(public)
    return StoredRecord(public, sealed)


def _seal_private(private: dict[str, Json], salt: bytes, key: PrivateSealer | None) -> tuple[bytes, bytes]:
    if key is None:
        raise Malformed("audit private part", "no key to seal it to")
    salted = salt + canonical.encode(dict(private))
    commitment = sha256(salted).digest()
    sealed = key.seal(BoxLabel.AUDIT_PRIVATE, commitment, salted)
    if len(sealed) > MAX_SEALED_BYTES:
        raise Malformed("audit private part", f"larger than {MAX_SEALED_BYTES} bytes")
    return commitment, sealed


def readable(text: str, most: int) -> str:
    """Return `text` as one line of at most `most` characters, marked where something could not be shown."""
    return _UNREADABLE.sub("\N{REPLACEMENT CHARACTER}", text)[:most] or "?"


def open_private(stored: StoredRecord, key: PrivateOpener) -> dict[str, Json] | None:
    """Return the private part, None where the record has none. Raises what `open_salted` does."""
    salted = open_salted(stored, key)
    if salted is None:
        return None
    private = canonical.parse(salted[SALT_BYTES:], "audit private part")
    return private if isinstance(private, dict) else {"value": private}


def open_salted(stored: StoredRecord, key: PrivateOpener) -> bytes | None:
    """Return salt and private part as they were committed to, None where the record has none.

    Raises Malformed, WrongKey, BoxNotAuthentic, PrivatePartMismatch, and what the key's own `open` does.
    """
    record = AuditRecord.parse(stored.public)
    if record.commitment is None:
        return None
    if stored.sealed is None:
        raise PrivatePartMismatch(record.source, record.seq)
    salted = key.open(BoxLabel.AUDIT_PRIVATE, record.commitment, stored.sealed)
    verify_private(record, salted)
    return salted


def verify_private(record: AuditRecord, salted: bytes) -> None:
    """Hold salt and private part against what the record committed to. Raises PrivatePartMismatch."""
    if not hmac.compare_digest(sha256(salted).digest(), record.commitment or b""):
        raise PrivatePartMismatch(record.source, record.seq)


def _is_name(value: Json) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME_CHARS and _NAMED.fullmatch(value) is not None


def _participant(value: Json) -> Participant:
    if isinstance(value, dict) and value.keys() == _PARTICIPANT:
        known, named, requestor = value["kind"], value["name"], value["requestor"]
        if known in _KINDS and isinstance(requestor, bool) and _is_name(named):
            return Participant(str(known), str(named), requestor)
    # Says what is wrong with it.
    fields = Fields(value, "audit participant")
    kind = fields.choice("kind", _KINDS)
    participant = Participant(kind, fields.text("name", _NAME), fields.flag("requestor"))
    fields.done()
    return participant


def _outcome(value: int) -> Outcome:
    try:
        return Outcome(value)
    except ValueError as exc:
        raise Malformed("audit record field 'outcome'", "expected 0, 4, 8 or 12") from exc


def _subject(value: Json) -> Subject:
    if isinstance(value, dict) and value.keys() == _SUBJECT:
        kind, named = value["kind"], value["name"]
        if isinstance(kind, str) and _KIND.fullmatch(kind) and _is_name(named):
            return Subject(kind, str(named))
    fields = Fields(value, "audit subject")
    subject = Subject(fields.text("kind", r"[a-z]{1,32}"), fields.text("name", _NAME))
    fields.done()
    return subject
