"""Commands about certificates of wipes: have one made, and give it as file and PDF, or as QR text."""

from argparse import Namespace
from dataclasses import fields
from typing import Any

from control_plane.cli.people import door
from control_plane.cli.qr import print_lines
from control_plane.durable import write_new
from control_plane.paper.attachment import MAX_PDF_BYTES
from shared.canonical import Json
from shared.errors import IntegrityFailure
from shared.fields import decode_base64
from shared.sanitization.certificate import MAX_BYTES, Facts, WipeCertificate
from shared.sanitization.qr_text import to_lines
from shared.sanitization.ticket import TicketId


class CertificateOfAnother(IntegrityFailure):
    """What the centre gave is not of the order that was asked for."""

    def __init__(self, asked: TicketId, given: TicketId) -> None:
        super().__init__(f"the centre answered with the certificate of order {given} when it was asked for {asked}")
        self.asked, self.given = asked, given


def certify(options: Namespace) -> int:
    stated: dict[str, Json] = {one.name: getattr(options, one.name) for one in fields(Facts)}
    return _written(options, door(options).post(_path(options), stated))


def certificate(options: Namespace) -> int:
    return _written(options, door(options).get(_path(options)))


def _path(options: Namespace) -> str:
    return f"/api/v1/wipes/{TicketId.parse(options.order)}/certificate"


def _written(options: Namespace, answer: Any) -> int:
    asked = TicketId.parse(options.order)
    file = decode_base64(answer["file"], "certificate of the centre", MAX_BYTES)
    pdf = decode_base64(answer["pdf"], "certificate of the centre", MAX_PDF_BYTES)
    statement = WipeCertificate.parse(file).body.statement
    if statement.ticket.ticket_id != asked:
        raise CertificateOfAnother(asked, statement.ticket.ticket_id)
    if options.out is None:
        print_lines(to_lines(file))
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    for name, data in ((f"wipe-{asked}.json", file), (f"wipe-{asked}.pdf", pdf)):
        write_new(options.out / name, data)
        print(options.out / name)
    print(f"{statement.judged.result}: {statement.ticket.drive.model} {statement.ticket.drive.serial}")
    print(f"SHA-256 {statement.sha256}")
    return 0
