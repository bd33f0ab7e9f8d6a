"""What people are shown of wipe orders and holds, and what of them somebody has to look into."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import WipeOrderRow
from control_plane.db.transactions import snapshot
from control_plane.sanitize.holds import Holds
from control_plane.sanitize.reading import Allowed, Known, WipeReading, approvals, find, known
from control_plane.sanitize.same_drive import OrderedDrives, with_others
from control_plane.sanitize.state import OPEN_QUESTIONS, UNDER_WAY, OrderState
from shared import clock as clocks
from shared.canonical import Json
from shared.clock import Clock
from shared.errors import Malformed
from shared.fields import encode_base64
from shared.identity import HostId
from shared.sanitization.destruction import Destruction
from shared.sanitization.note import WipeNote
from shared.sanitization.ticket import TicketId

_SHOWN, _LOOKED_AT = 100, 300
_STAYS_IN_SIGHT = timedelta(days=30)


class WipeShowing:
    def __init__(
        self, database: sessionmaker[Session], reading: WipeReading, holds: Holds, clock: Clock
    ) -> None:  # fmt: skip
        self._database, self._reading, self._holds, self._clock = database, reading, holds, clock

    def orders(self, host: HostId | None = None, most: int = _SHOWN) -> list[dict[str, Json]]:
        """Return the orders that were asked for last, the newest first."""
        wanted = select(WipeOrderRow).order_by(WipeOrderRow.requested.desc(), WipeOrderRow.order_id).limit(most)
        if host is not None:
            wanted = wanted.where(WipeOrderRow.host_id == str(host))
        with snapshot(self._database) as session:
            rows = list(session.scalars(wanted))
            drives = OrderedDrives(session, min((row.requested for row in rows), default=self._clock.now()))
            found = [_read(session, row, drives) for row in rows]
        allowed = dict[str, Allowed]()
        for one in found:
            if isinstance(one, Known) and one.row.host_id not in allowed:
                allowed[one.row.host_id] = self._reading.allowed(one.ticket.host_id, one.parts)
        return [self._brief(one, allowed[one.row.host_id]) if isinstance(one, Known) else one for one in found]

    def order(self, order_id: TicketId) -> dict[str, Json]:
        """Return one order with all that is held of it. Raises OrderUnknown, Malformed."""
        with snapshot(self._database) as session:
            held = with_others(session, find(session, order_id))
        destruction = held.row.destruction
        return {
            **self._brief(held, self._reading.allowed(held.ticket.host_id, held.parts)),
            "ticket": encode_base64(held.row.ticket),
            "signatures": [
                {"person": one.person, "key": one.key_id, "signed": clocks.text(one.signed)} for one in held.signatures
            ],
            "notes": [_note(one.seq, one.note) for one in held.notes],
            "reports": [
                {
                    "received": clocks.text(one.received),
                    "brought_by": one.brought_by,
                    "judged": one.judged,
                    "signed": encode_base64(one.signed),
                }
                for one in held.reports
            ],
            "destruction": None if destruction is None else Destruction.parse(destruction).json(),
        }

    def state(self, order_id: TicketId) -> OrderState:
        """Raises OrderUnknown, Malformed."""
        with snapshot(self._database) as session:
            held = with_others(session, find(session, order_id))
        allowed = self._reading.allowed(held.ticket.host_id, held.parts)
        return self._reading.standing(held, allowed, self._clock.now()).state

    def gaps(self) -> list[str]:
        """Say what of wipes nobody has proved, and what waits for people."""
        now = self._clock.now()
        return [*_gaps(self.orders(most=_LOOKED_AT), now), *_held(self._holds.status())]

    def _brief(self, held: Known, allowed: Allowed) -> dict[str, Json]:
        ticket, row = held.ticket, held.row
        given, needed = approvals(held, allowed)
        now = self._clock.now()
        standing = self._reading.standing(held, allowed, now)
        beside = self._reading.under_way(held, now) if standing.state in UNDER_WAY else []
        return {
            "order": row.order_id,
            "host": row.host_id,
            "host_standing": held.host_standing,
            "asset": held.asset,
            "serial": ticket.drive.serial,
            "wwn": ticket.drive.wwn,
            "model": ticket.drive.model,
            "size_bytes": ticket.drive.size_bytes,
            "least": ticket.method.least.value,
            "read_back": ticket.method.read_back.value,
            "reason": ticket.reason.value,
            "requester": ticket.requester,
            "technician": ticket.person,
            "overrides": [one.value for one in ticket.overrides],
            "requested": clocks.text(row.requested),
            "expires": clocks.text(ticket.expires),
            "approvals": given,
            "approvals_needed": needed,
            "state": standing.state.value,
            "detail": standing.detail,
            "same_drive": [
                {"order": one.row.order_id, "host": one.row.host_id, "asset": one.asset, "state": state.value}
                for one, state in beside
            ],
        }


def _read(session: Session, row: WipeOrderRow, drives: OrderedDrives) -> Known | dict[str, Json]:
    try:
        held = known(session, row)
        return replace(held, others=drives.others(held.ticket))
    except Malformed as exc:  # somebody changed one row: that takes no view of the others from anybody
        return {**_NOTHING, "order": row.order_id, "host": row.host_id, "requested": clocks.text(row.requested),
                "expires": clocks.text(row.expires), "detail": str(exc)}  # fmt: skip


_NOTHING: dict[str, Json] = {
    "asset": "", "serial": "", "wwn": "", "model": "", "size_bytes": 0, "least": "", "read_back": "", "reason": "",
    "requester": "", "technician": "", "overrides": [], "approvals": 0, "approvals_needed": 0,
    "state": OrderState.NOT_AUTHENTIC.value, "host_standing": "", "same_drive": [],
}  # fmt: skip


def _note(seq: int, data: bytes) -> Json:
    try:
        note = WipeNote.parse(data)
    except Malformed as exc:
        return {"seq": seq, "event": OrderState.NOT_AUTHENTIC.value, "time": "", "detail": str(exc)}
    return {"seq": note.seq, "event": note.event.value, "time": clocks.text(note.time), "detail": note.detail}


def _gaps(orders: Sequence[Mapping[str, Json]], now: datetime) -> Iterator[str]:
    for one in orders:
        name = f"{one['asset']}: wipe order {one['order']} of drive {one['serial']}"
        state = OrderState(str(one["state"]))
        if state is OrderState.REQUESTED:
            yield (
                f"{name} waits for approval ({one['detail']}) until {one['expires']}: "
                f"`leadglass-server wipe approve {one['order']}`"
            )
        elif state is OrderState.HOST_ENDED:
            yield (
                f"{name}: {one['detail']}, so it fetches no ticket: carry it there (`wipe ticket {one['order']}`), "
                f"or `leadglass-server wipe cancel {one['order']}`"
            )
        elif state in OPEN_QUESTIONS and clocks.parse(str(one["requested"])) > now - _STAYS_IN_SIGHT:
            yield f"{name}: {state}: {one['detail']}"
        if beside := _beside(one):
            yield f"{name} is not the only one for this drive: {beside}; cancel what is not meant"


def _beside(one: Mapping[str, Json]) -> str:
    """Return the orders beside this one for its drive, at the one of them that is named first."""
    told = _listed(one["same_drive"])
    if not told or any(str(each["order"]) < str(one["order"]) for each in told):
        return ""
    return ", ".join(f"{each['order']} of {each['asset']} ({each['state']})" for each in told)


def _listed(value: Json) -> list[Mapping[str, Json]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _held(holds: Sequence[Mapping[str, Json]]) -> Iterator[str]:
    for one in holds:
        yield f"{one['asset']}: held for an incident since {one['placed']} by {one['placed_by']}, so no drive is wiped"
