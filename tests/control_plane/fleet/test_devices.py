"""What is plugged into a host, from its signed report to a person's browser, script and terminal."""

from dataclasses import replace
from datetime import timedelta

from shared.devices.verdict import Target
from shared.fleet.devices import Authorized, OtherState
from tests.control_plane.fleet.reporting import HOST, Fleet
from tests.control_plane.fleet.test_device_tree import HOSTILE, HUB, REPORT, STICK

PROVED = replace(REPORT, findings=())


def test_a_tree_goes_from_the_report_to_the_api_the_page_and_the_terminal(fleet: Fleet) -> None:
    fleet.report(guard=PROVED)

    (host,) = fleet.answer("/api/v1/devices")["hosts"]
    assert (host["guard"], host["state"], host["not_proved"]) == ("watching", "reporting", [])
    assert [(one["port"], one["verdict"], one["enforcement"]) for one in host["report"]["devices"]] == [
        ("usb1", "allowed", "enforced"), ("1-1.2", "blocked", "enforced"),
    ]  # fmt: skip
    status, page = fleet.get("/devices")
    assert status == 200
    assert "differs in serial: expected 4C52, found 4C53" in page
    code, out = fleet.command("devices")
    assert code == 0
    assert "1-1.2 0781:5581 Ultra serial 4C53: blocked, enforced" in out
    assert "optical sr0: allowed; medium inserted" in out
    assert fleet.get("/")[1].count("2 USB devices, 1 blocked") == 1


def test_a_host_is_asked_for_by_its_id_or_its_asset_name(fleet: Fleet) -> None:
    fleet.report(guard=PROVED)

    for name in (str(HOST), "CT%202"):
        assert [host["asset"] for host in fleet.answer(f"/api/v1/devices?host={name}")["hosts"]] == ["CT 2"]
    assert fleet.get("/api/v1/devices?host=MR")[0] == 404
    assert fleet.command("devices", "MR")[0] == 1
    assert fleet.command("devices", "CT 2", "--json")[0] == 0


def test_a_host_whose_guard_does_not_answer_is_never_called_fine(fleet: Fleet) -> None:
    fleet.report()

    (host,) = fleet.answer("/api/v1/devices")["hosts"]
    assert (host["guard"], host["report"]) == ("no guard", None)
    assert "CT 2: no guard answers there" in fleet.status()[1]
    code, out = fleet.command("devices")
    assert code == 1
    assert "device guard: no guard; reporting" in out
    assert "no guard; what is plugged in is not evaluated" in fleet.command("status")[1]


def test_a_host_that_never_reported_is_unknown(fleet: Fleet) -> None:
    (host,) = fleet.answer("/api/v1/devices")["hosts"]

    assert (host["guard"], host["report"], host["state"]) == ("unknown", None, "never reported")
    assert fleet.get("/devices")[0] == 200
    assert fleet.command("devices")[0] == 1


def test_what_a_silent_host_had_is_what_was_and_nothing_of_it_enforced(fleet: Fleet) -> None:
    fleet.report(guard=PROVED)
    fleet.clock.advance(timedelta(hours=4))

    (host,) = fleet.answer("/api/v1/devices")["hosts"]
    assert (host["guard"], host["state"]) == ("unknown", "silent")
    assert {one["enforcement"] for one in host["report"]["devices"]} == {"unknown"}
    (short,) = fleet.answer()["hosts"]
    assert (short["guard"], short["devices"]) == ("unknown", None)
    assert "unknown now" in fleet.get("/devices")[1]
    assert "good" not in fleet.get("/devices")[1]


def test_what_is_not_enforced_and_what_is_observed_stands_with_all_that_is_not_proved(fleet: Fleet) -> None:
    wrong = replace(STICK, authorized=Authorized.YES)
    observed = replace(STICK, port="1-1.3", target=Target.ALLOW, authorized=Authorized.YES)
    fleet.report(guard=replace(PROVED, devices=(HUB, wrong, observed)))

    gaps = fleet.status()[1]
    assert "CT 2: port 1-1.2: 0781:5581 Ultra should be blocked, and authorised is read back as yes" in gaps
    assert "CT 2: port 1-1.3: 0781:5581 Ultra is only observed: it would have been blocked" in gaps
    code, out = fleet.command("devices")
    assert code == 1
    assert "1-1.2 0781:5581 Ultra serial 4C53: blocked, not enforced" in out
    assert "allowed, not enforced, would have blocked" in out


def test_what_is_not_allowed_on_another_bus_is_told_everywhere_and_never_called_blocked(fleet: Fleet) -> None:
    card = replace(REPORT.others[0], kind="sd", name="mmc0:0001", state=OtherState.NOT_ALLOWED)
    fleet.report(guard=replace(PROVED, devices=(HUB,), others=(card,)))

    words = "not allowed: detected, not prevented"
    (host,) = fleet.answer("/api/v1/devices")["hosts"]
    assert [(other["state"], other["verdict"]) for other in host["report"]["others"]] == [("not allowed", words)]
    assert host["not_proved"] == [f"CT 2: sd mmc0:0001 is {words}"]
    assert f"CT 2: sd mmc0:0001 is {words}" in fleet.status()[1]
    code, out = fleet.command("devices")
    assert code == 1
    assert f"sd mmc0:0001: {words}; medium inserted" in out
    for shown in (fleet.get("/devices")[1], fleet.get("/")[1], fleet.command("status")[1]):
        assert words in shown
        assert "1 blocked" not in shown


def test_hostile_text_reaches_no_browser_as_markup_and_no_terminal_as_control(fleet: Fleet) -> None:
    hostile = replace(STICK, name=HOSTILE, serial=HOSTILE, detail=HOSTILE)
    fleet.report(guard=replace(REPORT, devices=(hostile,), findings=(replace(REPORT.findings[0], detail=HOSTILE),)))

    for path in ("/", "/devices"):
        page = fleet.get(path)[1]
        assert "<script" not in page
        assert "\x9b" not in page
        assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in page
    assert "&lt;script&gt;" in fleet.get("/devices")[1]
    for command in ("devices", "status"):
        assert all(line.isprintable() for line in fleet.command(command)[1].split("\n"))


def test_who_is_not_signed_in_sees_no_device(fleet: Fleet) -> None:
    fleet.report(guard=PROVED)

    assert fleet.get("/api/v1/devices", signed_in=False)[0] == 401
    status, page = fleet.get("/devices", signed_in=False)
    assert status == 401
    assert "1-1.2" not in page
