"""What a host acts by is the organisation's policy and its parts, each line with who said it."""

import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from shared.devices.device import Interface, UsbDevice
from shared.devices.evaluate import evaluate
from shared.devices.others import OtherKind, OtherKinds
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.devices.surroundings import Surroundings
from shared.devices.verdict import Cause, Target
from shared.errors import Malformed
from shared.identity import HostId
from shared.policy.document import Modality
from shared.policy.effective import Origin, effective
from shared.policy.grading import Grading
from shared.policy.part import PartContent, PartDocument
from shared.policy.wipe import LeastClass, ReadBack, WipePolicy
from shared.signing import SoftwareSigner
from tests.fakes.signers import CentreKeys, document

HOST, OTHER = HostId(bytes(16)), HostId(bytes(15) + b"\1")
POLICY = document(
    7, CentreKeys.new(secrets.token_bytes), SoftwareSigner(ec.generate_private_key(ec.SECP256R1())).public
)
SITE = PartDocument("site-north", 3, PartContent(modalities=(Modality("CT9", "at the north"),)))
TYPE = PartDocument("modality-ct", 2, PartContent(state_every_s=30, spool_quota_bytes=1 << 30))


def rules(*texts: str, **more: object) -> DevicePolicy:
    return replace(DevicePolicy(tuple(DeviceRule(parse_rule(text)) for text in texts)), **more)  # type: ignore[arg-type]


def device(serial: str) -> UsbDevice:
    return UsbDevice("1-1", "usb1", 0x0781, 0x5581, "Stick", serial, "hash", "parent", (Interface(8, 6, 0x50),))


def test_parts_add_and_say_anew_and_each_line_has_its_origin() -> None:
    found = effective(POLICY, (SITE, TYPE), HOST)

    assert [each.ae_title for each in found.policy.modalities] == ["CT1", "CT9"]
    assert (found.policy.state_every_s, found.policy.pull_every_s) == (30, POLICY.pull_every_s)
    assert str(found.origins["modalities/CT1"]) == "organisation 7"
    assert str(found.origins["modalities/CT9"]) == "site-north 3"
    assert str(found.origins["state_every_s"]) == "modality-ct 2"
    assert str(found.origins["spool_quota_bytes"]) == "modality-ct 2"
    assert str(found.origins["keys"]) == "organisation 7"


def test_without_parts_it_is_the_organisation_s() -> None:
    found = effective(POLICY, (), HOST)
    assert found.policy == POLICY
    assert set(found.origins.values()) == {Origin("organisation", 7)}


def test_a_site_outdoes_the_type_and_its_exception_outdoes_the_site_for_that_host_only() -> None:
    site = replace(SITE, content=replace(SITE.content, state_every_s=60), hosts=((HOST, PartContent(state_every_s=5)),))

    assert effective(POLICY, (site, TYPE), OTHER).policy.state_every_s == 60
    mine = effective(POLICY, (site, TYPE), HOST)
    assert mine.policy.state_every_s == 5
    assert str(mine.origins["state_every_s"]) == "site-north 3, for this host"


def test_device_rules_of_the_organisation_decide_first() -> None:
    organisation = replace(POLICY, devices=rules('block serial "BANNED"'))
    site = replace(SITE, content=PartContent(devices=rules("allow", contact="call 4711")))
    devices = effective(organisation, (site,), HOST).policy.devices
    assert devices is not None

    now = Surroundings(datetime(2026, 3, 1, tzinfo=UTC))
    assert evaluate(devices, device("BANNED"), now).target is Target.BLOCK
    assert evaluate(devices, device("OTHER"), now).target is Target.ALLOW
    assert (devices.contact, effective(organisation, (site,), HOST).origins["devices/rules/2"].layer) == (
        "call 4711",
        "site-north",
    )


def test_a_part_ends_a_trial_sooner_and_begins_none() -> None:
    soon, late = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)

    def until(above: datetime | None, below: datetime | None) -> datetime | None:
        organisation = replace(POLICY, devices=rules("block", observe_until=above))
        site = replace(SITE, content=PartContent(devices=rules("allow", observe_until=below)))
        devices = effective(organisation, (site,), HOST).policy.devices
        assert devices is not None
        return devices.observe_until

    assert (until(late, soon), until(soon, late), until(late, None)) == (soon, soon, late)
    assert until(None, late) is None


def test_of_wipe_rules_the_strictest_holds_of_each() -> None:
    organisation = replace(POLICY, wipe=WipePolicy(LeastClass.PURGE, ReadBack.SAMPLES, 1, 24))
    site = replace(SITE, content=PartContent(wipe=WipePolicy(LeastClass.CLEAR, ReadBack.WHOLE, 2, 48)))

    found = effective(organisation, (site,), HOST)
    assert found.policy.wipe == WipePolicy(LeastClass.PURGE, ReadBack.WHOLE, 2, 24)
    assert {line: str(origin) for line, origin in found.origins.items() if line.startswith("wipe")} == {
        "wipe/least": "organisation 7",
        "wipe/read_back": "site-north 3",
        "wipe/approvals": "site-north 3",
        "wipe/ticket_hours": "organisation 7",
    }
    assert effective(POLICY, (site,), HOST).policy.wipe is None
    assert effective(organisation, (SITE,), HOST).policy.wipe == organisation.wipe


TARGETS = st.sampled_from(["allow", "block", "reject"])
RULES = st.lists(st.tuples(TARGETS, st.sampled_from(["A", "B", "C", "D"])), max_size=6)
SAYS = st.sampled_from(list(Target))


@given(RULES, RULES, RULES, st.sampled_from(["A", "B", "C", "D"]), SAYS, SAYS)
def test_no_part_loosens_what_the_organisation_decides(
    top: list[tuple[str, str]],
    of_site: list[tuple[str, str]],
    of_host: list[tuple[str, str]],
    serial: str,
    default: Target,
    suspicious: Target,
) -> None:
    def policy(given: list[tuple[str, str]], **more: object) -> DevicePolicy:
        return rules(*(f'{target} serial "{wanted}"' for target, wanted in given), **more)

    organisation = replace(POLICY, devices=policy(top))
    loose = policy(of_site, default=default, suspicious=suspicious)
    site = PartDocument("site-n", 1, PartContent(devices=loose), ((HOST, PartContent(devices=policy(of_host))),))
    now = Surroundings(datetime(2026, 3, 1, tzinfo=UTC))

    before = evaluate(organisation.devices, device(serial), now)
    whole = effective(organisation, (site,), HOST).policy.devices
    after = evaluate(whole, device(serial), now)

    if before.cause is Cause.RULE:
        assert after.target is before.target
    assert whole is not None
    assert whole.default is not Target.ALLOW
    assert whole.suspicious is not Target.ALLOW


def others(said: Mapping[OtherKind, Target]) -> OtherKinds:
    return OtherKinds(tuple(sorted(said.items())))


OTHERS = st.dictionaries(st.sampled_from(list(OtherKind)), st.sampled_from([Target.ALLOW, Target.BLOCK]))


@given(OTHERS, OTHERS, OTHERS, OTHERS)
def test_of_what_is_not_on_the_usb_each_kind_is_blocked_that_anybody_blocks(
    top: dict[OtherKind, Target],
    of_type: dict[OtherKind, Target],
    of_site: dict[OtherKind, Target],
    of_host: dict[OtherKind, Target],
) -> None:
    policies = [rules(others=others(said)) for said in (top, of_type, of_site, of_host)]
    exception = PartContent(devices=policies[3])
    kind = PartDocument("modality-ct", 2, PartContent(devices=policies[1]))
    site = PartDocument("site-n", 1, PartContent(devices=policies[2]), ((HOST, exception),))

    found = effective(replace(POLICY, devices=policies[0]), (site, kind), HOST).policy.devices
    assert found is not None
    for each in OtherKind:
        said = {of.get(each) for of in (top, of_type, of_site, of_host)} - {None}
        expected = Target.BLOCK if Target.BLOCK in said else Target.ALLOW if said else None
        assert found.others.of(each) is expected


def test_a_kind_that_is_not_on_the_usb_is_theirs_who_made_the_difference() -> None:
    block, allow = Target.BLOCK, Target.ALLOW
    organisation = replace(POLICY, devices=rules(others=others({OtherKind.SD: block, OtherKind.OPTICAL: allow})))
    loose = others({OtherKind.SD: allow, OtherKind.OPTICAL: block, OtherKind.NET: allow})
    site = replace(SITE, content=PartContent(devices=rules(others=loose)))

    found = effective(organisation, (site,), HOST)
    assert found.policy.devices is not None
    assert found.policy.devices.others.json() == {"net": "allow", "optical": "block", "sd": "block"}
    prefix = "devices/others/"
    assert {line.removeprefix(prefix): of.layer for line, of in found.origins.items() if line.startswith(prefix)} == {
        "net": "site-north", "optical": "site-north", "sd": "organisation",
    }  # fmt: skip


def test_parts_that_do_not_go_together_are_refused_as_a_whole() -> None:
    again = PartDocument("modality-ct", 1, PartContent(modalities=(Modality("CT1", "once more"),)))
    with pytest.raises(Malformed, match="modality AE title twice"):
        effective(POLICY, (again,), HOST)
    with pytest.raises(Malformed, match="one layer site-"):
        effective(POLICY, (SITE, replace(SITE, layer="site-south")), HOST)
    unknown = PartDocument("site-n", 1, PartContent(grading=Grading("secret")))
    with pytest.raises(Malformed, match="no data key for grade secret"):
        effective(POLICY, (unknown,), HOST)
