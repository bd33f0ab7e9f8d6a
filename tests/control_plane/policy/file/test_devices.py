"""The `devices` section as an administrator writes it: USBGuard's lines unchanged, and every problem with its place."""

import dataclasses
import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.policy.file.beside import FileBesideUnusable, FolderOf
from control_plane.policy.file.device_meaning import describe_devices
from control_plane.policy.file.problems import PolicyFileMalformed
from control_plane.policy.file.reading import parse_policy_file
from shared.devices.device import Interface
from shared.devices.others import OtherKind, OtherKinds
from shared.devices.parse import parse_rule
from shared.devices.policy import DevicePolicy, DeviceRule, Rescue
from shared.devices.verdict import Access, Target
from shared.errors import Refused
from shared.policy.document import MAX_BYTES
from tests.control_plane.policy.file.full import organisation

BASE = """\
layer: organisation
modalities: []
grading: {default: restricted}
timings: {state_every_s: 5, pull_every_s: 30}
devices:
"""
# As `usbguard generate-policy` prints them.
HUB = "jEP/6WzviqdJ5VSeTUY8PatCNBKeaREvo2OqdplND/o="
GENERATED = f"""\
allow id 1d6b:0002 serial "0000:00:14.0" name "xHCI Host Controller" hash "{HUB}" \
parent-hash "rV9bfLq7c2eA4tYjVjwO4bxhm+y6GgZpl9J60L0fBkY=" with-interface 09:00:00 with-connect-type ""
allow id 046d:c31c serial "" name "USB Keyboard" hash "4Dkh2RsuFfBGrbkrwBqfLjEXPVY4sBYNqzZ1LxvO7n0=" \
parent-hash "{HUB}" via-port "1-1" with-interface {{ 03:01:01 03:00:00 }} with-connect-type "hotplug"
"""
UNTIL = datetime(2026, 12, 31, 18, 0, tzinfo=UTC)


def parse(devices: str, beside: dict[str, bytes] | None = None) -> DevicePolicy:
    def read(name: str) -> bytes:
        if beside is None or name not in beside:
            raise FileBesideUnusable(name, "No such file or directory")
        return beside[name]

    policy = organisation((BASE + devices).encode("utf-8", "surrogateescape"), "policy.yaml", read).devices
    assert policy is not None
    return policy


def problems(devices: str, beside: dict[str, bytes] | None = None) -> list[str]:
    with pytest.raises(PolicyFileMalformed) as refused:
        parse(devices, beside)
    return [line.removeprefix("policy.yaml:") for line in str(refused.value).split("\n")[1:]]


def rules(*texts: str) -> tuple[DeviceRule, ...]:
    return tuple(DeviceRule(parse_rule(text)) for text in texts)


def block(text: str) -> str:
    return "  rules: |\n" + "".join(f"    {line}\n" for line in text.splitlines())


def test_takes_what_usbguard_generate_policy_prints_unchanged() -> None:
    assert parse(block(GENERATED)) == DevicePolicy(rules(*GENERATED.splitlines()))


def test_a_policy_without_devices_says_nothing_of_them() -> None:
    policy = organisation(BASE.removesuffix("devices:\n").encode(), "policy.yaml")

    assert policy.devices is None


def test_a_block_may_hold_comments_and_empty_lines() -> None:
    text = "# hubs\n\nallow with-interface 09:00:00   # any\n\n   # end\nblock"

    assert parse(block(text)).rules == rules("allow with-interface 09:00:00", "block")


def test_no_rule_is_written_as_an_empty_list() -> None:
    assert parse("  rules: []\n") == DevicePolicy()


def test_a_list_says_what_stands_beside_a_rule() -> None:
    policy = parse("""\
  rules:
    - allow with-interface 09:00:00
    - rule: allow id 0951:1666 with-interface 08:06:50
      not_before: 2026-12-01T08:00:00Z
      not_after: "2026-12-31T18:00:00Z"
      access: read-only
      only_encrypted: true
    - rule: allow id 046d:c31c
      interfaces: ["03:01:02", "03:01:01"]
    - {rule: "reject with-interface all-of { 08:*:* 03:*:* }", observe_until: 2026-12-31T18:00:00Z}
""")

    hub, stick, keyboard, bad_usb = policy.rules
    assert hub == rules("allow with-interface 09:00:00")[0]
    assert stick == DeviceRule(
        parse_rule("allow id 0951:1666 with-interface 08:06:50"),
        not_before=datetime(2026, 12, 1, 8, 0, tzinfo=UTC),
        not_after=UNTIL,
        access=Access.READ_ONLY,
        only_encrypted=True,
    )
    assert keyboard.interfaces == (Interface(3, 1, 1), Interface(3, 1, 2))
    assert (bad_usb.target, bad_usb.observe_until) == (Target.REJECT, UNTIL)


def test_reads_everything_that_stands_beside_the_rules() -> None:
    policy = parse("""\
  rules: []
  default: reject
  observe_until: 2026-12-31T18:00:00Z
  suspicious: allow
  rescue: {port: 1-1.2, minutes: 10}
  contact: 设备科 电话 4711
  language: zh
  others: {thunderbolt: block, optical: allow}
""")

    others = OtherKinds(((OtherKind.OPTICAL, Target.ALLOW), (OtherKind.THUNDERBOLT, Target.BLOCK)))
    assert policy == DevicePolicy(
        (), Target.REJECT, UNTIL, Target.ALLOW, Rescue("1-1.2", 10), "设备科 电话 4711", "zh", others
    )


def test_others_that_name_nothing_are_none() -> None:
    assert parse("  rules: []\n  others: {}\n") == DevicePolicy()


def test_reads_a_rules_file_beside_the_policy() -> None:
    beside = {"usb.conf": GENERATED.replace("\n", "\r\n").encode()}

    assert parse("  rules_file: usb.conf\n", beside) == DevicePolicy(rules(*GENERATED.splitlines()))


@pytest.mark.parametrize(
    "devices, problem",
    [
        ("  {}\n", "6: devices: expected one of the fields rules, rules_file; no rule is written as rules: []"),
        ("  rules: []\n  rules_file: a\n", "6: devices: expected one of the fields rules, rules_file"),
        ("  rules: [1]\n", "6: devices.rules[1]: YAML reads 1 as a number; quote it"),
        ("  rules: true\n", "6: devices.rules: expected a block of rules"),
        ("  rules: allow\n", "6: devices.rules: expected a block of rules, one a line, that begins with |"),
        ("  rules: >\n    allow\n    block\n", "6: devices.rules: expected a block of rules"),
        ("  rules: {}\n", "6: devices.rules: expected a list of at most 10000"),
        ('  rules: ["# nothing"]\n', "6: devices.rules[1]: expected a rule on one line, such as allow id 046d:c31c"),
        ("  rules: [allow, alow]\n", "6: devices.rules[2]: column 1: found 'alow', allowed is one of allow, block"),
        ("  rules:\n    - rule: allow id x\n", "7: devices.rules[1].rule: column 10: found 'x', allowed is vendor"),
        ("  rules:\n    - match\n", "7: devices.rules[1]: a policy allows, blocks or rejects; match is for queries"),
        ("  rules:\n    - {access: read-only}\n", "7: devices.rules[1].rule: is missing"),
        (
            "  rules:\n    - {rule: allow, acess: read-only}\n",
            "7: devices.rules[1].'acess': there is no such field; expected the fields rule; and, if wanted, not_before",
        ),
        ("  rules:\n    - {rule: allow, access: none}\n", "7: devices.rules[1].access: expected one of read-write, re"),
        ("  rules:\n    - {rule: block, access: read-only}\n", "7: devices.rules[1]: access, only_encrypted and inter"),
        ("  rules:\n    - {rule: allow, only_encrypted: yes}\n", "7: devices.rules[1].only_encrypted: expected true o"),
        ("  rules:\n    - {rule: allow, not_after: 2026-12-31}\n", "7: devices.rules[1].not_after: expected a time in"),
        (
            "  rules:\n    - {rule: allow, not_after: 2026-12-31T18:00:00Z, not_before: 2026-12-31T18:00:00Z}\n",
            "7: devices.rules[1]: not_before is not before not_after",
        ),
        ("  rules:\n    - {rule: allow, observe_until: 2026-12-31T18:00:00Z}\n", "7: devices.rules[1]: observe_until"),
        ('  rules:\n    - {rule: allow, interfaces: ["3:1:1"]}\n', "7: devices.rules[1].interfaces[1]: expected an in"),
        ("  rules:\n    - {rule: allow, interfaces: [10:01:01]}\n", "7: devices.rules[1].interfaces[1]: YAML reads 10"),
        ("  rules: []\n  default: deny\n", "7: devices.default: expected one of allow, block, reject"),
        ("  rules: []\n  suspicious: deny\n", "7: devices.suspicious: expected one of allow, block, reject"),
        ("  rules: []\n  language: de\n", "7: devices.language: expected one of en, zh"),
        ("  rules: []\n  observe_until: soon\n", "7: devices.observe_until: expected a time in UTC such as 2026-12-31"),
        ("  rules: []\n  contact: ''\n", "7: devices.contact: expected 1 to 200 characters on one line"),
        ("  rules: []\n  rescue: {port: usb1, minutes: 10}\n", "7: devices.rescue.port: expected a port as the kernel"),
        ("  rules: []\n  rescue: {port: 1-1, minutes: 61}\n", "7: devices.rescue.minutes: expected a whole number fro"),
        ("  rules: []\n  rescue: {port: 1-1}\n", "7: devices.rescue.minutes: is missing"),
        ("  rules: []\n  others: {sd: reject}\n", "7: devices.others.sd: expected one of allow, block"),
        ("  rules: []\n  others: {usb: allow}\n", "7: devices.others.'usb': there is no such field; expected the fiel"),
        ("  rules: []\n  others: [sd]\n", "7: devices.others: expected the fields"),
        ("  rules: []\n  others: {sd: allow, sd: block}\n", "7: devices.others.sd: is written on line 7 already"),
        ("  rules_file: ../usb.conf\n", "6: devices.rules_file: expected the name of a file beside this one"),
        ("  rules_file: /etc/shadow\n", "6: devices.rules_file: expected the name of a file beside this one"),
        ("  rules_file: usb.conf\n", "6: devices.rules_file: usb.conf: No such file or directory"),
    ],
)  # fmt: skip
def test_names_what_is_wrong_where_and_what_is_allowed(devices: str, problem: str) -> None:
    found = problems(devices)

    assert len(found) == 1
    assert found[0].startswith(problem)


def test_a_problem_in_a_block_names_the_line_of_the_file_and_of_the_block_and_the_column() -> None:
    rule, word, default = problems(block("# hubs\nallow with-interface 9\n\nallow\nalow") + "  default: deny\n")

    assert rule.startswith("8: devices.rules: line 2 of the block, column 22: found '9', allowed is cc:ss:pp")
    assert word.startswith("11: devices.rules: line 5 of the block, column 1: found 'alow', allowed is one of allow")
    assert default == "12: devices.default: expected one of allow, block, reject"


def test_a_problem_in_a_rules_file_names_that_file_its_line_and_column() -> None:
    found = problems("  rules_file: usb.conf\n", {"usb.conf": b"allow\n\nallow id x\nmatch\n"})

    assert found[0].startswith("6: devices.rules_file: usb.conf, line 3, column 10: found 'x', allowed is vendor")
    assert found[1].startswith("6: devices.rules_file: usb.conf, line 4: a policy allows, blocks or rejects")


def test_a_rule_that_yaml_would_cut_at_a_comment_sign_is_noticed() -> None:
    (problem,) = problems('  rules:\n    - allow name "Stick #1"\n')

    assert problem.startswith("7: devices.rules[1]: column 18: found the end")


def test_more_rules_than_a_policy_takes_are_refused_at_the_one_too_many() -> None:
    assert problems(block("allow\n" * 10_001)) == ["10007: devices.rules: expected at most 10000 rules"]


@given(st.text(max_size=60))
def test_whatever_stands_in_a_block_is_read_or_a_problem(text: str) -> None:
    try:
        policy = parse(block(text))
    except PolicyFileMalformed:
        return

    assert all(rule.rule == parse_rule(rule.rule.text()) for rule in policy.rules)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "..", ".", ""])
def test_no_folder_can_be_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refused):
        FolderOf(tmp_path / "policy.yaml").read(name)


def test_reads_a_file_and_no_link_pipe_folder_or_flood(tmp_path: Path) -> None:
    beside = FolderOf(tmp_path / "policy.yaml")
    (tmp_path / "rules").write_bytes(b"allow")
    (tmp_path / "link").symlink_to(tmp_path / "rules")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "flood").write_bytes(b"#" * (MAX_BYTES + 1))

    assert beside.read("rules") == b"allow"
    for name in ("link", "folder", "pipe", "flood", "missing"):
        with pytest.raises(FileBesideUnusable):
            beside.read(name)


GUIDE = (Path(__file__).resolve().parents[4] / "docs" / "guides" / "administrator.md").read_text(encoding="utf-8")
OF_DEVICES = GUIDE.partition("## What may be plugged in")[2].partition("\n## ")[0]


def examples(language: str) -> list[str]:
    return [block.partition("```")[0] for block in OF_DEVICES.split(f"```{language}\n")[1:]]


def test_the_guides_policies_are_read_and_mean_what_it_says() -> None:
    observing, listed = (organisation(text.encode(), "policy.yaml") for text in examples("yaml"))
    told, _ = examples("text")

    assert observing.devices is not None
    assert describe_devices(observing.devices) == told.splitlines()
    assert listed.devices is not None
    assert listed.devices.rules[1].only_encrypted
    assert listed.devices.others.of("thunderbolt") is Target.BLOCK
    assert listed.watch is not None


def test_a_mistake_in_the_guides_policy_reads_as_the_guide_says() -> None:
    mistaken = examples("yaml")[0].replace("046d:c31c", "46d:c31c")
    with pytest.raises(PolicyFileMalformed) as refused:
        parse_policy_file(mistaken.encode(), "policy.yaml")

    assert str(refused.value).split("\n")[1:] == examples("text")[1].splitlines()


def test_the_guide_names_every_field() -> None:
    rows = re.findall(r"^\| (`.*?) \|", OF_DEVICES, re.MULTILINE)
    fields = set(re.findall("`([a-z_]+)`", " ".join(rows)))
    (of_others,) = re.findall(r"^\| `others` \|(.*)\|$", OF_DEVICES, re.MULTILINE)

    assert fields >= {field.name for kind in (DevicePolicy, DeviceRule) for field in dataclasses.fields(kind)}
    assert set(re.findall("`([a-z]+)`", of_others)) == {*OtherKind, Target.ALLOW, Target.BLOCK}
