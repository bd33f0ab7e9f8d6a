"""Changing `agent.toml` on a host to another version, with a table of migrations as the next version will have one."""

from pathlib import Path

import pytest

from edge_agent.settings_file.document import FILE, OtherVersion
from provisioning import __main__ as program
from provisioning.install.installer import Choice
from provisioning.install.migration import OldFileInTheWay, migrate_file
from provisioning.install.remover import Erasing, Remover
from tests.provisioning.install.conftest import installer, tree

STEPS = {1: lambda text: text.replace("version = 1", "version = 2").replace("guard_socket", "guard")}
KEPT = f"{FILE}.v1"


def test_it_shows_what_changes_keeps_the_old_file_and_uninstalling_takes_both(root: Path) -> None:
    before = tree(root)
    host = installer(root)
    host.apply(host.plan(Choice()))
    file, kept = root / FILE.lstrip("/"), root / KEPT.lstrip("/")
    old = file.read_text()
    said = migrate_file(root, dry=True, migrations=STEPS, newest=2)
    assert file.read_text() == old
    assert any(line.startswith("-guard_socket") for line in said)
    assert any(line.startswith("+guard =") for line in said)

    migrate_file(root, dry=False, migrations=STEPS, newest=2)
    assert file.read_text() == STEPS[1](old)
    assert kept.read_text() == old
    assert "nothing was changed" in migrate_file(root, dry=False, migrations=STEPS, newest=2)[0]
    # The program of version 1, put back, says what to do.
    with pytest.raises(OtherVersion, match=r"agent.toml.*put the file back"):
        host.settings()
    assert Remover(root).apply(Erasing()) == []
    assert tree(root) == before


def test_settings_that_people_changed_are_migrated_and_stay_theirs(root: Path) -> None:
    host = installer(root)
    host.apply(host.plan(Choice()))
    file = root / FILE.lstrip("/")
    file.write_text("# mine\n" + file.read_text())
    migrate_file(root, dry=False, migrations=STEPS, newest=2)

    assert file.read_text().startswith("# mine\n")
    assert Remover(root).apply(Erasing()) == [
        f"{FILE}: somebody changed it",
        "/etc/leadglass: it is not empty",
    ]


def test_an_old_file_of_the_same_name_is_not_overwritten(root: Path) -> None:
    host = installer(root)
    host.apply(host.plan(Choice()))
    (root / KEPT.lstrip("/")).write_text("another one")
    before = tree(root)

    with pytest.raises(OldFileInTheWay):
        migrate_file(root, dry=False, migrations=STEPS, newest=2)
    assert tree(root) == before


def test_the_command_has_nothing_to_do_at_this_version(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host = installer(root)
    host.apply(host.plan(Choice()))

    assert program.main(["migrate", "--root", str(root)]) == 0
    assert "is of version 1 already" in capsys.readouterr().out
