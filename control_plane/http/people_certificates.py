"""The part of the people's door where certificates of wipes are made and given out."""

from apiflask import APIFlask
from pydantic import BaseModel, Field

from control_plane.http.people_models import Strict
from control_plane.http.people_services import PeopleServices, permitted
from control_plane.people.decide import Permission
from shared.canonical import Json
from shared.fields import Fields, encode_base64
from shared.sanitization.certificate import MAX_FACT_CHARS, Facts
from shared.sanitization.ticket import TicketId

_FACT = Field(default="", max_length=MAX_FACT_CHARS, pattern=r"^[^\x00-\x1f\x7f]*$")


class FactsRequest(Strict):
    """What is stated beside what was proved; what is left out is said as *not stated*."""

    organisation: str = _FACT
    property_number: str = _FACT
    media_source: str = _FACT
    confidentiality_before: str = _FACT
    confidentiality_after: str = _FACT
    backup: str = _FACT
    destination: str = _FACT
    owner_consent: str = _FACT
    location: str = _FACT
    contact: str = _FACT
    technician_role: str = _FACT
    verifier_role: str = _FACT


class CertificateAnswer(BaseModel):
    """The certificate as file and as PDF, each in base64: the same bytes each time."""

    file: str
    pdf: str


def add_certificates(app: APIFlask, services: PeopleServices) -> None:
    @app.post("/api/v1/wipes/<order_id>/certificate")
    @app.input(FactsRequest, location="json", arg_name="stated")
    @app.output(CertificateAnswer, status_code=201)
    def certify_wipe(order_id: str, stated: FactsRequest) -> dict[str, Json]:
        """Certify a wipe whose evidence holds; where there is a certificate, that one stays."""
        person = permitted(services, Permission.WIPE_CARRY)
        facts = Facts.parse(Fields({**stated.model_dump()}, "facts of a wipe certificate"))
        services.certifying.certify(person.name, TicketId.parse(order_id), facts)
        return _released(TicketId.parse(order_id))

    @app.get("/api/v1/wipes/<order_id>/certificate")
    @app.output(CertificateAnswer)
    def show_certificate(order_id: str) -> dict[str, Json]:
        """Return the certificate of a wipe, for whoever takes the drive."""
        permitted(services, Permission.STATUS_READ)
        return _released(TicketId.parse(order_id))

    def _released(order_id: TicketId) -> dict[str, Json]:
        released = services.certifying.fetch(order_id)
        return {"file": encode_base64(released.file), "pdf": encode_base64(released.pdf)}
