"""Whom a private part is about: patients by the blind index of the objects named, persons, and what was asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from control_plane.db.models import BlindIndex
from control_plane.vault.index_service import Attribute, IndexService, Token
from shared.audit.events import Participant, Subject
from shared.canonical import Json

_MEMBERS = {
    "patient": Attribute.PATIENT_ID,
    "study": Attribute.STUDY_INSTANCE_UID,
    "sop_instance": Attribute.SOP_INSTANCE_UID,
}
"""What members of private parts are called, of hosts and of the centre."""
_QUERY, _VALUE = "query", "value"
_MOST = 32


@dataclass(frozen=True)
class Concerned:
    """`tokens` are of everybody whose key a private part takes; by those `asked` for it is found as well."""

    tokens: tuple[Token, ...] = ()
    asked: tuple[Token, ...] = ()


def concerned(
    session: Session,
    index: IndexService,
    who: Sequence[Participant],
    what: Sequence[Subject],
    private: dict[str, Json],
) -> Concerned:
    """Return whom a private part is about, by what the record says and what stands in it."""
    asked = asked_for(index, what, private)
    named = [token for subject in what if subject.kind == "object" for token in _of_object(session, index, subject)]
    people = (one.name for one in who if one.kind == "person" and one.requestor)
    persons = [token for token in (index.token(Attribute.PERSON, name) for name in people) if token]
    return Concerned(tuple(dict.fromkeys((*asked, *named, *persons)))[:_MOST], asked)


def asked_for(index: IndexService, what: Sequence[Subject], private: dict[str, Json]) -> tuple[Token, ...]:
    """Return what stands in a private part that objects are looked up by."""
    return tuple(token for token in (index.token(*one) for one in _values(what, private)) if token)


def _values(what: Sequence[Subject], private: dict[str, Json]) -> list[tuple[Attribute, str]]:
    members = dict(_MEMBERS)
    for subject in what:
        if subject.kind == _QUERY and subject.name in set(Attribute):
            members[_VALUE] = Attribute(subject.name)
    given = ((attribute, private.get(member)) for member, attribute in members.items())
    return [(attribute, value) for attribute, value in given if isinstance(value, str)]


def _of_object(session: Session, index: IndexService, subject: Subject) -> list[Token]:
    patients = select(BlindIndex.token).where(
        BlindIndex.object_id == subject.name, BlindIndex.attribute == Attribute.PATIENT_ID.value
    )
    tokens = [Token(Attribute.PATIENT_ID, value) for value in session.scalars(patients)]
    of_itself = index.token(Attribute.OBJECT, subject.name)
    return tokens or ([of_itself] if of_itself else [])
