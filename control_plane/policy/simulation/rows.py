"""What was captured and attached lately, as the rows of vault and audit log tell it; nothing is opened.

It is read as it is stored. Signatures are proved when something is acted on (`audit verify`, `open`), and nothing is
acted on here.
"""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, func, select
from sqlalchemy.orm import Session

from control_plane.audit_log.objects import Nearest
from control_plane.db.models import AuditRow, AuditSubject, Object
from control_plane.policy.simulation.captures import Captured
from control_plane.policy.simulation.devices import Attached, parsed_interfaces
from control_plane.vault.receive import INDEXED
from shared.audit.events import Event
from shared.audit.record import AuditRecord
from shared.canonical import Json
from shared.devices.device import UsbDevice
from shared.devices.printable import printable
from shared.errors import Malformed
from shared.fields import Fields
from shared.policy.grading import names
from shared.sealing.record import GRADE_PATTERN
from shared.signing import claimed_payload

_AT_ONCE, _MOST_WHO, _MOST_WHAT, _MOST_TITLE_CHARS = 500, 64, 64, 200


@dataclass(frozen=True)
class Lately:
    """`unreadable` counts objects whose row is none that we wrote; `left_out` those beyond the most to be looked at."""

    counts: Counter[Captured]
    unreadable: int
    left_out: int


def captured_since(session: Session, since: datetime, most: int) -> Lately:
    """Count what arrived in the vault from `since` on, the newest first and `most` objects at most."""
    arrived = Object.received >= since
    rows = (
        select(Object.object_id, Object.host_id, Object.record, Object.index_state)
        .where(arrived)
        .order_by(Object.received.desc(), Object.object_id)
        .limit(most)
    )
    counts, unreadable, captures = Counter[Captured](), 0, Nearest(session, Event.IMAGE_CAPTURED)
    for some in session.execute(rows.execution_options(yield_per=_AT_ONCE)).partitions():
        said = captures.of({row.object_id: row.host_id for row in some})
        for row in some:
            try:
                kind = _captured(row.host_id, row.record, said.get(row.object_id), is_read=row.index_state == INDEXED)
            except Malformed:
                unreadable += 1
            else:
                counts[kind] += 1
    total = session.scalar(select(func.count()).select_from(Object).where(arrived)) or 0
    return Lately(counts, unreadable, max(0, total - most))


@dataclass(frozen=True)
class LatelyAttached:
    """By host. `unreadable` counts records that no longer read; `left_out` those beyond the most to be looked at."""

    by_host: dict[str, dict[tuple[str, str], Attached]]
    unreadable: int
    left_out: int


def attached_since(session: Session, since: datetime, most: int) -> LatelyAttached:
    """Return the devices that guards recorded as attached from `since` on, of each port the newest record.

    A record that names no device is left out: its descriptors could not be read.
    """
    here = and_(
        AuditSubject.kind == "device",
        AuditSubject.event == Event.DEVICE_ATTACHED.value,
        AuditRow.source == AuditSubject.source,
        AuditRow.seq == AuditSubject.seq,
        AuditRow.received >= since,
    )
    rows = select(AuditSubject.source, AuditRow.public).join(AuditRow, here)
    newest = rows.order_by(AuditRow.received.desc(), AuditRow.seq.desc()).limit(most)
    found: dict[str, dict[tuple[str, str], Attached]] = {}
    unreadable = 0
    for row in session.execute(newest.execution_options(yield_per=_AT_ONCE)):
        try:
            identity, one = _attached(row.public)
        except (Malformed, ValueError):
            unreadable += not _is_record(row.public)
            continue
        found.setdefault(row.source, {}).setdefault((one.device.port, identity), one)
    total = session.scalar(select(func.count()).select_from(AuditSubject).join(AuditRow, here)) or 0
    return LatelyAttached(found, unreadable, max(0, total - most))


def _is_record(public: bytes) -> bool:
    try:
        AuditRecord.parse(public)
    except Malformed:
        return False
    return True


def _attached(public: bytes) -> tuple[str, Attached]:
    """Return a device and its identity, from the facts that `edge_agent.link.happening` writes. Raises Malformed."""
    facts: dict[str, str] = {}
    for each in Fields(_json(public), "audit record").items("what", most=_MOST_WHAT):
        subject = Fields(each, "audit record subject")
        kind, name = subject.text("kind"), subject.text("name")
        key, _, value = name.partition(": ") if kind == "fact" else (kind, "", name)
        facts.setdefault(key, value)
    told = Fields(dict(facts), "attachment")
    vendor, product = told.text("id", "[0-9a-f]{4}:[0-9a-f]{4}").split(":")
    device = UsbDevice(
        port=told.text("device"), parent="", vendor=int(vendor, 16), product=int(product, 16), name=told.text("name"),
        serial=told.text("serial"), fingerprint=told.text("fingerprint"), parent_fingerprint="",
        interfaces=parsed_interfaces(told.text("interfaces")),
        problems=(facts["problems"],) if "problems" in facts else (),
    )  # fmt: skip
    return told.text("identity"), Attached(device, told.text("time"))


def _captured(host_id: str, signed: bytes, public: bytes | None, *, is_read: bool) -> Captured:
    """Raises Malformed. Both were proved whole when they arrived; here only what is counted is taken of them."""
    record = Fields(_json(claimed_payload(signed)), "capture record")
    grade, version = record.text("grade", GRADE_PATTERN), record.integer("policy_version")
    routes = names(record, "routes") if record.has("routes") else ()
    return Captured(host_id, "" if public is None else _ae_title(public), grade, routes, version, is_read)


def _ae_title(public: bytes) -> str:
    """Return who sent the image that an audit record is about; empty where it does not say."""
    try:
        for who in Fields(_json(public), "audit record").items("who", most=_MOST_WHO):
            participant = Fields(who, "audit record participant")
            if participant.text("kind") == "ae":
                return printable(participant.text("name"), _MOST_TITLE_CHARS)
    except Malformed:
        return ""
    return ""


def _json(data: bytes) -> Json:
    try:
        value: Json = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise Malformed("stored record", "not JSON") from exc
    return value
