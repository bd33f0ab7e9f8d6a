"""The vocabulary of audit records, which is that of DICOM PS3.15 A.5: event, action, outcome, participants, objects.

A word is never taken away and never means another thing: records that hold it stay for ever.
docs/formats/audit-record.md
"""

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TypeAlias

from shared.canonical import Json
from shared.fields import Fields

MAX_EVENT_CHARS = 40
_UNKNOWN_EVENT = r"[a-z]+(-[a-z]+)*\.[a-z]+(-[a-z]+)*"


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
    SPOOL_EXPORT_BEGUN = "capture.spool-export-begun"
    SPOOL_EXPORTED = "capture.spool-exported"
    SPOOL_IMPORT_BEGUN = "capture.spool-import-begun"
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
    OBJECT_LOST = "vault.object-lost"
    LOSS_OVER = "vault.loss-over"
    LOSS_SETTLED = "vault.loss-settled"
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
    RECORDS_UNWRITTEN = "audit.records-unwritten"
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
    NOT_PERMITTED = "people.not-permitted"
    ACTION_FAILED = "people.action-failed"
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
    Event.SPOOL_EXPORT_BEGUN: "110106",
    Event.SPOOL_EXPORTED: "110106",
    Event.SPOOL_IMPORT_BEGUN: "110107",
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
    Event.OBJECT_LOST: "110113",
    Event.LOSS_OVER: "110113",
    Event.LOSS_SETTLED: "110113",
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
    Event.RECORDS_UNWRITTEN: "110113",
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
    Event.NOT_PERMITTED: "110113",
    Event.ACTION_FAILED: "110113",
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
