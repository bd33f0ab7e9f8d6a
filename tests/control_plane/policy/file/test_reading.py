import re
from dataclasses import fields
from pathlib import Path
from textwrap import indent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.policy.file.authored import AuthoredPolicy
from control_plane.policy.file.problems import PolicyFileMalformed
from control_plane.policy.file.reading import parse_policy_file
from shared.policy.document import MAX_BYTES, MAX_MODALITIES, KeyPurpose, Modality, PolicyDocument, SealingKey
from shared.policy.grading import ATTRIBUTES, Grading
from tests.control_plane.policy.file.full import FINGERPRINT, FULL, MEANT, organisation
from tests.fakes.dicom_pki import of_version_41
from tests.vectors.given import TRUST, sealing_key, signer

GOOD = """\
layer: organisation
modalities:
  - ae_title: CT1
    description: CT, room 1.14
  - ae_title: MR 2
    description: Röntgen
grading: {default: restricted}
timings: {state_every_s: 5, pull_every_s: 30}
"""
GUIDE = Path(__file__).resolve().parents[4] / "docs" / "guides" / "administrator.md"


def parse(text: str) -> AuthoredPolicy:
    return organisation(text.encode(), "policy.yaml")


def problems(text: str) -> list[str]:
    """Return what is wrong with `text`, one line each, without the file's name."""
    with pytest.raises(PolicyFileMalformed) as refused:
        parse(text)
    lines = str(refused.value).split("\n")[1:]
    assert all(line.startswith("policy.yaml:") for line in lines)
    return [line.removeprefix("policy.yaml:") for line in lines]


def test_reads_a_policy() -> None:
    assert parse(GOOD) == AuthoredPolicy(
        "organisation", (Modality("CT1", "CT, room 1.14"), Modality("MR 2", "Röntgen")), Grading("restricted"), 5, 30
    )


def test_reads_comments_quotes_and_windows_line_ends() -> None:
    text = GOOD.replace("CT1", '"0123"  # quoted, or YAML reads a number').replace("\n", "\r\n")

    assert parse(text).modalities[0].ae_title == "0123"


def test_no_modality_at_all_is_written_as_an_empty_list() -> None:
    assert parse("layer: organisation\nmodalities: []\n" + GOOD[GOOD.index("grading") :]).modalities == ()


def example(language: str) -> str:
    guide = GUIDE.read_text(encoding="utf-8")
    return guide.partition(f"```{language}\n")[2].partition("```")[0]


def test_the_guides_longer_example_is_a_policy_whose_every_rule_can_be_reached() -> None:
    text = GUIDE.read_text(encoding="utf-8").split("```yaml\n")[2].partition("```")[0]
    body = TRUST.splitlines()[1:-1]
    filled = re.sub(
        r"^( +)\(the certificate.*$", lambda found: indent("\n".join(body), found[1]), text, flags=re.MULTILINE
    )

    policy = parse(filled)
    assert policy.routes[0].peer.trust == policy.dicom_trust == TRUST
    assert len(policy.grading.rules) == 2


def test_the_guide_names_every_attribute_that_rules_look_at() -> None:
    rows = GUIDE.read_text(encoding="utf-8").partition("| attribute | of the image |")[2].partition("\n\n")[0]

    assert sorted(re.findall(r"`([a-z_]+)`", rows)) == sorted(ATTRIBUTES)


def test_the_guides_example_is_a_policy_and_its_mistakes_read_as_the_guide_says() -> None:
    mistaken = example("yaml").replace('"1234"', "1234").replace("state_every_s: 5", "state_every_s: 0")

    assert parse(example("yaml")).layer == "organisation"
    assert [f"policy.yaml:{problem}" for problem in problems(mistaken)] == example("text").splitlines()


@pytest.mark.parametrize(
    "old, new, problem",
    [
        ("layer: organisation\n", "", "1: layer: is missing"),
        ("layer: organisation", "layer: ward", "1: layer: expected organisation, site-NAME or modality-NAME"),
        ("layer: organisation", "layer: organisation\nlayer: organisation", "2: layer: is written on line 1 already"),
        (
            "grading:",
            "gradings: 1\ngrading:",
            "7: 'gradings': there is no such field; expected the fields layer, modalities, grading, timings",
        ),
        (
            "ae_title: MR 2",
            "ae_title: CT1",
            "5: modalities[2].ae_title: is listed on line 3 already; each is listed once",
        ),
        ("    description: CT, room 1.14\n", "", "3: modalities[1].description: is missing"),
        ("ae_title: CT1", "ae_title: 0123", "3: modalities[1].ae_title: YAML reads 0123 as a number; quote it"),
        ("ae_title: CT1", "ae_title: NO", "3: modalities[1].ae_title: YAML reads NO as true or false; quote it"),
        (
            "ae_title: CT1",
            "ae_title: 2026-01-31",
            "3: modalities[1].ae_title: YAML reads 2026-01-31 as a date; quote it",
        ),
        (
            "state_every_s: 5",
            "state_every_s: 0",
            "8: timings.state_every_s: expected a whole number of seconds from 1 to 3600",
        ),
        ("default: restricted", "default: Top", "7: grading.default: expected a grade such as restricted: a to z"),
        ("{default: restricted}", "restricted", "7: grading: expected the fields default"),
        (
            "description: Röntgen",
            f"description: {'x' * 101}",
            "6: modalities[2].description: expected 1 to 100 characters on one line",
        ),
        ("layer: organisation", "1: x\nlayer: organisation", "1: '1': there is no such field"),
        ("layer: organisation", "? [a]\n: x\nlayer: organisation", "1: a field that is not text: there is no such"),
        ("layer: organisation", "<<: {a: b}\nlayer: organisation", "1: '<<': there is no such field"),
    ],
)
def test_names_line_field_and_what_is_allowed(old: str, new: str, problem: str) -> None:
    assert old in GOOD

    (found,) = problems(GOOD.replace(old, new, 1))
    assert found.startswith(problem)


@pytest.mark.parametrize(
    "value", ['"5"', "5.0", "010", "0x10", "1_0", "1:30", "+5", "-5", "3601", "99999999999", "[5]"]
)
def test_refuses_numbers_that_are_not_plain(value: str) -> None:
    (found,) = problems(GOOD.replace("state_every_s: 5", f"state_every_s: {value}"))

    assert found == "8: timings.state_every_s: expected a whole number of seconds from 1 to 3600"


@pytest.mark.parametrize(
    "title", ['" CT1"', '"CT1 "', "'CT\\1'", "SEVENTEEN-LETTERS", "CTÄ", '""', '"CT\\t1"', "", "[CT1]", "~"]
)
def test_refuses_what_is_no_ae_title(title: str) -> None:
    (found,) = problems(GOOD.replace("ae_title: CT1", f"ae_title: {title}"))

    assert found.startswith("3: modalities[1].ae_title: expected 1 to 16 printable ASCII characters without backslash")


def test_names_all_problems_at_once_in_the_order_of_lines() -> None:
    text = GOOD.replace("layer: organisation", "layer: x").replace("CT1", "NO").replace("pull_every_s: 30", "pull: 30")

    assert [problem.partition(":")[0] for problem in problems(text)] == ["1", "3", "8", "8"]


@pytest.mark.parametrize(
    "text, problem",
    [
        (GOOD.replace("CT1", "&a CT1"), "3: anchors (&) and aliases (*) are not allowed; write the value out"),
        (GOOD.replace("CT1", "*a"), "3: anchors (&) and aliases (*) are not allowed; write the value out"),
        (GOOD.replace("CT1", "!!python/object/apply:os.system ['id']"), "3: tags (!) are not allowed"),
        (GOOD + "---\n" + GOOD, "9: a second document begins here; a file holds one policy"),
        ("", "1: is empty"),
        ("# nothing yet\n", "1: is empty"),
        ("layer: [", "1: not YAML: "),
        (GOOD.replace("grading", "\tgrading"), "7: not YAML: "),
        (GOOD.replace("CT1", "\x07"), "3: holds a character that YAML does not allow"),
        ("[" * 20_000, "1: nested deeper than 16"),
        ("- organisation\n", "1: expected the fields layer, modalities, grading, timings"),
    ],
)
def test_refuses_what_yaml_allows_and_a_policy_does_not(text: str, problem: str) -> None:
    (found, *_) = problems(text)

    assert found.startswith(problem)


def test_refuses_an_alias_bomb_without_expanding_it() -> None:
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]

    assert problems("\n".join(lines))[0].startswith("1: anchors (&) and aliases (*) are not allowed")


def test_refuses_a_file_that_is_too_large_or_not_text() -> None:
    with pytest.raises(PolicyFileMalformed, match="larger than 256 KiB"):
        parse_policy_file(b"#" * (MAX_BYTES + 1), "policy.yaml")
    with pytest.raises(PolicyFileMalformed, match=r"policy\.yaml:2: not text in UTF-8"):
        parse_policy_file(b"layer: organisation\n\xff", "policy.yaml")


def test_refuses_more_modalities_than_a_policy_holds() -> None:
    many = "".join(f"  - {{ae_title: A{n}, description: x}}\n" for n in range(MAX_MODALITIES + 1))

    (found,) = problems("layer: organisation\nmodalities:\n" + many + GOOD[GOOD.index("grading") :])
    assert found == f"3: modalities: expected a list of at most {MAX_MODALITIES}; none is written as []"


# ---- what is not required


def line_in(text: str, piece: str) -> int:
    return text.count("\n", 0, text.index(piece)) + 1


def changed(old: str, new: str, *, text: str = FULL) -> list[str]:
    assert old in text
    return problems(text.replace(old, new, 1))


def test_reads_everything_that_a_policy_can_say() -> None:
    assert parse(FULL) == MEANT


def test_certificates_need_no_line_end_of_their_own() -> None:
    assert parse(FULL.replace("dicom_trust: |", "dicom_trust: |-")) == MEANT


@pytest.mark.parametrize(
    "given, bytes_", [("quota_mib: 512", 512 << 20), ("quota_gib: 1", 1 << 30), ("quota_gib: 1048576", 1 << 50)]
)
def test_a_quota_is_given_in_one_of_two_units(given: str, bytes_: int) -> None:
    assert parse(FULL.replace("quota_gib: 50", given)).spool_quota_bytes == bytes_


@pytest.mark.parametrize(
    "old, new, problem",
    [
        # who may send
        ("192.0.2.10,", "192.0.2.010,", "modalities[1].addresses[1]: expected an IP address or a network such as"),
        ("192.0.2.16/28", "192.0.2.17/28", "modalities[1].addresses[2]: expected an IP address or a network such as"),
        ('"2001:db8::10"', '"2001:0db8::10"', "modalities[1].addresses[3]: is not written in its usual short form"),
        ('"2001:db8::10"', "192.0.2.10", "modalities[1].addresses[3]: is listed on line 5 already"),
        ("addresses: [192.0.2.10,", "addresses: [1:20,", "modalities[1].addresses[1]: YAML reads 1:20 as a number"),
        (FINGERPRINT, FINGERPRINT.upper(), "modalities[1].certificates[1]: expected the SHA-256 fingerprint"),
        (FINGERPRINT, f"{FINGERPRINT}, {FINGERPRINT}", "modalities[1].certificates[2]: is listed on line 6 already"),
        (
            "export_folder: move",
            "export_folder: burn",
            "modalities[1].export_folder: expected one of keep, move, delete",
        ),
        ("export_folder: move", "export_folder: [move]", "modalities[1].export_folder: expected one of keep, move"),
        ("{modality: CT}", "{modality: ct}", "modalities[2].station.modality: expected a modality as in (0008,0060)"),
        ("{modality: CT}", "{station_name: A}", "modalities[2].station.modality: is missing"),
        ("station_name: MGROOM2", f"station_name: {'M' * 17}", "modalities[1].station.station_name: expected 1 to 16"),
        ("port: 104\n", "port: 65536\n", "modalities[1].commitment.port: expected a whole number from 1 to 65535"),
        ("name: mg1.example", "name: -x", "modalities[1].commitment.tls.name: expected a host name or an IP address"),
        ("name: mg1.example", "nome: x", "modalities[1].commitment.tls.'nome': there is no such field; expected the"),
        # grading
        ("default: restricted", "default: top", "grading.default: grade top is not in grading.grades; list every"),
        ("grade: general", "grade: generous", "grading.rules[2].grade: grade generous is not in grading.grades"),
        ("      grade: general\n", "", "grading.rules[2].grade: is missing"),
        ("secret]", "secret, general]", "grading.grades[4]: is listed on line 31 already"),
        (
            "{calling_ae_title: [PHANTOM]}",
            "{weekday: [MON]}",
            "grading.rules[2].when.'weekday': there is no such field",
        ),
        ("[PHANTOM]", "PHANTOM", "grading.rules[2].when.calling_ae_title: expected a list of at most 50"),
        ("[PHANTOM]", "[]", "grading.rules[2].when.calling_ae_title: lists nothing, so the rule never holds"),
        ("[PHANTOM]", "[NO]", "grading.rules[2].when.calling_ae_title[1]: YAML reads NO as true or false; quote it"),
        ("[PHANTOM]", f"[{'P' * 65}]", "grading.rules[2].when.calling_ae_title[1]: expected 1 to 64 characters on one"),
        (
            "      routes: [pacs-main]",
            "      routes: [pacs]",
            "grading.rules[1].routes[1]: there is no route pacs; there is",
        ),
        (
            "[pacs-main, pacs-old]",
            "[pacs-main, x]",
            "grading.routes[2]: there is no route x; there is pacs-main, pacs-",
        ),
        ("[pacs-main, pacs-old]", "[pacs-old, pacs-old]", "grading.routes[2]: is listed on line 38 already"),
        ("ungraded_routes: [pacs-old]", "ungraded_routes: [x]", "grading.ungraded_routes[1]: there is no route x"),
        # routes
        ("via: centre", "via: carrier-pigeon", "routes[1].via: expected one of centre, host"),
        ("host: 127.0.0.1", "host: 192.0.2.7", "routes[2].host: is another machine, and images go there in TLS only"),
        ("{name: pacs-old", "{name: pacs-main", "routes[2].name: is listed on line 42 already"),
        ("name: pacs-main", "name: PACS", "routes[1].name: expected the name of a route, such as pacs-main"),
        # the rest
        ("spool: {quota_gib: 50}", "spool: {}", "spool: expected one of the fields quota_mib, quota_gib; leave spool"),
        ("quota_gib: 50", "quota_gib: 50, quota_mib: 1", "spool: expected one of the fields quota_mib, quota_gib"),
        ("quota_gib: 50", "quota_gib: 0", "spool.quota_gib: expected a whole number from 1 to 1048576"),
        ("frame_digests: true", "frame_digests: yes", "custody.frame_digests: expected true or false"),
        ("frame_digests: true", "", "custody.frame_digests: is missing"),
        ("coverage: {calling_ae_title: LEADGLASS, ", "coverage: {", "coverage.calling_ae_title: is missing"),
    ],
)
def test_names_line_and_field_of_what_is_optional_too(old: str, new: str, problem: str) -> None:
    found = changed(old, new)

    assert any(one.partition(": ")[2].startswith(problem) for one in found), found
    line = next(one for one in found if problem in one).partition(":")[0]
    assert int(line) == line_in(FULL, old) or "is missing" in problem


@pytest.mark.parametrize(
    "pem",
    [
        "x",
        "-----BEGIN CERTIFICATE-----\n  AAAA\n  -----END CERTIFICATE-----",
        "-----BEGIN PRIVATE KEY-----\n  AAAA\n  -----END PRIVATE KEY-----",
        indent(of_version_41(TRUST), "  ").strip(),
    ],
)
def test_refuses_what_is_no_certificate_to_trust(pem: str) -> None:
    start = FULL.index("dicom_trust")
    text = FULL[:start] + f"dicom_trust: |\n  {pem}\n" + FULL[FULL.index("coverage:") :]

    (found,) = problems(text)
    assert found.startswith(f"{line_in(FULL, 'dicom_trust')}: dicom_trust: expected certificates in PEM")


def test_binding_a_modality_to_a_certificate_needs_somebody_who_issues_it() -> None:
    start = FULL.index("dicom_trust")
    text = FULL[:start] + FULL[FULL.index("coverage:") :]

    (found,) = problems(text)
    assert found.startswith("6: modalities[1].certificates: needs dicom_trust")


RULES = GOOD.replace(
    "{default: restricted}",
    "{default: restricted, rules: [{when: WHEN1, grade: restricted}, {when: WHEN2, grade: restricted}]}",
)


@pytest.mark.parametrize(
    "earlier, later",
    [
        ("{}", "{modality: [CT]}"),
        ("{}", "{}"),
        ("{modality: [CT]}", "{modality: [CT]}"),
        ("{modality: [ct]}", "{modality: [CT]}"),
        ("{modality: [CT, MR]}", "{modality: [MR]}"),
        ("{modality: [CT]}", "{modality: [CT], patient_id: [A]}"),
    ],
)
def test_refuses_a_rule_that_is_never_reached(earlier: str, later: str) -> None:
    (found,) = problems(RULES.replace("WHEN1", earlier).replace("WHEN2", later))

    assert found.startswith("7: grading.rules[2]: is never reached: rule 1 holds wherever it does")


@pytest.mark.parametrize(
    "earlier, later",
    [
        ("{modality: [CT]}", "{}"),
        ("{modality: [MR]}", "{modality: [CT, MR]}"),
        ("{modality: [CT], patient_id: [A]}", "{modality: [CT]}"),
        ("{modality: [CT]}", "{patient_id: [CT]}"),
    ],
)
def test_takes_a_rule_that_is_reached(earlier: str, later: str) -> None:
    assert len(parse(RULES.replace("WHEN1", earlier).replace("WHEN2", later)).grading.rules) == 2


def test_without_a_list_of_grades_the_default_is_the_only_one() -> None:
    text = RULES.replace("WHEN1", "{modality: [CT]}").replace("WHEN2", "{}").replace("grade: restricted", "grade: open")

    assert [one.partition(": ")[2].partition(":")[0] for one in problems(text)] == [
        "grading.rules[1].grade",
        "grading.rules[2].grade",
    ]


def test_a_pattern_that_yaml_takes_for_an_alias_is_to_be_quoted() -> None:
    (found,) = changed('["*BREAST*"', "[*BREAST*")

    assert found.startswith("33: not YAML: ")
    assert found.endswith("a text that begins with * is written in quotes")


def test_an_ae_title_twice_on_one_line_is_noticed() -> None:
    twice = "modalities: [{ae_title: A, description: x}, {ae_title: A, description: y}]\n"

    (found,) = problems("layer: organisation\n" + twice + GOOD[GOOD.index("grading") :])
    assert found == "2: modalities[2].ae_title: is listed on line 2 already; each is listed once"


@given(
    text=st.sampled_from([GOOD, FULL]),
    place=st.integers(min_value=0, max_value=len(FULL)),
    old=st.integers(min_value=0, max_value=8),
    new=st.text(max_size=3) | st.sampled_from(["[]", "{}", "~", "true", "1", "- ", ": ", "\n", "*", "&a "]),
)
def test_a_changed_file_is_a_policy_or_is_refused_with_a_line(text: str, place: int, old: int, new: str) -> None:
    changed = (text[:place] + new + text[place + old :]).encode("utf-8", "surrogatepass")
    refused: PolicyFileMalformed | None = None
    try:
        policy = organisation(changed, "policy.yaml")
    except PolicyFileMalformed as exc:
        refused = exc
    else:
        assert document(policy) == PolicyDocument.parse(document(policy).encode())

    assert refused is None or all(problem.line >= 1 and problem.why for problem in refused.problems)
    assert refused is None or refused.problems


def document(authored: AuthoredPolicy) -> PolicyDocument:
    """Return what hosts would get, with a key for every grade."""
    grades = dict.fromkeys((authored.grading.default, *authored.grading.grades))
    wanted = [(KeyPurpose.DATA, grade) for grade in grades] + [(KeyPurpose.INDEX, ""), (KeyPurpose.AUDIT, "")]
    keys = (SealingKey(*purpose, 1, sealing_key(f"key {n}").public) for n, purpose in enumerate(wanted))
    return PolicyDocument(
        version=1,
        keys=tuple(keys),
        receipt_key=signer("vault").public,
        **{f.name: getattr(authored, f.name) for f in fields(authored)},
    )
