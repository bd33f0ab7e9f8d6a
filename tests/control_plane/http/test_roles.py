"""Every route of the people's door, asked by every role: none forgets to ask who may, and none lets in who may not."""

import inspect
import re
from collections.abc import Iterator
from datetime import date
from functools import cache
from typing import Any, cast, get_args

import pytest
from apiflask import APIFlask
from flask import g
from werkzeug.routing import Rule

from control_plane.http.people_account_models import Role
from control_plane.http.people_door import people_door
from control_plane.http.people_services import PeopleServices, by_own_page, permitted
from control_plane.people.accounts import NotSignedIn, SignedIn
from control_plane.people.decide import ROLES, Permission, decide
from control_plane.people.permissions import NotPermitted

NOBODY = "a role that holds nothing"
FOR_WHOEVER_IS_NOT_SIGNED_IN = {
    ("GET", "/sign-in"), ("POST", "/sign-in"), ("POST", "/sign-in/second"), ("POST", "/api/v1/sign-in"),
    ("POST", "/api/v1/sign-in/certificate"),
    ("GET", "/sign-in/provider"), ("GET", "/sign-in/callback"), ("GET", "/api/v1/openapi.json"),
    ("GET", "/static/<path:filename>"),
}  # fmt: skip
_NAMED = re.compile(r"does not hold (\S+)$")


class Reached(Exception):
    """A route went beyond asking who may."""


class Unreachable:
    """Stands for every service: whoever touches one was let in. The session of a cookie alone is somebody's.

    Whoever was not let in is recorded, nowhere.
    """

    def __init__(self, person: SignedIn) -> None:
        self._person = person

    def __getattr__(self, name: str) -> Any:
        if name in {"accounts", "journal", "tried_in_vain"}:
            return self
        if name in {"record", "check", "failed"}:
            return lambda _: None
        if name == "by_session":
            return lambda *_, **__: self._person
        raise Reached(name)


class Anything:
    """What somebody sent, whatever it is."""

    on = day = date(2026, 11, 24)

    def __getattr__(self, name: str) -> Any:
        raise Reached(name)


@cache
def door_of(role: str) -> tuple[APIFlask, SignedIn]:
    person = SignedIn("somebody", role)
    return people_door(cast(PeopleServices, Unreachable(person))), person


def asked(rule: Rule, method: str, role: str) -> Exception | None:
    """Return what a route answers a person of this role before it does anything."""
    app, person = door_of(role)
    # Beneath what reads a body: a refusal of what was sent must not be mistaken for one of who sent it.
    view = inspect.unwrap(app.view_functions[rule.endpoint])
    given = {name: Anything() if name == "wanted" else "1" for name in inspect.signature(view).parameters}
    with app.test_request_context(method=method, headers={"Origin": "http://localhost"}):
        g.person = person
        try:
            view(**given)
        except Exception as exc:  # noqa: BLE001 (whatever it is, is what is asked)
            return exc
    return None


def routes() -> Iterator[tuple[str, Rule]]:
    for rule in door_of(NOBODY)[0].url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            if (method, rule.rule) not in FOR_WHOEVER_IS_NOT_SIGNED_IN:
                yield method, rule


ROUTES = list(routes())
IDS = [f"{method} {rule.rule}" for method, rule in ROUTES]


@pytest.mark.parametrize("method, rule", ROUTES, ids=IDS)
def test_no_route_does_anything_before_it_has_asked_who_may(method: str, rule: Rule) -> None:
    refused = asked(rule, method, NOBODY)

    assert isinstance(refused, NotPermitted), refused
    needed = Permission(_NAMED.findall(str(refused))[0])
    for role in ROLES:
        may = not isinstance(asked(rule, method, role), NotPermitted)
        assert may == decide(role, needed).allowed, (role, needed)


def test_a_route_that_forgets_to_ask_is_seen() -> None:
    services = Unreachable(SignedIn("somebody", NOBODY))
    app = people_door(cast(PeopleServices, services))

    @app.get("/forgets")
    def forgets() -> str:
        return str(services.overview.status())

    rule = next(rule for rule in app.url_map.iter_rules() if rule.rule == "/forgets")
    with pytest.raises(Reached):
        app.view_functions[rule.endpoint]()


def may(role: str) -> set[str]:
    return {name for name, (method, rule) in zip(IDS, ROUTES, strict=True)
            if not isinstance(asked(rule, method, role), NotPermitted)}  # fmt: skip


OWN = {name for name in IDS if re.search(r"account|tokens|sessions|sign-in-links", name)}


OF_WIPES = {
    "POST /api/v1/wipes", "POST /api/v1/wipes/reports", "POST /api/v1/wipes/tickets",
    "POST /api/v1/wipes/<order_id>/cancellation",
    "POST /api/v1/wipes/<order_id>/destruction", "POST /api/v1/wipes/<order_id>/certificate",
}  # fmt: skip
"""What a technician does beside their own things; to approve a wipe is not among it."""


def test_a_technician_reads_the_status_orders_wipes_and_acts_on_nobody_elses_things() -> None:
    acting = {name for name in may("technician") if not name.startswith("GET")}

    assert acting == {name for name in OWN if not name.startswith("GET")} | OF_WIPES


def test_a_field_engineer_brings_hosts_in_and_images_on_and_looks_at_none() -> None:
    assert may("field-engineer") - may("technician") == {
        "POST /api/v1/enrolment/codes", "POST /api/v1/enrolment/code-lists", "GET /api/v1/enrolment/codes",
        "POST /api/v1/enrolment/codes/<code>/cancel", "POST /api/v1/routes/<name>/retry",
        "POST /api/v1/routes/<name>/again", "POST /api/v1/spool-moves",
        "POST /api/v1/spool-moves/<move_id>/end",
    }  # fmt: skip


def test_an_auditor_reads_log_and_people_and_opens_no_image() -> None:
    assert may("auditor") - may("technician") == {
        "GET /api/v1/audit/records", "POST /api/v1/audit/verify", "GET /api/v1/audit/export", "GET /api/v1/people",
        "GET /api/v1/identity-provider",
        "POST /api/v1/objects/<object_id>/custody", "GET /api/v1/log/checkpoint", "GET /api/v1/log/key",
        "GET /api/v1/log/tile/<path:name>", "POST /api/v1/log/proof", "POST /api/v1/audit/find",
        "POST /api/v1/audit/who-touched", "POST /api/v1/audit/archive", "POST /api/v1/audit/follow",
        "GET /api/v1/audit/follow/<name>", "GET /api/v1/log/cosigned", "GET /api/v1/log/witnesses",
    }  # fmt: skip


def test_a_role_can_be_given_to_somebody_exactly_if_there_is_one() -> None:
    assert set(get_args(Role)) == set(ROLES)


def test_an_administrator_may_do_everything() -> None:
    assert may("administrator") == set(IDS)


def test_the_cookie_of_a_page_of_our_own_lets_nobody_do_what_takes_a_credential() -> None:
    app, person = door_of("administrator")
    services = cast(PeopleServices, Unreachable(person))

    with app.test_request_context(method="POST", headers={"Origin": "http://localhost"}):
        assert by_own_page(services) == person
        with pytest.raises(NotSignedIn):
            permitted(services, Permission.STATUS_READ)
