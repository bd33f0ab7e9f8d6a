"""The part of the people's door where the log is asked, followed, archived, and where subjects are erased from it."""

from apiflask import APIFlask
from flask import Response

from control_plane.audit_log.finding import Place
from control_plane.erasure.erasing import ERASE, Erasable
from control_plane.http.people_audit_models import (
    ArchiveRequest,
    AuditFindRequest,
    AuditQuestion,
    ErasableAnswer,
    ErasureAskAnswer,
    ErasureAskRequest,
    ErasureRequest,
    FollowAnswer,
    FollowedAnswer,
    FollowQuery,
    FoundAnswer,
    TouchedAnswer,
    TouchedRequest,
)
from control_plane.http.people_services import PeopleServices, permitted
from control_plane.people.accounts import SignedIn
from control_plane.people.decide import Permission
from shared import clock as clocks
from shared.audit.question import Question
from shared.canonical import Json


def add_audit(app: APIFlask, services: PeopleServices) -> None:
    _add_questions(app, services)
    _add_following(app, services)
    _add_erasing(app, services)


def _add_questions(app: APIFlask, services: PeopleServices) -> None:
    @app.post("/api/v1/audit/find")
    @app.input(AuditFindRequest, location="json", arg_name="wanted")
    @app.output(FoundAnswer)
    def audit_find(wanted: AuditFindRequest) -> dict[str, Json]:
        """Return records by what they say and whom they are about, oldest first."""
        person = permitted(services, Permission.AUDIT_READ)
        page = services.asking.find(person.name, _question(wanted.question), _place(wanted.after), wanted.limit)
        return page.json()

    @app.post("/api/v1/audit/who-touched")
    @app.input(TouchedRequest, location="json", arg_name="wanted")
    @app.output(TouchedAnswer)
    def who_touched(wanted: TouchedRequest) -> dict[str, Json]:
        """Return everything that the log says of a patient's images, oldest first."""
        person = permitted(services, Permission.AUDIT_READ)
        after = _place(wanted.after)
        return services.asking.who_touched(person.name, wanted.patient, after, wanted.limit).json()

    @app.post("/api/v1/audit/archive")
    @app.input(ArchiveRequest, location="json", arg_name="wanted")
    def archive(wanted: ArchiveRequest) -> Response:
        """Return one file with the records that answer a question and all that proves them."""
        return _archive(permitted(services, Permission.AUDIT_READ), wanted, opened=False)

    @app.post("/api/v1/audit/archive/opened")
    @app.input(ArchiveRequest, location="json", arg_name="wanted")
    def archive_opened(wanted: ArchiveRequest) -> Response:
        """Return the same with what is sealed beside the records, opened where there is a key."""
        return _archive(permitted(services, Permission.AUDIT_OPEN), wanted, opened=True)

    def _archive(person: SignedIn, wanted: ArchiveRequest, *, opened: bool) -> Response:
        question = _question(wanted.question)
        pieces = services.archiving.make(person.name, question, opened=opened, kept=wanted.kept)
        return Response(pieces, content_type="application/zip")


def _add_following(app: APIFlask, services: PeopleServices) -> None:
    @app.post("/api/v1/audit/follow")
    @app.output(FollowAnswer, status_code=201)
    def follow() -> dict[str, Json]:
        """Begin to follow the log; that is recorded, and what is told then is not."""
        person = permitted(services, Permission.AUDIT_READ)
        name, after = services.following.begin(person.name)
        return {"follow": name, "after": after}

    @app.get("/api/v1/audit/follow/<name>")
    @app.input(FollowQuery, location="query", arg_name="wanted")
    @app.output(FollowedAnswer)
    def followed(name: str, wanted: FollowQuery) -> dict[str, Json]:
        """Return what was entered since, or nothing after some seconds."""
        person = permitted(services, Permission.AUDIT_READ)
        told = services.following.more(person.name, name, wanted.after)
        return {"records": list(told.records), "after": told.after}


def _add_erasing(app: APIFlask, services: PeopleServices) -> None:
    @app.post("/api/v1/keys/subject")
    @app.input(ErasureRequest, location="json", arg_name="wanted")
    @app.output(ErasableAnswer)
    def subject(wanted: ErasureRequest) -> dict[str, Json]:
        """Return the key of a subject by its id, so that a second person can tell whose erasure they approve."""
        person = permitted(services, Permission.KEY_ERASE)
        _note(person.name, wanted)
        return _erasable(services.erasing.erasable(wanted.kind, wanted.value))

    @app.post("/api/v1/keys/erasure")
    @app.input(ErasureAskRequest, location="json", arg_name="wanted")
    @app.output(ErasureAskAnswer, status_code=202)
    def erase(wanted: ErasureAskRequest) -> dict[str, Json]:
        """Ask that the key of a subject be destroyed; another person approves it."""
        person = permitted(services, Permission.KEY_ERASE)
        found = services.erasing.erasable(wanted.kind, wanted.value)
        request = services.two_persons.ask(person.name, ERASE, found.key_id, wanted.reason)
        return {**_erasable(found), "request": request.json()}

    def _note(person: str, wanted: ErasureRequest) -> None:
        asked: dict[str, Json] = {} if wanted.kind == "object" else {wanted.kind: wanted.value}
        services.asking.note(person, Question.parse(asked), "key of a subject")


def _erasable(found: Erasable) -> dict[str, Json]:
    copies: list[Json] = [
        {"label": copy.label, "place": copy.place, "begun": clocks.text(copy.begun)} for copy in found.copies
    ]
    return {"subject": found.key_id, "copies": copies}


def _question(wanted: AuditQuestion) -> Question:
    """Raises Malformed."""
    return Question.parse(wanted.model_dump(exclude_none=True))


def _place(text: str | None) -> Place | None:
    """Raises Malformed."""
    return None if text is None else Place.parse(text)
