"""What a file would change on hosts and for captures, as an administrator asks before publishing it."""

import json
from dataclasses import replace
from datetime import timedelta

from control_plane.db.models import Host, PolicyMetadata
from shared.devices.device import Interface, UsbDevice
from shared.devices.verdict import Cause, Target
from shared.fleet.devices import Authorized, GuardReport
from shared.policy.document import ORGANISATION
from tests.control_plane.cli.conftest import Administrator
from tests.control_plane.cli.test_policy_past import FIRST, WITHOUT_US1
from tests.control_plane.fleet.test_device_tree import HOSTILE, HUB, REPORT, STICK
from tests.control_plane.policy.simulation.ward import Ward

DEVICES = FIRST + 'devices:\n  rules:\n    - allow id 1234:* hash "AAAA"\n'
STICKS = DEVICES.replace("  rules:\n", "  rules:\n    - allow id 0781:* with-interface 08:06:50\n")


def report(policy: int = 1) -> GuardReport:
    return replace(REPORT, policy=policy, devices=(HUB, replace(STICK, rule=1)), others=())


def test_devices_that_would_be_let_in_are_told_host_by_host_and_who_is_unknown_is_not_counted(
    ada: Administrator,
) -> None:
    ada.publish(DEVICES)
    ward = Ward(ada.database)
    ward.host("CT 2", report())
    ward.host("MR 1", None, reported=False)
    ward.host("US 3", report(), ago=timedelta(days=2))
    ward.host("XR 4", None)

    code, out, _ = ada.run("simulate", ada.file(STICKS))
    assert code == 1
    assert "  CT 2: under device policy 1: 1 USB devices as now, 1 not\n" in out
    assert (
        "    LOOSER  1-1.2 0781:5581 Ultra 4C53: blocked -> allowed (rule 1: allow id 0781:* with-interface 08:06:50)\n"
        in out
    )
    assert "  MR 1: UNKNOWN: it never reported\n" in out
    assert "  US 3: under device policy 1, silent since " in out
    assert "  XR 4: NOT EVALUATED: no guard answered there when it last reported\n" in out
    assert out.endswith("what arrived in the last 30 days\n  nothing\n")


def test_a_policy_that_changes_nothing_for_hosts_that_are_all_known_ends_with_0(ada: Administrator) -> None:
    ada.publish(DEVICES)
    ward = Ward(ada.database)
    ward.captured(ward.host("CT 2", report()), "CT1")

    code, out, _ = ada.run("simulate", ada.file(DEVICES))
    assert code == 0
    assert "CT 2: under device policy 1: 2 USB devices as now, 0 not" in out
    assert "CT 2: CT1: 1 images as before" in out
    ward.host("MR 1", None, reported=False)
    assert ada.run("simulate", ada.file(DEVICES))[0] == 1


def test_senders_of_the_last_days_that_would_be_refused_are_counted(ada: Administrator) -> None:
    ada.publish(FIRST)
    ward = Ward(ada.database)
    host = ward.host("CT 2", report())
    for ago in (1, 29, 31):
        ward.captured(host, "US1", ago=timedelta(days=ago))
    ward.captured(host, "CT1")

    code, out, _ = ada.run("simulate", ada.file(WITHOUT_US1))
    assert code == 1
    assert "  CT 2: CT1: 1 images as before\n" in out
    assert "  CT 2: US1: 2 images WOULD BE REFUSED (the policy does not list US1)\n" in out
    (told,) = json.loads(ada.run("simulate", ada.file(WITHOUT_US1), "--days", "60", "--json")[1])["hosts"]
    assert [(each["ae_title"], each["count"], each["treated"]) for each in told["captures"]] == [
        ("CT1", 1, "as before"), ("US1", 3, "refused"),
    ]  # fmt: skip


def test_grades_that_depend_on_what_is_sealed_are_not_evaluated(ada: Administrator) -> None:
    ada.publish(FIRST)
    ward = Ward(ada.database)
    ward.captured(ward.host("CT 2", report()), "CT1")
    grading = "grading: {default: restricted, grades: [restricted, secret], rules: [{when: {%s}, grade: secret}]}"
    by_modality, by_sender = (
        FIRST.replace("grading: {default: restricted}", grading % when)
        for when in ("modality: [CT]", "calling_ae_title: [CT1]")
    )

    assert "CT1: 1 images not evaluated (its grade depends on modality" in ada.run("simulate", ada.file(by_modality))[1]
    assert (
        "CT1: 1 images would be secret, to the vault (captured as restricted, to the vault)"
        in ada.run("simulate", ada.file(by_sender))[1]
    )


def test_a_report_or_a_policy_that_is_not_authentic_says_nothing(ada: Administrator) -> None:
    ada.publish(DEVICES)
    ward = Ward(ada.database)
    host = ward.host("CT 2", report())
    with ada.database.begin() as session:
        row = session.get_one(Host, str(host))
        assert row.state is not None
        row.state = row.state[:-1] + bytes([row.state[-1] ^ 1])
    ward.host("MR 1", report(policy=7))

    out = ada.run("simulate", ada.file(STICKS))[1]
    assert "  CT 2: UNKNOWN: its report is not authentic: " in out
    assert "  MR 1: NOT EVALUATED: the device policy it reports, version 7, cannot be read here: " in out


def test_hostile_text_of_devices_and_senders_reaches_no_terminal_as_control(ada: Administrator) -> None:
    ada.publish(DEVICES)
    ward = Ward(ada.database)
    hostile = replace(STICK, name=HOSTILE, serial=HOSTILE)
    host = ward.host("CT 2", replace(report(), devices=(hostile,)))
    ward.captured(host, "\x9b2J")

    out = ada.run("simulate", ada.file(STICKS))[1]
    assert "<script>" in out
    assert all(line.isprintable() for line in out.split("\n"))


def test_a_guard_without_a_policy_lets_nothing_in_and_the_file_would(ada: Administrator) -> None:
    ada.publish(FIRST)
    keyless = replace(STICK, cause=Cause.NO_POLICY, rule=0, target=Target.BLOCK, authorized=Authorized.NO)
    Ward(ada.database).host("CT 2", replace(report(), policy=0, devices=(keyless,)))

    out = ada.run("simulate", ada.file(STICKS))[1]
    assert "CT 2: under device policy none: 0 USB devices as now, 1 not" in out
    assert "blocked -> allowed (rule 1" in out


def test_a_file_that_is_wrong_is_refused_before_anything_is_asked(ada: Administrator) -> None:
    code, _, errors = ada.run("simulate", ada.file(FIRST.replace("state_every_s: 5", "state_every_s: 0")))

    assert code == 2
    assert "policy.yaml:6: timings.state_every_s: expected a whole number of seconds from 1 to 3600" in errors


def test_rules_in_a_file_beside_the_policy_are_tried_too(ada: Administrator) -> None:
    ada.publish(DEVICES)
    Ward(ada.database).host("CT 2", report())
    ada.file("allow id 0781:*\n", "usb.rules")

    out = ada.run("simulate", ada.file(FIRST + "devices: {rules_file: usb.rules}\n"))[1]
    assert "blocked -> allowed (rule 1: allow id 0781:*)" in out


def test_a_stick_that_was_there_last_week_is_judged_by_what_was_recorded_of_it(ada: Administrator) -> None:
    ada.publish(DEVICES)
    ward = Ward(ada.database)
    host = ward.host("CT 2", report())
    stick = UsbDevice("1-5", "", 0x1234, 1, "Service", "", "AAAA", "", (Interface(8, 6, 80),))
    ward.attached(host, stick, ago=timedelta(days=7))

    code, out, _ = ada.run("simulate", ada.file(DEVICES.replace('"AAAA"', '"BBBB"')))
    assert code == 1
    assert "CT 2: under device policy 1: 2 USB devices as now, 1 not" in out
    assert "1-5 1234:0001 Service, last attached 20" in out
    assert ": allowed -> blocked (no rule is for it (default))" in out
    assert "2 USB devices and 1 that were there as now, 0 not" in ada.run("simulate", ada.file(DEVICES))[1]


def test_nothing_is_published_by_trying_it(ada: Administrator) -> None:
    ada.run("simulate", ada.file(FIRST))

    with ada.database() as session:
        assert session.get(PolicyMetadata, (ORGANISATION, 1)) is None
