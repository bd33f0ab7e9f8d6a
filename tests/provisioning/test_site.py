"""A site file is read strictly, and what it says survives being stored."""

import argparse
from pathlib import Path

import pytest

from provisioning import site_options
from provisioning.site import Peer, Site, joined, parse_file
from shared.errors import Malformed

FILE = """\
version = 1
centre = "https://leadglass.hospital.example:8441"
asset = "CT 2, room 1.14"
dicom_host = "10.1.2.3"
dicom_tls_port = 2762
modalities = ["10.1.2.0/24"]
peers = ["PACS@10.1.9.1:104"]
guard = true
console_ports = ["1-2.4"]
"""
SITE = Site(
    "https://leadglass.hospital.example:8441", "CT 2, room 1.14", dicom_host="10.1.2.3", dicom_tls_port=2762,
    modalities=("10.1.2.0/24",), peers=(Peer("PACS", "10.1.9.1", 104),), guard=True, console_ports=("1-2.4",),
)  # fmt: skip


def given(*words: str) -> Site:
    parser = argparse.ArgumentParser()
    site_options.add_to(parser)
    return joined(*site_options.given(parser.parse_args(words)))


def test_what_a_file_says_is_read_and_survives_being_stored() -> None:
    site = joined(parse_file(FILE))

    assert site == SITE
    assert Site.parse(site.json()) == site
    assert (site.centre_host, site.enrolment_port) == ("leadglass.hospital.example", 8441)


def test_an_option_counts_more_than_the_file_and_a_file_is_not_needed(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(FILE)

    assert given("--site-file", str(file), "--no-guard", "--asset", "CT 3").guard is False
    assert given("--site-file", str(file), "--asset", "CT 3").asset == "CT 3"
    assert given(
        "--url", "https://centre:8441", "--asset", "CT 2", "--sidecar", "--peer", "A@b:1", "--peer", "C@d:2"
    ) == (Site("https://centre:8441", "CT 2", sidecar=True, peers=(Peer("A", "b", 1), Peer("C", "d", 2))))


@pytest.mark.parametrize(
    "line, named",
    [
        ("centre = 'http://centre:8441'", "centre"),
        ("centre = 'https://centre:99999'", "centre"),
        ("asset = ''", "asset"),
        ("dicom_port = 0", "dicom_port"),
        ("dicom_port = 11112.5", "dicom_port"),
        ("modalities = ['10.1.2.3/24']", "modalities"),
        ("peers = ['10.1.9.1:104']", "peers"),
        ("keys = 'paper'", "keys"),
        ("console_ports = ['keyboard']", "console_ports"),
        ("policy_root = 'AB'", "policy_root"),
        ("gaurd = true", "gaurd"),
        ("version = 2", "version"),
    ],
)
def test_a_bad_or_unknown_field_is_named(line: str, named: str) -> None:
    name = line.partition(" ")[0]
    rest = "".join(kept + "\n" for kept in FILE.splitlines() if not kept.startswith(f"{name} "))

    with pytest.raises(Malformed, match=named):
        joined(parse_file(f"{rest}{line}\n"))


def test_what_is_missing_is_said_with_the_option_for_it() -> None:
    with pytest.raises(Malformed, match="--asset"):
        given("--url", "https://centre:8441")
    with pytest.raises(Malformed, match="--url"):
        given("--asset", "CT 2")
    with pytest.raises(Malformed, match="there is no field center"):
        joined(parse_file("version = 1\ncenter = 'https://centre:8441'\n"))
    with pytest.raises(Malformed, match="site file"):
        parse_file("version = ")
