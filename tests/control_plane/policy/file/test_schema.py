"""The published JSON Schema takes what the reader takes, and refuses nothing else than the reader does."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from control_plane.__main__ import main
from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.file.problems import PolicyFileMalformed
from control_plane.policy.file.schema import schema, schema_text
from shared.policy.grading import ATTRIBUTES
from tests.control_plane.policy.file.broken import (
    DOCUMENT,
    MAPPINGS,
    PATHS,
    Broken,
    as_yaml,
    at,
    broken,
    with_unknown,
    with_value,
    without,
)
from tests.control_plane.policy.file.full import organisation

PUBLISHED = Path(__file__).resolve().parents[4] / "docs" / "formats" / "policy-file.schema.json"
SCHEMA = Draft202012Validator(schema())


def read(document: dict[str, Any]) -> AuthoredPolicy | PolicyFileMalformed:
    try:
        return organisation(as_yaml(document).encode(), "policy.yaml")
    except PolicyFileMalformed as exc:
        return exc


def test_what_is_published_and_printed_is_the_schema_of_this_reader(capsys: pytest.CaptureFixture[str]) -> None:
    Draft202012Validator.check_schema(schema())

    assert PUBLISHED.read_text(encoding="utf-8") == schema_text(schema())
    assert main(["policy", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()


def test_takes_a_policy_that_uses_every_field() -> None:
    assert isinstance(read(DOCUMENT), AuthoredPolicy)
    assert list(SCHEMA.iter_errors(DOCUMENT)) == []


def _fields(part: Any) -> set[str]:
    """Return every field that a schema knows, wherever it stands in it."""
    if isinstance(part, list):
        return set().union(*map(_fields, part))
    if not isinstance(part, dict):
        return set()
    return set(part.get("properties", ())) | set().union(*map(_fields, part.values()))


def test_the_policy_that_all_of_this_starts_from_leaves_only_alternatives_out() -> None:
    used = {part for path in PATHS for part in path if isinstance(part, str)}

    alternatives = {"quota_mib", "rules_file", "block", "input", "net", "pci", "thunderbolt"}
    assert _fields(schema()) - used == alternatives | set(ATTRIBUTES) - used


@given(broken)
def test_takes_whatever_the_reader_takes(made: Broken) -> None:
    if isinstance(read(made.document), AuthoredPolicy):
        assert list(SCHEMA.iter_errors(made.document)) == []


@given(st.sets(st.sampled_from([path for path in PATHS if len(path) == 1])), st.data())
def test_takes_policies_with_less_in_them(taken_out: set[tuple[str]], data: st.DataObject) -> None:
    document = deepcopy(DOCUMENT)
    for (name,) in taken_out:
        del document[name]
    for listed in ("modalities", "routes"):
        if listed in document:
            document[listed] = document[listed][: data.draw(st.integers(0, 2))]

    if isinstance(read(document), AuthoredPolicy):
        assert list(SCHEMA.iter_errors(document)) == []


@given(st.sampled_from(MAPPINGS))
def test_refuses_a_field_that_there_is_none_of(path: tuple[str | int, ...]) -> None:
    assert list(SCHEMA.iter_errors(with_unknown(path).document)) != []


@given(st.sampled_from(PATHS))
def test_refuses_a_missing_field_where_the_reader_does(path: tuple[str | int, ...]) -> None:
    made = without(path)
    found = read(made.document)

    if isinstance(found, PolicyFileMalformed) and "is missing" in str(found):
        assert list(SCHEMA.iter_errors(made.document)) != []


@given(st.sampled_from([path for path in PATHS if not isinstance(at(DOCUMENT, path), list | dict)]))
def test_refuses_a_value_of_another_kind(path: tuple[str | int, ...]) -> None:
    others: tuple[Any, ...] = (None, [[]], {"a": {}})
    for odd in others:
        assert list(SCHEMA.iter_errors(with_value(path, odd).document)) != []


@pytest.mark.parametrize(
    "path, value",
    [
        (("timings", "state_every_s"), 3601),
        (("modalities", 0, "ae_title"), "SEVENTEEN-LETTERS"),
        (("modalities", 0, "certificates"), ["0A" * 32]),
        (("grading", "rules", 0, "when", "modality"), []),
        (("grading", "grades"), ["secret", "secret"]),
        (("routes", 0, "tls", "trust"), "my own"),
        (("spool",), {"quota_mib": 1, "quota_gib": 1}),
        (("devices", "rules_file"), "usb.conf"),
        (("devices", "rules", 0), "permit id *:*"),
        (("devices", "rescue", "minutes"), 61),
        (("watch", "every_s"), 9),
        (("watch", "encrypted"), ["/" + "a" * 200]),
        (("wipe", "least"), "destroy"),
        (("wipe", "read_back"), "none"),
        (("wipe", "approvals"), 6),
        (("wipe", "ticket_hours"), 169),
        (("wipe",), {"least": "purge"}),
        (("layer",), "site"),
    ],
)
def test_refuses_what_is_beyond_a_limit_as_the_reader_does(path: tuple[str | int, ...], value: object) -> None:
    document = with_value(path, value).document

    assert isinstance(read(document), PolicyFileMalformed)
    assert list(SCHEMA.iter_errors(document)) != []


def test_certificates_need_what_they_are_issued_by() -> None:
    assert list(SCHEMA.iter_errors(without(("dicom_trust",)).document)) != []


def test_a_schema_that_forbids_too_much_is_found_out() -> None:
    narrow = deepcopy(schema())
    narrow["properties"]["timings"]["properties"]["state_every_s"]["maximum"] = 4  # type: ignore[index,call-overload]

    assert list(Draft202012Validator(narrow).iter_errors(DOCUMENT)) != []
