"""The part of the people's door where enrolment codes are."""

from datetime import timedelta

from apiflask import APIFlask

from control_plane.enrolment.code_service import WantedCode
from control_plane.enrolment.codes import IssuedCode
from control_plane.http.people_hosts_models import (
    CodeAnswer,
    CodeChanged,
    CodeEntry,
    CodeListAnswer,
    CodeListRequest,
    CodeRequest,
    CodesAnswer,
    ReasonRequest,
)
from control_plane.http.people_services import PeopleServices, permitted
from control_plane.people.decide import Permission
from shared import clock as clocks
from shared.canonical import Json
from shared.policy.document import ORGANISATION
from shared.policy.layer import named_parts


def add_codes(app: APIFlask, services: PeopleServices) -> None:
    @app.post("/api/v1/enrolment/codes")
    @app.input(CodeRequest, location="json", arg_name="wanted")
    @app.output(CodeAnswer)
    def issue_code(wanted: CodeRequest) -> dict[str, Json]:
        """Issue a one-time enrolment code."""
        person = permitted(services, Permission.CODE_ISSUE)
        return shown(services.codes.issue(person.name, _wanted(wanted), timedelta(seconds=wanted.valid_s)))

    @app.post("/api/v1/enrolment/code-lists")
    @app.input(CodeListRequest, location="json", arg_name="wanted")
    @app.output(CodeListAnswer)
    def issue_codes(wanted: CodeListRequest) -> dict[str, Json]:
        """Issue a code for each asset of a list, or none at all."""
        person = permitted(services, Permission.CODE_ISSUE)
        entries = [_wanted(entry) for entry in wanted.entries]
        issued = services.codes.issue_all(person.name, entries, timedelta(seconds=wanted.valid_s))
        return {"codes": [shown(code) for code in issued]}

    @app.get("/api/v1/enrolment/codes")
    @app.output(CodesAnswer)
    def list_codes() -> dict[str, Json]:
        """Return the codes there are, without their secrets, and what became of each."""
        permitted(services, Permission.CODE_ISSUE)
        return {"codes": list(services.codes.listed())}

    @app.post("/api/v1/enrolment/codes/<code>/cancel")
    @app.output(CodeChanged)
    def cancel_code(code: str) -> dict[str, Json]:
        """Have a code open nothing any more."""
        person = permitted(services, Permission.CODE_ISSUE)
        return {"code": code, "asset": services.codes.cancel(person.name, code)}

    @app.post("/api/v1/enrolment/codes/<code>/settle")
    @app.input(ReasonRequest, location="json", arg_name="wanted")
    @app.output(CodeChanged)
    def settle_code(code: str, wanted: ReasonRequest) -> dict[str, Json]:
        """Take note that somebody looked into who had a code that was tried twice."""
        person = permitted(services, Permission.HOST_SETTLE)
        return {"code": code, "asset": services.codes.settle(person.name, code, wanted.reason)}


def shown(issued: IssuedCode) -> dict[str, Json]:
    return {
        "id": issued.code_id,
        "code": issued.code.text(),
        "asset": issued.asset,
        "expires": clocks.text(issued.expires),
        "layers": [ORGANISATION, *issued.parts],
    }


def _wanted(entry: CodeEntry) -> WantedCode:
    return WantedCode(entry.asset, named_parts(site=entry.site, modality_type=entry.modality_type))
