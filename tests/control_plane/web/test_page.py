"""The status page: shows what is not proved, escapes what others wrote, and needs nothing but itself."""

import copy
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest
from jinja2 import Environment, UndefinedError, nodes

from control_plane.enrolment.standing import Standing
from control_plane.fleet.device_tree import gaps, tree
from control_plane.fleet.histories import History
from control_plane.http.people_models import (
    BrokerStatus,
    CommandStatus,
    CoverageResult,
    MoveStatus,
    RecoveryStatus,
    RolloutStatus,
)
from control_plane.routes.overview import PROVED_BY
from control_plane.web import page
from control_plane.web.page import (
    STATIC,
    STYLE_SHEET,
    age,
    render_account,
    render_devices,
    render_new_key,
    render_second_step,
    render_sign_in,
    render_signed_out,
    render_status,
)
from control_plane.web.status_words import PAGE, STATES
from shared.devices.verdict import Cause, Target
from shared.fleet.budget import Verdict
from shared.fleet.devices import Authorized, DeviceState, GuardReport, OtherState
from shared.fleet.keys import KeyProtection
from tests.control_plane.fleet.test_device_tree import HOSTILE, REPORT, STICK

HOST = {
    "host": "host-" + "0a" * 16,
    "asset": "CT 2",
    "enrolled": "2026-03-01T08:00:00.000000Z",
    "active": True,
    "standing": "active",
    "certificate_expires": "2026-03-08T08:00:00.000000Z",
    "doubt": "",
    "moves_to": None,
    "layers": [],
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
    "senders_refused": 0,
    "commitments_waiting": 0,
    "export_folders": [],
    "keys": "file",
    "budget": {"verdict": "within", "findings": ["112 of 150 MiB at the most"]},
    "routes": [],
    "guard": "watching",
    "devices": {
        "devices": 4,
        "blocked": 1,
        "not_enforced": 0,
        "unknown": 0,
        "observed": 0,
        "suspicious": 0,
        "not_allowed": 0,
    },
}
SILENT_HOST = {name: HOST[name] for name in ("host", "enrolled", "active", "standing", "certificate_expires")} | {
    "asset": "MR 1",
    "doubt": "",
    "moves_to": None,
    "layers": [],
    "last_seen": None,
    "state": "never reported",
}
STATUS: dict[str, Any] = {
    "time": "2026-03-01T09:00:01.000000Z",
    "hosts": [HOST],
    "policy": {"version": 2},
    "objects": {"count": 18, "not_indexed": 0, "conflicts": 0, "lost_settled": 0},
    "recovery": {"state": "recoverable", "drilled": "2026-03-01T08:30:00.000000Z"},
    "broker": {"state": "running", "reason": ""},
    "coverage": {"running": False, "results": [], "unknown": []},
    "routes": [],
    "moves": [],
    "drift": [],
    "rollouts": [],
    "commands": [],
    "tokens_running_out": [],
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


def test_shows_hosts_policy_and_objects() -> None:
    shown = words(render_status(STATUS))

    for expected in ("CT 2", "capturing", "version 2", "3 waiting on hosts"):
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


def test_shows_what_protects_a_host_s_keys() -> None:
    assert "Keys file readable by root and by whoever takes the disk" in words(render_status(STATUS))
    shown = words(render_status(changed(hosts=[HOST | {"keys": "tpm"}])))
    assert "Keys tpm" in shown
    assert "readable by root" not in shown


def test_a_budget_that_is_exceeded_is_no_small_print() -> None:
    assert "Budget within 112 of 150 MiB at the most" in words(render_status(STATUS))
    exceeded = {"verdict": "exceeded", "findings": ["163 of 150 MiB at the most"]}
    page = render_status(changed(hosts=[HOST | {"budget": exceeded}]))
    assert '<span class="badge bad">exceeded</span>' in page


def test_shows_how_full_a_spool_is_and_what_does_not_leave_it() -> None:
    quota = {"spool_quota_bytes": 4 << 20, "spool_used_percent": 75}

    assert "Spool 3.0 MiB no quota" in words(render_status(STATUS))
    shown = words(render_status(changed(hosts=[HOST | quota | {"damaged": 2}])))
    assert "Spool 3.0 MiB 2 damaged or refused 75 % of 4.0 MiB" in shown


def test_shows_who_tried_to_send_and_what_waits_beside_the_spool() -> None:
    folders = [
        {"ae_title": "US1", "lies_on": "encrypted disk", "waiting": 2},
        {"ae_title": "XA1", "lies_on": "missing", "waiting": 0},
    ]

    assert "Interception attempts" not in words(render_status(STATUS))
    shown = words(
        render_status(
            changed(hosts=[HOST | {"senders_refused": 7, "commitments_waiting": 1, "export_folders": folders}])
        )
    )
    assert "Interception attempts 7 senders refused" in shown
    assert "Storage commitments waiting 1" in shown
    assert "Export folder of US1 2 waiting on encrypted disk" in shown
    assert "Export folder of XA1 missing" in shown


def devices_of(of: GuardReport | None, **changes: Any) -> dict[str, Any]:
    host: dict[str, Any] = {
        "host": HOST["host"], "asset": "CT 2", "active": True, "standing": "active", "doubt": "",
        "moves_to": None,
        "last_seen": "2026-03-01T08:59:00.000000Z",
        "reported": "2026-03-01T08:59:00.000000Z", "state": "reporting", "guard": "watching" if of else "no guard",
        "report": tree(of, is_current=True) if of else None, "not_proved": list(gaps("CT 2", of)),
    }  # fmt: skip
    return {"time": STATUS["time"], "hosts": [host | changes]}


PAGES = {
    "status": render_status(STATUS),
    "signed out": render_signed_out(),
    "devices": render_devices(devices_of(REPORT)),
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
def test_needs_no_script_and_nothing_from_elsewhere(page: str) -> None:
    elements = Elements(page).found

    assert not {tag for tag, _ in elements} & {"script", "style", "iframe", "object", "img", "form"}
    assert not [attrs for _, attrs in elements if any(name.startswith("on") or name == "style" for name in attrs)]
    leads = [attrs["href"] for _, attrs in elements if "href" in attrs]
    assert leads[:2] == ["data:,", f"/static/{STYLE_SHEET}"]
    assert leads[2:] in (["/account", "/?lang=zh", "/devices"], ["/"], ["/sign-in"])
    assert (STATIC / STYLE_SHEET).is_file()


def test_renews_itself_and_says_how_often() -> None:
    page = render_status(STATUS, refresh_s=5)

    assert ("meta", {"http-equiv": "refresh", "content": "5; url=/?renewed=1&lang=en"}) in Elements(page).found
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


def test_who_is_not_at_the_newest_policy_stands_there_with_since_when_and_why() -> None:
    drift = {
        "host": HOST["host"], "asset": "CT 2", "part": "guard", "layer": "organisation", "in_force": 1, "newest": 2,
        "since": "2026-03-01T07:00:00.000000Z", "state": "capturing", "error": "<b>the clock</b> is wrong", "text": "",
    }  # fmt: skip
    rows = [changed(drift=[drift | change]) for change in ({}, {"in_force": None}, {"in_force": 9, "since": None})]
    shown, unknown, beyond = (words(render_status(row)) for row in rows)

    for expected in ("guard", "2026-03-01 07:00:00 UTC", "&lt;b&gt;the clock&lt;/b&gt; is wrong"):
        assert expected in shown
    assert "Every active host last reported" not in shown
    assert "guard unknown 2" in " ".join(unknown.split())
    assert "guard 9 2 ahead" in " ".join(beyond.split())
    assert (
        "Every active host last reported the version in force that it should have; version 2 is the newest."
        in words(render_status(STATUS))
    )
    assert "There is no host, or no policy yet." in words(render_status(changed(hosts=[])))


RING = {"ring": 1, "who": "<i>CT 2</i>", "opened": "2026-03-01T07:00:00.000000Z", "hosts": 3, "healthy": 1, "failed": 0,
        "waiting": 0, "not_heard": 2, "members": []}  # fmt: skip
ROLLOUT = {
    "layer": "organisation", "version": 7, "state": "running", "since": "2026-03-01T07:00:00.000000Z", "person": "ada",
    "why": "", "waits_for": "1 of 3 hosts healthy", "ring": 1, "rings": [RING, RING | {"ring": 2, "opened": None}],
}  # fmt: skip


def test_a_roll_out_stands_there_ring_by_ring_until_everybody_has_it() -> None:
    shown = " ".join(words(render_status(changed(rollouts=[ROLLOUT]))).split())
    back = words(render_status(changed(rollouts=[ROLLOUT | {"state": "reverted", "why": "no printing"}])))

    assert "Roll-out of policy 7, organisation ring 1 of 2 1 of 3 hosts healthy" in shown
    assert "&lt;i&gt;CT 2&lt;/i&gt; 2026-03-01 07:00:00 UTC" in shown
    assert "&lt;i&gt;CT 2&lt;/i&gt; not open" in shown
    assert "by ada: no printing" in back
    assert "Roll-out" not in words(render_status(changed(rollouts=[ROLLOUT | {"state": "finished"}])))


def test_a_host_that_waits_for_its_ring_is_no_fault_and_one_that_cannot_is() -> None:
    waits = HOST | {"policy_accepted": 7, "policy_in_force": 6, "policy_error": ""}
    assert "not rolled out here" in words(render_status(changed(hosts=[waits], rollouts=[ROLLOUT])))
    for is_fault in (changed(hosts=[waits]), changed(hosts=[waits | {"policy_error": "no"}], rollouts=[ROLLOUT])):
        assert "differs" in words(render_status(is_fault))
    # Nor is it the ring that it waits for where the roll-out is over, is another layer's, or has reached it.
    drift = {"host": HOST["host"], "asset": "CT 2", "part": "agent", "in_force": 6, "newest": 7, "since": None,
             "state": "capturing", "error": "", "layer": "organisation"}  # fmt: skip
    for rollouts, drifts in (
        ([ROLLOUT | {"state": "finished"}], []),
        ([ROLLOUT | {"layer": "site-north"}], []),
        ([ROLLOUT], [drift]),
    ):
        page = words(render_status(changed(hosts=[waits], rollouts=rollouts, drift=drifts)))
        assert ("differs" in page, "not rolled out here" in page) == (True, False)


@pytest.mark.parametrize("in_force, newest, said", [(1, 1, "not rolled out here"), (1, 2, "differs"), (2, 2, "")])
def test_a_site_s_policy_that_a_roll_out_has_not_brought_is_no_fault(in_force: int, newest: int, said: str) -> None:
    versions = {"newest": newest, "published": 2, "accepted": 2, "in_force": in_force, "guard_in_force": None}
    north = {"layer": "site-north", "enrolled": True, **versions}
    page = words(render_status(changed(hosts=[HOST | {"layers": [north]}])))

    assert [each for each in ("not rolled out here", "differs") if each in page] == ([said] if said else [])


@pytest.mark.parametrize("state", ["open", "not authentic"])
def test_a_move_says_who_from_where_to_where_and_how_much_and_is_never_green(state: str) -> None:
    page = render_status(changed(moves=[MOVE | {"state": state}]))

    (row,) = [part.partition("</tr>")[0] for part in page.split("<tr>") if MOVE["move"] in part]
    for expected in ("CT 2", "CT 2, new box", "ada", "2026-03-15 03:00:00 UTC", "12 objects, 40 audit records", state):
        assert expected in words(row)
    assert "good" not in row
    assert "on their way" not in words(render_status(STATUS))


def in_template() -> tuple[set[str], set[str]]:
    """Return the words that the template of the status page asks for, and those that it says itself."""
    environment = Environment(autoescape=True)
    source = (Path(page.__file__).parent / "templates" / "status.html").read_text()
    calls = environment.parse(source).find_all(nodes.Call)
    firsts = [call.args[0] for call in calls if isinstance(call.node, nodes.Name) and call.node.name == "t"]
    bare = "".join(text for _, kind, text in environment.lex(source) if kind == "data")
    return {str(first.as_const()) for first in firsts}, set(re.findall(r"[^\W\d_]+", words(bare)))


def test_all_that_the_status_page_says_itself_is_there_in_both_languages() -> None:
    asked, bare = in_template()

    assert bare == {"Leadglass"}
    assert {one.en for one in PAGE} == asked
    for one in (*PAGE, *STATES):
        assert re.search(r"[\u4e00-\u9fff]", one.zh) or one.en == "tpm"
        assert re.findall(r"%.|`[^`]+`", one.zh) == re.findall(r"%.|`[^`]+`", one.en)


def test_the_status_page_in_chinese_says_what_it_says_in_english() -> None:
    gaps = ["root key: nobody has proved it"]
    shown = changed(hosts=[HOST, SILENT_HOST], not_evaluated=gaps, drift=[], coverage=STATUS["coverage"])

    page = render_status(shown, "zh")

    assert ("html", {"lang": "zh-CN"}) in Elements(page).found
    assert ("meta", {"http-equiv": "refresh", "content": "5; url=/?renewed=1&lang=zh"}) in Elements(page).found
    for expected in (
        "目前有 1 项无人证明",
        gaps[0],
        "采集中",
        "从未报告",
        "版本 2",
        "其中 1 台",
    ):
        assert expected in words(page)
    assert not {"capturing", "never", "Hosts", "waiting"} & set(words(page).split())
    assert badges(page) == badges(render_status(shown))


HOST_STATES = {"capturing", "not listening", "isolated", "silent", "never reported"}  # as `fleet/overview.py` has them


def test_every_state_that_there_is_has_a_chinese_word() -> None:
    named = (RecoveryStatus, BrokerStatus, MoveStatus, CommandStatus, RolloutStatus, CoverageResult)
    said = {state for one in named for state in get_args(one.model_fields["state"].annotation)}
    said |= HOST_STATES | {*map(str, (*Standing, *Verdict, *KeyProtection, History.RESTORED, History.CLONED))}

    # A roll-out that is finished has no section, and who is as usual no badge; the last one is the page's own word.
    silent = {"finished", "active", "recoverable"}
    assert said | {"no guard", "agent", "guard", PROVED_BY} == {one.en for one in STATES} | silent


def test_a_state_that_has_no_chinese_word_is_shown_as_it_is() -> None:
    assert "something new" in words(render_status(changed(hosts=[HOST | {"state": "something new"}]), "zh"))


def test_open_conflicts_stand_beside_the_objects() -> None:
    shown = words(render_status(changed(objects={"count": 18, "not_indexed": 0, "conflicts": 1, "lost_settled": 0})))

    assert "18 1 conflict open" in shown
    assert "conflict" not in words(render_status(STATUS))


# ---- what is plugged in


def rows(page: str) -> list[str]:
    return [words(row.partition("</tr>")[0]) for row in page.split("<tr>")[1:]]


def badges(page: str) -> set[str]:
    return set(re.findall(r'<span class="badge ([a-z]+)">', page))


def shown(*devices: DeviceState, **changes: Any) -> str:
    return render_devices(devices_of(replace(REPORT, devices=devices), **changes))


def test_a_device_stands_with_its_port_verdict_reason_and_what_sysfs_proved() -> None:
    (row,) = [row for row in rows(shown(STICK)) if "1-1.2" in row]

    for expected in ("Ultra", "0781:5581, serial 4C53", "08:06:50", "blocked", "no rule matched: nearest rule 2",
                     "differs in serial", "enforced", "authorised: no", "2026-03-01 08:00:00 UTC"):  # fmt: skip
        assert expected in row


@pytest.mark.parametrize(
    "device, word, kind",
    [
        (STICK, "enforced", "good"),
        (replace(STICK, authorized=Authorized.YES), "not enforced", "bad"),
        (replace(STICK, authorized=Authorized.UNKNOWN), "unknown", "unknown"),
        (replace(STICK, target=Target.ALLOW, authorized=Authorized.YES), "not enforced", "bad"),
    ],
)
def test_enforced_is_green_only_where_sysfs_proved_it(device: DeviceState, word: str, kind: str) -> None:
    page = shown(device)
    (row,) = [row for row in page.split("<tr>")[1:] if "1-1.2" in row]

    assert f'<span class="badge {kind}">{word}</span>' in row
    assert (kind == "good") == ("good" in row)


def test_what_observe_mode_would_have_done_is_said() -> None:
    page = shown(replace(STICK, target=Target.ALLOW, authorized=Authorized.YES))

    assert "allowed would have blocked" in words(page)
    assert "is only observed: it would have been blocked" in words(page)


def test_a_suspicious_device_is_marked() -> None:
    assert "suspicious" in words(shown(replace(STICK, cause=Cause.SUSPICIOUS)))


def test_other_buses_are_detected_and_not_prevented_and_findings_have_a_state_of_their_own() -> None:
    page = render_devices(devices_of(REPORT))

    assert "Detected, not prevented" in words(page)
    assert any(row.startswith(" optical sr0") for row in rows(page))
    assert '<span class="badge unknown">not evaluated</span>' in page
    assert any("disk-encryption not evaluated" in row for row in rows(page))


@pytest.mark.parametrize(
    "state, kind, word",
    [
        (OtherState.ALLOWED, "", "allowed"),
        (OtherState.NOT_ALLOWED, "bad", "not allowed: detected, not prevented"),
        (OtherState.NOT_EVALUATED, "unknown", "not evaluated: detected, not prevented"),
        (OtherState.WITH_USB_DEVICE, "", "judged with its USB device"),
    ],
)
def test_nothing_on_another_bus_is_called_blocked_or_green(state: OtherState, kind: str, word: str) -> None:
    page = render_devices(devices_of(replace(REPORT, others=(replace(REPORT.others[0], state=state),))))
    (row,) = [row for row in page.split("<tr>")[1:] if "optical" in row]

    assert f">{word}<" in row
    assert re.findall('badge ([a-z]+)"', row) == [kind] * bool(kind)
    assert "block" not in row
    assert "good" not in row


def test_a_sidecar_s_modality_ports_are_not_evaluated_and_never_green() -> None:
    page = render_devices(devices_of(replace(REPORT, sidecar=True, devices=(STICK,))))
    (row,) = [row for row in page.split("<tr>")[1:] if "own ports" in row]

    assert "not evaluated" in words(row)
    assert "good" not in row
    assert "own ports" not in render_devices(devices_of(REPORT))


def test_a_host_without_a_guard_has_no_green_and_says_so() -> None:
    page = render_devices(devices_of(None))

    assert "no guard" in words(page)
    assert "not evaluated" in words(page)
    assert "good" not in badges(page)
    status = render_status(changed(hosts=[HOST | {"guard": "no guard", "devices": None}]))
    assert "Device guard no guard what is plugged in is not evaluated" in words(status)


def test_a_silent_host_s_tree_is_what_was_and_has_no_green() -> None:
    was = tree(REPORT, is_current=False)
    page = render_devices(devices_of(REPORT, report=was, state="silent", guard="unknown"))

    assert "unknown now" in words(page)
    assert "1-1.2" in page
    assert "good" not in badges(page)


def test_devices_that_were_left_out_are_counted_on_the_page() -> None:
    assert "7 not reported" in words(render_devices(devices_of(replace(REPORT, left_out=7))))


def test_nothing_that_a_device_says_is_markup_or_another_line() -> None:
    hostile = replace(STICK, name=HOSTILE, serial=HOSTILE, detail=HOSTILE)
    other, finding = (
        replace(REPORT.others[0], name=HOSTILE, detail=HOSTILE),
        replace(REPORT.findings[0], detail=HOSTILE),
    )
    report = replace(REPORT, devices=(hostile,), others=(other,), findings=(finding,), policy_error=HOSTILE)
    page = render_devices(devices_of(report))

    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 7
    assert not set(page) & {"\x00", "\x1b", "\x9b", "\r", "\u202e"}
    assert not {tag for tag, _ in Elements(page).found} & {"script", "img"}


def test_devices_count_beside_the_host_and_are_green_only_where_all_is_proved() -> None:
    def badge(**counts: int) -> str:
        page = render_status(changed(hosts=[HOST | {"devices": HOST["devices"] | counts}]))  # type: ignore[operator]
        return "".join(re.findall(r'Device guard</dt><dd><span class="badge ([a-z]+)">', page))

    assert [badge(), badge(unknown=1), badge(not_enforced=1, observed=1)] == ["good", "unknown", "unknown"]
    assert [badge(not_enforced=1), badge(suspicious=1), badge(not_allowed=1)] == ["bad", "bad", "bad"]
    assert "4 USB devices, 1 blocked" in words(render_status(STATUS))


@pytest.mark.parametrize(
    "then, said",
    [(None, "no report yet"), ("08:59:59", "2 s ago"), ("08:58:59", "2 minutes ago"), ("06:00:00", "4 hours ago")],
)
def test_an_age_is_rounded_up_so_that_nothing_looks_fresher_than_it_is(then: str | None, said: str) -> None:
    assert age(then and f"2026-03-01T{then}.000000Z", STATUS["time"]) == said


@pytest.mark.parametrize("state", ["waiting", "done", "failed", "refused", "unknown", "not authentic"])
def test_what_became_of_a_command_is_shown_and_what_a_host_says_of_it_is_escaped(state: str) -> None:
    command = {
        "command": "0c" * 16, "host": HOST["host"], "asset": "CT 2", "action": "rescan", "person": "ada",
        "issued": "2026-03-01T08:00:00.000000Z", "expires": "2026-03-01T09:00:00.000000Z", "state": state,
        "detail": "<script>alert(1)</script>", "answered": None, "facts": {},
    }  # fmt: skip
    page = render_status(changed(commands=[command]))

    kind = {"done": "good", "waiting": "unknown", "unknown": "unknown"}.get(state, "bad")
    assert f'<span class="badge {kind}">{state}</span>' in page
    assert "<script>alert" not in page


PERSON = {
    "name": "<b>ada</b>", "role": "administrator", "password": True, "recovery_codes_left": 9,
    "second_factors": [{"factor": "0" * 16, "kind": "totp", "name": "<i>phone</i>", "added": STATUS["time"]}],
}  # fmt: skip
FORMS = {
    "sign in": render_sign_in("<u>wrong</u>", "https://login.example/<b>"),
    "second step": render_second_step("a step", '{"challenge": "<b>"}', ""),
    "new key": render_new_key("a step", '{"challenge": "<b>"}', ""),
    "account": render_account(
        PERSON, [], [], said="<u>wrong</u>", here="", codes=["0000-1111-2222-3333"], localhost=""
    ),
}


@pytest.mark.parametrize("page", FORMS.values(), ids=FORMS)
def test_pages_with_forms_send_them_here_and_run_no_script_but_the_one_for_security_keys(page: str) -> None:
    elements = Elements(page).found

    assert {str(attrs["action"]).partition("/")[0] for tag, attrs in elements if tag == "form"} == {""}
    assert {attrs["method"] for tag, attrs in elements if tag == "form"} == {"post"}
    assert {attrs.get("src") for tag, attrs in elements if tag == "script"} <= {"/static/security-key.js"}
    assert not [attrs for _, attrs in elements if any(name.startswith("on") or name == "style" for name in attrs)]
    assert not {tag for tag, _ in elements} & {"b", "i", "u"}
    assert ("meta", {"name": "referrer", "content": "same-origin"}) in elements


def test_what_runs_out_soon_stands_on_the_status_page() -> None:
    soon = {"person": "<b>ada</b>", "name": "credential", "expires": "2026-03-20T08:00:00.000000Z"}
    shown = words(render_status(changed(tokens_running_out=[soon])))

    assert "Token credential of &lt;b&gt;ada&lt;/b&gt; opens nothing after 2026-03-20 08:00:00 UTC" in shown
    assert "runs out" not in words(render_status(STATUS))


def test_what_is_not_proved_stands_under_that_name_and_shows_commands_as_commands() -> None:
    item = "CT <2>: look, then `leadglass-server code settle <x>`"
    page = render_status({**STATUS, "not_evaluated": [item]})

    assert '<h2 id="attention">Not proved</h2>' in page
    assert "<li>CT &lt;2&gt;: look, then <code>leadglass-server code settle &lt;x&gt;</code></li>" in page
