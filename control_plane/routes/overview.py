"""How the routes do, for people: what waits and since when, what is refused and why, and what proves what arrived."""

from collections.abc import Iterator, Mapping
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from control_plane.db.models import RouteItem, RouteState
from control_plane.db.transactions import snapshot
from control_plane.policy.verified import VerifiedPolicy
from shared import clock as clocks
from shared.canonical import Json
from shared.errors import IntegrityFailure, Refused
from shared.policy.routes import Route, Via
from shared.routes.queue import State

_MOST_REASONS = 5
PROVED_BY = "C-STORE responses; storage not committed"


class RouteOverview:
    def __init__(self, database: sessionmaker[Session], policy: VerifiedPolicy) -> None:
        self._database, self._policy = database, policy

    def status(self) -> list[dict[str, Json]]:
        """Return every route of the centre's, named by policy or by what was queued. Raises DatabaseUnavailable."""
        routes, error = self._routes()
        with snapshot(self._database) as session:
            used = session.scalars(select(RouteItem.route).distinct()).all()
            names = sorted({*used, *(name for name, route in routes.items() if route.via is Via.CENTRE)})
            return [_route(session, name, routes.get(name), error) for name in names]

    def _routes(self) -> tuple[dict[str, Route], str]:
        try:
            policies = (self._policy.rolled_out(), self._policy.newest())
        except (Refused, IntegrityFailure) as exc:
            return {}, f"the policy does not hold, so nothing is sent: {exc}"
        return {route.name: route for policy in policies if policy is not None for route in policy.routes}, ""


def _route(session: Session, name: str, route: Route | None, error: str) -> dict[str, Json]:
    of_route = (RouteItem.route == name,)
    counted = session.execute(
        select(RouteItem.state, func.count(), func.min(RouteItem.queued)).where(*of_route).group_by(RouteItem.state)
    ).all()
    counts = {state: count for state, count, _ in counted}
    waiting_since = min((since for state, _, since in counted if state in {State.WAITING, State.SENDING}), default=None)
    reasons = session.execute(
        select(RouteItem.why, func.count())
        .where(*of_route, RouteItem.state == State.REFUSED)
        .group_by(RouteItem.why)
        .order_by(func.count().desc())
        .limit(_MOST_REASONS)
    ).all()
    remarks = session.scalar(
        select(func.count()).where(*of_route, RouteItem.state == State.DELIVERED, RouteItem.why != "")
    )
    state = session.get(RouteState, name)
    return {
        "route": name,
        "peer": f"{route.peer.ae_title} at {route.peer.host}:{route.peer.port}" if route else None,
        "tls": bool(route.peer.trust) if route else None,
        "waiting": counts.get(State.WAITING, 0) + counts.get(State.SENDING, 0),
        "waiting_since": _text(waiting_since),
        "delivered": counts.get(State.DELIVERED, 0),
        "delivered_with_remarks": remarks or 0,
        "proved_by": PROVED_BY,
        "last_delivered": _text(state.delivered if state else None),
        "refused": counts.get(State.REFUSED, 0),
        "reasons": [{"why": why, "count": count} for why, count in reasons],
        "unknown_route": counts.get(State.UNKNOWN_ROUTE, 0),
        "failing_since": _text(state.failing_since if state else None),
        "next_try": _text(state.next_try if state else None),
        "error": error or (state.why if state else ""),
    }


def gaps(routes: list[dict[str, Json]]) -> Iterator[str]:
    """Say what has not reached an archive, in words a person can act on."""
    for route in routes:
        yield from _gaps(route)


def _gaps(route: Mapping[str, Json]) -> Iterator[str]:
    name = f"route {route['route']}"
    if route["unknown_route"]:
        yield f"{name}: {route['unknown_route']} images wait for it, and policy has no route of this name"
    if route["error"]:
        since = f" since {route['failing_since']}" if route["failing_since"] else ""
        yield f"{name}: failing{since}, {route['waiting']} images wait: {route['error']}"
    if route["refused"]:
        reasons = route["reasons"]
        first = reasons[0] if isinstance(reasons, list) and reasons else {}
        why = first.get("why", "") if isinstance(first, dict) else ""
        yield f"{name}: {route['refused']} images did not get through: {why}"


def _text(instant: datetime | None) -> str | None:
    return clocks.text(instant) if instant else None
