"""Whether a drive may be written to for a ticket: everything that speaks against it, found before the first write.

What could not be found out refuses like what was found. A ticket that two persons gave an override lets an incident
hold and undelivered images pass, and nothing else; what is lost is then in the report.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.holders import Holder, HolderKind
from shared.sanitization.ticket import Override, Ticket, TicketId


class RefusalKind(StrEnum):
    OTHER_SERIAL = "other-serial"
    OTHER_WWN = "other-wwn"
    OTHER_MODEL = "other-model"
    OTHER_SIZE = "other-size"
    NOT_THE_ONLY_ONE = "not-the-only-one"
    IN_USE = "in-use"
    RUNNING_SYSTEM = "running-system"
    OWN_STATE = "own-state"
    NETWORK = "network-storage"
    READ_ONLY = "read-only"
    TICKET_USED = "ticket-used"
    WIPED_SINCE = "wiped-since"
    INCIDENT_HOLD = "incident-hold"
    UNDELIVERED_IMAGES = "undelivered-images"
    CLOCK_UNSURE = "clock-unsure"


@dataclass(frozen=True)
class Circumstances:
    """What was found out about one drive. None is what could not be found out, and refuses as well.

    `twins` counts other drives here with the same serial number. `system` and `network` are empty where the drive is
    of neither. `hold` is the centre's last word on an incident, `undelivered` counts images of this host's spool.
    `wiped_by` is a ticket by which all that this one asks was done to the drive here since it was issued: what lies on
    it now nobody ordered to be wiped.
    """

    drive: Drive
    twins: int
    holders: Sequence[Holder] | None
    system: str | None
    network: str | None
    has_own_state: bool | None
    is_read_only: bool | None
    is_ticket_used: bool | None
    hold: bool | None
    undelivered: int | None
    is_clock_sure: bool | None
    wiped_by: TicketId | None = None


@dataclass(frozen=True)
class Refusal:
    """`what` speaks against it, `where` that is, and `remedy` is what a person can do."""

    kind: RefusalKind
    what: str
    where: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.remedy}"


_ASK_ANEW = "nothing is written; choose the drive of the ticket, or have an order made for this one"
_LET_GO = {
    HolderKind.MOUNT: "unmount it (umount /dev/{})",
    HolderKind.SWAP: "switch it off (swapoff /dev/{})",
    HolderKind.RAID: "stop the RAID or take the drive out of it (mdadm)",
    HolderKind.LVM: "deactivate its volume group (vgchange --activate n)",
    HolderKind.CRYPT: "close it (cryptsetup close)",
    HolderKind.MULTIPATH: "take it out of multipath (multipath -f)",
    HolderKind.MAPPED: "remove the mapping (dmsetup remove)",
    HolderKind.LOOP: "detach it (losetup --detach)",
    HolderKind.POOL: "unmount or export the pool, or take the drive out of it",
    HolderKind.EXCLUSIVE: "end the program that has it (lsof /dev/{}), or export the pool that it belongs to",
}


def refusals(ticket: Ticket, found: Circumstances) -> tuple[Refusal, ...]:
    """Return everything that speaks against it; only where that is nothing may the first byte be written."""
    return (
        *_another(ticket, found),
        *_in_use(found),
        *_misplaced(found),
        *_ticket(ticket, found),
        *_losses(ticket, found),
    )


def lost(ticket: Ticket, found: Circumstances) -> tuple[Override, ...]:
    """Return which overrides of the ticket let pass what would have refused; by rising name, for the report."""
    speaking = {
        Override.INCIDENT_HOLD: found.hold is not False,
        Override.UNDELIVERED_IMAGES: found.undelivered != 0,
    }
    return tuple(sorted(one for one in ticket.overrides if speaking[one]))


def _another(ticket: Ticket, found: Circumstances) -> Iterator[Refusal]:
    medium, meant, where = found.drive.medium, ticket.drive, str(found.drive.node)
    for kind, name, wanted, is_there in (
        (RefusalKind.OTHER_SERIAL, "serial number", meant.serial, medium.serial),
        (RefusalKind.OTHER_WWN, "worldwide name", meant.wwn, medium.wwn),
        (RefusalKind.OTHER_MODEL, "model", meant.model, medium.model),
        (RefusalKind.OTHER_SIZE, "size in bytes", meant.size_bytes, medium.size_bytes),
    ):
        if wanted != is_there:
            said = "the drive has none" if is_there == "" else f"the drive has {is_there}"
            expected = "none" if wanted == "" else str(wanted)
            yield Refusal(kind, f"the ticket is for {name} {expected}, and {said}", where, _ASK_ANEW)
    if found.twins:
        what = f"{found.twins} more drives here have its serial number, so nobody can tell which is meant"
        yield Refusal(
            RefusalKind.NOT_THE_ONLY_ONE, what, where, "leave the drive in that is meant, and take out the others"
        )


def _in_use(found: Circumstances) -> Iterator[Refusal]:
    if found.holders is None:
        yield _unknown(RefusalKind.IN_USE, "who uses it", found)
    for holder in found.holders or ():
        what = f"it is in use: {holder.kind.value} ({holder.detail})"
        remedy = f"{_LET_GO[holder.kind].format(holder.device)}, then begin anew"
        yield Refusal(RefusalKind.IN_USE, what, f"/dev/{holder.device.replace('!', '/')}", remedy)


def _misplaced(found: Circumstances) -> Iterator[Refusal]:
    where = str(found.drive.node)
    if found.system is None:
        yield _unknown(RefusalKind.RUNNING_SYSTEM, "whether the running system lies on it", found)
    elif found.system:
        remedy = "start the machine from another medium, or put the drive into another machine that is enrolled"
        yield Refusal(RefusalKind.RUNNING_SYSTEM, f"it has {found.system}", where, remedy)
    if found.has_own_state is None:
        yield _unknown(RefusalKind.OWN_STATE, "whether this software keeps its state on it", found)
    elif found.has_own_state:
        what = "this software keeps its state on it, so the evidence would go with the data"
        yield Refusal(RefusalKind.OWN_STATE, what, where, "wipe it from another machine that is enrolled")
    if found.network is None:
        yield _unknown(RefusalKind.NETWORK, "whether it is of this machine", found)
    elif found.network:
        remedy = "it is wiped where it stands, by whoever runs it"
        yield Refusal(RefusalKind.NETWORK, f"it is network storage ({found.network})", where, remedy)
    if found.is_read_only is None:
        yield _unknown(RefusalKind.READ_ONLY, "whether it can be written to", found)
    elif found.is_read_only:
        remedy = (
            "move its switch; or, where the device guard holds it read-only, have policy allow the device to be written"
        )
        yield Refusal(RefusalKind.READ_ONLY, "it is read-only", where, remedy)


def _ticket(ticket: Ticket, found: Circumstances) -> Iterator[Refusal]:
    where = f"ticket {ticket.ticket_id}"
    if found.is_ticket_used is not False:
        what = "it was begun here before" if found.is_ticket_used else "whether it was begun here before is not known"
        yield Refusal(RefusalKind.TICKET_USED, what, where, "have a new order made; a ticket counts once")
    if found.wiped_by is not None:
        what = f"the drive was wiped here since, by ticket {found.wiped_by}: this one is not for what is on it now"
        yield Refusal(RefusalKind.WIPED_SINCE, what, where, "have a new order made if it is to be wiped once more")
    if found.is_clock_sure is not True:
        what = "the clock of this machine is not sure, so nobody can say that the ticket has not ended"
        remedy = "set the clock, let the machine reach its control plane once, and begin anew"
        yield Refusal(RefusalKind.CLOCK_UNSURE, what, "clock", remedy)


def _losses(ticket: Ticket, found: Circumstances) -> Iterator[Refusal]:
    passing = set(lost(ticket, found))
    if found.hold is not False and Override.INCIDENT_HOLD not in passing:
        what = "an incident holds this host's evidence" if found.hold else "whether an incident holds it is not known"
        remedy = "have the incident closed, or an order with two approvals that accept the loss"
        yield Refusal(RefusalKind.INCIDENT_HOLD, what, "host", remedy)
    if found.undelivered != 0 and Override.UNDELIVERED_IMAGES not in passing:
        what = (
            "how many images were not delivered cannot be counted"
            if found.undelivered is None
            else f"{found.undelivered} images were not delivered (leadglass-agent spool list)"
        )
        remedy = "let them be delivered, or have an order with two approvals that accept the loss"
        yield Refusal(RefusalKind.UNDELIVERED_IMAGES, what, "spool", remedy)


def _unknown(kind: RefusalKind, what: str, found: Circumstances) -> Refusal:
    return Refusal(kind, f"{what} could not be found out", str(found.drive.node), "run this as root, and begin anew")
