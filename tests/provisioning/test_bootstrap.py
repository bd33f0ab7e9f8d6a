"""The bootstrap: what it decides, and environments that it really makes (from a tiny wheel, with no network)."""

import ast
import base64
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from provisioning import bootstrap
from provisioning.bootstrap import (
    Action,
    BootstrapFailed,
    CouldNot,
    Found,
    HostFacts,
    Method,
    PackagePlan,
    Pip,
    Progress,
    Result,
    Stamp,
    Wanted,
)

SOURCE = Path(bootstrap.__file__)
QUIET = Progress(quiet=True)

# ---- the environment: what is to be done

KEYS = {"agent": "a1", "server": "s1", "demo": "d1", "dev": "v1"}
WANTED = Wanted("demo", base="python 3.11 here", profiles=KEYS)
FINISHED = Found(holds_something=True, ours=True, runs=True, stamp=Stamp(WANTED.base, {"demo": "d1"}))


def test_makes_an_environment_where_there_is_none() -> None:
    assert bootstrap.choose_action(Found(), WANTED) is Action.CREATE


def test_leaves_a_finished_environment_alone() -> None:
    assert bootstrap.choose_action(FINISHED, WANTED) is Action.NOTHING


def test_a_larger_profile_serves_a_smaller_one() -> None:
    found = replace(FINISHED, stamp=Stamp(WANTED.base, {"dev": "v1"}))

    assert bootstrap.choose_action(found, WANTED) is Action.NOTHING


def test_a_smaller_profile_does_not_serve_a_larger_one() -> None:
    assert bootstrap.choose_action(FINISHED, replace(WANTED, profile="dev")) is Action.INSTALL_OVER


def test_installs_over_when_the_lock_changed() -> None:
    found = replace(FINISHED, stamp=Stamp(WANTED.base, {"demo": "d0"}))

    assert bootstrap.choose_action(found, WANTED) is Action.INSTALL_OVER


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(replace(FINISHED, stamp=None), id="cut off before the stamp"),
        pytest.param(replace(FINISHED, runs=False), id="its python is gone"),
        pytest.param(replace(FINISHED, stamp=Stamp("python 3.10 here", {"demo": "d1"})), id="another python"),
    ],
)
def test_makes_again_what_is_half_done_or_of_another_python(found: Found) -> None:
    assert bootstrap.choose_action(found, WANTED) is Action.MAKE_AGAIN


def test_never_touches_a_folder_that_is_not_ours() -> None:
    assert bootstrap.choose_action(replace(FINISHED, ours=False), WANTED) is Action.REFUSE
    assert bootstrap.choose_action(Found(holds_something=True), WANTED) is Action.REFUSE


def test_a_stamp_forgets_what_an_installation_over_it_made_untrue() -> None:
    found = replace(FINISHED, stamp=Stamp(WANTED.base, {"agent": "a1", "server": "old", "gone": "x"}))

    assert bootstrap.stamp_after(Action.INSTALL_OVER, found, WANTED).profiles == {"agent": "a1", "demo": "d1"}
    assert bootstrap.stamp_after(Action.MAKE_AGAIN, found, WANTED).profiles == {"demo": "d1"}


def test_a_stamp_reads_back_as_it_was_written() -> None:
    stamp = Stamp("base", {"demo": "d1"})

    assert bootstrap.parse_stamp(stamp.text()) == stamp


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"version": 2, "base": "b", "profiles": {}}',
        '{"version": 1, "base": "b"}',
        '{"version": 1, "base": "b", "profiles": {"demo": 3}}',
    ],
)
def test_a_damaged_stamp_is_no_stamp(text: str) -> None:
    assert bootstrap.parse_stamp(text) is None


# ---- the way to an environment with pip


def test_tries_the_plain_way_first_and_changes_the_host_last() -> None:
    everything = HostFacts(
        host_pip=(23, 0),
        has_virtualenv=True,
        has_apt_get=True,
        has_dpkg=True,
        may_install=True,
        distribution_python=True,
    )

    assert bootstrap.plan_methods(everything) == tuple(Method)


def test_without_ensurepip_the_host_s_own_pip_fills_the_environment() -> None:
    assert bootstrap.plan_methods(HostFacts(has_ensurepip=False, host_pip=(22, 3))) == (Method.HOST_PIP,)


def test_a_host_pip_that_cannot_name_another_python_is_not_used() -> None:
    assert bootstrap.plan_methods(HostFacts(has_ensurepip=False, host_pip=(22, 2))) == ()


def test_debian_without_venv_and_without_root_uses_the_wheel_from_apt() -> None:
    facts = HostFacts(has_ensurepip=False, has_apt_get=True, has_dpkg=True, distribution_python=True)

    assert bootstrap.plan_methods(facts) == (Method.PIP_WHEEL,)


def test_does_not_install_debian_s_venv_for_a_python_that_is_not_debian_s() -> None:
    facts = HostFacts(has_ensurepip=False, has_apt_get=True, has_dpkg=True, may_install=True)

    assert Method.INSTALL_VENV not in bootstrap.plan_methods(facts)


def test_where_no_way_is_left_it_names_the_one_command(tmp_path: Path) -> None:
    facts = HostFacts(has_ensurepip=False, has_apt_get=True, has_dpkg=True, distribution_python=True)

    def fails(_venv: Path) -> Pip:
        raise CouldNot("apt has no lists")

    with pytest.raises(BootstrapFailed) as failed:
        bootstrap.create(tmp_path / "venv", facts, {Method.PIP_WHEEL: fails})
    assert "sudo apt-get install -y python3-venv python3-pip-whl" in str(failed.value)
    assert "apt has no lists" in str(failed.value)


def test_the_next_way_starts_from_an_empty_folder(tmp_path: Path) -> None:
    venv = tmp_path / "venv"

    def leaves_a_mess(where: Path) -> Pip:
        (where / "lib").mkdir()
        (where / "lib" / "half").touch()
        raise CouldNot("half way")

    def works(where: Path) -> Pip:
        assert [entry.name for entry in where.iterdir()] == [bootstrap.MARKER]
        return Pip(("pip",))

    makers: dict[Method, Callable[[Path], Pip]] = {Method.VENV: leaves_a_mess, Method.HOST_PIP: works}

    assert bootstrap.create(venv, HostFacts(host_pip=(23, 0)), makers) == Pip(("pip",))


@pytest.mark.parametrize(
    "output, word",
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "differs from the lock"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("NewConnectionError: Failed to establish a new connection", "does not answer"),
        ("SSLError(SSLCertVerificationError", "certificate"),
        ("ERROR: No matching distribution found for x==1", "no ready-made package"),
        ("something else", "above"),
    ],
)
def test_says_what_pip_s_last_words_mean(output: str, word: str) -> None:
    assert word in bootstrap.hint_for(output)


def test_another_project_s_environment_does_not_leak_in() -> None:
    kept = bootstrap.clean_environment(
        {"PYTHONPATH": "/x", "VIRTUAL_ENV": "/y", "PIP_TARGET": "/z", "PIP_USER": "1", "PIP_CERT": "/ca"}
    )

    assert not kept.keys() & {"PYTHONPATH", "VIRTUAL_ENV", "PIP_TARGET"}
    assert kept["PIP_USER"] == "0"
    assert kept["PIP_CERT"] == "/ca"


# ---- environments that are really made

WHEEL = "lgtiny-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one small wheel and a lock that pins it."""
    folder = tmp_path_factory.mktemp("wheels")
    content = {
        "lgtiny.py": b"ANSWER = 42\n",
        "lgtiny-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: lgtiny\nVersion: 1.0\n",
        "lgtiny-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},{_record_hash(data)},{len(data)}\n" for name, data in content.items())
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        for name, data in content.items():
            wheel.writestr(name, data)
        wheel.writestr("lgtiny-1.0.dist-info/RECORD", record + "lgtiny-1.0.dist-info/RECORD,,\n")
    digest = hashlib.sha256((folder / WHEEL).read_bytes()).hexdigest()
    (folder / "lock.txt").write_text(f"lgtiny==1.0 \\\n    --hash=sha256:{digest}\n")
    return folder


def _record_hash(data: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@pytest.fixture
def only_offline(offline: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(offline))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return offline


def _from_apt(venv: Path) -> Pip:
    def fetch(folder: Path) -> Path:
        if shutil.which("apt-get") is None:
            pytest.skip("making an environment with Debian's pip wheel: there is no apt-get")
        try:
            return bootstrap.fetch_pip_wheel(folder)
        except CouldNot as reason:
            pytest.skip(f"making an environment with Debian's pip wheel: apt does not answer ({reason})")

    return bootstrap.create_with_pip_wheel(venv, fetch)


def _with_host_pip(venv: Path) -> Pip:
    if (bootstrap.host_pip_version() or (0, 0)) < (22, 3):
        pytest.skip("making an environment with the host's own pip: it has none, or one older than 22.3")
    return bootstrap.create_with_host_pip(venv)


def _with_virtualenv(venv: Path) -> Pip:
    if bootstrap.which("virtualenv") is None:
        pytest.skip("making an environment with virtualenv: it is not installed")
    return bootstrap.create_with_virtualenv(venv)


def _with_venv(venv: Path) -> Pip:
    if not bootstrap.importable("ensurepip"):
        pytest.skip("making an environment with python -m venv: this Python has no ensurepip")
    return bootstrap.create_with_venv(venv)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(_with_venv, id="venv"),
        pytest.param(_with_host_pip, id="host pip"),
        pytest.param(_with_virtualenv, id="virtualenv"),
        pytest.param(_from_apt, id="pip wheel from apt"),
    ],
)
def test_each_way_makes_an_environment_that_takes_a_hashed_lock(
    make: Callable[[Path], Pip], tmp_path: Path, only_offline: Path
) -> None:
    venv = tmp_path / "a venv"
    bootstrap.empty(venv)

    bootstrap.install_lock(make(venv), only_offline / "lock.txt")

    assert bootstrap.run([str(venv / "bin" / "python"), "-c", "import lgtiny; print(lgtiny.ANSWER)"]).output == "42\n"


def test_refuses_a_package_that_differs_from_the_lock(tmp_path: Path, only_offline: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text("lgtiny==1.0 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    here = Pip((sys.executable, "-m", "pip", "--disable-pip-version-check"))

    with pytest.raises(BootstrapFailed, match="differs from the lock"):
        bootstrap.install_lock(Pip((*here.command,), {"PIP_TARGET": str(tmp_path / "target")}), lock)


# A build backend in a few lines, so that the whole run needs nothing but the standard library and the tiny wheel.
BACKEND = """
import zipfile
from pathlib import Path

def get_requires_for_build_editable(config_settings=None):
    return []

def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    name = "leadglass-0.1.0-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory) / name, "w") as wheel:
        info = "leadglass-0.1.0.dist-info/"
        wheel.writestr("leadglass.pth", str(Path.cwd()))
        wheel.writestr(info + "METADATA", "Metadata-Version: 2.1\\nName: leadglass\\nVersion: 0.1.0\\n")
        wheel.writestr(info + "WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(info + "RECORD", "leadglass.pth,,\\n" + info + "METADATA,,\\n" + info + "WHEEL,,\\n")
    return name
"""


@pytest.fixture
def tree(tmp_path: Path, only_offline: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small tree with the real bootstrap.py in it."""
    if not bootstrap.importable("ensurepip"):
        pytest.skip("whole runs of the bootstrap: this Python has no ensurepip")
    monkeypatch.delenv("LEADGLASS_VENV", raising=False)
    root = tmp_path / "tree"
    (root / "provisioning").mkdir(parents=True)
    (root / "requirements").mkdir()
    shutil.copy(SOURCE, root / "provisioning")
    for profile in bootstrap.COVERED_BY:
        shutil.copy(only_offline / "lock.txt", root / "requirements" / f"{profile}.txt")
    (root / "backend.py").write_text(BACKEND)
    (root / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "leadglass"\nversion = "0.1.0"\n'
    )
    return root


def start(tree: Path, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-I", "provisioning/bootstrap.py", *arguments],
        cwd=tree,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_two_runs_at_once_make_one_environment_then_silence_then_repair(tree: Path) -> None:
    both = [finish(process) for process in [start(tree, "demo"), start(tree, "demo")]]
    again = finish(start(tree, "demo"))
    (tree / "requirements" / "dev.txt").write_text("lgother==1.0 --hash=sha256:" + "0" * 64 + "\n")
    larger = finish(start(tree, "dev"))
    after_failure = finish(start(tree, "demo"))
    (tree / ".venv" / bootstrap.STAMP).unlink()  # as a run leaves it that is cut off
    (tree / ".venv" / "bin" / "pip").unlink()
    repair = finish(start(tree, "demo", "--quiet"))

    assert [code for code, _, _ in both] == [0, 0], both
    assert sum("1 packages, each checked against its hash" in out for _, out, _ in both) == 1
    assert again == (0, "", "")
    assert larger[0] == 1
    assert after_failure == (0, "", "")  # what could not be fetched took nothing away
    assert repair == (0, "", "")
    assert (tree / ".venv" / "bin" / "pip").exists()


def test_somebody_else_s_folder_is_refused_and_kept(tree: Path) -> None:
    (tree / ".venv").mkdir()
    (tree / ".venv" / "thesis.txt").write_text("years of work")

    code, _, err = finish(start(tree, "demo"))

    assert code == 1
    assert "was not made by leadglass" in err
    assert (tree / ".venv" / "thesis.txt").read_text() == "years of work"


def test_a_missing_lock_is_named_without_a_traceback(tree: Path) -> None:
    (tree / "requirements" / "demo.txt").unlink()

    code, _, err = finish(start(tree, "demo"))

    assert code == 1
    assert "demo.txt: No such file or directory" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [(), ("production",), ("demo", "--with", "emacs"), ("demo", "--fast")])
def test_a_wrong_call_ends_with_code_2_and_a_sentence(arguments: tuple[str, ...], tree: Path) -> None:
    code, _, err = finish(start(tree, *arguments))

    assert code == 2
    assert "error:" in err
    assert "Traceback" not in err


# ---- an old Python


def test_parses_in_the_grammar_of_python_3_6() -> None:
    ast.parse(SOURCE.read_text(), feature_version=(3, 6))


def test_an_old_python_is_told_in_one_line() -> None:
    old = next((path for minor in (10, 9, 8, 7, 6) if (path := _runs(f"python3.{minor}"))), None)
    if old is None:
        pytest.skip("telling an old Python what it is missing: none is installed")

    told = subprocess.run([old, "-I", str(SOURCE), "demo"], capture_output=True, text=True, check=False)

    assert told.returncode == 1
    assert told.stderr.startswith("leadglass needs Python 3.11 or newer")
    assert told.stderr.count("\n") == 1


def _runs(program: str) -> str | None:
    path = shutil.which(program)
    return path if path and bootstrap.run([path, "-c", ""]).code == 0 else None


# ---- Debian packages


class FakeHost:
    """Has the programs it is given, runs `install` and `rm` for real, and remembers what apt was asked for."""

    def __init__(self, *programs: str, apt_codes: Sequence[int] = ()) -> None:
        self.programs = set(programs)
        self.commands: list[list[str]] = []
        self.policy_during_install: str | None = None
        self.policy: Path | None = None
        self._apt_codes = list(apt_codes)

    def find(self, program: str) -> str | None:
        return f"/usr/bin/{program}" if program in self.programs else None

    def run(self, command: Sequence[str]) -> Result:
        if command[0] in {"install", "rm"}:
            return bootstrap.run(command)
        self.commands.append([word for word in command if not word.startswith(("-", "DEBIAN", "DPkg", "Acquire"))])
        if "apt-get" in command and "install" in command and self.policy is not None:
            self.policy_during_install = self.policy.read_text() if self.policy.exists() else None
        if "apt-get" in command and self._apt_codes:
            return Result(self._apt_codes.pop(0), "E: apt has its reasons")
        return Result(0, "")


def ensure(host: FakeHost, tmp_path: Path, *packages: str, root: bool = True) -> PackagePlan:
    host.policy = tmp_path / "policy-rc.d"
    return bootstrap.ensure_debian_packages(
        packages,
        QUIET,
        find=host.find,
        execute=host.run,
        prefix=lambda: () if root else None,
        policy=host.policy,
        systemd=tmp_path / "systemd",
    )


def test_installs_nothing_that_is_already_there(tmp_path: Path) -> None:
    host = FakeHost("mosquitto", "apt-get")

    assert ensure(host, tmp_path, "mosquitto") == PackagePlan()
    assert host.commands == []


def test_no_broker_is_started_by_its_installation(tmp_path: Path) -> None:
    host = FakeHost("apt-get")

    assert ensure(host, tmp_path, "mosquitto") == PackagePlan()
    assert host.commands == [["env", "apt-get", "install", "mosquitto"]]
    assert host.policy_during_install == bootstrap.POLICY_RC_D_TEXT
    assert not (tmp_path / "policy-rc.d").exists()


def test_the_policy_is_taken_away_also_when_the_installation_fails(tmp_path: Path) -> None:
    host = FakeHost("apt-get", apt_codes=[100, 0, 100])

    left = ensure(host, tmp_path, "mosquitto")

    assert left.ask == ("mosquitto",)
    assert left.command == "sudo apt-get install -y --no-install-recommends mosquitto"
    assert host.policy_during_install == bootstrap.POLICY_RC_D_TEXT
    assert not (tmp_path / "policy-rc.d").exists()


def test_a_policy_that_the_host_has_of_its_own_stays(tmp_path: Path) -> None:
    (tmp_path / "policy-rc.d").write_text("#!/bin/sh\nexit 104\n")
    host = FakeHost("apt-get")

    ensure(host, tmp_path, "mosquitto")

    assert host.policy_during_install == "#!/bin/sh\nexit 104\n"
    assert (tmp_path / "policy-rc.d").read_text() == "#!/bin/sh\nexit 104\n"


def test_a_policy_that_a_killed_run_left_behind_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "policy-rc.d").write_text(bootstrap.POLICY_RC_D_TEXT)

    ensure(FakeHost("apt-get"), tmp_path, "mosquitto")

    assert not (tmp_path / "policy-rc.d").exists()


def test_missing_lists_are_fetched_and_the_installation_tried_again(tmp_path: Path) -> None:
    host = FakeHost("apt-get", apt_codes=[100, 0, 0])

    assert ensure(host, tmp_path, "age") == PackagePlan()
    assert [command[2] for command in host.commands] == ["install", "update", "install"]


def test_only_a_service_that_we_installed_is_disabled(tmp_path: Path) -> None:
    (tmp_path / "systemd").mkdir()
    ours, theirs = FakeHost("apt-get"), FakeHost("apt-get", "mosquitto")

    ensure(ours, tmp_path, "mosquitto", "age")
    ensure(theirs, tmp_path, "mosquitto", "age")

    assert ["systemctl", "disable", "mosquitto.service"] in ours.commands
    assert theirs.commands == [["env", "apt-get", "install", "age"]]


def test_where_we_may_not_install_the_person_gets_one_command(tmp_path: Path) -> None:
    host = FakeHost("apt-get", "age")

    left = ensure(host, tmp_path, "mosquitto", "age", "dcmtk", root=False)

    assert left.ask == ("mosquitto", "dcmtk")
    assert left.command == "sudo apt-get install -y --no-install-recommends mosquitto dcmtk"
    assert host.commands == []


def test_without_apt_it_asks_for_the_distribution_s_own_tool(tmp_path: Path) -> None:
    assert ensure(FakeHost(), tmp_path, "mosquitto").command.startswith("install with your distribution's own tool")


def test_a_package_without_a_program_is_known_by_its_file(tmp_path: Path) -> None:
    header = tmp_path / "Rule.hpp"

    assert bootstrap.which(str(header)) is None
    header.touch()
    assert bootstrap.which(str(header)) == str(header)
