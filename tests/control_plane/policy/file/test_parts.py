"""The file of a site or a type of modality: what it may say, how it is written back, and what its schema takes."""

import json
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from control_plane.__main__ import main
from control_plane.policy.file.authored import AuthoredPart
from control_plane.policy.file.problems import PolicyFileMalformed, Problem
from control_plane.policy.file.reading import parse_policy_file
from control_plane.policy.file.schema import part_schema, schema_text
from control_plane.policy.file.writing import text
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule
from shared.identity import HostId
from shared.policy.document import Modality
from shared.policy.part import PartContent, PartDocument
from tests.control_plane.policy.file.broken import (
    DOCUMENT,
    Broken,
    as_yaml,
    at,
    breakages,
    mappings,
    paths,
    with_unknown,
    with_value,
)

PUBLISHED = Path(__file__).resolve().parents[4] / "docs" / "formats" / "policy-part.schema.json"
SCHEMA = Draft202012Validator(part_schema())
HOST = "host-" + "0a" * 16

NORTH = f"""\
layer: site-north
modalities:
  - {{ae_title: CT7, description: "CT, north"}}
timings: {{state_every_s: 30}}
devices:
  rules: [allow id 0781:5581]
hosts:
  {HOST}:
    spool: {{quota_gib: 20}}
    timings: {{pull_every_s: 60}}
"""

_SECTIONS = ("modalities", "grading", "timings", "spool", "devices", "watch", "wipe")
_SAID = json.dumps({name: DOCUMENT[name] for name in _SECTIONS})
PART: dict[str, Any] = {
    "layer": "site-north",
    **json.loads(_SAID),
    "hosts": {HOST: json.loads(_SAID.replace('"MG1"', '"MG9"').replace('"CT1"', '"CT9"'))},
}
SCALARS = [path for path in paths(PART) if not isinstance(at(PART, path), list | dict)]
broken_parts = breakages(PART)


def parse(written: str) -> AuthoredPart:
    part = parse_policy_file(written.encode(), "part.yaml")
    assert isinstance(part, AuthoredPart)
    return part


def problems(written: str) -> tuple[Problem, ...]:
    try:
        parse(written)
    except PolicyFileMalformed as exc:
        return exc.problems
    return ()


def test_reads_what_a_site_says_and_its_exception_and_leaves_out_the_rest() -> None:
    assert parse(NORTH) == AuthoredPart(
        "site-north",
        PartContent(
            modalities=(Modality("CT7", "CT, north"),),
            state_every_s=30,
            devices=DevicePolicy((DeviceRule(parse_rule("allow id 0781:5581")),)),
        ),
        ((HostId.parse(HOST), PartContent(spool_quota_bytes=20 << 30, pull_every_s=60)),),
    )


def test_a_part_may_say_nothing_for_its_hosts_need_its_layer_all_the_same() -> None:
    assert parse("layer: modality-ct\n") == AuthoredPart("modality-ct", PartContent())


@pytest.mark.parametrize(
    "changed, to, problem",
    [
        *(
            ("timings:", f"{name}: x\ntimings:", f"4: '{name}': is the organisation's alone to say, for the centre")
            for name in ("keys", "receipt_key", "routes", "dicom_trust", "coverage", "custody")
        ),
        ("    spool:", "    routes: []\n    spool:", f"9: hosts[{HOST}].'routes': is the organisation's alone to say"),
        ("site-north", "modality-ct", "7: 'hosts': only the file of a site has exceptions for single hosts"),
        ("site-north", "site-NORTH", "1: layer: expected site-NAME or modality-NAME, NAME 1 to 23 of a to z"),
        ("site-north", "north", "1: layer: expected organisation, site-NAME or modality-NAME"),
        ("layer: site-north", "layer: site-north\nlayer: site-x", "2: layer: is written on line 1 already"),
        (
            '\n  - {ae_title: CT7, description: "CT, north"}',
            " []",
            "2: modalities: expected at least one; a part adds to who may send, and takes nobody out",
        ),
        ("{state_every_s: 30}", "{}", "4: timings: expected at least one of the fields state_every_s, pull_every_s"),
        ("state_every_s: 30", "state_every_s: 0", "4: timings.state_every_s: expected a whole number of seconds"),
        (HOST, "CT 7", "8: hosts['CT 7']: expected the id of a host as `status` prints it"),
        (
            f"  {HOST}:\n",
            f"  {HOST}: {{timings: {{pull_every_s: 1}}}}\n  {HOST}:\n",
            f"9: hosts['{HOST}']: is listed on line 8 already",
        ),
        (
            f"  {HOST}:\n",
            f"  host-{'1b' * 16}: {{}}\n  {HOST}:\n",
            f"8: hosts[host-{'1b' * 16}]: expected at least one of the fields modalities",
        ),
        (
            "    spool:",
            "    modalities: [{ae_title: CT7, description: the same}]\n    spool:",
            f"9: hosts[{HOST}].modalities[1].ae_title: is listed on line 3 already",
        ),
    ],
)
def test_names_what_a_part_may_not_say_with_its_line(changed: str, to: str, problem: str) -> None:
    assert changed in NORTH
    with pytest.raises(PolicyFileMalformed) as refused:
        parse(NORTH.replace(changed, to, 1))

    assert f"part.yaml:{problem}" in str(refused.value)


def test_hosts_that_name_nobody_are_a_problem() -> None:
    (found,) = problems("layer: site-north\nhosts: {}\n")

    assert found.text("part.yaml").startswith(
        "part.yaml:2: hosts: expected 1 to 1000 entries, each with a name: the id"
    )


@pytest.mark.parametrize("written", [NORTH, as_yaml(PART), "layer: site-north\n"], ids=["short", "whole", "nothing"])
def test_what_is_written_is_read_back_as_the_same(written: str) -> None:
    assert parse(text(parse(written))) == parse(written)


@given(broken_parts)
def test_whatever_a_file_of_a_part_says_hosts_take_and_it_is_written_and_read_back(made: Broken) -> None:
    with suppress(PolicyFileMalformed):
        part = parse_policy_file(made.text.encode(), "part.yaml")
        assert isinstance(part, AuthoredPart)
        assert AuthoredPart.of(PartDocument.parse(part.document(3).encode())) == part
        assert parse(text(part)) == part


@given(broken_parts)
def test_every_problem_of_a_part_has_a_line_of_the_file_and_a_field(made: Broken) -> None:
    for problem in problems(made.text) if made.document.get("layer") == "site-north" else ():
        assert 1 <= problem.line <= made.text.count("\n")
        assert problem.field
        assert problem.why


def test_the_schema_of_a_part_is_published_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    Draft202012Validator.check_schema(part_schema())

    assert PUBLISHED.read_text(encoding="utf-8") == schema_text(part_schema())
    assert main(["policy", "schema", "--part"]) == 0
    assert json.loads(capsys.readouterr().out) == part_schema()


@pytest.mark.parametrize("document", [PART, {"layer": "modality-ct"}, {"layer": "site-a", "grading": PART["grading"]}])
def test_the_schema_takes_parts_that_the_reader_takes(document: dict[str, Any]) -> None:
    assert problems(as_yaml(document)) == ()
    assert list(SCHEMA.iter_errors(document)) == []


@given(broken_parts)
def test_the_schema_takes_whatever_the_reader_takes(made: Broken) -> None:
    if str(made.document.get("layer")).startswith("site-") and not problems(made.text):
        assert list(SCHEMA.iter_errors(made.document)) == []


@given(st.sampled_from(mappings(PART)))
def test_the_schema_refuses_a_field_that_there_is_none_of(path: tuple[str | int, ...]) -> None:
    made = with_unknown(path, whole=PART)

    assert problems(made.text) != ()
    assert list(SCHEMA.iter_errors(made.document)) != []


@given(st.sampled_from(SCALARS), st.sampled_from([None, [[]], {"a": {}}]))
def test_the_schema_refuses_a_value_of_another_kind(path: tuple[str | int, ...], odd: object) -> None:
    assert list(SCHEMA.iter_errors(with_value(path, odd, PART).document)) != []


@pytest.mark.parametrize(
    "path, value",
    [
        (("layer",), "site-NORTH"),
        (("layer",), "modality-ct"),
        (("modalities",), []),
        (("timings",), {}),
        (("hosts",), {}),
        (("hosts", HOST), {}),
        (("hosts",), {"host-1": {"timings": {"pull_every_s": 1}}}),
        (("hosts", HOST, "timings", "pull_every_s"), 86_401),
        (("hosts", HOST, "custody"), {"frame_digests": True}),
        (("dicom_trust",), "x"),
        (("routes",), []),
    ],
)
def test_the_schema_refuses_of_a_part_what_the_reader_does(path: tuple[str, ...], value: object) -> None:
    document = with_value(path, value, PART).document

    assert problems(as_yaml(document)) != ()
    assert list(SCHEMA.iter_errors(document)) != []


def test_the_schema_of_a_part_that_forbids_too_much_is_found_out() -> None:
    narrow = deepcopy(part_schema())
    narrow["properties"]["timings"]["properties"]["state_every_s"]["maximum"] = 4  # type: ignore[index,call-overload]

    assert list(Draft202012Validator(narrow).iter_errors(PART)) != []
