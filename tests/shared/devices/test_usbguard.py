"""Held against USBGuard's own parser, Debian's `usbguard-rule-parser`: what is accepted, and the canonical text."""

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.devices.parse import RuleMalformed, parse_rules
from shared.devices.rule import Rule
from tests.shared.devices.given import rules

pytestmark = pytest.mark.skipif(
    shutil.which("usbguard-rule-parser") is None,
    reason="usbguard-rule-parser (Debian package usbguard) is not installed",
)

ACCEPTED = """
allow
block
reject
match
device 1234:abcd
allow# a comment
allow name "a" # a comment
# a comment

allow\tname\t"a"
allow  if true
allow id { 1d6b:0002 1d6b:* *:* }
allow *:*
allow 1234:*
allow name ""
allow name {"a" "b"}
allow name equals { "a" }
allow name equals-ordered { "a" }
allow name match-all { "a" "a" }
allow name "\\x41\\"\\\\\\xff"
allow name "é"
allow serial "s" name "n" hash "h" parent-hash "p" via-port "1-1" with-connect-type "hotplug" label "l"
allow with-connect-type "whatever" via-port "0"
allow label "a" label one-of { "b" }
allow with-interface { 03:01:01 03:01:* 03:*:* 03:01:01 }
allow with-interface one-of { FF:*:* }
allow if { !true random rule-applied !false }
allow if none-of {false}
allow if random(0.1666)
allow if localtime(08:00-17:30)
allow if localtime(8:00)
allow if rule-applied(10)
allow if rule-applied(1:00)
allow if rule-applied(1:00:30)
allow if allowed-matches(1234:abcd name "x")
allow if !allowed-matches(with-interface one-of { 03:00:01 03:01:01 })
allow if allowed-matches(if true)
allow if allowed-matches(name "\\x29")
""".strip("\n").split("\n")

REFUSED = """
allow 1234:1234 id 1234:1234
allow id *:1234
allow *:1234
allow 12345:1234
allow 123:1234
allow id asdf:*
ALLOW
allow allow
match allow
name "x"
allow { }
allow key "x"
allow name
allow name "
allow name "a
allow name "a\\"
allow name \\"a"
allow name 'a'
allow name {}
allow name { }
allow name { "a""b" }
allow name { a }
allow name one-of
allow name one-of "a"
allow name one-of{"a"}
allow name some { "a" }
allow name "a"name "b"
allow name "a" name "b"
allow name "a\\nb"
allow name "a\\'b"
allow name "a\\101b"
allow name "a\\x4"
allow hash "a" hash "b"
allow with-interface 1::
allow with-interface 12:*:34
allow with-interface *:*:*
allow with-interface "12:21:32"
allow with-interface 12:34:56 with-interface 12:34:56
allow unknown-attribute "s"
allow if
allow if unknown
allow if ! true
allow if !!true
allow if (true
allow if true((
allow if random(
allow if random()
allow if random(abc)
allow if true if false
allow if localtime()
allow if localtime(25:00)
allow if localtime(22:00-06:00)
allow if rule-applied(xx)
allow if allowed-matches(fooo)
allow if allowed-matches()
allow if allowed-matches(name "a)b")
allow if allowed-matches(name "a\\)b")
allow if allowed-matches(name "a\\"b")
allow if allowed-matches(if allowed-matches(true))
""".strip("\n").split("\n")

# Where we differ on purpose: what USBGuard makes of it, None for a refusal, and what we do. Each is on the format page.
DIFFERENT: dict[str, tuple[str | None, str | None]] = {
    " allow": (None, "allow"),
    "allow ": (None, "allow"),
    'allow if allowed-matches( name "x" )': (None, 'allow if allowed-matches( name "x" )'),
    "allow if localtime(2:00-3:00:30)": (None, "allow if localtime(2:00-3:00:30)"),
    "allow ABCD:12EF": ("allow id ABCD:12EF", "allow id abcd:12ef"),
    "allow if rule-evaluated(99)": ("allow if rule-applied(99)", "allow if rule-evaluated(99)"),
    "allow if localtime(2:00 o'clock)": ("allow if localtime(2:00 o'clock)", None),
    "allow if random(2)": ("allow if random(2)", None),
    "allow if random(0.5abc)": ("allow if random(0.5abc)", None),
    "allow if rule-applied(10 days)": ("allow if rule-applied(10 days)", None),
    "allow if true(x)": ("allow if true", None),
    "allow if match-all { true }": ("allow if match-all { true }", None),
}


def theirs(text: str, folder: Path) -> str | None:
    """Return USBGuard's canonical text of one line, empty for a comment; None where it refuses."""
    file = folder / "rule"
    file.write_bytes(text.encode("utf-8", "surrogateescape") + b"\n")
    done = subprocess.run(["usbguard-rule-parser", "-f", file], capture_output=True, check=False)
    if done.returncode != 0 or b"ERROR" in done.stdout + done.stderr:
        return None
    printed = [line for line in done.stdout.decode("ascii", "replace").splitlines() if line.startswith("OUTPUT:")]
    return printed[0].removeprefix("OUTPUT:").strip() if printed else ""


def ours(text: str) -> str | None:
    try:
        return "".join(rule.text() for rule in parse_rules(text))
    except RuleMalformed:
        return None


@pytest.mark.parametrize("text", ACCEPTED)
def test_both_accept_it_and_print_the_same(text: str, tmp_path: Path) -> None:
    read = ours(text)

    assert read is not None
    assert theirs(text, tmp_path) == read
    assert theirs(read, tmp_path) == read


@pytest.mark.parametrize("text", REFUSED)
def test_both_refuse_it(text: str, tmp_path: Path) -> None:
    assert ours(text) is None
    assert theirs(text, tmp_path) is None


@pytest.mark.parametrize("text", DIFFERENT)
def test_the_differences_are_the_ones_that_are_listed(text: str, tmp_path: Path) -> None:
    assert (theirs(text, tmp_path), ours(text)) == DIFFERENT[text]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(several=st.lists(rules, min_size=1, max_size=20))
def test_usbguard_reads_what_we_print_and_prints_it_unchanged(several: list[Rule], tmp_path: Path) -> None:
    file = tmp_path / "rules"
    printed = [rule.text() for rule in several if "rule-evaluated" not in rule.text()]
    file.write_text("".join(f"{text}\n" for text in printed))
    done = subprocess.run(["usbguard-rule-parser", "-f", file], capture_output=True, check=True, text=True)

    outputs = [line.removeprefix("OUTPUT: ") for line in done.stdout.splitlines() if line.startswith("OUTPUT: ")]
    assert outputs == printed


def test_a_small_change_is_accepted_by_both_or_by_neither(tmp_path: Path) -> None:
    rng = random.Random(4)
    telling = '"\\{}:*!#( )-\tx0aAfn'
    for _ in range(400):
        text = rng.choice([line for line in ACCEPTED if "(" not in line and not line.startswith("#")])
        at = rng.randrange(len(text) + 1)
        changed = text[:at] + rng.choice(telling) * rng.randrange(2) + text[at + rng.randrange(2) :]
        if changed == changed.strip(" \t") and "(" not in changed:
            printed = theirs(changed, tmp_path)
            assert ours(changed) == (printed and _with_lower_ids(printed)), changed


def _with_lower_ids(printed: str) -> str:
    return re.sub(r"\b[0-9A-Fa-f]{4}:([0-9A-Fa-f]{4}|\*)", lambda found: found[0].lower(), printed)
