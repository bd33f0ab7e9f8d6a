"""What speaks against a wipe: each alone, and whatever comes together."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.sanitize.drive import Drive
from edge_agent.sanitize.holders import Holder, HolderKind
from edge_agent.sanitize.refuse import Circumstances, RefusalKind, lost, refusals
from shared.identity import HostId, KeyId
from shared.policy.wipe import LeastClass, ReadBack
from shared.sanitization.medium import Medium, MediumKind, SerialSource
from shared.sanitization.method import Method
from shared.sanitization.technique import Sequence, Technique
from shared.sanitization.ticket import Override, Reason, TargetDrive, Ticket, TicketId

NOW = datetime(2026, 11, 30, 9, tzinfo=UTC)
MEDIUM = Medium(
    MediumKind.ATA_DISK, "", "ST4000NM0035", "TN03", "ZC1A2B3C", SerialSource.ATA_IDENTIFY, "naa.5000c500a1b2c3d4",
    4_000_787_030_016, 512, 4096, rotational=True,
)  # fmt: skip
TICKET = Ticket(
    ticket_id=TicketId(bytes(16)),
    host_id=HostId(bytes(16)),
    evidence_key=KeyId(bytes(16)),
    asset="CT 2",
    drive=TargetDrive(MEDIUM.serial, MEDIUM.wwn, MEDIUM.model, MEDIUM.size_bytes),
    method=Method(LeastClass.CLEAR, (Technique.OVERWRITE,), Sequence.RANDOM, (), ReadBack.WHOLE),
    reason=Reason.DISPOSAL,
    requester="Ada",
    person="Dan",
    overrides=(),
    issued=NOW,
    expires=NOW + timedelta(hours=4),
)
GOOD = Circumstances(
    drive=Drive(Path("/dev/sda"), "8:0", Path("/sys/block/sda"), MEDIUM),
    twins=0,
    holders=(),
    system="",
    network="",
    has_own_state=False,
    is_read_only=False,
    is_ticket_used=False,
    hold=False,
    undelivered=0,
    is_clock_sure=True,
)
BOTH = (Override.INCIDENT_HOLD, Override.UNDELIVERED_IMAGES)


def with_medium(**changes: Any) -> dict[str, Any]:
    return {"drive": replace(GOOD.drive, medium=replace(MEDIUM, **changes))}


MOUNTED = Holder(HolderKind.MOUNT, "sda1", "ext4")
NO_OVERRIDE_HELPS: list[tuple[dict[str, Any], RefusalKind]] = [
    (with_medium(serial="ZC1A2B3D"), RefusalKind.OTHER_SERIAL),
    (with_medium(serial="", serial_source=SerialSource.NONE), RefusalKind.OTHER_SERIAL),
    (with_medium(wwn=""), RefusalKind.OTHER_WWN),
    (with_medium(model="ST4000NM0036"), RefusalKind.OTHER_MODEL),
    (with_medium(size_bytes=MEDIUM.size_bytes - 512), RefusalKind.OTHER_SIZE),
    ({"twins": 1}, RefusalKind.NOT_THE_ONLY_ONE),
    ({"holders": (MOUNTED,)}, RefusalKind.IN_USE),
    ({"holders": None}, RefusalKind.IN_USE),
    ({"system": "/ of the running system"}, RefusalKind.RUNNING_SYSTEM),
    ({"system": None}, RefusalKind.RUNNING_SYSTEM),
    ({"network": "iSCSI"}, RefusalKind.NETWORK),
    ({"network": None}, RefusalKind.NETWORK),
    ({"has_own_state": True}, RefusalKind.OWN_STATE),
    ({"has_own_state": None}, RefusalKind.OWN_STATE),
    ({"is_read_only": True}, RefusalKind.READ_ONLY),
    ({"is_read_only": None}, RefusalKind.READ_ONLY),
    ({"is_ticket_used": True}, RefusalKind.TICKET_USED),
    ({"is_ticket_used": None}, RefusalKind.TICKET_USED),
    ({"is_clock_sure": False}, RefusalKind.CLOCK_UNSURE),
    ({"is_clock_sure": None}, RefusalKind.CLOCK_UNSURE),
]
AN_OVERRIDE_HELPS: list[tuple[dict[str, Any], RefusalKind, Override]] = [
    ({"hold": True}, RefusalKind.INCIDENT_HOLD, Override.INCIDENT_HOLD),
    ({"hold": None}, RefusalKind.INCIDENT_HOLD, Override.INCIDENT_HOLD),
    ({"undelivered": 1}, RefusalKind.UNDELIVERED_IMAGES, Override.UNDELIVERED_IMAGES),
    ({"undelivered": None}, RefusalKind.UNDELIVERED_IMAGES, Override.UNDELIVERED_IMAGES),
]


def test_control_nothing_speaks_against_the_drive_of_the_ticket_that_nobody_uses() -> None:
    assert refusals(TICKET, GOOD) == ()
    assert lost(replace(TICKET, overrides=BOTH), GOOD) == ()


@pytest.mark.parametrize("changes, kind", NO_OVERRIDE_HELPS)
def test_refuses_and_no_override_changes_that(changes: dict[str, Any], kind: RefusalKind) -> None:
    found = replace(GOOD, **changes)

    for ticket in (TICKET, replace(TICKET, overrides=BOTH)):
        [refusal] = refusals(ticket, found)
        assert refusal.kind is kind
        assert refusal.what
        assert refusal.where
        assert refusal.remedy


@pytest.mark.parametrize("changes, kind, override", AN_OVERRIDE_HELPS)
def test_refuses_a_loss_that_its_own_override_alone_lets_pass(
    changes: dict[str, Any], kind: RefusalKind, override: Override
) -> None:
    found = replace(GOOD, **changes)
    [other] = set(BOTH) - {override}

    for ticket in (TICKET, replace(TICKET, overrides=(other,))):
        assert [refusal.kind for refusal in refusals(ticket, found)] == [kind]
        assert lost(ticket, found) == ()
    passing = replace(TICKET, overrides=(override,))
    assert refusals(passing, found) == ()
    assert lost(passing, found) == (override,)


def test_a_person_reads_what_where_and_what_to_do() -> None:
    [refusal] = refusals(TICKET, replace(GOOD, holders=(MOUNTED,)))

    assert str(refusal) == (
        "/dev/sda1: it is in use: a mounted file system (ext4); unmount it (umount /dev/sda1), then begin anew"
    )


@given(
    st.lists(st.sampled_from(NO_OVERRIDE_HELPS), max_size=6),
    st.lists(st.sampled_from(AN_OVERRIDE_HELPS), max_size=2),
    st.sets(st.sampled_from(BOTH)),
)
def test_whatever_comes_together_each_of_it_refuses(
    absolute: list[tuple[dict[str, Any], RefusalKind]],
    losses: list[tuple[dict[str, Any], RefusalKind, Override]],
    overrides: set[Override],
) -> None:
    """Also a drive that differs in several ways: the changes of its medium replace one another, the last one counts."""
    found, expected = GOOD, dict[str, RefusalKind]()
    for changes, kind in absolute:
        found = replace(found, **changes)
        expected |= {next(iter(changes)): kind}
    for changes, kind, override in losses:
        found = replace(found, **changes)
        if override not in overrides:
            expected |= {next(iter(changes)): kind}
    ticket = replace(TICKET, overrides=tuple(sorted(overrides)))

    assert {refusal.kind for refusal in refusals(ticket, found)} == set(expected.values())


@given(
    st.builds(
        Circumstances,
        drive=st.just(GOOD.drive)
        | st.sampled_from(["", "ZC1A2B3"]).map(lambda serial: with_medium(serial=serial)["drive"]),
        twins=st.integers(0, 2),
        holders=st.none()
        | st.lists(st.builds(Holder, st.sampled_from(HolderKind), st.just("sda"), st.text()), max_size=2),
        system=st.sampled_from(["", None, "/ of the running system"]),
        network=st.sampled_from(["", None, "iSCSI"]),
        has_own_state=st.sampled_from([True, False, None]),
        is_read_only=st.sampled_from([True, False, None]),
        is_ticket_used=st.sampled_from([True, False, None]),
        hold=st.sampled_from([True, False, None]),
        undelivered=st.sampled_from([None, 0, 1, 4000]),
        is_clock_sure=st.sampled_from([True, False, None]),
    ),
    st.sets(st.sampled_from(BOTH)),
)
def test_a_ticket_never_passes_while_anything_speaks_against_it(found: Circumstances, overrides: set[Override]) -> None:
    ticket = replace(TICKET, overrides=tuple(sorted(overrides)))
    speaks_against = (
        found.drive.medium != MEDIUM or found.twins or found.holders is None or len(found.holders)
        or found.system != "" or found.network != "" or found.has_own_state is not False
        or found.is_read_only is not False or found.is_ticket_used is not False or found.is_clock_sure is not True
        or (found.hold is not False and Override.INCIDENT_HOLD not in overrides)
        or (found.undelivered != 0 and Override.UNDELIVERED_IMAGES not in overrides)
    )  # fmt: skip

    assert bool(refusals(ticket, found)) == bool(speaks_against)
