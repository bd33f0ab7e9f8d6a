"""What the package holds, and that it is the same bytes whoever builds it."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent import SOFTWARE
from edge_agent.settings_file import document
from edge_agent.state_formats import StateTooNew, claim, known
from provisioning.packaging import plan
from provisioning.packaging.build import ROOT, build, release
from shared.errors import Malformed
from tests.provisioning.packaging.conftest import AGE, Packages


def test_it_holds_a_host_s_programs_and_activates_nothing(packages: Packages) -> None:
    listed = subprocess.run(["dpkg-deb", "-c", packages.this], capture_output=True, text=True, check=True).stdout
    files = re.findall(r"^[-l]\S+ root/root +\d+ \S+ \S+ \./(\S+)", listed, re.MULTILINE)

    outside = {name for name in files if not name.startswith("opt/leadglass/")}
    assert outside == {f"usr/bin/{name}" for name in plan.LAUNCHED} | {"usr/lib/sysusers.d/leadglass.conf"}
    assert f"{plan.SHARE}/systemd/leadglass-guard.service" in files
    assert f"{plan.SITE}/cryptography/__init__.py" in files
    assert {name for name in files if "/control_plane/" in name and "/control_plane/paper/" not in name} == set()
    never = ("/pip/", "/setuptools/", "/provisioning/demo/", "bootstrap", "/tests/edge_agent/")
    assert not [name for name in files if any(word in name for word in never)]
    compiled = {name.replace("__pycache__/", "").replace(".cpython-311.pyc", ".py") for name in files if ".pyc" in name}
    assert compiled == {name for name in files if name.startswith(plan.SITE) and name.endswith(".py")}


def test_the_same_tree_gives_the_same_bytes(packages: Packages, libraries: Path, tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        again = build(libraries, tmp_path / "out", tmp_path / "another" / "folder", AGE)
    finally:
        os.umask(umask)

    shutil.rmtree(tmp_path / "another")
    assert again.read_bytes() == packages.this.read_bytes()


def test_its_version_is_the_one_that_the_agent_says() -> None:
    assert f"leadglass-agent {release().version}" == SOFTWARE


def test_its_scripts_hold_for_every_posix_shell() -> None:
    scripts = [ROOT / "provisioning/packaging/scripts" / name for name in (*plan.SCRIPTS, "launcher")]
    scripts.append(ROOT / "provisioning/bundle/begin.sh")
    said = subprocess.run(["shellcheck", "--shell=sh", *scripts], capture_output=True, text=True, check=False)

    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize("version", ["", "1", "0.1.0-1; rm", "0.1\n", "0..1", "v0.1"])
def test_refuses_a_version_that_dpkg_or_a_shell_reads_otherwise(version: str) -> None:
    with pytest.raises(Malformed):
        plan.Release(version, "spool 1\n")


def test_refuses_two_locks_that_disagree() -> None:
    lock = "urllib3==2.8.0 \\\n    --hash=sha256:00\n"
    assert plan.requirements([lock, lock]) == lock

    with pytest.raises(Malformed, match="urllib3 differently"):
        plan.requirements([lock, lock.replace("2.8.0", "2.8.1")])


def test_the_state_keeps_who_first_wrote_each_form(tmp_path: Path) -> None:
    claim(tmp_path)
    (tmp_path / "formats").write_text((tmp_path / "formats").read_text().replace(SOFTWARE, "leadglass-agent 0.0.9", 1))
    before = (tmp_path / "formats").stat().st_mtime_ns
    claim(tmp_path)

    assert (tmp_path / "formats").read_text().splitlines()[:2] == [
        "agent-database 1 leadglass-agent 0.0.9",
        f"configuration 1 {SOFTWARE}",
    ]
    assert (tmp_path / "formats").stat().st_mtime_ns == before
    assert known()["configuration"] == document.VERSION


@pytest.mark.parametrize("newer", ["spool 2 leadglass-agent 9.0.0", "something-new 1 leadglass-agent 9.0.0"])
def test_an_agent_does_not_start_on_what_a_newer_one_wrote(newer: str, tmp_path: Path) -> None:
    (tmp_path / "formats").write_text(f"{newer}\n")

    with pytest.raises(StateTooNew, match=r"written by leadglass-agent 9\.0\.0"):
        claim(tmp_path)
    assert (tmp_path / "formats").read_text() == f"{newer}\n"


@pytest.mark.parametrize("text", ["spool\n", "spool 1\nspool 2\n", "spool x\n", "Spool 1\n", "spool 1 \x07\n", "é 1\n"])
def test_an_agent_does_not_start_where_it_cannot_tell(text: str, tmp_path: Path) -> None:
    (tmp_path / "formats").write_text(text)

    with pytest.raises(Malformed):
        claim(tmp_path)
