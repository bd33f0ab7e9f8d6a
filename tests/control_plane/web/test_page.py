"""The status page: shows what is not proved, escapes what others wrote, and needs nothing but itself."""

import copy
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from jinja2 import UndefinedError

from control_plane.web.page import STATIC, STYLE_SHEET, render_signed_out, render_status

HOST = {
    "host": "host-" + "0a" * 16,
    "asset": "CT 2",
    "enrolled": "2026-03-01T08:00:00.000000Z",
    "active": True,
    "certificate_expires": "2026-03-08T08:00:00.000000Z",
    "last_seen": "2026-03-01T09:00:00.000000Z",
    "state": "capturing",
    "reported": "2026-03-01T08:59:59.000000Z",
    "software": "leadglass-agent 0.1.0",
    "policy_accepted": 2,
    "policy_in_force": 2,
    "policy_error": "",
    "waiting": 3,
    "captured": 21,
    "delivered": 18,
    "refused": 1,
    "audit_waiting": 0,
    "spool_bytes": 3 << 20,
    "spool_quota_bytes": 0,
    "spool_used_percent": None,
    "damaged": 0,
    "openable_here": 0,
    "routes": [],
}
SILENT_HOST = {name: HOST[name] for name in ("host", "enrolled", "active", "certificate_expires")} | {
    "asset": "MR 1",
    "last_seen": None,
    "state": "never reported",
}
STATUS: dict[str, Any] = {
    "time": "2026-03-01T09:00:01.000000Z",
    "hosts": [HOST],
    "policy": {"version": 2},
    "objects": {"count": 18, "not_indexed": 0, "conflicts": 0},
    "audit": {
        "tail": [
            {
                "source": HOST["host"],
                "seq": 7,
                "time": "2026-03-01T08:59:00.000000Z",
                "event": "capture.association-refused",
                "outcome": 4,
                "who": [{"kind": "ae", "name": "OLDCT", "requestor": True}],
                "what": [],
                "reason": "calling AE title is not listed",
            }
        ]
    },
    "recovery": {"state": "recoverable", "drilled": "2026-03-01T08:30:00.000000Z"},
    "broker": {"state": "running", "reason": ""},
    "coverage": {"running": False, "results": [], "unknown": []},
    "routes": [],
    "moves": [],
    "not_evaluated": [],
}


def changed(**changes: Any) -> dict[str, Any]:
    return copy.deepcopy(STATUS) | changes


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def test_shows_hosts_policy_objects_and_the_audit_tail() -> None:
    shown = words(render_status(STATUS))

    for expected in ("CT 2", "capturing", "version 2", "3 waiting on hosts", "capture.association-refused", "OLDCT"):
        assert expected in shown


def test_lists_everything_that_nobody_has_proved() -> None:
    gaps = ["root key: not recoverable until a drill", "audit log: not verified now"]

    shown = words(render_status(changed(not_evaluated=gaps, recovery={"state": "not recoverable", "drilled": None})))

    assert all(gap in shown for gap in gaps)
    assert "not recoverable drilled: never" in shown


def test_a_host_that_never_reported_is_not_counted_as_having_nothing_waiting() -> None:
    shown = words(render_status(changed(hosts=[HOST, SILENT_HOST])))

    assert "3 waiting on hosts; unknown for 1 of 2" in shown
    assert "never reported" in shown


def test_a_report_that_is_not_authentic_is_shown_as_such() -> None:
    shown = words(render_status(changed(hosts=[SILENT_HOST | {"state": "not authentic: signature does not verify"}])))

    assert "not authentic: signature does not verify" in shown


def test_a_member_that_the_api_left_out_is_an_error_and_never_a_blank() -> None:
    incomplete = {name: value for name, value in STATUS.items() if name != "recovery"}

    with pytest.raises(UndefinedError):
        render_status(incomplete)


def test_what_others_wrote_is_shown_as_text() -> None:
    hostile = "<script>alert(1)</script>"

    page = render_status(changed(hosts=[HOST | {"asset": hostile, "policy_error": hostile}], not_evaluated=[hostile]))

    assert hostile not in page
    assert page.count("&lt;script&gt;") == 3


def test_shows_how_many_images_a_host_can_open_and_what_its_own_routes_hold_up() -> None:
    routes = [{"name": "pacs", "waiting": 2, "error": ""}, {"name": "second", "waiting": 1, "error": "it is away"}]

    shown = words(render_status(changed(hosts=[HOST | {"openable_here": 3, "routes": routes}])))
    assert "Openable on this host 3" in shown
    assert "Route pacs 2 waiting Route second 1 waiting failing it is away" in shown
    assert "Openable" not in words(render_status(STATUS))


def test_shows_how_full_a_spool_is_and_what_does_not_leave_it() -> None:
    quota = {"spool_quota_bytes": 4 << 20, "spool_used_percent": 75}

    assert "Spool 3.0 MiB no quota" in words(render_status(STATUS))
    shown = words(render_status(changed(hosts=[HOST | quota | {"damaged": 2}])))
    assert "Spool 3.0 MiB 2 damaged or refused 75 % of 4.0 MiB" in shown


@pytest.mark.parametrize("page", [render_status(STATUS), render_signed_out()], ids=["status", "signed out"])
def test_needs_no_script_and_nothing_from_elsewhere(page: str) -> None:
    elements = Elements(page).found

    assert not {tag for tag, _ in elements} & {"script", "style", "iframe", "object", "img", "form"}
    assert not [attrs for _, attrs in elements if any(name.startswith("on") or name == "style" for name in attrs)]
    assert [attrs["href"] for _, attrs in elements if "href" in attrs] == ["data:,", f"/static/{STYLE_SHEET}"]
    assert (STATIC / STYLE_SHEET).is_file()


def test_renews_itself_and_says_how_often() -> None:
    page = render_status(STATUS, refresh_s=5)

    assert ("meta", {"http-equiv": "refresh", "content": "5"}) in Elements(page).found
    assert "renewed every 5 seconds" in words(page)


COVERED = {
    "day": "2026-02-28", "modality": "CT1", "archive": "PACS", "state": "complete", "why": "",
    "compared": "2026-03-01T03:00:00.000000Z", "known": 12, "protected": 12, "unprotected": 0, "captured": 12,
    "not_in_archive": 0, "not_evaluated": 0, "by_modality_only": False, "then": None, "unprotected_then": 0,
    "not_in_archive_then": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    "compared, shown",
    [
        ({}, "PACS complete 12 0 0 0"),
        ({"known": 15, "unprotected": 3}, "PACS gap 12 unprotected 3 0 0"),
        ({"state": "partial", "why": "it broke off"}, "PACS partial it broke off 12 0 0 0"),
        ({"state": "not evaluated", "why": "nobody is there", "then": COVERED["compared"], "unprotected_then": 3},
         "PACS not evaluated nobody is there unknown now; unprotected 3 by 2026-03-01 03:00"),
        ({"state": "not evaluated", "why": "nobody is there", "then": COVERED["compared"],
          "not_in_archive_then": 2}, "nobody is there unknown now; not in the archive 2 by 2026-03-01 03:00"),
        ({"state": "partial", "why": "it broke off", "unprotected": 1, "not_in_archive": 1, "then": COVERED["compared"],
          "unprotected_then": 3, "not_in_archive_then": 2},
         "it broke off 12 unprotected 1 3 by 2026-03-01 03:00:00 UTC 1 2 by 2026-03-01 03:00:00 UTC 0"),
        ({"by_modality_only": True}, "PACS complete by modality only"),
    ],
)  # fmt: skip
def test_coverage_is_green_only_where_everything_was_compared(compared: dict[str, Any], shown: str) -> None:
    result = COVERED | compared
    page = render_status(changed(coverage={"running": False, "results": [result], "unknown": []}))

    assert shown in " ".join(words(page).split())
    rows = [part for part in page.split("<tr>") if "2026-02-28" in part]
    assert ("good" in rows[0]) == (result["state"] == "complete" and not result["unprotected"])


MOVE: dict[str, Any] = {
    "move": "1badcafe", "from": "host-" + "0a" * 16, "from_asset": "CT 2", "to": "host-" + "0b" * 16,
    "to_asset": "CT 2, new box", "allowed_by": "ada", "allowed": "2026-03-01T03:00:00.000000Z",
    "until": "2026-03-15T03:00:00.000000Z", "ended": None, "state": "open", "objects": 12, "records": 40,
}  # fmt: skip


@pytest.mark.parametrize("state", ["open", "not authentic"])
def test_a_move_says_who_from_where_to_where_and_how_much_and_is_never_green(state: str) -> None:
    page = render_status(changed(moves=[MOVE | {"state": state}]))

    (row,) = [part.partition("</tr>")[0] for part in page.split("<tr>") if MOVE["move"] in part]
    for expected in ("CT 2", "CT 2, new box", "ada", "2026-03-15 03:00:00 UTC", "12 objects, 40 audit records", state):
        assert expected in words(row)
    assert "good" not in row
    assert "on their way" not in words(render_status(STATUS))


def test_open_conflicts_stand_beside_the_objects() -> None:
    shown = words(render_status(changed(objects={"count": 18, "not_indexed": 0, "conflicts": 1})))

    assert "18 1 conflict open" in shown
    assert "conflict" not in words(render_status(STATUS))
