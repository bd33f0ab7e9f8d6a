"""Commands about wiping drives. A ticket is signed here, on the approver's machine, with the key in the credential."""

import json
from argparse import Namespace
from collections.abc import Iterator, Mapping
from hashlib import file_digest
from pathlib import Path
from typing import Any

from control_plane.cli.commands import NotConfirmed
from control_plane.cli.named_host import named_host
from control_plane.cli.people import door
from control_plane.cli.qr import print_lines
from control_plane.durable import write_new
from control_plane.policy.authoring import load_credential
from control_plane.policy.evidence import PersonSigner
from control_plane.sanitize.state import OPEN_QUESTIONS
from shared import clock as clocks
from shared.canonical import Json
from shared.errors import IntegrityFailure, Malformed
from shared.fields import decode_base64, encode_base64
from shared.identity import HostId
from shared.sanitization.envelope import OwnTicket, SignedTicket, same_name, sign_ticket
from shared.sanitization.qr_text import from_text, is_qr_text, to_lines
from shared.sanitization.report import MAX_BYTES
from shared.sanitization.ticket import MAX_BYTES as MAX_TICKET_BYTES
from shared.sanitization.ticket import Ticket, TicketId

_MAX_SIGNED_REPORT_BYTES = MAX_BYTES + 256
_DIGEST_CHARS = 32


class AnotherTicket(IntegrityFailure):
    """What the centre gave to be signed is not what was asked for."""

    def __init__(self, asked: TicketId, given: TicketId) -> None:
        super().__init__(f"the centre answered with the ticket of order {given} when it was asked for {asked}")
        self.asked, self.given = asked, given


class TicketChanged(IntegrityFailure):
    """What was read before it was to be signed, and what the centre gives now, are two things."""

    def __init__(self, order_id: TicketId) -> None:
        super().__init__(f"the ticket of order {order_id} is not the one with that digest; nothing was signed")
        self.order_id = order_id


def order(options: Namespace) -> int:
    asking = door(options)
    status: Any = asking.get("/api/v1/status")
    body: dict[str, Json] = {
        "host": named_host(status["hosts"], options.host)["host"],
        "serial": options.serial,
        "wwn": options.wwn,
        "model": options.model,
        "size_bytes": options.size_bytes,
        "least": options.least,
        "read_back": options.read_back,
        "techniques": options.technique,
        "sequence": options.sequence,
        "passes": options.passes,
        "reason": options.reason,
        "text": options.text,
        "technician": options.technician,
        "overrides": options.override,
        "hours": options.hours,
    }
    return _told(options, asking.post("/api/v1/wipes", body))


def show_all(options: Namespace) -> int:
    asking, host = door(options), options.host
    if host and not host.startswith(HostId.prefix):
        status: Any = asking.get("/api/v1/status")
        host = named_host(status["hosts"], host)["host"]
    answer: Any = asking.get("/api/v1/wipes", {"host": host})
    orders = answer["orders"]
    if options.json:
        print(json.dumps(orders, indent=2))
    for one in [] if options.json else orders:
        print(line_of(one))
    if not orders and not options.json:
        print("no wipe was ordered")
    return 1 if any(one["state"] in OPEN_QUESTIONS for one in orders) else 0


def show(options: Namespace) -> int:
    return _told(options, door(options).get(_path(options)))


def approve(options: Namespace) -> int:
    """Sign the ticket as it is, once the person has seen what it says."""
    asking, credential = door(options), load_credential(options.credential)
    answer: Any = asking.get(_path(options))
    ticket = Ticket.parse(decode_base64(answer["ticket"], "ticket of the centre", MAX_TICKET_BYTES))
    asked = TicketId.parse(options.order)
    if ticket.ticket_id != asked:
        raise AnotherTicket(asked, ticket.ticket_id)
    if same_name(ticket.requester) == same_name(credential.person):
        raise OwnTicket(credential.person)
    digest = ticket.digest.hex()[:_DIGEST_CHARS]
    if not options.yes:
        said = (*lines_of(ticket), *lines_of_others(answer))
        raise NotConfirmed("\n".join((*said, f"say --yes --digest {digest} to sign exactly this")))
    if options.digest is not None and options.digest != digest:
        raise TicketChanged(asked)
    signed = sign_ticket(ticket, [PersonSigner(credential.signer)])
    body: dict[str, Json] = {"signed": encode_base64(signed.encode())}
    if options.beside:  # a centre of an earlier version knows of no such reason
        body["beside"] = options.beside
    return _told(options, asking.post(_path(options, "signature"), body))


def close(options: Namespace) -> int:
    what = "refusal" if options.do == "refuse" else "cancellation"
    return _told(options, door(options).post(_path(options, what), {"reason": options.reason}))


def destroyed(options: Namespace) -> int:
    photographs: list[Json] = [_sha256(file) for file in options.photograph]
    body: dict[str, Json] = {"witness": options.witness, "means": options.means, "photographs": photographs}
    return _told(options, door(options).post(_path(options, "destruction"), body))


def ticket(options: Namespace) -> int:
    _, pieces = door(options).download("GET", _path(options, "ticket"), None)
    envelope = b"".join(pieces)
    SignedTicket.parse(envelope)
    if options.out is not None:
        write_new(options.out, envelope)
        print(f"{options.out}: give it to `leadglass-wipe --ticket`")
        return 0
    print_lines(to_lines(envelope))
    return 0


def bring(options: Namespace) -> int:
    """Bring a host's report, or the ticket of an order that a restored centre has lost, as a file or as QR text."""
    with options.file.open("rb") as file:
        signed = file.read(_MAX_SIGNED_REPORT_BYTES + 1)
    if len(signed) > _MAX_SIGNED_REPORT_BYTES:
        raise Malformed("what is brought", f"{options.file} is larger than any report or ticket; choose another file")
    if is_qr_text(signed):
        signed = from_text(signed)
    if signed.startswith(b"{"):
        return _told(options, door(options).post("/api/v1/wipes/tickets", {"signed": encode_base64(signed)}))
    return _told(options, door(options).post("/api/v1/wipes/reports", {"signed": encode_base64(signed)}))


def holds(options: Namespace) -> int:
    answer: Any = door(options).get("/api/v1/holds")
    if options.json:
        print(json.dumps(answer["holds"], indent=2))
        return 0
    for one in answer["holds"]:
        print(f"{one['host']} {one['asset']}: held since {one['placed']} by {one['placed_by']}")
    if not answer["holds"]:
        print("no host is held")
    return 0


def hold(options: Namespace) -> int:
    asking = door(options)
    status: Any = asking.get("/api/v1/status")
    host = named_host(status["hosts"], options.host)
    answer: Any = asking.post(f"/api/v1/hosts/{host['host']}/hold", {"reason": options.reason})
    if options.json:
        print(json.dumps(answer["holds"], indent=2))
    else:
        print(f"{host['asset']} ({host['host']}) is held: no drive of it is wiped until two persons lift that")
    return 0


def lift(options: Namespace) -> int:
    asking = door(options)
    status: Any = asking.get("/api/v1/status")
    host = named_host(status["hosts"], options.host)
    answer: Any = asking.post(f"/api/v1/hosts/{host['host']}/hold-lift", {"reason": options.reason})
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        print(f"request {answer['request']}: {answer['action']} of {answer['subject']} waits for another person until "
              f"{answer['expires']}: `leadglass-server requests approve {answer['request']}`")  # fmt: skip
    return 0


def line_of(one: Mapping[str, Any]) -> str:
    """Return an order in one line."""
    detail = f"; {one['detail']}" if one["detail"] else ""
    if one["same_drive"]:
        detail += f"; NOT THE ONLY ORDER FOR THIS DRIVE: {', '.join(each['order'] for each in one['same_drive'])}"
    host = one["host"] if one["host_standing"] in ("", "active") else f"{one['host']}, {one['host_standing']}"
    return (
        f"{one['order']} {one['state']}: drive {one['serial']} of {one['asset']} ({host}), {one['reason']}, "
        f"asked for by {one['requester']} at {one['requested']}, until {one['expires']}{detail}"
    )


def lines_of(ticket: Ticket) -> Iterator[str]:
    """Yield what a ticket says, for whoever is about to sign it."""
    drive, method = ticket.drive, ticket.method
    yield f"order      {ticket.ticket_id}"
    yield f"host       {ticket.asset} ({ticket.host_id})"
    yield f"drive      {drive.model}, serial {drive.serial}, WWN {drive.wwn or 'none'}, {drive.size_bytes} bytes"
    yield f"method     {method.least} at least, {method.read_back} read again, sequence {method.sequence}"
    yield f"by         {', '.join(method.techniques)}"
    if method.passes:
        yield f"passes     {', '.join(method.passes)}"
    yield f"reason     {ticket.reason}"
    yield f"asked for  by {ticket.requester}"
    yield f"wiped      by {ticket.person}, until {clocks.text(ticket.expires)}"
    for override in ticket.overrides:
        yield f"OVERRIDE   {override}: what is lost by it stays lost"


def lines_of_others(one: Mapping[str, Any]) -> Iterator[str]:
    """Yield a warning for each other order for the same drive."""
    for other in one["same_drive"]:
        yield (
            f"WARNING    order {other['order']} of {other['asset']} is {other['state']}, for the same drive: cancel "
            "the one that is not meant; whoever approves either says why both are (--beside REASON)"
        )


def _told(options: Namespace, answer: Any) -> int:
    if options.json:
        print(json.dumps(answer, indent=2))
        return 0
    print(line_of(answer))
    parsed = Ticket.parse(decode_base64(answer["ticket"], "ticket of the centre", MAX_TICKET_BYTES))
    for line in (*lines_of(parsed), *lines_of_others(answer)):
        print(f"    {line}")
    for one in answer["signatures"]:
        print(f"    signed     by {one['person']} at {one['signed']}, key {one['key']}")
    for note in answer["notes"]:
        print(f"    host       {note['time']} {note['event']}: {note['detail']}")
    for report in answer["reports"]:
        how = f"brought by {report['brought_by']}" if report["brought_by"] else "sent by the host"
        print(f"    evidence   {report['received']} {how}: {report['judged'] or 'not judged yet'}")
    if (destruction := answer["destruction"]) is not None:
        print(f"    destroyed  {destruction['time']} by {destruction['means']}, seen by {destruction['witness']}, "
              f"recorded by {destruction['recorded_by']}, {len(destruction['photographs'])} photographs")  # fmt: skip
    return 0


def _path(options: Namespace, what: str = "") -> str:
    return f"/api/v1/wipes/{TicketId.parse(options.order)}" + (f"/{what}" if what else "")


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return file_digest(opened, "sha256").hexdigest()
