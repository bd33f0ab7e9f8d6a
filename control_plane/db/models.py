"""Every table. No column holds a patient's identity in clear, nor a private key outside the root key's seal."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    TypeDecorator,
    false,
)
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from control_plane.db.driver import blob
from control_plane.enrolment.standing import ENDED, Standing
from shared.errors import IntegrityFailure


class TimeAltered(IntegrityFailure):
    def __init__(self) -> None:
        super().__init__("the database holds something else where a time belongs, which this program never writes")


class UtcDateTime(TypeDecorator[datetime]):
    """An instant, always timezone-aware; SQLite stores it naive and in UTC. Reading raises TimeAltered."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (SQLAlchemy's signature)
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 (SQLAlchemy's signature)
        return None if value is None else value.replace(tzinfo=UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None] | None:
        read = super().result_processor(dialect, coltype)
        if read is None or dialect.name != "sqlite":
            return read

        def process(value: Any) -> datetime | None:
            try:
                return read(value)
            except (TypeError, ValueError) as exc:
                raise TimeAltered from exc

        return process


@lru_cache
def _as_stored(dialect: Dialect) -> Callable[[datetime], object]:
    return UtcDateTime().dialect_impl(dialect).bind_processor(dialect) or (lambda instant: instant)


def as_stored(session: Session, instant: datetime) -> object:
    """Return an instant as the driver takes it, in the one form that a column of instants has."""
    return _as_stored(session.get_bind().dialect)(instant)


class Blob(TypeDecorator[bytes]):
    """Bytes, whatever is in the column: SQLite keeps text or a number where somebody wrote one.

    Whoever verifies such a value says that it was altered, instead of stumbling over its type.
    """

    impl = LargeBinary
    cache_ok = True

    def process_result_value(self, value: object, dialect: Dialect) -> bytes | None:  # noqa: ARG002 (SQLAlchemy's signature)
        return None if value is None else blob(value)


class Base(DeclarativeBase):
    type_annotation_map = {bytes: Blob, datetime: UtcDateTime, int: BigInteger}  # noqa: RUF012 (SQLAlchemy reads it from the class)


_ALL_IS_KEY = {"sqlite_with_rowid": False}
"""Of a table whose every column is in its key: one tree and not two."""


class KeyRow(Base):
    """One key of the centre; `sealed` is its private part under the root key."""

    __tablename__ = "keys"

    name: Mapped[str] = mapped_column(String(80), primary_key=True)  # such as data/restricted/1 or ca/1
    key_id: Mapped[str] = mapped_column(String(80), index=True)
    public: Mapped[bytes]
    sealed: Mapped[bytes]
    created: Mapped[datetime]


class Certificate(Base):
    """Every certificate that the authority issued, for good."""

    __tablename__ = "certificates"

    serial: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))  # root, link, ca, server, service, host, evidence, person
    subject: Mapped[str] = mapped_column(String(80), index=True)
    pem: Mapped[str]
    issued: Mapped[datetime]
    not_after: Mapped[datetime]


class Fact(Base):
    """A thing there is one of, such as when the recovery shares last opened a test object."""

    __tablename__ = "facts"

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    value: Mapped[str]


class Person(Base):
    """Somebody with an account. The name stays taken once it is `removed`: records use it."""

    __tablename__ = "people"

    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    role: Mapped[str] = mapped_column(String(32))
    # Of before tokens had a table, and no token's digest since: SQLite cannot take out a column that is unique.
    token_sha256: Mapped[bytes] = mapped_column(unique=True, default=lambda: secrets.token_bytes(32))
    created: Mapped[datetime]
    removed: Mapped[datetime | None]


class ApiToken(Base):
    """A bearer token of a person, by its digest. `scope` is `all`, or permissions with a space between them."""

    __tablename__ = "api_tokens"

    token_id: Mapped[str] = mapped_column(String(16), primary_key=True)
    secret_sha256: Mapped[bytes] = mapped_column(unique=True)
    person: Mapped[str] = mapped_column(ForeignKey("people.name"), index=True)
    name: Mapped[str] = mapped_column(String(64))
    scope: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime]
    expires: Mapped[datetime]
    ended: Mapped[datetime | None]


class SignInLink(Base):
    """A one-time sign-in link, by its digest. `token_id` is the token that it was made with."""

    __tablename__ = "sign_in_links"

    link_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("people.name"), index=True)
    expires: Mapped[datetime]
    used: Mapped[datetime | None]
    token_id: Mapped[str | None] = mapped_column(String(16))


class PersonSession(Base):
    """A browser's session, by the digest of its cookie, or a certificate's, by that of its DER.

    `used` is when a person last did something in it.
    """

    __tablename__ = "people_sessions"

    session_id: Mapped[str] = mapped_column(String(16), primary_key=True)
    secret_sha256: Mapped[bytes] = mapped_column(unique=True)
    person: Mapped[str] = mapped_column(ForeignKey("people.name"), index=True)
    how: Mapped[str] = mapped_column(String(32))  # link, totp, webauthn, recovery-code, certificate
    began: Mapped[datetime]
    used: Mapped[datetime]
    expires: Mapped[datetime]
    ended: Mapped[datetime | None]
    token_id: Mapped[str | None] = mapped_column(String(16))  # of the link that it began with


class SignInStep(Base):
    """What a browser has shown so far of a sign-in, or the challenge of a key that is being registered."""

    __tablename__ = "sign_in_steps"

    step_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(String(80))  # as it was typed, so perhaps nobody
    purpose: Mapped[str] = mapped_column(String(16))  # sign-in, register
    password_right: Mapped[bool]
    challenge: Mapped[bytes]
    expires: Mapped[datetime]


class SignInFailures(Base):
    """How often a sign-in failed for one account from one address, and when last. Both are digests or empty."""

    __tablename__ = "sign_in_failures"

    account: Mapped[bytes] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(String(64), primary_key=True)
    count: Mapped[int]
    last: Mapped[datetime]


class PasswordRow(Base):
    __tablename__ = "passwords"

    person: Mapped[str] = mapped_column(ForeignKey("people.name"), primary_key=True)
    argon2: Mapped[str] = mapped_column(Text)  # with its parameters and salt, as PHC strings have them
    changed: Mapped[datetime]


class SecondFactor(Base):
    """A one-time password generator or a security key. It counts once it is `confirmed`.

    `sealed_seed` (TOTP) opens under the root key; `last_step` is the newest time step whose code was accepted.
    """

    __tablename__ = "second_factors"

    factor_id: Mapped[str] = mapped_column(String(16), primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("people.name"), index=True)
    kind: Mapped[str] = mapped_column(String(16))  # totp, webauthn
    name: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime]
    confirmed: Mapped[datetime | None]
    sealed_seed: Mapped[bytes | None]
    last_step: Mapped[int]
    credential_id: Mapped[bytes | None] = mapped_column(unique=True)
    public_key: Mapped[bytes | None]
    sign_count: Mapped[int]


class ProviderBinding(Base):
    """Whom an identity provider calls `subject` is this person: an administrator said so."""

    __tablename__ = "provider_bindings"

    issuer: Mapped[str] = mapped_column(String(1000), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("people.name"), index=True)


class RecoveryCode(Base):
    __tablename__ = "recovery_codes"

    code_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("people.name"), index=True)
    used: Mapped[datetime | None]


class EnrolmentCodeRow(Base):
    __tablename__ = "enrolment_codes"

    secret_sha256: Mapped[bytes] = mapped_column(primary_key=True)
    asset: Mapped[str] = mapped_column(String(100))
    issued_by: Mapped[str] = mapped_column(ForeignKey("people.name"))
    expires: Mapped[datetime]
    used: Mapped[datetime | None]
    host_id: Mapped[str | None] = mapped_column(String(40))
    parts: Mapped[str] = mapped_column(Text, default="[]", server_default="[]")  # as of the host that it is for
    cancelled: Mapped[datetime | None]
    replaces: Mapped[str | None] = mapped_column(String(40))  # the host whose identity ends when this is used
    tried_again: Mapped[datetime | None]  # somebody had it after it was used, and nobody has settled that yet


class Host(Base):
    """`standing` is what people decided; that a host lapsed is seen by its certificates.

    With a `tombstone` nothing enrols under its asset or on its machine until people lift it.
    """

    __tablename__ = "hosts"

    host_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    asset: Mapped[str] = mapped_column(String(100))
    enrolled: Mapped[datetime]
    standing: Mapped[str] = mapped_column(String(16), default=Standing.ACTIVE, server_default=Standing.ACTIVE)
    tombstone: Mapped[bool] = mapped_column(default=False, server_default=false())
    machine: Mapped[str] = mapped_column(Text, default="[]", server_default="[]")  # JSON, see enrolment.tombstones
    replaces: Mapped[str | None] = mapped_column(String(40))  # the host in whose place it came
    evidence_spki: Mapped[bytes]
    state: Mapped[bytes | None]  # the last signed state report
    state_number: Mapped[int]
    state_received: Mapped[datetime | None]
    runs: Mapped[str] = mapped_column(Text, default="[]", server_default="[]")  # JSON, see fleet.histories
    records_owed: Mapped[datetime | None]  # since when audit records of it are expected and do not come
    records_silent: Mapped[datetime | None]  # since when they stay away, once that was recorded
    doubt: Mapped[str] = mapped_column(String(16), default="", server_default="")  # restored, cloned
    doubted: Mapped[datetime | None]
    parts: Mapped[str] = mapped_column(Text, default="[]", server_default="[]")  # JSON, see enrolment.codes

    @hybrid_property
    def active(self) -> bool:
        """Whether nobody has ended its identity; a quarantined host still has it."""
        return self.standing not in ENDED

    @active.inplace.expression
    @classmethod
    def _active_expression(cls) -> ColumnElement[bool]:
        return cls.standing.not_in(ENDED)


class BarredCertificate(Base):
    """A certificate that opens nothing any more, though its host has not been ended."""

    __tablename__ = "barred_certificates"

    serial: Mapped[str] = mapped_column(ForeignKey("certificates.serial"), primary_key=True)
    barred: Mapped[datetime]


class LapsedAskRow(Base):
    """A fresh key for which a host without a certificate asks for one; it goes when the certificate is issued."""

    __tablename__ = "lapsed_asks"

    host_id: Mapped[str] = mapped_column(ForeignKey("hosts.host_id"), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(24), primary_key=True)  # of the fresh key, as people compare it
    asked: Mapped[datetime]
    address: Mapped[str] = mapped_column(String(64))
    approved: Mapped[datetime | None]
    approved_by: Mapped[str | None] = mapped_column(String(80))


class TwoPersonRequest(Base):
    """An act that one person asked for and another one has to approve; see people.two_persons."""

    __tablename__ = "two_person_requests"

    request_id: Mapped[str] = mapped_column(String(8), primary_key=True)
    action: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(80))
    reason: Mapped[str] = mapped_column(String(300))
    asked_by: Mapped[str] = mapped_column(String(80))
    asked: Mapped[datetime]
    expires: Mapped[datetime]
    decided: Mapped[datetime | None]
    decided_by: Mapped[str | None] = mapped_column(String(80))
    approved: Mapped[bool | None]


class CommandRow(Base):
    """A command that people signed for one host, and the host's signed result once it is here."""

    __tablename__ = "commands"

    command_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    host_id: Mapped[str] = mapped_column(ForeignKey("hosts.host_id"), index=True)
    action: Mapped[str] = mapped_column(String(40))
    person: Mapped[str] = mapped_column(String(80))  # who brought it here
    issued: Mapped[datetime] = mapped_column(index=True)
    expires: Mapped[datetime]
    envelope: Mapped[bytes]
    result: Mapped[bytes | None]
    answered: Mapped[datetime | None]


class WipeOrderRow(Base):
    """An order to wipe one drive: the very bytes of its ticket, which people sign. Nothing ever deletes one.

    Its state is in no column: `control_plane.sanitize.state` derives it from what is signed.
    """

    __tablename__ = "wipe_orders"

    order_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    host_id: Mapped[str] = mapped_column(ForeignKey("hosts.host_id"), index=True)
    requested: Mapped[datetime] = mapped_column(index=True)
    expires: Mapped[datetime]
    ticket: Mapped[bytes]
    closed: Mapped[datetime | None]  # by a person, before the host had it
    closed_as: Mapped[str | None] = mapped_column(String(16))  # cancelled, refused
    closed_by: Mapped[str | None] = mapped_column(String(80))
    destruction: Mapped[str | None] = mapped_column(Text)  # JSON, see sanitize.destruction


class WipeSignatureRow(Base):
    """One approver's signed statement over a ticket."""

    __tablename__ = "wipe_signatures"

    order_id: Mapped[str] = mapped_column(ForeignKey("wipe_orders.order_id"), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    person: Mapped[str] = mapped_column(String(80))
    signed: Mapped[datetime]
    statement: Mapped[bytes]


class WipeNoteRow(Base):
    """What a host's agent told of a wipe that goes on; no evidence."""

    __tablename__ = "wipe_notes"

    order_id: Mapped[str] = mapped_column(ForeignKey("wipe_orders.order_id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    note: Mapped[bytes]
    received: Mapped[datetime]


class WipeReportRow(Base):
    """A host's signed report. `brought_by` is the person who carried it here, None: the host sent it itself."""

    __tablename__ = "wipe_reports"

    order_id: Mapped[str] = mapped_column(ForeignKey("wipe_orders.order_id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    signed: Mapped[bytes]
    received: Mapped[datetime]
    brought_by: Mapped[str | None] = mapped_column(String(80))
    judged: Mapped[str | None] = mapped_column(Text)  # JSON of the judgement as it was recorded


class WipeCertificateRow(Base):
    """What the centre states of a wipe. `statement` is what its record names; the rest is made once, from that.

    `file` and `pdf` are None until the record's place in the log could be proved.
    """

    __tablename__ = "wipe_certificates"

    order_id: Mapped[str] = mapped_column(ForeignKey("wipe_orders.order_id"), primary_key=True)
    made: Mapped[datetime]
    statement: Mapped[bytes]
    file: Mapped[bytes | None]
    pdf: Mapped[bytes | None]


class IncidentHoldRow(Base):
    """While one is not lifted, no drive of the host is wiped without two people's override."""

    __tablename__ = "incident_holds"

    hold_id: Mapped[str] = mapped_column(String(8), primary_key=True)
    host_id: Mapped[str] = mapped_column(ForeignKey("hosts.host_id"), index=True)
    placed: Mapped[datetime]
    placed_by: Mapped[str] = mapped_column(String(80))
    lifted: Mapped[datetime | None]


class Object(Base):
    """One object the vault answers for. Its body is in the object store, its wrap in `wraps`."""

    __tablename__ = "objects"
    __table_args__ = (Index("objects_by_host", "host_id", "received"),)

    object_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    host_id: Mapped[str] = mapped_column(ForeignKey("hosts.host_id"))
    binding: Mapped[bytes]
    record: Mapped[bytes]
    record_sha256: Mapped[bytes]
    sealed_index: Mapped[bytes]
    index_state: Mapped[str] = mapped_column(String(16))  # indexed, or not evaluated
    body_bytes: Mapped[int]
    received: Mapped[datetime] = mapped_column(index=True)
    receipt: Mapped[bytes]


class LostObject(Base):
    """An object whose body is not here as its host signed it. The row goes when that very body is here again.

    `told` is when its host heard so; `dataset_sha256` is what the host signed. `over_by` is the object that holds the
    same image since: nobody misses this one any more, and it has no receipt all the same. `settled` is when a person
    said that nothing comes for it.
    """

    __tablename__ = "lost_objects"

    object_id: Mapped[str] = mapped_column(ForeignKey("objects.object_id"), primary_key=True)
    host_id: Mapped[str] = mapped_column(ForeignKey("hosts.host_id"), index=True)
    dataset_sha256: Mapped[bytes] = mapped_column(index=True)
    found: Mapped[datetime]
    told: Mapped[datetime | None]
    over_by: Mapped[str | None] = mapped_column(ForeignKey("objects.object_id"), index=True)
    settled: Mapped[datetime | None]


class Wrap(Base):
    """The small row whose destruction makes every copy of a body unreadable."""

    __tablename__ = "wraps"

    object_id: Mapped[str] = mapped_column(ForeignKey("objects.object_id"), primary_key=True)
    key_id: Mapped[str] = mapped_column(String(32), index=True)
    wrap: Mapped[bytes]


class BlindIndex(Base):
    """A keyed hash of one searched attribute of one object."""

    __tablename__ = "blind_index"
    __table_args__ = (Index("blind_index_by_object", "object_id", "attribute", "token"),)

    attribute: Mapped[str] = mapped_column(String(32), primary_key=True)
    token: Mapped[bytes] = mapped_column(primary_key=True)
    object_id: Mapped[str] = mapped_column(ForeignKey("objects.object_id"), primary_key=True)


class Instance(Base):
    """Which SOP instance an object is, by its token of the blind index, and which data set by the signed record.

    A way to find the other objects of an instance and no evidence: what is found is proved by its record.
    """

    __tablename__ = "instances"
    __table_args__ = (Index("instances_by_token", "token", "dataset_sha256"),)

    object_id: Mapped[str] = mapped_column(ForeignKey("objects.object_id"), primary_key=True)
    token: Mapped[bytes]
    dataset_sha256: Mapped[bytes]


class Conflict(Base):
    """A SOP instance under which several data sets are held. `settled` is None until a person closed it."""

    __tablename__ = "conflicts"

    token: Mapped[bytes] = mapped_column(primary_key=True)
    found: Mapped[datetime]
    settled: Mapped[datetime | None]


class AuditRow(Base):
    """One record exactly as its source sent it, and its number in the Merkle log, counted from 0.

    From `happened` on, what it says once more, to pick it by: no evidence, what is found is read again. It has no index
    but these two, since each costs every record: it is found by its piece (`AuditPiece`) and by its hash in the tiles.
    """

    __tablename__ = "audit_records"
    __table_args__ = (Index("audit_by_entry", "entry", unique=True),)

    source: Mapped[str] = mapped_column(String(40), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    public: Mapped[bytes]
    sealed: Mapped[bytes | None]
    leaf: Mapped[bytes]
    received: Mapped[datetime]
    entry: Mapped[int | None]
    happened: Mapped[int | None]  # microseconds of 1970
    event: Mapped[str | None] = mapped_column(String(40))
    action: Mapped[str | None] = mapped_column(String(1))
    outcome: Mapped[int | None]


class AuditPiece(Base):
    """A run of entries by which they are found (audit_log/pieces.py): a way to find them, and no evidence."""

    __tablename__ = "audit_pieces"
    __table_args__ = (Index("audit_pieces_by_time", "since", "first"),)

    first: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    last: Mapped[int]
    since: Mapped[int]  # microseconds of 1970


class AuditName(Base):
    """Which pieces hold a record that says a name, in the order of time: `happened` and `entry` are a piece's."""

    __tablename__ = "audit_names"
    __table_args__ = _ALL_IS_KEY

    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    happened: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    entry: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class AuditToken(Base):
    """Which records were asked for, or are about, what a token of the blind index stands for."""

    __tablename__ = "audit_tokens"
    __table_args__ = _ALL_IS_KEY

    attribute: Mapped[str] = mapped_column(String(32), primary_key=True)
    token: Mapped[bytes] = mapped_column(primary_key=True)
    entry: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class SubjectKey(Base):
    """The secret under which private parts about one patient, person or thing are sealed; erased by being deleted.

    `attribute` and `token` are those of the blind index. `since` is when the first of these private parts arrived: a
    copy of before then holds nothing of it.
    """

    __tablename__ = "subject_keys"

    attribute: Mapped[str] = mapped_column(String(32), primary_key=True)
    token: Mapped[bytes] = mapped_column(primary_key=True)
    key_id: Mapped[str] = mapped_column(String(32), unique=True)
    sealed: Mapped[bytes]
    since: Mapped[datetime]


class LogTile(Base):
    """Up to 256 hashes of one level of the Merkle log, as C2SP tlog-tiles has them; a full one never changes."""

    __tablename__ = "log_tiles"

    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    hashes: Mapped[bytes]


class LogHead(Base):
    """The Merkle log as it is now; no row before its first entry, no `checkpoint` yet of what a migration entered."""

    __tablename__ = "log_head"

    one: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    size: Mapped[int]
    range: Mapped[bytes]
    checkpoint: Mapped[str] = mapped_column(Text)


class AuditStatement(Base):
    """What a source signed about the records `first` to `last`."""

    __tablename__ = "audit_statements"

    source: Mapped[str] = mapped_column(String(40), primary_key=True)
    first: Mapped[int] = mapped_column(primary_key=True)
    last: Mapped[int] = mapped_column(primary_key=True)
    statement: Mapped[bytes]


class LogLoss(Base):
    """What somebody had seen of the centre's own log and the log did not have: open until a person accepts it.

    `statement` is ours, signed, as it was brought; `first` is the lowest number that is lost, as far as it is known.
    """

    __tablename__ = "log_losses"

    seq: Mapped[int] = mapped_column(primary_key=True)
    leaf: Mapped[bytes] = mapped_column(primary_key=True)
    statement: Mapped[bytes]
    kind: Mapped[str] = mapped_column(String(16))  # shrank, forked
    first: Mapped[int]
    seen_by: Mapped[str] = mapped_column(String(80))
    found: Mapped[datetime]
    accepted: Mapped[datetime | None]
    accepted_by: Mapped[str | None] = mapped_column(String(80))


class TreeLoss(Base):
    """A head of the Merkle log that somebody had seen and that is not of this log: open until a person accepts it.

    `note` is ours, signed, as it was brought. `accepted_seq` is the number of the record of the acceptance: who saw a
    head after that does not mean this loss.
    """

    __tablename__ = "tree_losses"

    size: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    root: Mapped[bytes] = mapped_column(primary_key=True)
    note: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(String(16))  # shrank, forked
    now: Mapped[int]  # how many entries this log had when it was found
    seen_by: Mapped[str] = mapped_column(String(80))
    found: Mapped[datetime]
    accepted: Mapped[datetime | None]
    accepted_by: Mapped[str | None] = mapped_column(String(80))
    accepted_seq: Mapped[int | None]


class LogRound(Base):
    """A checkpoint that was shown to witnesses, so that many cosign the same one; the newest is being cosigned."""

    __tablename__ = "log_rounds"

    size: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    note: Mapped[str] = mapped_column(Text)
    begun: Mapped[datetime]


class LogCosignature(Base):
    """A witness's signature over the checkpoint of a round, as a line of a signed note."""

    __tablename__ = "log_cosignatures"

    size: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    line: Mapped[str] = mapped_column(Text)


class LogWitness(Base):
    """A witness of our log: the newest that it cosigned, when it says that it did, and when we heard of it last.

    `said` is why it does not cosign, empty where it does. Of a host, `statement` is its word on the key.
    """

    __tablename__ = "log_witnesses"

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    vkey: Mapped[str] = mapped_column(Text)
    host: Mapped[str | None] = mapped_column(String(40))
    statement: Mapped[bytes | None]
    size: Mapped[int]
    root: Mapped[bytes]
    line: Mapped[str] = mapped_column(Text)
    cosigned: Mapped[int]  # seconds since 1970, as it signed them
    heard: Mapped[datetime | None]
    said: Mapped[str] = mapped_column(Text, default="", server_default="")


class OtherLog(Base):
    """The newest checkpoint of somebody else's log that this centre cosigned."""

    __tablename__ = "other_logs"

    origin: Mapped[str] = mapped_column(String(255), primary_key=True)
    size: Mapped[int]
    root: Mapped[bytes]
    note: Mapped[str] = mapped_column(Text)
    cosigned: Mapped[datetime]


class AuditSubject(Base):
    """Which records are about a thing. A way to find them and no evidence: what is found is proved by itself.

    Objects are in `audit_objects`, for each has a record and they have random names.
    """

    __tablename__ = "audit_subjects"
    __table_args__ = _ALL_IS_KEY

    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    event: Mapped[str] = mapped_column(String(40), primary_key=True)
    source: Mapped[str] = mapped_column(String(40), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)


class AuditObject(Base):
    """By which numbers records are found that say an object (audit_log/objects.py): a way to find them, no evidence."""

    __tablename__ = "audit_objects"

    # SQLite's own row number, which has no second tree beside it, is an INTEGER and no BIGINT.
    number: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    )


class PolicyMetadata(Base):
    """Every version of every TUF role; `policy` is a layer's document and null for the other roles.

    `stable` is what hosts go by that a roll-out of the version has not reached, null where it was never to be rolled
    out. `remark` is what the record of the publication says beside who signed.
    """

    __tablename__ = "policy_metadata"

    role: Mapped[str] = mapped_column(String(40), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    metadata_bytes: Mapped[bytes]
    policy: Mapped[bytes | None]
    published: Mapped[datetime]
    person: Mapped[str]
    stable: Mapped[bytes | None]
    remark: Mapped[str] = mapped_column(Text, default="", server_default="")


class RolloutRow(Base):
    """One version that is, or was, rolled out in rings; see rollout.state for what is in its JSON.

    `person` and `why` are of the last thing that was done to it, at `since`.
    """

    __tablename__ = "rollouts"

    layer: Mapped[str] = mapped_column(String(40), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    plan: Mapped[str] = mapped_column(Text)
    opened: Mapped[str] = mapped_column(Text)  # when each ring that is open was opened
    heard: Mapped[str] = mapped_column(Text)  # how each host was before its ring opened, and since when it is not well
    state: Mapped[str] = mapped_column(String(16))  # running, paused, reverted, finished
    since: Mapped[datetime]
    person: Mapped[str] = mapped_column(String(80))
    why: Mapped[str] = mapped_column(Text)


class CoverageRow(Base):
    """One comparison of one modality's day with its archive: counts only. Earlier ones that found anything are kept."""

    __tablename__ = "coverage"

    day: Mapped[str] = mapped_column(String(10), primary_key=True)  # ISO 8601
    ae_title: Mapped[str] = mapped_column(String(16), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    archive: Mapped[str] = mapped_column(String(16))
    compared: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(20))
    why: Mapped[str] = mapped_column(String(500))
    known: Mapped[int]
    protected: Mapped[int]
    unprotected: Mapped[int]
    captured: Mapped[int]
    not_in_archive: Mapped[int]
    not_evaluated: Mapped[int]
    by_modality_only: Mapped[bool]
    difference: Mapped[bytes]


class RouteItem(Base):
    """One object on its way to one archive. `number` is its place in the route's queue, by arrival in the vault.

    `state` is waiting, sending, delivered, refused or unknown-route; `why` says what holds it, or what the archive
    remarked when it took it. No SOP Instance UID stands here: it is read from the sealed index when it is needed.
    """

    __tablename__ = "route_items"
    __table_args__ = (
        Index("route_items_in_order", "route", "state", "number"),
        Index("route_items_by_number", "number", unique=True),
    )

    object_id: Mapped[str] = mapped_column(ForeignKey("objects.object_id"), primary_key=True)
    route: Mapped[str] = mapped_column(String(32), primary_key=True)
    number: Mapped[int]
    state: Mapped[str] = mapped_column(String(16))
    queued: Mapped[datetime]
    tries: Mapped[int]
    next_try: Mapped[datetime | None]  # None: as soon as the route goes on; for a refused one, when somebody says so
    why: Mapped[str]
    delivered: Mapped[datetime | None]
    evidence: Mapped[str]  # canonical JSON, empty until it is delivered


class RouteState(Base):
    """How a route as a whole does: `failures` in a row, and until when it is left alone because of them."""

    __tablename__ = "route_states"

    route: Mapped[str] = mapped_column(String(32), primary_key=True)
    failures: Mapped[int]
    failing_since: Mapped[datetime | None]
    next_try: Mapped[datetime | None]
    why: Mapped[str]
    delivered: Mapped[datetime | None]  # when the last image was


class SpoolMove(Base):
    """What one person allowed: `bearer` delivers for `source`. The signed record of it decides; the row counts."""

    __tablename__ = "spool_moves"
    __table_args__ = (Index("spool_moves_by_pair", "source", "bearer"),)

    move_id: Mapped[str] = mapped_column(String(8), primary_key=True)
    source: Mapped[str] = mapped_column(ForeignKey("hosts.host_id"))
    bearer: Mapped[str] = mapped_column(ForeignKey("hosts.host_id"))
    allowed_by: Mapped[str] = mapped_column(String(80))
    allowed: Mapped[datetime]
    until: Mapped[datetime]
    ended: Mapped[datetime | None]
    objects: Mapped[int]
    records: Mapped[int]


class FrameDigests(Base):
    """What became of an object's frames: digested, refused, or not asked for by the policy it was captured under.

    `statement` is the centre's signed statement (docs/formats/custody.md section 3) where they were digested.
    """

    __tablename__ = "frame_digests"

    object_id: Mapped[str] = mapped_column(ForeignKey("objects.object_id"), primary_key=True)
    state: Mapped[str] = mapped_column(String(16))
    statement: Mapped[bytes | None]
    why: Mapped[str] = mapped_column(String(500))
    made: Mapped[datetime]


class BackupRow(Base):
    """A backup that was begun. What it holds is known before anything is written, so an interrupted one counts too.

    `made` is None where it was not finished. `forgotten` is when a person said that the copy is gone.
    """

    __tablename__ = "backups"

    label: Mapped[str] = mapped_column(String(32), primary_key=True)
    place: Mapped[str] = mapped_column(Text)  # the folder, as whoever made it called it
    begun: Mapped[datetime]
    made: Mapped[datetime | None]
    audit_seq: Mapped[int]  # the centre's last record in it
    objects: Mapped[int]
    body_bytes: Mapped[int]
    keys: Mapped[str] = mapped_column(Text)  # JSON list of names
    keep_until: Mapped[datetime | None]
    forgotten: Mapped[datetime | None]
    forgotten_by: Mapped[str] = mapped_column(String(80), default="", server_default="")


class DestroyedRow(Base):
    """What was destroyed here for good: a key by its name, or the wrap of an object by the object's id."""

    __tablename__ = "destroyed"

    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    since: Mapped[datetime]  # when it had come to be; a copy older than that does not hold it
    destroyed: Mapped[datetime]
    person: Mapped[str] = mapped_column(String(80))
