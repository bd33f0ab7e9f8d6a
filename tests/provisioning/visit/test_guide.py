"""The field engineer's guide says what the programs take, say and keep."""

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from provisioning.completion.command import PROGRAMS
from provisioning.preflight.evaluate import ADVISED
from provisioning.site import Site, joined, parse_file

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs/guides/field-engineer.md").read_text()
FORMAT = (ROOT / "docs/formats/visit-record.md").read_text()


def commands() -> list[str]:
    lines = re.findall(r"^(?:    )?(leadglass-(?:agent|guard|provision|server|verify) .*)$", GUIDE, re.MULTILINE)
    return [re.split(r"\s{2,}\(|\s(?:>|\||&&)\s", line)[0] for line in lines]


@pytest.mark.parametrize("line", commands())
def test_every_command_that_is_shown_is_taken(line: str) -> None:
    program, *arguments = shlex.split(line)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.exit", lambda code: pytest.fail(f"{line} is not taken: {code}"))
        import_module(PROGRAMS[program]).command_line().parse_args(arguments)


def test_the_site_file_that_is_shown_is_read_and_every_field_is_named() -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    site = joined(parse_file(shown.replace('"0f3c..."', f'"{"0f3c" * 16}"')))

    assert (site.guard, site.received_by) == (True, "Dr. Ada Lovelace")
    for text in (GUIDE, FORMAT):
        assert not {
            name for name in Site.__dataclass_fields__ if not re.search(rf"`{name}`|^{name} =", text, re.MULTILINE)
        }


def test_every_advised_check_is_named_in_the_guide() -> None:
    assert not {check for check in ADVISED if f"`{check}`" not in GUIDE}
