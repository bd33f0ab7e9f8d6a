"""What a host acts by is written as a policy file that says just that, and each line says whose it is."""

import re
from dataclasses import replace

import pytest
from hypothesis import given

from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.file.effective_text import effective_lines
from control_plane.policy.file.problems import PolicyFileMalformed
from shared.errors import Malformed
from shared.identity import HostId
from shared.policy.effective import effective
from shared.policy.part import PartDocument
from shared.policy.wipe import LeastClass, ReadBack, WipePolicy
from tests.control_plane.policy.file.broken import Broken
from tests.control_plane.policy.file.full import FULL, organisation
from tests.control_plane.policy.file.test_part_differences import ORGANISATION, published
from tests.control_plane.policy.file.test_parts import HOST, NORTH, broken_parts, parse
from tests.control_plane.policy.file.test_reading import document

ID = HostId.parse(HOST)
CT = published("layer: modality-ct\ntimings: {pull_every_s: 10}\nwatch: {every_s: 20}\ndevices: {rules: []}\n", 2)
SITE = published(NORTH.replace("spool:", "devices: {rules: [], contact: phone 4711}\n    spool:"), 3)


def lines(*parts: PartDocument, host: HostId = ID) -> list[str]:
    return list(effective_lines(ORGANISATION, parts, host))


def test_each_line_says_who_said_it() -> None:
    said = {re.sub(r" +", " ", line.strip()) for line in lines(SITE, CT)}

    assert said >= {
        "- ae_title: CT1 # organisation 1",
        "description: CT # organisation 1",
        "- ae_title: CT7 # site-north 3",
        "every_s: 20 # modality-ct 2",
        "- allow with-interface 09:00:00 # organisation 1",
        "- allow id 0781:5581 # site-north 3",
        "contact: phone 4711 # site-north 3, for this host",
        "quota_gib: 20 # site-north 3, for this host",
        "state_every_s: 30 # site-north 3",
        "pull_every_s: 60 # site-north 3, for this host",
    }
    assert "pull_every_s: 10" in " ".join(lines(SITE, CT, host=HostId(bytes(16))))


def test_a_field_of_the_device_rules_is_theirs_who_made_the_difference_and_not_of_whoever_came_last() -> None:
    strict = published("layer: site-north\ndevices: {rules: [], suspicious: reject}\n")
    loose = published("layer: modality-ct\ndevices: {rules: [], suspicious: allow}\n")

    (suspicious,) = (line for line in lines(strict, loose) if "suspicious" in line)
    assert suspicious.endswith("# site-north 1")
    assert not any("suspicious" in line for line in lines(loose))


def test_of_wipe_rules_and_of_what_is_not_on_the_usb_each_line_is_theirs_who_made_it_stricter() -> None:
    parts = [
        published("layer: site-north\nwipe: {least: purge, read_back: samples, approvals: 2, ticket_hours: 48}\n"
                  "devices: {rules: [], others: {sd: block, net: allow}}\n"),
        published("layer: modality-ct\nwipe: {least: purge, read_back: whole, approvals: 1, ticket_hours: 24}\n"
                  "devices: {rules: [], others: {optical: block, sd: allow}}\n"),
    ]  # fmt: skip

    above = replace(ORGANISATION, wipe=WipePolicy(LeastClass.CLEAR, ReadBack.SAMPLES, 1, 168))
    said = [re.sub(r" +# ", " # ", line) for line in effective_lines(above, parts, ID)]
    wipe, others = said.index("wipe:"), said.index("  others:")
    assert said[wipe : wipe + 5] == [
        "wipe:",
        "  least: purge # modality-ct 1",
        "  read_back: whole # modality-ct 1",
        "  approvals: 2 # site-north 1",
        "  ticket_hours: 24 # modality-ct 1",
    ]
    assert said[others : others + 4] == [
        "  others:",
        "    net: allow # site-north 1",
        "    optical: block # modality-ct 1",
        "    sd: block # site-north 1",
    ]


@pytest.mark.parametrize("parts", [(), (SITE,), (CT,), (SITE, CT)])
def test_what_is_written_is_read_as_what_the_host_acts_by(parts: tuple[PartDocument, ...]) -> None:
    written = "\n".join(("layer: organisation", *lines(*parts)))

    assert organisation(written.encode(), "it") == AuthoredPolicy.of(effective(ORGANISATION, parts, ID).policy)


def test_texts_of_several_lines_stay_what_they_are() -> None:
    whole = document(organisation(FULL.encode(), "policy.yaml"))
    written = "\n".join(("layer: organisation", *effective_lines(whole, (), ID)))

    assert organisation(written.encode(), "it") == AuthoredPolicy.of(whole)
    assert all("#" not in line for line in written.splitlines() if line.strip().startswith("MII"))


@given(broken_parts)
def test_whatever_a_site_says_its_host_is_told_what_it_acts_by(made: Broken) -> None:
    whole = document(organisation(FULL.encode(), "policy.yaml"))
    try:
        part = parse(made.text.replace("MG1", "MG7").replace("CT1", "CT7")).document(4)
        acts_by = effective(whole, [part], ID).policy
    except (PolicyFileMalformed, Malformed):
        return
    written = "\n".join(("layer: organisation", *effective_lines(whole, [part], ID)))

    if written.isascii():
        assert organisation(written.encode(), "it") == AuthoredPolicy.of(acts_by)


def test_no_text_of_a_policy_forges_a_line() -> None:
    said = "a\\u202e # organisation 1\\u2028b"
    hostile = published(f'layer: site-north\nmodalities: [{{ae_title: X, description: "{said}"}}]\n')

    assert all(line.isprintable() for line in lines(hostile))
    (told,) = (line for line in lines(hostile) if "# organisation 1" in line and "# site-north 1" in line)
    assert told.endswith(" # site-north 1")
